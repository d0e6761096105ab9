"""Proxy to gunicorn: the real gunicorn serves nobody but the proxy."""

import ssl
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.encryption.certificates import Authority
from tests.encryption.processes import ask, free_port, gunicorn


@pytest.fixture(scope="module")
def port(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where gunicorn listens."""
    port = free_port()
    with gunicorn(authority.of("app"), port, tmp_path_factory.mktemp("gunicorn")):
        yield port


def client(authority: Authority, certificate: Path | None = None) -> ssl.SSLContext:
    """A client that verifies gunicorn and shows a certificate, given without suffix."""
    context = ssl.create_default_context(cafile=authority.certificate)
    if certificate:
        context.load_cert_chain(f"{certificate}.crt", f"{certificate}.key")
    return context


@pytest.mark.proves("gunicorn", "positive")
def test_the_proxy_is_served(port: int, authority: Authority) -> None:
    context = client(authority, authority.of("proxy") / "client")
    answer = ask(port, context, name="app.internal")
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"served over https" in answer


def refused(port: int, context: ssl.SSLContext) -> str:
    """Why gunicorn refuses; in TLS 1.3 the client learns it only when it reads."""
    with pytest.raises((ssl.SSLError, ConnectionError)) as caught:
        ask(port, context, name="app.internal")
    return str(caught.value)


@pytest.mark.proves("gunicorn", "negative")
def test_no_certificate_is_refused(port: int, authority: Authority) -> None:
    assert "certificate required" in refused(port, client(authority))


@pytest.mark.proves("gunicorn", "negative")
@pytest.mark.parametrize("service", ["app", "postgres", "cache", "aws", "proxy"])
def test_a_server_s_certificate_is_refused(port: int, authority: Authority, service: str) -> None:
    context = client(authority, authority.of(service) / "tls")
    assert "alert" in refused(port, context)


@pytest.mark.proves("gunicorn", "negative")
def test_a_client_of_another_ca_is_refused(
    port: int, authority: Authority, stranger: Authority
) -> None:
    context = client(authority, stranger.of("proxy") / "client")
    assert "unknown ca" in refused(port, context)


@pytest.mark.proves("gunicorn", "negative")
def test_an_expired_client_is_refused(port: int, authority: Authority) -> None:
    old = authority.ending(timedelta(days=-1), names="DNS:proxy.internal", usage="clientAuth")
    assert "certificate expired" in refused(port, client(authority, old / "tls"))


@pytest.mark.proves("gunicorn", "negative")
def test_tls_1_2_is_refused(port: int, authority: Authority) -> None:
    context = client(authority, authority.of("proxy") / "client")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert "protocol version" in refused(port, context)


@pytest.mark.proves("gunicorn", "negative")
def test_plaintext_is_refused(port: int) -> None:
    try:
        answer = ask(port, None, name="app.internal")
    except ConnectionError:
        answer = b""
    assert b"HTTP/" not in answer
