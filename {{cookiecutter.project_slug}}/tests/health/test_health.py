"""`/livez` and `/readyz`."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.cache.backends.locmem import LocMemCache
from django.core.files.storage import InMemoryStorage
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from apps.encryption.clients import Seen
from apps.health import middleware, readiness
from apps.health.readiness import readiness as answer

ANY_HOST = ["testserver", "10.0.0.7", "10.0.0.7:8443", "[::1]", "nonsense!", "evil.example"]
REASON = "password of db.internal is wrong"


@pytest.mark.django_db
@pytest.mark.parametrize("host", ANY_HOST)
def test_alive_under_any_host_without_io(
    host: str,
    client: Client,
    django_assert_num_queries: DjangoAssertNumQueries,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def used(*_arguments: Any, **_options: Any) -> None:
        pytest.fail("/livez did I/O")

    for name in ("get", "set", "touch"):
        monkeypatch.setattr(LocMemCache, name, used)
    for name in ("exists", "open", "save"):
        monkeypatch.setattr(InMemoryStorage, name, used)
    monkeypatch.setattr(middleware, "readiness", used)
    with django_assert_num_queries(0):
        response = client.get("/livez", headers={"host": host})
    assert (response.status_code, response.text) == (200, "ok")


@pytest.mark.parametrize("path", ["/", "/accounts/login/", "/livez/", "/readyz/x"])
def test_other_paths_still_validate_the_host(path: str, client: Client) -> None:
    assert client.get(path, headers={"host": "10.0.0.7"}).status_code == 400


def fails() -> str:
    raise ConnectionError(REASON)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let /readyz ask these parts."""

    def set_to(**parts: Callable[[], str]) -> None:
        monkeypatch.setattr(middleware, "readiness", lambda: answer(parts))

    return set_to


@pytest.mark.parametrize("host", ANY_HOST)
def test_ready_with_the_tls_version_of_each_part(
    host: str, client: Client, parts: Callable[..., None]
) -> None:
    parts(database=lambda: "TLSv1.3", cache=lambda: "TLSv1.2")
    response = client.get("/readyz", headers={"host": host})
    assert response.status_code == 200
    assert response.json() == {
        "ready": True,
        "database": {"ok": True, "tls": "TLSv1.3"},
        "cache": {"ok": True, "tls": "TLSv1.2"},
    }


def test_not_ready_says_what_but_not_why(
    client: Client, parts: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    parts(database=fails, cache=lambda: "TLSv1.3")
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json() == {
        "ready": False,
        "database": {"ok": False, "tls": None},
        "cache": {"ok": True, "tls": "TLSv1.3"},
    }
    assert REASON not in response.text
    assert REASON in caplog.text


def test_each_part_really_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen(version="TLSv1.3", cipher="any")
    asked = []
    monkeypatch.setattr(readiness, "database_seen", lambda: seen)
    monkeypatch.setattr(readiness, "cache_seen", lambda: seen)
    monkeypatch.setattr(readiness, "storage_peer", lambda: "peer")
    monkeypatch.setattr(readiness, "handshake", lambda peer: seen if peer == "peer" else None)
    cache = SimpleNamespace(get=lambda _key: asked.append("cache"))
    client = SimpleNamespace(head_bucket=lambda **which: asked.append(which["Bucket"]))
    connection = SimpleNamespace(meta=SimpleNamespace(client=client))
    storage = SimpleNamespace(bucket_name="bucket", connection=connection)
    monkeypatch.setattr(readiness, "cache", cache)
    monkeypatch.setattr(readiness, "default_storage", storage)
    good = {"ok": True, "tls": "TLSv1.3"}
    assert answer() == {"database": good, "cache": good, "storage": good}
    assert asked == ["cache", "bucket"]


def test_offline_nothing_is_ready(db: None) -> None:
    """Plaintext stand-ins answer, but not over TLS."""
    assert {part["ok"] for part in answer().values()} == {False}
