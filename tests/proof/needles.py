"""Secrets of a project in their usual spellings, and a fast search for them in large files."""

import base64
import mmap
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

# A whole key: libraries mention the first line in their documentation.
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=\s]{40,}-----END")
_AWS_KEY = re.compile(rb"(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])")
_PEM = re.compile(rb"-----BEGIN ([A-Z ]+)-----\s+([A-Za-z0-9+/=\s]+)-----END")
# Version 1, then an octet string of 32 bytes: ECPrivateKey of RFC 5915, for P-256.
_SCALAR = re.compile(rb"\x02\x01\x01\x04\x20(.{32})", re.DOTALL)


def spellings(value: bytes) -> set[bytes]:
    """Return a value as it is, in hexadecimal and in base64, wherever in a text it begins."""
    found = {value, value.hex().encode(), value.hex().upper().encode()}
    for before in range(3):
        text = base64.b64encode(bytes(before) + value)
        # The first and last characters also hold bits of the neighbours.
        found.add(text[(before * 4 + 2) // 3 : len(text) // 4 * 4 - 4])
    url_safe = bytes.maketrans(b"+/", b"-_")
    return found | {text.translate(url_safe) for text in found if text != value}


def private_key(pem: bytes) -> set[bytes]:
    """Return a private key's PEM lines, its DER form, and the secret number in its spellings.

    Raises `ValueError` for a file without a private key on the curve P-256.
    """
    for kind, body in _PEM.findall(pem):
        der = base64.b64decode(body)
        if kind.endswith(b"PRIVATE KEY") and (scalar := _SCALAR.search(der)):
            lines = {line for line in body.split() if len(line) >= 40}
            return {der} | lines | spellings(scalar[1])
    raise ValueError("There is no private key on the curve P-256 in the file.")


class Needles:
    """Named values, each in all its spellings."""

    def __init__(self, values: Mapping[str, Iterable[bytes]]) -> None:
        """Take spellings by name. Raises `ValueError` for one that might be met by chance."""
        self._values = {name: frozenset(texts) for name, texts in values.items()}
        for name, texts in self._values.items():
            if not texts or min(map(len, texts)) < 16:
                raise ValueError(f"{name}: a search needs 16 bytes or more.")

    def __len__(self) -> int:
        return len(self._values)

    def __or__(self, other: "Needles") -> "Needles":
        return Needles(self._values | other._values)

    def at(
        self, data: bytes | mmap.mmap, start: int = 0, end: int | None = None
    ) -> Iterator[tuple[str, int]]:
        """Yield the name of a value, and a place where one of its spellings begins, for each."""
        end = len(data) if end is None else end
        for name, texts in self._values.items():
            for text in texts:
                place = data.find(text, start, end)
                while place >= 0:
                    yield name, place
                    place = data.find(text, place + 1, end)

    def found(self, text: str | bytes) -> set[str]:
        """Return the names of the values in a text."""
        data = text.encode() if isinstance(text, str) else text
        return {name for name, _ in self.at(data)}


def of_project(project: Path) -> Needles:
    """Return the secrets of .env, and every private key below .local/certs."""
    values: dict[str, set[bytes]] = {}
    for line in (project / ".env").read_text().splitlines():
        name, separator, value = line.partition("=")
        if separator and not line.startswith("#") and not name.endswith("_PORT"):
            values[name] = spellings(value.encode())
    certs = project / ".local" / "certs"
    for path in certs.rglob("*.key"):
        values[str(path.relative_to(certs))] = private_key(path.read_bytes())
    return Needles(values)


def certificates_of(project: Path) -> Needles:
    """Return the certificates below .local/certs, in PEM and DER form."""
    certs = project / ".local" / "certs"
    values = {}
    for path in certs.rglob("*.crt"):
        bodies = [body for _, body in _PEM.findall(path.read_bytes())]
        lines = {line for body in bodies for line in body.split() if len(line) >= 40}
        values[str(path.relative_to(certs))] = lines | {base64.b64decode(body) for body in bodies}
    return Needles(values)


def private_keys(data: bytes | mmap.mmap, start: int = 0, end: int | None = None) -> Iterator[int]:
    """Yield the places of whole private keys in PEM form, anybody's."""
    return _places(_PRIVATE_KEY, b"-----BEGIN ", data, start, end)


def aws_keys(data: bytes | mmap.mmap, start: int = 0, end: int | None = None) -> Iterator[int]:
    """Yield the places of access key ids of AWS, apart from the examples of its documentation.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-prefixes
    """
    for prefix in (b"AKIA", b"ASIA"):
        for place in _places(_AWS_KEY, prefix, data, start, end):
            before = data[max(place - 1, 0) : place]
            if not before.isalnum() and not data[place : place + 20].endswith(b"EXAMPLE"):
                yield place


def _places(
    pattern: re.Pattern[bytes],
    begins: bytes,
    data: bytes | mmap.mmap,
    start: int,
    end: int | None,
) -> Iterator[int]:
    """Yield where the pattern matches. Far faster than the pattern alone in large data."""
    end = len(data) if end is None else end
    place = data.find(begins, start, end)
    while place >= 0:
        if pattern.match(data, place, end):
            yield place
        place = data.find(begins, place + 1, end)
