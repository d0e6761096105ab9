"""The part of RDS that decides who may log in with IAM, at any time that a test chooses."""

import struct
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.encryption.servers import PostgresServer, Socket, refusal

_READY = b"Z\0\0\0\x05I"


class Clock:
    """The time of day for botocore, which signs tokens, and for the server."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = datetime(2026, 11, 1, 12, tzinfo=UTC)
        monkeypatch.setattr("botocore.auth.get_current_datetime", self._read)

    def _read(self, remove_tzinfo: bool = True) -> datetime:
        return self.now.replace(tzinfo=None) if remove_tzinfo else self.now

    def wait(self, **time: float) -> None:
        """Let some time pass."""
        self.now += timedelta(**time)


class RDSServer(PostgresServer):
    """Asks for a token in cleartext, as RDS does inside TLS, and looks at its time.

    `tokens` are all it got. To whatever it is asked then it answers with one row, 1.
    `method` is how it asks: 3 is cleartext, 0 lets everybody in.
    """

    def __init__(self, *arguments: Any, clock: Clock, method: int = 3) -> None:
        super().__init__(*arguments)
        self.clock = clock
        self.method = method
        self.tokens: list[str] = []

    def talk(self, connection: Socket) -> None:
        _read(connection, kind=False)
        connection.sendall(_message(b"R", struct.pack("!i", self.method)))
        if self.method:
            token = _read(connection).rstrip(b"\0").decode()
            if not token:
                return
            self.tokens.append(token)
            if not self.accepts(token):
                connection.sendall(refusal("PAM authentication failed for user"))
                return
            connection.sendall(_message(b"R", struct.pack("!i", 0)))
        for name, value in _PARAMETERS.items():
            connection.sendall(_message(b"S", f"{name}\0{value}\0".encode()))
        connection.sendall(_message(b"K", struct.pack("!ii", 1, 1)) + _READY)
        while query := _read(connection):
            self.received.append(query)
            column = b"\0\x01one\0" + struct.pack("!ihihih", 0, 0, 23, 4, -1, 0)
            row = b"\0\x01" + struct.pack("!i", 1) + b"1"
            answers = _message(b"T", column) + _message(b"D", row) + _message(b"C", b"SELECT 1\0")
            connection.sendall(answers + _READY)

    def accepts(self, token: str) -> bool:
        """Is it of the last 15 minutes?

        https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html
        """
        query = parse_qs(urlsplit(f"https://{token}").query)
        signed_at = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%S%z")
        lasts = timedelta(seconds=int(query["X-Amz-Expires"][0]))
        return signed_at <= self.clock.now <= signed_at + lasts


_PARAMETERS = {
    "server_version": "17.9",
    "client_encoding": "UTF8",
    "server_encoding": "UTF8",
    "TimeZone": "UTC",
    "integer_datetimes": "on",
    "standard_conforming_strings": "on",
}


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def _read(connection: Socket, *, kind: bool = True) -> bytes:
    """Return the body of the client's next message; nothing at its end."""
    with connection.makefile("rb", buffering=0) as file:
        if kind and file.read(1) in (b"", b"X"):
            return b""
        (length,) = struct.unpack("!i", file.read(4))
        body = b""
        while len(body) < length - 4:
            body += file.read(length - 4 - len(body))
        return body
