"""Application to secret store, through the loader that `config.settings` calls."""

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from apps.secrets.ssm import SSMSecretsRetriever
from tests.encryption.certificates import Authority
from tests.encryption.conftest import Configure
from tests.encryption.servers import OLD, HTTPServer, tls

PREFIX = "/shop/production/"


@pytest.mark.proves("secrets", "positive")
def test_a_good_server_is_accepted(configure: Configure, authority: Authority) -> None:
    with HTTPServer(tls(authority.of("aws"))) as server:
        configure(AWS_ENDPOINT_URL=f"https://localhost:{server.port}")
        assert SSMSecretsRetriever(PREFIX).fetch() == {}
    assert b"AmazonSSM.GetParametersByPath" in server.received[0]
    assert server.raw == b""


def refused(server: HTTPServer, configure: Configure, host: str = "localhost") -> str:
    """Why the loader refuses; it must not have told the server anything."""
    with server:
        configure(AWS_ENDPOINT_URL=f"https://{host}:{server.port}")
        with pytest.raises(ImproperlyConfigured) as caught:
            SSMSecretsRetriever(PREFIX).fetch()
    assert server.received == []
    return str(caught.value)


@pytest.mark.proves("secrets", "negative")
def test_another_ca_is_refused(configure: Configure, stranger: Authority) -> None:
    reason = refused(HTTPServer(tls(stranger.of("aws"))), configure)
    assert "certificate verify failed" in reason


@pytest.mark.proves("secrets", "negative")
def test_another_name_is_refused(configure: Configure, authority: Authority) -> None:
    reason = refused(HTTPServer(tls(authority.of("aws"))), configure, host="127.0.0.1")
    assert "hostname '127.0.0.1' doesn't match" in reason


@pytest.mark.proves("secrets", "negative")
def test_an_expired_certificate_is_refused(configure: Configure, expired: Path) -> None:
    assert "certificate has expired" in refused(HTTPServer(tls(expired)), configure)


@pytest.mark.proves("secrets", "negative")
def test_plaintext_in_its_place_is_refused(configure: Configure) -> None:
    refused(HTTPServer(None), configure)


@pytest.mark.proves("secrets", "negative")
def test_tls_1_1_is_refused(configure: Configure, authority: Authority) -> None:
    old = tls(authority.of("aws"), oldest=OLD, newest=OLD)
    assert "version" in refused(HTTPServer(old), configure).lower()


@pytest.mark.proves("secrets", "negative")
@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SSM"])
def test_an_endpoint_without_tls_is_never_asked(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    with HTTPServer(None) as server:
        configure()
        monkeypatch.setenv(variable, f"http://localhost:{server.port}")
        with pytest.raises(ImproperlyConfigured, match="is not https"):
            SSMSecretsRetriever(PREFIX).fetch()
    assert server.received == []
