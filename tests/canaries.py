"""Random values that are easy to find again, and a search for them in any usual encoding.

The search decodes what looks encoded, and looks for the plain values in the result. Four
compressions are in use where a stack stores something. None of them can shorten random letters,
but each has its own way to keep them:

- LZF (dump of the cache) keeps them in runs of at most 32 bytes, so pieces of a value count;
- PGLZ (long values in PostgreSQL) puts a zero byte before every eight of them:
  https://github.com/postgres/postgres/blob/REL_17_STABLE/src/common/pg_lzcompress.c
- zlib and gzip (Django's sessions, pictures, static files) pack them bit by bit, so what looks
  like theirs is decompressed, also from within base64.
"""

import base64
import re
import secrets
import string
import zlib
from collections.abc import Iterator, Mapping

LENGTH = 48
# Lower case, because that is what is stored of an e-mail address.
_LETTERS = string.ascii_lowercase + string.digits
_PIECE = 12

# No value has so many zeros, but the files of a database have.
_ZEROS = re.compile(rb"\0{64,}")
_UTF_16 = re.compile(rb"(?:[!-~]\0){12,}")  # of either byte order
_PGLZ = re.compile(rb"(?:\0[ -~]{8}){2,}")
_ESCAPES = re.compile(rb"(?:(?:%|\\u00|\\x)[0-9A-Fa-f]{2}){12,}")
_HEXADECIMAL = re.compile(rb"[0-9A-Fa-f]{24,}")
_BASE64 = re.compile(rb"[0-9A-Za-z+/_-]{16,}")
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_COMPRESSED = re.compile(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08")  # zlib, gzip


def canary() -> str:
    """Return a value that nothing else contains."""
    return "".join(secrets.choice(_LETTERS) for _ in range(LENGTH))


class Search:
    """A search for many values at once."""

    def __init__(self, values: Mapping[str, bytes]) -> None:
        """Search for these values, by name. Raises `ValueError` for one of fewer than 24 bytes."""
        self._pieces = []
        for name, value in values.items():
            if len(value) < 2 * _PIECE:  # no piece of it might be left whole
                raise ValueError(f"{name} has {len(value)} bytes; a search needs {2 * _PIECE}.")
            starts = range(0, len(value) - _PIECE + 1, _PIECE)
            self._pieces += [(name, value[start : start + _PIECE]) for start in starts]

    def __call__(self, data: bytes) -> set[str]:
        """Return the names of the values in the data, in whatever encoding, whole or in part.

        A part counts if it has 12 bytes that begin at a multiple of 12.
        """
        data = _ZEROS.sub(bytes(64), data)
        decoded = b"\n".join(_decoded(data))
        unpacked = b"\n".join((*_decompressed(data), *_decompressed(decoded)))
        texts = (data, decoded, unpacked)
        return {name for name, piece in self._pieces if any(piece in text for text in texts)}


def _decoded(data: bytes) -> Iterator[bytes]:
    for match in _UTF_16.finditer(data):
        yield match[0][::2]
    for match in _PGLZ.finditer(data):
        yield match[0].replace(b"\0", b"")
    for match in _ESCAPES.finditer(data):
        yield bytes.fromhex(re.sub(rb"%|\\u00|\\x", b"", match[0]).decode())
    for match in _HEXADECIMAL.finditer(data):
        for start in range(2):
            digits = match[0][start:]
            yield bytes.fromhex(digits[: len(digits) // 2 * 2].decode())
    for match in _BASE64.finditer(data):
        for start in range(4):
            text = match[0][start:].translate(_URL_SAFE)
            yield base64.b64decode(text[: len(text) // 4 * 4])


def _decompressed(data: bytes) -> Iterator[bytes]:
    for match in _COMPRESSED.finditer(data):
        yield b"".join(_stream(memoryview(data)[match.start() :]))


def _stream(data: memoryview, step: int = 16) -> Iterator[bytes]:
    """Yield what can be decompressed, up to the first error: it may be cut off, or no stream."""
    # 32 more than the window's size: a header of zlib or gzip, whichever there is.
    machine = zlib.decompressobj(zlib.MAX_WBITS | 32)
    for start in range(0, len(data), step):
        try:
            yield machine.decompress(data[start : start + step])
        except zlib.error:
            return
        if machine.eof:
            return
