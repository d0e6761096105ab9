"""What a TLS peer does, seen from outside with the standard library alone."""

import contextlib
import socket
import ssl
import struct
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

TIMEOUT = 5.0  # seconds

# The first byte of a TLS record: https://www.rfc-editor.org/rfc/rfc8446#section-5.1
_ALERT, _HANDSHAKE = b"\x15", b"\x16"


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Where to connect, and which name and CA to verify.

    `ca_file` empty means the system's roots. `postgres` sends PostgreSQL's
    SSLRequest before the handshake.
    """

    host: str
    port: int
    server_name: str
    ca_file: str = ""
    postgres: bool = False


@dataclass(frozen=True, kw_only=True)
class Session:
    """An established session with a verified peer."""

    version: str
    cipher: str
    issuer: str
    expires: datetime


def _context(peer: Peer) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=peer.ca_file or None)


def _connect(peer: Peer) -> socket.socket:
    sock = socket.create_connection((peer.host, peer.port), timeout=TIMEOUT)
    if not peer.postgres:
        return sock
    try:
        # https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL
        sock.sendall(struct.pack("!ii", 8, 80877103))
        if (answer := sock.recv(1)) != b"S":
            raise ssl.SSLError(f"the server answered {answer!r} to SSLRequest: it has no TLS")
    except OSError:
        sock.close()
        raise
    return sock


def handshake(peer: Peer) -> Session:
    """Connect as a client that verifies chain, name and dates.

    Raises `ssl.SSLError` when the peer does not satisfy it, `OSError` when it
    cannot be reached.
    """
    with (
        _connect(peer) as sock,
        _context(peer).wrap_socket(sock, server_hostname=peer.server_name) as tls,
    ):
        certificate: Any = tls.getpeercert()
        cipher = tls.cipher()
        if certificate is None or cipher is None:
            raise ssl.SSLError("the peer showed no certificate")
        issuer = {k: v for rdn in certificate["issuer"] for k, v in rdn}
        return Session(
            version=tls.version() or "",
            cipher=cipher[0],
            issuer=issuer.get("commonName", str(issuer)),
            expires=datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), UTC),
        )


def accepts_version(peer: Peer, version: ssl.TLSVersion) -> bool:
    """Does the peer go on with a client that offers `version` at most?

    Its first answer decides: a handshake message (ServerHello) goes on, an alert or
    hanging up refuses. What follows may fail for another reason, such as a missing
    client certificate. Raises `ssl.SSLError` when this client could not even ask (an
    OpenSSL without that version), so that "not asked" is never read as "refused".
    """
    context = _context(peer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # old versions are the point
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = version
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    hello = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), hello, server_hostname=peer.server_name)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    with _connect(peer) as sock:
        try:
            sock.sendall(hello.read())
            kind = sock.recv(1)
        except ConnectionError:
            return False
    if kind not in (_HANDSHAKE, _ALERT, b""):
        raise ssl.SSLError(f"the peer does not speak TLS: it answered {kind!r}")
    return kind == _HANDSHAKE


def accepts_stranger(peer: Peer) -> bool:
    """Does a peer that should ask for a client certificate serve without one?

    In TLS 1.3 the server's refusal arrives after the client has finished, so the
    answer to a request decides (RFC 8446, 4.4.2.4).
    """
    request = f"GET / HTTP/1.0\r\nHost: {peer.server_name}\r\n\r\n".encode()
    with _connect(peer) as sock:
        try:
            with _context(peer).wrap_socket(sock, server_hostname=peer.server_name) as tls:
                tls.sendall(request)
                return bool(tls.recv(1))
        except ConnectionError:
            return False
        except ssl.SSLError as error:
            if "ALERT" in (error.reason or "") or isinstance(error, ssl.SSLEOFError):
                return False
            raise


def plaintext_reply(host: str, port: int, request: bytes) -> bytes:
    """Send `request` without TLS; return the first bytes of the reply, or nothing.

    Raises `OSError` when nothing listens there or the peer stays silent: a server of
    TLS hangs up at once.
    """
    with socket.create_connection((host, port), timeout=TIMEOUT) as sock:
        try:
            sock.sendall(request)
            return sock.recv(64)
        except ConnectionError:
            return b""
