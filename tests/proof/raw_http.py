"""HTTP as no library would send it: raw bytes over TLS, and handmade frames of HTTP/2."""

import re
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpack import Decoder, Encoder

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# Kinds of HTTP/2 frames (RFC 9113, 6).
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
END_STREAM, END_HEADERS = 1, 4


@dataclass(frozen=True)
class Answer:
    """What came back over one connection."""

    raw: bytes
    statuses: tuple[int, ...]
    closed: bool

    @property
    def word(self) -> str:
        """The statuses, or how it ended without one."""
        if self.statuses:
            return " ".join(map(str, self.statuses))
        return "closed" if self.closed else "no answer"


@dataclass(frozen=True)
class Edge:
    """Where to send to, and whom to trust there."""

    port: int
    ca: Path

    def connect(
        self,
        *alpn: str,
        timeout: float = 10,
        newest: ssl.TLSVersion | None = None,
        window: int | None = None,
    ) -> ssl.SSLSocket:
        """Return a connection with verified TLS; `window` limits what is received unread."""
        context = ssl.create_default_context(cafile=self.ca)
        context.set_alpn_protocols(list(alpn) or ["http/1.1"])
        if newest:
            context.maximum_version = newest
        sock = socket.socket()
        if window:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        sock.settimeout(timeout)
        try:
            sock.connect(("127.0.0.1", self.port))
            return context.wrap_socket(sock, server_hostname="localhost")
        except OSError:
            sock.close()
            raise

    def send(self, *parts: bytes, quiet: float = 0.4, timeout: float = 30) -> Answer:
        """Send the parts as they are; read until the end, or until nothing more comes.

        The first byte may take `timeout` seconds, each later one `quiet`.
        """
        with self.connect(timeout=timeout) as sock:
            try:
                for part in parts:
                    sock.sendall(part)
            except OSError:
                pass  # refused before all was sent; the answer may be there
            return read(sock, quiet, timeout)

    def frames(self, *parts: bytes, quiet: float = 0.4, timeout: float = 30) -> Answer:
        """Send frames of HTTP/2 behind the preface; the statuses are those of the streams."""
        with self.connect("h2", timeout=timeout) as sock:
            assert sock.selected_alpn_protocol() == "h2"
            try:
                sock.sendall(PREFACE + frame(SETTINGS, 0, 0))
                for part in parts:
                    sock.sendall(part)
            except OSError:
                pass
            answer = read(sock, quiet, timeout)
        statuses, refused = [], False
        decoder = Decoder()
        for kind, payload in _frames(answer.raw):
            refused |= kind in (RESET, GOAWAY)
            if kind == HEADERS:
                fields = dict(decoder.decode(payload, raw=True))
                statuses.append(int(fields[b":status"]))
        return Answer(answer.raw, tuple(statuses), answer.closed or refused)


def read(sock: ssl.SSLSocket, quiet: float, timeout: float) -> Answer:
    """Read what comes; see `Edge.send`."""
    raw = b""
    sock.settimeout(timeout)
    try:
        while some := sock.recv(65536):
            raw += some
            sock.settimeout(quiet)
        closed = True
    except TimeoutError:
        closed = False
    except OSError:
        closed = True
    return Answer(raw, tuple(map(int, _STATUS.findall(raw))), closed)


def one_answer(sock: ssl.SSLSocket, *, is_head: bool, patience: float) -> Answer:
    """Read one answer and no more; `closed` says whether the connection can go on."""
    raw, closed = b"", False
    sock.settimeout(patience)
    try:
        while not _is_complete(raw, is_head):
            some = sock.recv(65536)
            if not some:
                closed = True
                break
            raw += some
    except TimeoutError:
        pass
    except OSError:
        closed = True
    closed |= b"\r\nConnection: close" in raw
    return Answer(raw, tuple(map(int, _STATUS.findall(raw))), closed)


def _is_complete(raw: bytes, is_head: bool) -> bool:
    """Is a whole answer there (RFC 9112, 6.3)? One of 100 comes before another."""
    head, end, body = raw.partition(b"\r\n\r\n")
    if not end:
        return False
    if head.startswith(b"HTTP/1.1 1"):
        return _is_complete(body, is_head)
    if is_head or head[9:12] in (b"204", b"304"):
        return True
    if length := re.search(rb"(?im)^Content-Length: (\d+)", head):
        return len(body) >= int(length[1])
    return body.endswith(b"0\r\n\r\n")


def request(
    path: str | bytes = "/",
    *headers: str | bytes,
    method: str = "GET",
    host: str | bytes | None = "localhost",
    body: bytes | None = None,
    version: str = "HTTP/1.1",
) -> bytes:
    """Return a request; nothing in it is checked. A body gets its length as a header."""
    lines: list[str | bytes] = [method.encode() + b" " + _raw(path) + f" {version}".encode()]
    lines += [b"Host: " + _raw(host)] if host is not None else []
    lines += headers
    lines += [f"Content-Length: {len(body)}"] if body is not None else []
    return b"\r\n".join([*map(_raw, lines), b"", b""]) + (body or b"")


def headers_frame(
    *headers: tuple[str | bytes, str | bytes], stream: int = 1, end: bool = True
) -> bytes:
    """Return a HEADERS frame with these headers, pseudo-headers too, in this order."""
    block = Encoder().encode([(_raw(name), _raw(value)) for name, value in headers])
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return any frame."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def pseudo(
    path: str | bytes = "/", method: str = "GET", authority: str = "localhost"
) -> Sequence[tuple[str | bytes, str | bytes]]:
    """Return the four pseudo-headers of a request."""
    return (
        (":method", method),
        (":scheme", "https"),
        (":authority", authority),
        (":path", path),
    )


def _raw(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text


def _frames(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield kind and payload of frames (RFC 9113, 4.1)."""
    while len(raw) >= 9:
        end = 9 + int.from_bytes(raw[:3])
        yield raw[3], raw[9:end]
        raw = raw[end:]


def wait_for_close(sock: ssl.SSLSocket, seconds: float) -> float | None:
    """Return after how many seconds the other side closed the connection, or None."""
    begun = time.monotonic()
    while (left := begun + seconds - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            if not sock.recv(65536):
                break
        except TimeoutError:
            return None
        except OSError:
            break
    else:
        return None
    return time.monotonic() - begun
