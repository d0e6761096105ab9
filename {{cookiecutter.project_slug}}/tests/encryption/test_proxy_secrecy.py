"""The real NGINX and gunicorn keep what passes through them to themselves."""

import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from config.project import BASE_DIR
from tests.encryption.certificates import Authority
from tests.encryption.processes import ask, free_port, gunicorn, nginx
from tests.encryption.servers import HTTPServer, tls

START = BASE_DIR / "services" / "nginx" / "start"
CANARY = "canary-in-a-query"
MEGABYTE = bytes(1024 * 1024)
needs_nginx = pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed")
needs_proc = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="there is no /proc to see open files in"
)


@dataclass
class Proxy:
    """NGINX, a server in gunicorn's place, and the folder with its files."""

    port: int
    upstream: HTTPServer
    home: Path
    ca: Path

    def browser(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca)

    def connect(self, browser: ssl.SSLContext) -> ssl.SSLSocket:
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        return browser.wrap_socket(sock, server_hostname="localhost")


@pytest.fixture
def proxy(authority: Authority, tmp_path: Path) -> Iterator[Proxy]:
    upstream = HTTPServer(tls(authority.of("app"), client_ca=authority.certificate))
    https = free_port()
    credentials = str(authority.of("proxy"))
    with (
        upstream,
        nginx(
            START,
            tmp_path,
            https=https,
            http=free_port(),
            upstream=upstream.port,
            CREDENTIALS_DIR=credentials,
        ),
    ):
        yield Proxy(https, upstream, tmp_path, authority.certificate)


def files_of(folder: Path) -> list[str]:
    """Files in a folder that a process has open, deleted ones too, as temporary files are."""
    links = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            links.append(str(link.readlink()))
        except OSError:  # closed meanwhile, or another user's
            continue
    return [link for link in links if link.startswith(f"{folder}/")]


def spooled(proxy: Proxy, folder: str) -> list[str]:
    """Files that NGINX has, or that it logs it could not make: as root it runs as another user."""
    place = proxy.home / "run" / folder
    lines = (proxy.home / "log").read_text().splitlines()
    return files_of(place) + [line for line in lines if str(place) in line]


@needs_nginx
@needs_proc
def test_a_large_upload_is_not_written_to_a_disk(proxy: Proxy) -> None:
    seen: list[str] = []

    def answer(_request: bytes) -> bytes:
        seen.extend(spooled(proxy, "client_body"))
        return b"stored"

    proxy.upstream.answer = answer
    head = f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(MEGABYTE)}\r\n\r\n"
    with proxy.connect(proxy.browser()) as browser:
        browser.sendall(head.encode() + MEGABYTE)
        said = browser.recv(4096)
    assert [*seen, *spooled(proxy, "client_body")] == []
    assert b"stored" in said


@needs_nginx
@needs_proc
def test_a_large_answer_is_not_written_to_a_disk(proxy: Proxy) -> None:
    # More than the proxy's own buffers and those of the kernel hold.
    proxy.upstream.answer = lambda _request: MEGABYTE * 40
    with proxy.connect(proxy.browser()) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert slow.recv(1)
        time.sleep(0.5)  # it reads nothing more, and the server behind is fast
        assert spooled(proxy, "proxy") == []


@needs_proc
def test_an_open_file_that_is_deleted_would_be_seen(tmp_path: Path) -> None:
    with (tmp_path / "temporary").open("w"):
        (tmp_path / "temporary").unlink()
        assert files_of(tmp_path)


@needs_nginx
@pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES128-SHA"])
def test_ciphers_of_a_kind_that_was_broken_are_refused(proxy: Proxy, cipher: str) -> None:
    old = proxy.browser()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.set_ciphers(f"{cipher}:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match="handshake failure"):
        ask(proxy.port, old)
    old.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    assert ask(proxy.port, old).startswith(b"HTTP/1.1 200 OK")


@needs_nginx
def test_no_ticket_holds_the_keys_of_a_session(proxy: Proxy) -> None:
    """A ticket is encrypted under one key of the server, which opens all of them later."""
    browser = proxy.browser()
    browser.maximum_version = ssl.TLSVersion.TLSv1_2
    with proxy.connect(browser) as connection:
        assert connection.session
        assert not connection.session.has_ticket


@needs_nginx
def test_nginx_logs_no_request(proxy: Proxy) -> None:
    answer = ask(proxy.port, proxy.browser(), path=f"/?q={CANARY}")
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert CANARY not in (proxy.home / "log").read_text()


def test_gunicorn_logs_no_query(authority: Authority, tmp_path: Path) -> None:
    context = ssl.create_default_context(cafile=authority.certificate)
    client = authority.of("proxy") / "client"
    context.load_cert_chain(f"{client}.crt", f"{client}.key")
    port = free_port()
    with gunicorn(authority.of("app"), port, tmp_path):
        ask(port, context, f"Referer: /?{CANARY}", name="app.internal", path=f"/page?q={CANARY}")
    log = (tmp_path / "log").read_text()
    assert '"GET /page HTTP/1.1" 200' in log
    assert CANARY not in log
