"""A shell on the cache for people: a command a line.

valkey-cli cannot serve: it does not compare the server's certificate with the server's name.
https://github.com/redis/hiredis/pull/864
"""

import shlex
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import redis

USER = "app"


class ThroughTunnel(redis.Connection):
    """Connects to this end of a tunnel, and verifies the real server by its name."""

    def __init__(self, *, tunnel: int, ca_file: Path, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self._tunnel = tunnel
        self.context = ssl.create_default_context(cafile=ca_file)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")  # of TLS 1.2

    def _connect(self) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self._tunnel), timeout=10)
        return self.context.wrap_socket(plain, server_hostname=self.host)


def open_cache(*, host: str, password: str, tunnel: int, ca_file: Path) -> redis.Redis:
    """Return a client that has logged in, through the local port of a tunnel.

    Raises `redis.ConnectionError` if the server has no certificate of `ca_file` for `host`,
    or refuses the password.
    """
    pool = redis.ConnectionPool(
        connection_class=ThroughTunnel,
        host=host,
        username=USER,
        password=password,
        tunnel=tunnel,
        ca_file=ca_file,
    )
    client = redis.Redis(connection_pool=pool)
    client.ping()
    return client


def run(client: redis.Redis) -> None:
    """Send what is typed, and print the replies, until the input ends."""
    while True:
        try:
            line = input("cache> " if sys.stdin.isatty() else "")
        except EOFError:
            return
        try:
            if command := shlex.split(line):
                print(repr(client.execute_command(*command)))  # type: ignore[no-untyped-call]
        except (ValueError, redis.ResponseError) as error:
            print(f"error: {error}", file=sys.stderr)
