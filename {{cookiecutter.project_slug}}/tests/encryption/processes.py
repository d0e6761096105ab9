"""gunicorn and NGINX as the project runs them, as processes of a test."""

# ruff: noqa: S603 (the tests run the project's own programs)

import contextlib
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from config.project import BASE_DIR

_APPLICATION = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served over " + environ["wsgi.url_scheme"].encode()]
"""


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def _process(command: list[str | Path], port: int, home: Path, **variables: str) -> Iterator[None]:
    log = home / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=home,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start:\n{log.read_text()}")
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def gunicorn(credentials: Path, port: int, home: Path) -> Iterator[None]:
    """Run gunicorn with the project's configuration and an application of one line."""
    (home / "trivial.py").write_text(_APPLICATION)
    configuration = BASE_DIR / "services" / "app" / "gunicorn.conf.py"
    with _process(
        [sys.executable, "-m", "gunicorn", "--config", configuration, "trivial"],
        port,
        home,
        CREDENTIALS_DIR=str(credentials),
        GUNICORN_ADDRESS=f"127.0.0.1:{port}",
        WEB_WORKERS="1",
        WEB_THREADS="2",
    ):
        yield


@contextlib.contextmanager
def nginx(
    start: Path, home: Path, *, https: int, http: int, upstream: int, **variables: str
) -> Iterator[None]:
    """Run NGINX through the project's start script."""
    with _process(
        [start],
        https,
        home,
        HTTPS_LISTEN=f"127.0.0.1:{https}",
        HTTP_LISTEN=f"127.0.0.1:{http}",
        HTTPS_PORT=str(https),
        GUNICORN_ADDRESS=f"127.0.0.1:{upstream}",
        RUN_DIR=str(home / "run"),
        **variables,
    ):
        yield


def ask(
    port: int,
    context: ssl.SSLContext | None,
    *headers: str,
    name: str = "localhost",
    path: str = "/",
) -> bytes:
    """Send one HTTP request over a connection of its own; return all that comes back."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {name}", "Connection: close", *headers, "", ""]
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        if context:
            sock = stack.enter_context(context.wrap_socket(sock, server_hostname=name))
        sock.sendall("\r\n".join(lines).encode())
        answer = b""
        while some := sock.recv(65536):
            answer += some
        return answer
