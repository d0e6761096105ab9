"""Application to cache, through Django's cache as `config.settings` configures it."""

import ssl
from pathlib import Path

import pytest
import redis
from django.core.cache import cache

from tests.encryption.certificates import Authority
from tests.encryption.conftest import Configure
from tests.encryption.servers import OLD, RedisServer, tls


@pytest.mark.proves("cache", "positive")
def test_a_good_server_is_accepted(configure: Configure, authority: Authority) -> None:
    with RedisServer(tls(authority.of("cache"))) as server:
        configure(CACHE_PORT=str(server.port))
        assert cache.get("anything") is None
    assert any(b"AUTH app" in command for command in server.received)
    assert any(command.startswith(b"GET ") for command in server.received)
    assert server.raw == b""


def refused(server: RedisServer, configure: Configure, **variables: str) -> str:
    """Why the client refuses; it must not have told the server anything."""
    with server:
        configure(CACHE_PORT=str(server.port), **variables)
        with pytest.raises(redis.ConnectionError) as caught:
            cache.get("anything")
    assert server.received == []
    assert server.raw[:1] in (b"", b"\x16"), "more than a TLS greeting came in plaintext"
    return str(caught.value)


@pytest.mark.proves("cache", "negative")
def test_another_ca_is_refused(configure: Configure, stranger: Authority) -> None:
    reason = refused(RedisServer(tls(stranger.of("cache"))), configure)
    assert "certificate verify failed" in reason


@pytest.mark.proves("cache", "negative")
def test_another_name_is_refused(configure: Configure, authority: Authority) -> None:
    reason = refused(RedisServer(tls(authority.of("cache"))), configure, CACHE_HOST="127.0.0.1")
    assert "IP address mismatch" in reason


@pytest.mark.proves("cache", "negative")
def test_an_expired_certificate_is_refused(configure: Configure, expired: Path) -> None:
    assert "certificate has expired" in refused(RedisServer(tls(expired)), configure)


@pytest.mark.proves("cache", "negative")
def test_plaintext_in_its_place_is_refused(configure: Configure) -> None:
    refused(RedisServer(None), configure)


@pytest.mark.proves("cache", "negative")
def test_tls_1_1_is_refused(configure: Configure, authority: Authority) -> None:
    old = tls(authority.of("cache"), oldest=OLD, newest=OLD)
    assert "version" in refused(RedisServer(old), configure).lower()


@pytest.mark.proves("cache", "negative")
def test_ciphers_of_the_mode_cbc_are_refused(configure: Configure, authority: Authority) -> None:
    old = tls(authority.of("cache"), newest=ssl.TLSVersion.TLSv1_2)
    old.set_ciphers("ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA384")
    refused(RedisServer(old), configure)
