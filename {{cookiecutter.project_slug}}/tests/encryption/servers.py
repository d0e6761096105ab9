"""Small servers in threads, good and false ones, that record what they are told."""

import contextlib
import re
import socket
import ssl
import struct
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Self

Socket = socket.socket
_TLS_HANDSHAKE = b"\x16"
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
REACHED = "the server was reached"


OLD = ssl.TLSVersion.TLSv1_1


def tls(
    credentials: Path,
    *,
    client_ca: Path | None = None,
    oldest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> ssl.SSLContext:
    """A server's context; `client_ca` asks for a certificate of that CA."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=client_ca)
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = oldest, newest
    if oldest < ssl.TLSVersion.TLSv1_2:
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.load_cert_chain(credentials / "tls.crt", credentials / "tls.key")
    return context


class Server:
    """Serves on a free port of 127.0.0.1 until the `with` block ends.

    `context` None means plaintext only; `also_plaintext` serves both on one port.
    `received` is what came as application data, `raw` what came without TLS.
    """

    def __init__(self, context: ssl.SSLContext | None, *, also_plaintext: bool = False) -> None:
        self.context = context
        self.also_plaintext = also_plaintext
        self.received: list[bytes] = []
        self.raw = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        # Wakes the blocked accept(), which closing alone does not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.settimeout(5)
                threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: Socket) -> None:
        with connection, contextlib.suppress(OSError, struct.error):
            self.open(connection)

    def open(self, connection: Socket) -> None:
        """Talk in plaintext or TLS, as the server is made and the client begins."""
        first = connection.recv(1, socket.MSG_PEEK)
        if self.context is None or (self.also_plaintext and first != _TLS_HANDSHAKE):
            self.raw += connection.recv(65536, socket.MSG_PEEK)
            self.talk(connection)
        else:
            with self.context.wrap_socket(connection, server_side=True) as secured:
                self.talk(secured)

    def talk(self, connection: Socket) -> None:
        """Speak the protocol."""
        raise NotImplementedError


def _is_whole(request: bytes) -> bool:
    head, separator, body = request.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return bool(separator) and len(body) >= int(length[1] if length else 0)


class HTTPServer(Server):
    """Answers every request with what `answer` makes of it."""

    answer: Callable[[bytes], bytes] = staticmethod(lambda _request: b'{"Parameters": []}')
    status = b"200 OK"

    def talk(self, connection: Socket) -> None:
        request = connection.recv(65536)
        if not request.startswith((b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ")):
            return
        while not _is_whole(request) and (some := connection.recv(65536)):
            request += some
        self.received.append(request)
        body = b"" if request.startswith(b"HEAD ") else self.answer(request)
        connection.sendall(
            b"HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
            % (self.status, len(body), body)
        )


class RedisServer(Server):
    """Speaks RESP3, accepts any password and has no keys."""

    def talk(self, connection: Socket) -> None:
        with connection.makefile("rb") as lines:
            while line := lines.readline():
                words = [line.strip()]
                if line.startswith(b"*"):
                    words = [
                        lines.read(int(lines.readline()[1:]) + 2)[:-2] for _ in range(int(line[1:]))
                    ]
                elif not line.startswith(b"PING"):
                    return
                self.received.append(b" ".join(words))
                answers = {b"GET": b"_\r\n", b"PING": b"+PONG\r\n"}
                connection.sendall(answers.get(words[0].upper(), b"+OK\r\n"))


class PostgresServer(Server):
    """Goes as far as the client's first message, and refuses that with a known text.

    Plaintext is refused as `pg_hba.conf` does it, or with `also_plaintext` asked for
    a password.
    """

    def open(self, connection: Socket) -> None:
        first = connection.recv(8, socket.MSG_PEEK)
        if first != _SSL_REQUEST:
            self.raw += connection.recv(65536)
            connection.sendall(b"R\0\0\0\x08\0\0\0\x03" if self.also_plaintext else refusal("no"))
            return
        connection.recv(8)
        if self.context is None:
            connection.sendall(b"N")
            self.raw += connection.recv(65536)
            return
        connection.sendall(b"S")
        with self.context.wrap_socket(connection, server_side=True) as secured:
            self.talk(secured)

    def talk(self, connection: Socket) -> None:
        (length,) = struct.unpack("!i", connection.recv(4))
        self.received.append(connection.recv(length - 4))
        connection.sendall(refusal(REACHED))


def refusal(text: str, code: str = "28000") -> bytes:
    """PostgreSQL's ErrorResponse."""
    fields = f"SFATAL\0VFATAL\0C{code}\0M{text}\0\0".encode()
    return b"E" + struct.pack("!i", len(fields) + 4) + fields
