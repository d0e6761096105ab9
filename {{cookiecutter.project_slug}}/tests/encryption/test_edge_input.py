"""What NGINX makes of bad input, and of the word of a load balancer: the real NGINX."""

# ruff: noqa: S603 (the tests run the project's own programs)

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from config.project import BASE_DIR
from tests.encryption.certificates import Authority
from tests.encryption.processes import ask, free_port, gunicorn, nginx
from tests.encryption.servers import HTTPServer, tls

START = BASE_DIR / "services" / "nginx" / "start"
FORGED = "203.0.113.66"
pytestmark = pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed")


def raw(port: int, ca: Path, sent: bytes) -> bytes:
    """Send bytes as they are; return all that comes back."""
    context = ssl.create_default_context(cafile=ca)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as sock,
    ):
        answer = b""
        with contextlib.suppress(ConnectionError):  # refused before all was sent
            sock.sendall(sent)
            while some := sock.recv(65536):
                answer += some
        return answer


@pytest.mark.parametrize(
    ("trusted", "address"),
    [
        ("", b"127.0.0.1"),
        ("192.0.2.0/24", b"127.0.0.1"),
        ("127.0.0.0/8", b"198.51.100.7"),
        ("10.0.0.0/8, 127.0.0.0/8", b"198.51.100.7"),
    ],
)
def test_only_a_named_load_balancer_is_believed(
    trusted: str, address: bytes, authority: Authority, tmp_path: Path
) -> None:
    upstream = HTTPServer(tls(authority.of("app"), client_ca=authority.certificate))
    https = free_port()
    with (
        upstream,
        nginx(
            START,
            tmp_path,
            https=https,
            http=free_port(),
            upstream=upstream.port,
            CREDENTIALS_DIR=str(authority.of("proxy")),
            TRUSTED_PROXIES=trusted,
        ),
    ):
        browser = ssl.create_default_context(cafile=authority.certificate)
        ask(
            https,
            browser,
            f"X-Forwarded-For: {FORGED}, 198.51.100.7",
            f"X_Forwarded_For: {FORGED}",
            f"Client-IP: {FORGED}",
        )
    (request,) = upstream.received
    assert b"X-Forwarded-For: %s\r\n" % address in request
    assert FORGED.encode() not in request


@pytest.mark.parametrize("networks", ["10.0.0.7", "0.0.0.0/0", "::/0", "any.example", "1/8;evil"])
def test_a_network_that_is_none_stops_the_proxy(
    networks: str, authority: Authority, tmp_path: Path
) -> None:
    variables = {
        "CREDENTIALS_DIR": str(authority.of("proxy")),
        "RUN_DIR": str(tmp_path),
        "TRUSTED_PROXIES": networks,
    }
    env = {**os.environ, **variables}
    done = subprocess.run([START], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"TRUSTED_PROXIES has '{networks}'" in done.stderr


HOST = b"Host: localhost\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", b"400", id="no name"),
        pytest.param(b"GET / HTTP/1.0\r\n\r\n", b"400", id="no name, HTTP/1.0"),
        pytest.param(b"GET / HTTP/9.9\r\n" + HOST + b"\r\n", b"400", id="no such version"),
        pytest.param(
            b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: any\r\n\r\n",
            b"411",
            id="no such encoding",
        ),
    ],
)
def test_the_client_s_mistakes_are_no_errors_of_the_server_s(
    sent: bytes, status: bytes, authority: Authority, tmp_path: Path
) -> None:
    https = free_port()
    with nginx(
        START,
        tmp_path,
        https=https,
        http=free_port(),
        upstream=1,
        CREDENTIALS_DIR=str(authority.of("proxy")),
    ):
        assert raw(https, authority.certificate, sent).startswith(b"HTTP/1.1 " + status)


def test_a_body_without_a_length_reaches_nobody_and_no_disk(
    authority: Authority, tmp_path: Path
) -> None:
    """Of tiny chunks, 2 MB fill the buffer of 12 MB; the rest would be written to a file."""
    upstream = HTTPServer(tls(authority.of("app"), client_ca=authority.certificate))
    https = free_port()
    head = (
        b"POST / HTTP/1.1\r\nConnection: close\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    )
    with (
        upstream,
        nginx(
            START,
            tmp_path,
            https=https,
            http=free_port(),
            upstream=upstream.port,
            CREDENTIALS_DIR=str(authority.of("proxy")),
        ),
    ):
        answer = raw(https, authority.certificate, head + b"1\r\na\r\n" * 2_200_000 + b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 411 ")
    assert upstream.received == []
    assert "client_body" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("more", "status"), [(b"", b"200"), (b"X: \x01\r\n", b"400")], ids=["taken", "refused"]
)
def test_an_answer_arrives_though_nobody_reads_the_body(
    more: bytes, status: bytes, authority: Authority, tmp_path: Path
) -> None:
    """gunicorn closes a connection while the body comes in; NGINX must not answer 502."""
    https, upstream = free_port(), free_port()
    (tmp_path / "gunicorn").mkdir()
    body = bytes(11_000_000)
    head = b"POST / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n" + more
    with (
        nginx(
            START,
            tmp_path,
            https=https,
            http=free_port(),
            upstream=upstream,
            CREDENTIALS_DIR=str(authority.of("proxy")),
        ),
        gunicorn(authority.of("app"), upstream, tmp_path / "gunicorn"),
    ):
        for _ in range(5):
            sent = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
            answer = raw(https, authority.certificate, sent)
            assert answer.startswith(b"HTTP/1.1 %s " % status)
