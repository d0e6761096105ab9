"""Judge the bytes of a conversation: is every one of them in a TLS record, and of which TLS?

Records and handshakes: RFC 8446 (5.1, 4.1.2, 4.1.3, 4.2.1, 6066 for the name) and RFC 5246.
"""

import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

VERSIONS = {0x0300: "SSL 3.0", 0x0301: "1.0", 0x0302: "1.1", 0x0303: "1.2", 0x0304: "1.3"}

_TLS_1_3 = 0x0304
_CHANGE, _ALERT, _HANDSHAKE, _DATA = b"\x14\x15\x16\x17"
_LONGEST = 2**14 + 2048  # RFC 5246, 6.2.3; TLS 1.3 allows less
_CLIENT_HELLO, _SERVER_HELLO = 1, 2
_SERVER_NAME, _SUPPORTED_VERSIONS, _KEY_SHARE = 0, 43, 51

# The order of records, one letter each, that keeps data from being said before there are keys.
_ORDER_1_3 = re.compile(rb"\x16[\x14\x16]*[\x15\x17]*")
_ORDER_1_2 = re.compile(rb"\x16+(\x15|\x14(\x16[\x15\x16\x17]*)?)?")
_CLIENT_REFUSED = re.compile(rb"(\x16[\x14\x15\x16]*)?")
_SERVER_REFUSED = re.compile(rb"\x15?")

_SSL_REQUEST = bytes.fromhex("00000008 04d2162f")


class NotTLSError(Exception):
    """A conversation is not TLS, or of a kind that does not protect it. The message says why."""


@dataclass(frozen=True)
class Handshake:
    """What a client and a server agreed on."""

    version: int
    suite: str
    name: str  # of the server, as the client has asked for it in plaintext


def judge(asked: bytes, answered: bytes, minimum: str) -> Handshake | None:
    """Return the handshake of a conversation, or None if nothing was said beyond a hello.

    `asked` is all that the client said, `answered` all that the server did. Raises
    `NotTLSError` if a byte of them is outside of TLS records, if data come before the keys, if
    the version is below `minimum`, or if the cipher suite has no authenticated encryption or
    no forward secrecy.
    """
    asking, answering = list(_records(asked, "client")), list(_records(answered, "server"))
    orders = tuple(bytes(kind for kind, _ in records) for records in (asking, answering))
    if _HANDSHAKE not in orders[1]:
        _require(_CLIENT_REFUSED.fullmatch(orders[0]), "the client says more than a hello")
        _require(_SERVER_REFUSED.fullmatch(orders[1]), "the server says no hello")
        return None
    version, suite = _server_hello(_hello(answering, _SERVER_HELLO))
    name = _server_name(_hello(asking, _CLIENT_HELLO))
    _require(version in VERSIONS, f"the version is {version:#06x}, which is unknown")
    least = next(number for number, name in VERSIONS.items() if name == minimum)
    _require(version >= least, f"the version is {VERSIONS[version]}, not at least {minimum}")
    order = _ORDER_1_3 if version == _TLS_1_3 else _ORDER_1_2
    for end, kinds in zip(("client", "server"), orders, strict=True):
        _require(order.fullmatch(kinds), f"the {end} sends data before there are keys")
    return Handshake(version, _good_suite(suite), name)


def judge_postgresql(asked: bytes, answered: bytes, minimum: str) -> Handshake | None:
    """Judge a conversation with PostgreSQL, where a client may first ask for TLS in plaintext.

    https://www.postgresql.org/docs/17/protocol-flow.html#PROTOCOL-FLOW-SSL
    """
    if asked.startswith(_SSL_REQUEST):
        _require(answered[:1] in {b"", b"S"}, "the server does not want TLS")
        asked, answered = asked.removeprefix(_SSL_REQUEST), answered[1:]
    return judge(asked, answered, minimum)


def require_redirects(answered: bytes) -> None:
    """Raise `NotTLSError` if a plaintext HTTP server says anything else than "308"."""
    answers = len(re.findall(rb"HTTP/[\d.]+ ", answered))
    redirects = len(re.findall(rb"HTTP/1\.1 308 .*?\r\nLocation: https://", answered, re.DOTALL))
    if answered and (not answered.startswith(b"HTTP/1.1 308 ") or redirects != answers):
        raise NotTLSError("plaintext HTTP that is more than a redirect to HTTPS")


def _require(truth: object, message: str) -> None:
    if not truth:
        raise NotTLSError(message)


def _records(said: bytes, end: str) -> Iterator[tuple[int, bytes]]:
    """Yield the kind and content of each record; the last may be cut off, as connections are."""
    at = 0
    while at < len(said):
        header = said[at : at + 5]
        length = int.from_bytes(header[3:])
        good = (
            header[0] in {_CHANGE, _ALERT, _HANDSHAKE, _DATA}
            and header[1:2] in {b"", b"\x03"}
            and header[2:3] in {b"", b"\x00", b"\x01", b"\x02", b"\x03"}
            and (len(header) < 5 or 0 < length <= _LONGEST)
        )
        _require(good, f"byte {at} of what the {end} said is in no TLS record")
        yield header[0], said[at + 5 : at + 5 + length]
        at += 5 + length


def _hello(records: list[tuple[int, bytes]], kind: int) -> bytes:
    """Return the first message, without its head. It may be longer than a record."""
    messages = b"".join(content for type_, content in records if type_ == _HANDSHAKE)
    length = int.from_bytes(messages[1:4])
    whole = messages[:1] == bytes([kind]) and len(messages) >= 4 + length
    _require(whole, "the handshake does not begin with a hello")
    return messages[4 : 4 + length]


class _Fields:
    """Reads one field of a message after the other."""

    def __init__(self, message: bytes) -> None:
        self.left = message

    def take(self, count: int) -> bytes:
        _require(len(self.left) >= count, "a hello is cut off")
        taken, self.left = self.left[:count], self.left[count:]
        return taken

    def vector(self, bytes_of_length: int) -> bytes:
        """Take what begins with its own length."""
        return self.take(int.from_bytes(self.take(bytes_of_length)))

    def extensions(self) -> dict[int, bytes]:
        inner, found = _Fields(self.vector(2) if self.left else b""), {}
        while inner.left:
            kind = int.from_bytes(inner.take(2))
            found[kind] = inner.vector(2)
        return found


def _server_hello(message: bytes) -> tuple[int, int]:
    """Return the version and the cipher suite that the server has chosen."""
    fields = _Fields(message)
    legacy, _random, _session = fields.take(2), fields.take(32), fields.vector(1)
    suite, compression = int.from_bytes(fields.take(2)), fields.take(1)
    _require(compression == b"\0", "TLS compression is on")
    extensions = fields.extensions()
    version = int.from_bytes(extensions.get(_SUPPORTED_VERSIONS, legacy))
    # Without it, a resumed TLS 1.3 session has no forward secrecy (RFC 8446, 2.2).
    shared = version != _TLS_1_3 or _KEY_SHARE in extensions
    _require(shared, "the session was resumed without a new key exchange")
    return version, suite


def _server_name(message: bytes) -> str:
    """Return the name in a client's hello, or nothing."""
    fields = _Fields(message)
    fields.take(2 + 32)
    for bytes_of_length in (1, 2, 1):  # session, cipher suites, compression
        fields.vector(bytes_of_length)
    names = fields.extensions().get(_SERVER_NAME, b"")
    return names[5:].decode("ascii", "replace")  # one name, behind lengths and its kind


def _known_suites() -> dict[int, dict[str, Any]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    return {cipher["id"] & 0xFFFF: dict(cipher) for cipher in context.get_ciphers()}


_SUITES = _known_suites()


def _good_suite(number: int) -> str:
    """Return the name of a cipher suite; OpenSSL knows what it is made of."""
    suite = _SUITES.get(number, {})
    name = str(suite.get("name", f"{number:#06x}"))
    # "any": TLS 1.3, where the key exchange is no part of the suite and always ephemeral.
    good = suite.get("aead") and suite.get("kea") in {"kx-ecdhe", "kx-any"}
    _require(good, f"the cipher suite is {name}")
    return name
