"""Application to object storage, through the storage that `config.settings` configures."""

from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError
from django.core.files.storage import default_storage

from tests.encryption.certificates import Authority
from tests.encryption.conftest import Configure
from tests.encryption.servers import OLD, HTTPServer, tls


@pytest.mark.proves("storage", "positive")
def test_a_good_server_is_accepted(configure: Configure, authority: Authority) -> None:
    with HTTPServer(tls(authority.of("aws"))) as server:
        configure(AWS_ENDPOINT_URL=f"https://localhost:{server.port}")
        assert default_storage.exists("a-file")
    assert server.received[0].startswith(b"HEAD /media/a-file HTTP/1.1")
    assert server.raw == b""


def refused(server: HTTPServer, configure: Configure, host: str = "localhost") -> str:
    """Why the client refuses; it must not have told the server anything."""
    with server:
        configure(AWS_ENDPOINT_URL=f"https://{host}:{server.port}")
        with pytest.raises(BotoCoreError) as caught:
            default_storage.exists("a-file")
    assert server.received == []
    return str(caught.value)


@pytest.mark.proves("storage", "negative")
def test_another_ca_is_refused(configure: Configure, stranger: Authority) -> None:
    reason = refused(HTTPServer(tls(stranger.of("aws"))), configure)
    assert "certificate verify failed" in reason


@pytest.mark.proves("storage", "negative")
def test_another_name_is_refused(configure: Configure, authority: Authority) -> None:
    reason = refused(HTTPServer(tls(authority.of("aws"))), configure, host="127.0.0.1")
    assert "hostname '127.0.0.1' doesn't match" in reason


@pytest.mark.proves("storage", "negative")
def test_an_expired_certificate_is_refused(configure: Configure, expired: Path) -> None:
    assert "certificate has expired" in refused(HTTPServer(tls(expired)), configure)


@pytest.mark.proves("storage", "negative")
def test_plaintext_in_its_place_is_refused(configure: Configure) -> None:
    refused(HTTPServer(None), configure)


@pytest.mark.proves("storage", "negative")
def test_tls_1_1_is_refused(configure: Configure, authority: Authority) -> None:
    old = tls(authority.of("aws"), oldest=OLD, newest=OLD)
    assert "version" in refused(HTTPServer(old), configure).lower()
