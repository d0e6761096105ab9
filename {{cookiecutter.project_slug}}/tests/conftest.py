"""Fixtures for all tests."""

from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
from django.core.cache import cache
from django.test import Client
from pytest_django import Settings

from apps.users.models import User

# A busy machine is no failure, and examples are not kept between runs.
hypothesis.settings.register_profile("project", deadline=None, database=None)
hypothesis.settings.load_profile("project")

PASSWORD = "correct horse battery staple"


class SecureClient(Client):
    """A client whose requests come over HTTPS; plain HTTP is only redirected."""

    def request(self, **request: Any) -> Any:
        return super().request(**request | {"wsgi.url_scheme": "https", "SERVER_PORT": "443"})


@pytest.fixture(autouse=True)
def _isolated(settings: Settings) -> Iterator[None]:
    """No manifest of static files, a fast password hash, and an empty cache."""
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = settings.STORAGES | {"staticfiles": plain}
    settings.STATIC_ROOT = settings.BASE_DIR / "config" / "static"
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def client() -> Client:
    """Somebody who is not logged in."""
    return SecureClient()


@pytest.fixture
def user(db: None) -> User:
    """A user."""
    return User.objects.create_user("ada@example.com", PASSWORD)


@pytest.fixture
def user_client(user: User) -> Client:
    """`user`, logged in."""
    client = SecureClient()
    client.force_login(user)
    return client
