"""Browser to proxy, and what the proxy refuses behind it: the real NGINX."""

# ruff: noqa: S603 (the tests run the project's own programs)

import os
import shutil
import ssl
import subprocess
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from django.conf import settings

from config.project import BASE_DIR
from tests.encryption.certificates import Authority
from tests.encryption.processes import ask, free_port, gunicorn, nginx
from tests.encryption.servers import HTTPServer, tls

START = BASE_DIR / "services" / "nginx" / "start"
needs_nginx = pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed")


@dataclass
class Proxy:
    """NGINX with a server in gunicorn's place that sends back what it is asked."""

    https: int
    http: int
    upstream: HTTPServer
    browser: ssl.SSLContext


@pytest.fixture(scope="module")
def running(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    upstream = HTTPServer(None)
    upstream.answer = lambda request: request
    https, http = free_port(), free_port()
    browser = ssl.create_default_context(cafile=authority.certificate)
    with (
        upstream,
        nginx(
            START,
            tmp_path_factory.mktemp("nginx"),
            https=https,
            http=http,
            upstream=upstream.port,
            CREDENTIALS_DIR=str(authority.of("proxy")),
        ),
    ):
        yield Proxy(https, http, upstream, browser)


@pytest.fixture
def proxy(running: Proxy, authority: Authority) -> Proxy:
    """`running`, with a good server behind it."""
    running.upstream.context = upstream_context(authority.of("app"), authority)
    running.upstream.received.clear()
    return running


def upstream_context(
    credentials: Path, authority: Authority, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> ssl.SSLContext:
    """gunicorn's side: a certificate of its own, and one asked of the proxy."""
    return tls(credentials, client_ca=authority.certificate, newest=newest)


@needs_nginx
@pytest.mark.proves("edge", "positive")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_browser_is_served(proxy: Proxy, authority: Authority, version: ssl.TLSVersion) -> None:
    browser = ssl.create_default_context(cafile=authority.certificate)
    browser.minimum_version = browser.maximum_version = version
    assert ask(proxy.https, browser).startswith(b"HTTP/1.1 200 OK")


@needs_nginx
@pytest.mark.proves("edge", "negative")
def test_plaintext_on_the_tls_port_is_refused(proxy: Proxy) -> None:
    answer = ask(proxy.https, None)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"plain HTTP request was sent to HTTPS port" in answer
    assert proxy.upstream.received == []


@needs_nginx
@pytest.mark.proves("edge", "negative")
def test_tls_1_1_is_refused(proxy: Proxy, authority: Authority) -> None:
    old = ssl.create_default_context(cafile=authority.certificate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match="alert protocol version"):
        ask(proxy.https, old)


@needs_nginx
@pytest.mark.proves("edge", "negative")
def test_a_browser_refuses_the_proxy_of_another_ca(proxy: Proxy, stranger: Authority) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(proxy.https, ssl.create_default_context(cafile=stranger.certificate))


@needs_nginx
@pytest.mark.proves("edge", "negative")
def test_the_plain_port_only_redirects(proxy: Proxy) -> None:
    answer = ask(proxy.http, None, path="/any/?page=2")
    assert answer.startswith(b"HTTP/1.1 308 ")
    assert f"Location: https://localhost:{proxy.https}/any/?page=2\r\n".encode() in answer
    assert proxy.upstream.received == []


@needs_nginx
def test_a_client_cannot_forge_what_the_proxy_says_of_it(proxy: Proxy) -> None:
    forged = (
        *("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port"),
        *("X-Forwarded-Server", "X-Real-IP", "Forwarded", "X-Request-ID"),
    )
    answer = ask(
        proxy.https, proxy.browser, *(f"{name}: forged" for name in forged), "X-Other: passes"
    )
    (request,) = proxy.upstream.received
    assert answer.endswith(request)
    assert b"forged" not in request
    assert b"X-Other: passes\r\n" in request
    assert b"X-Forwarded-For: 127.0.0.1\r\n" in request
    assert b"X-Forwarded-Proto: https\r\n" in request
    assert f"Host: localhost:{proxy.https}\r\n".encode() in request


@needs_nginx
def test_a_client_cannot_choose_the_port_of_links(proxy: Proxy, authority: Authority) -> None:
    """Django validates a host's name and puts the port that came with it into links."""
    browser = ssl.create_default_context(cafile=authority.certificate)
    browser.check_hostname = False  # `ask` gives it name and port
    answer = ask(proxy.https, browser, name="localhost:1")
    assert f"Host: localhost:{proxy.https}\r\n".encode() in answer
    assert b"localhost:1\r\n" not in answer


HSTS = f"max-age={settings.SECURE_HSTS_SECONDS}; includeSubDomains; preload"


def headers_of(answer: bytes) -> list[str]:
    return answer.partition(b"\r\n\r\n")[0].decode().splitlines()


@needs_nginx
@pytest.mark.parametrize("more", [[], ["Transfer-Encoding: none"]], ids=["passed on", "refused"])
def test_every_answer_has_the_headers_of_a_secure_site(proxy: Proxy, more: list[str]) -> None:
    headers = headers_of(ask(proxy.https, proxy.browser, *more))
    assert headers[0].split()[1] == ("411" if more else "200")
    assert f"Strict-Transport-Security: {HSTS}" in headers
    assert "X-Content-Type-Options: nosniff" in headers
    assert "Cross-Origin-Resource-Policy: same-origin" in headers


@needs_nginx
def test_headers_of_the_application_are_neither_changed_nor_doubled(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = b"Strict-Transport-Security: max-age=5\r\nX-Content-Type-Options: nosniff"
    monkeypatch.setattr(proxy.upstream, "status", b"200 OK\r\n" + own)
    headers = headers_of(ask(proxy.https, proxy.browser))
    names = [header.partition(":")[0] for header in headers]
    assert "Strict-Transport-Security: max-age=5" in headers
    assert names.count("Strict-Transport-Security") == 1
    assert names.count("X-Content-Type-Options") == 1


@needs_nginx
def test_plaintext_says_nothing_of_hsts(proxy: Proxy) -> None:
    """Nobody may believe it there: RFC 6797, 7.2."""
    for answer in (ask(proxy.http, None), ask(proxy.https, None)):
        assert b"Strict-Transport-Security" not in answer


def assert_bad_gateway(proxy: Proxy) -> None:
    """NGINX must refuse what is behind it and say nothing to it."""
    assert ask(proxy.https, proxy.browser).startswith(b"HTTP/1.1 502 ")
    assert proxy.upstream.received == []


@needs_nginx
@pytest.mark.proves("gunicorn", "negative")
def test_a_gunicorn_of_another_ca_is_refused(
    proxy: Proxy, authority: Authority, stranger: Authority
) -> None:
    proxy.upstream.context = upstream_context(stranger.of("app"), authority)
    assert_bad_gateway(proxy)


@needs_nginx
@pytest.mark.proves("gunicorn", "negative")
def test_a_gunicorn_of_another_name_is_refused(proxy: Proxy, authority: Authority) -> None:
    proxy.upstream.context = upstream_context(authority.of("cache"), authority)
    assert_bad_gateway(proxy)


@needs_nginx
@pytest.mark.proves("gunicorn", "negative")
def test_an_expired_gunicorn_is_refused(proxy: Proxy, authority: Authority, expired: Path) -> None:
    proxy.upstream.context = upstream_context(expired, authority)
    assert_bad_gateway(proxy)


@needs_nginx
@pytest.mark.proves("gunicorn", "negative")
def test_a_gunicorn_with_tls_1_2_is_refused(proxy: Proxy, authority: Authority) -> None:
    older = ssl.TLSVersion.TLSv1_2
    proxy.upstream.context = upstream_context(authority.of("app"), authority, older)
    assert_bad_gateway(proxy)


@needs_nginx
@pytest.mark.proves("gunicorn", "negative")
def test_a_gunicorn_without_tls_is_refused(proxy: Proxy) -> None:
    proxy.upstream.context = None
    assert_bad_gateway(proxy)


# The certificate of one task ----------------------------------------------------------


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The start script with its neighbours, laid out as in the image."""
    image = tmp_path / "image"
    image.mkdir()
    for source in ("scripts/certs", "services/nginx/start", "services/nginx/nginx.conf"):
        shutil.copy(BASE_DIR / source, image)
    return image / "start"


@needs_nginx
@pytest.mark.proves("gunicorn", "positive")
def test_a_task_without_a_certificate_makes_its_own(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy_credentials, app_credentials = tmp_path / "proxy", tmp_path / "app"
    for name in (proxy_credentials, app_credentials, tmp_path / "tmp", tmp_path / "gunicorn"):
        name.mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    https, http, upstream = free_port(), free_port(), free_port()
    with nginx(
        image,
        tmp_path,
        https=https,
        http=http,
        upstream=upstream,
        CREDENTIALS_DIR=str(proxy_credentials),
        APP_CREDENTIALS_DIR=str(app_credentials),
    ):
        browser = ssl.create_default_context(cafile=proxy_credentials / "ca.crt")
        assert ask(https, browser).startswith(b"HTTP/1.1 502 "), "nothing is behind it yet"
        with gunicorn(app_credentials, upstream, tmp_path / "gunicorn"):
            assert b"served over https" in ask(https, browser)

    for made in (proxy_credentials / "tls.crt", app_credentials / "tls.crt"):
        certificate = x509.load_pem_x509_certificate(made.read_bytes())
        assert certificate.not_valid_after_utc <= datetime.now(UTC) + timedelta(days=30)
    keys = {file.relative_to(tmp_path): file for file in tmp_path.rglob("*.key")}
    assert {str(name) for name in keys} == {"proxy/tls.key", "proxy/client.key", "app/tls.key"}
    assert {file.stat().st_mode & 0o777 for file in proxy_credentials.glob("*.key")} == {0o600}
    # gunicorn runs as another user, which must be able to read its own.
    assert {file.stat().st_mode & 0o777 for file in app_credentials.iterdir()} == {0o444}
    assert not list((tmp_path / "tmp").iterdir()), "the CA's directory is still there"


def test_without_a_place_for_gunicorn_s_certificate_the_proxy_does_not_start(
    image: Path, tmp_path: Path
) -> None:
    variables = {**os.environ, "CREDENTIALS_DIR": str(tmp_path), "RUN_DIR": str(tmp_path)}
    done = subprocess.run([image], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "set APP_CREDENTIALS_DIR to the volume shared with the application" in done.stderr


def test_with_an_expired_certificate_the_proxy_does_not_start(
    expired: Path, tmp_path: Path
) -> None:
    variables = {**os.environ, "CREDENTIALS_DIR": str(expired), "RUN_DIR": str(tmp_path)}
    done = subprocess.run([START], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the certificate has expired. Locally: make certs" in done.stderr
