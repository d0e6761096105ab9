"""An attacker between a client and its server.

The client's address is the attacker's port. As long as nothing else is asked, every byte passes
unchanged; for the time of a `with` block the attacker behaves otherwise.
"""

import select
import socket
import ssl
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Self

from authority import Pair

TIMEOUT = 5
TLS_1_0, TLS_1_1 = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
TLS_1_2 = ssl.TLSVersion.TLSv1_2

# https://www.postgresql.org/docs/current/protocol-message-formats.html
SSL_REQUEST = struct.pack("!ii", 8, 80877103)
# The beginning of a TLS record: a handshake or an alert. RFC 8446, 5.1.
_HANDSHAKE, _ALERT = b"\x16\x03", b"\x15\x03"

# What OpenSSL 3 still can of what nobody should use. All need TLS 1.2 or older.
WEAK = "ADH:AECDH:kRSA+AESGCM:kRSA+AESCCM:AESCCM8:!eNULL"  # nobody proven; no forward secrecy
NULL = "eNULL"
CBC = ":".join(
    [f"{kx}-AES{size}-SHA" for kx in ("ECDHE-ECDSA", "ECDHE-RSA") for size in (128, 256)]
    + [f"{kx}-AES128-SHA256" for kx in ("ECDHE-ECDSA", "ECDHE-RSA")]
    + [f"{kx}-AES256-SHA384" for kx in ("ECDHE-ECDSA", "ECDHE-RSA")]
    + ["AES128-SHA", "AES256-SHA", "AES128-SHA256", "AES256-SHA256"]
)


def restricted(
    context: ssl.SSLContext, *, version: ssl.TLSVersion | None = None, ciphers: str = ""
) -> ssl.SSLContext:
    """Let a context speak one version only, or some ciphers only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # old versions are the point
        if version:
            context.minimum_version = context.maximum_version = version
        if version in (TLS_1_0, TLS_1_1):
            context.set_ciphers("ALL:@SECLEVEL=0")
        if ciphers:
            context.maximum_version = TLS_1_2
            context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    return context


def trusting(
    *, version: ssl.TLSVersion | None = None, ciphers: str = "", pair: Pair | None = None
) -> ssl.SSLContext:
    """Return the context of a client that verifies nothing, so that only the server refuses."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if pair:
        context.load_cert_chain(pair.crt, pair.key)
    return restricted(context, version=version, ciphers=ciphers)


def connected(
    port: int, context: ssl.SSLContext | None, *, postgres: bool, name: str = "localhost"
) -> socket.socket:
    """Connect, over TLS if there is a context. Raises `OSError` if the server refuses."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
    try:
        if context is None:
            return connection
        if postgres:
            connection.sendall(SSL_REQUEST)
            if (answer := connection.recv(1)) != b"S":
                raise ConnectionError(f"the server answered {answer!r} to SSLRequest")
        return context.wrap_socket(connection, server_hostname=name)
    except OSError:
        connection.close()
        raise


@dataclass
class Heard:
    """What an attacker was told, and what it passed on."""

    clients: int = 0
    read: bytearray = field(default_factory=bytearray)  # what it could read
    forwarded: bytearray = field(default_factory=bytearray)  # of that, what the server got


@dataclass
class Visit:
    """One client at the attacker's port."""

    client: socket.socket
    server_port: int
    postgres: bool
    heard: Heard
    until_then: ExitStack

    def negotiate(self, answer: bytes) -> None:
        """Answer PostgreSQL's SSLRequest; other protocols have none."""
        if self.postgres:
            if (first := _exactly(self.client, 8)) != SSL_REQUEST:
                self.heard.read += first
                raise ConnectionError("the client speaks plaintext")
            self.client.sendall(answer)

    def to_server(self, *, tls: bool) -> socket.socket:
        """Connect to the real server."""
        context = trusting() if tls else None
        connection = connected(self.server_port, context, postgres=self.postgres)
        return self.until_then.enter_context(connection)

    def relay(
        self,
        client: socket.socket,
        server: socket.socket,
        *,
        heard: bool,
        change: Callable[[bytes], bytes] = bytes,
    ) -> None:
        """Pass on what both say, the server's words changed, until one of them ends."""

        def noted(data: bytes) -> bytes:
            if heard:
                self.heard.read += data
                self.heard.forwarded += data
            return data

        ways = {client: (server, noted), server: (client, change)}
        # One thread for both ways: OpenSSL's connections are not made for two.
        while ready := _readable(*ways):
            for source in ready:
                target, changed = ways[source]
                while data := _received(source):
                    target.sendall(changed(data))
                if data is not None:
                    return


type Behaviour = Callable[[Visit], None]


def passing(visit: Visit) -> None:
    """Change nothing: a cable."""
    visit.relay(visit.client, visit.to_server(tls=False), heard=False)


@dataclass(frozen=True)
class Impostor:
    """Speaks TLS as if it were the server, and hears what the client then says."""

    context: ssl.SSLContext
    then: Callable[[Visit, socket.socket], None] | None = None
    before: bytes = b""  # said in plaintext where the handshake should begin

    def __call__(self, visit: Visit) -> None:
        visit.negotiate(b"S" + self.before)
        secured = self.context.wrap_socket(visit.client, server_side=True)
        with visit.until_then.enter_context(secured):
            if self.then:
                self.then(visit, secured)
            else:
                visit.heard.read += secured.recv(65536)

    def and_(self, then: Callable[[Visit, socket.socket], None]) -> Self:
        """Return the same with something to do after the handshake."""
        return type(self)(self.context, then, self.before)


def serving(*pairs: Pair, version: ssl.TLSVersion | None = None, ciphers: str = "") -> Impostor:
    """Return the behaviour of a false server that has one certificate of each kind of key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for pair in pairs:
        context.load_cert_chain(pair.crt, pair.key)
    return Impostor(restricted(context, version=version, ciphers=ciphers))


def relaying(visit: Visit, secured: socket.socket) -> None:
    """Log in at the real server with what the client says."""
    visit.relay(secured, visit.to_server(tls=True), heard=True)


def without_binding(visit: Visit, secured: socket.socket) -> None:
    """The same, but hide from the client that the server can bind SCRAM to the channel."""

    visit.relay(secured, visit.to_server(tls=True), heard=True, change=_unbound)


def _unbound(data: bytes) -> bytes:
    offered = _authentication_sasl(b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256")
    return data.replace(offered, _authentication_sasl(b"SCRAM-SHA-256"))


def _authentication_sasl(*mechanisms: bytes) -> bytes:
    names = b"".join(name + b"\0" for name in mechanisms) + b"\0"
    return b"R" + struct.pack("!ii", 8 + len(names), 10) + names


def asking(request: bytes) -> Callable[[Visit, socket.socket], None]:
    """Answer PostgreSQL's StartupMessage with a message, and hear the reply."""

    def then(visit: Visit, secured: socket.socket) -> None:
        length = struct.unpack("!i", _exactly(secured, 4))[0]
        _exactly(secured, length - 4)  # it names user and database; the password comes next
        secured.sendall(request)
        visit.heard.read += secured.recv(65536)

    return then


# AuthenticationCleartextPassword and AuthenticationOk.
CLEARTEXT = b"R" + struct.pack("!ii", 8, 3)
NO_PASSWORD = b"R" + struct.pack("!ii", 8, 0)


def stripping(visit: Visit) -> None:
    """Have no TLS for the client, and speak TLS with the server."""
    visit.negotiate(b"N")
    first = visit.client.recv(2, socket.MSG_PEEK)
    if first == _HANDSHAKE:
        visit.client.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        visit.client.recv(65536)
    elif first:
        # psql would not take the offer of a binding without TLS.
        visit.relay(visit.client, visit.to_server(tls=True), heard=True, change=_unbound)


@dataclass(frozen=True)
class Speaking:
    """Greets every client in plaintext, whatever it asks for."""

    words: bytes

    def __call__(self, visit: Visit) -> None:
        visit.client.sendall(self.words)
        while data := visit.client.recv(65536):
            if data != SSL_REQUEST and not data.startswith((_HANDSHAKE, _ALERT)):
                visit.heard.read += data


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (some := connection.recv(count - len(data))):
        data += some
    if len(data) < count:
        raise ConnectionError("the client hung up")
    return data


def _readable(*sockets: socket.socket) -> list[socket.socket]:
    """Wait until one of them has something to read, or nothing for too long: then none."""
    return select.select(sockets, [], [], TIMEOUT)[0]


def _received(source: socket.socket) -> bytes | None:
    """Return what there is, b"" at the end, None if there is nothing yet.

    Of TLS there may be a record without any data.
    """
    source.setblocking(False)
    try:
        return source.recv(65536)
    except (BlockingIOError, ssl.SSLWantReadError):
        return None
    finally:
        source.settimeout(TIMEOUT)


class Attacker:
    """Listens on a free port of this machine, in front of the server at `server_port`."""

    def __init__(self, server_port: int, *, postgres: bool = False) -> None:
        self.server_port = server_port
        self.postgres = postgres
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=32)
        self.port: int = self._listener.getsockname()[1]
        self._behaviour: tuple[Behaviour, Heard] = (passing, Heard())
        self._visits: dict[threading.Thread, socket.socket] = {}
        self._changing = threading.Lock()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        with suppress(OSError):  # wakes the blocked accept()
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @contextmanager
    def being(self, behaviour: Behaviour) -> Iterator[Heard]:
        """Behave so to whoever comes until the end of the block; end what was before."""
        before, heard = self._behaviour, Heard()
        self._become((behaviour, heard))
        try:
            yield heard
        finally:
            self._become(before)

    def _become(self, behaviour: tuple[Behaviour, Heard]) -> None:
        """Hang up, and wait until the clients know: a connection that is kept is no new one."""
        with self._changing:
            self._behaviour = behaviour
            visits, self._visits = self._visits, {}
        for thread, client in visits.items():
            with suppress(OSError):
                client.shutdown(socket.SHUT_WR)
            thread.join(TIMEOUT)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                client.settimeout(TIMEOUT)
                with self._changing:
                    visit = (client, *self._behaviour)
                    thread = threading.Thread(target=self._meet, args=visit, daemon=True)
                    thread.start()
                    self._visits[thread] = client

    def _meet(self, client: socket.socket, behaviour: Behaviour, heard: Heard) -> None:
        heard.clients += 1
        # A client that refuses hangs up in the middle of something.
        with client, ExitStack() as until_then, suppress(OSError):
            behaviour(Visit(client, self.server_port, self.postgres, heard, until_then))
