"""Certificates, servers and the project's own clients for the tests of each hop."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import botocore.endpoint
import pytest
from django.conf import settings as django_settings
from django.db.utils import ConnectionHandler
from django.test import override_settings

from apps.encryption import clients
from tests.config import running
from tests.encryption.certificates import Authority


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "proves(name, kind): a 'positive' or 'negative' test of this hop or store; "
        "test_registry.py wants both for each in encryption.toml",
    )


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA that the clients trust."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA made in the same way that nobody trusts."""
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="session")
def expired(authority: Authority) -> Path:
    """Credentials of the right CA and name that ended yesterday."""
    return authority.ending(in_=timedelta(days=-1), names="DNS:localhost,DNS:app.internal")


Configure = Callable[..., dict[str, Any]]


@pytest.fixture
def configure(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Configure]:
    """Make this process a client just as `config.settings` configures it.

    Call it with environment variables, above all the servers' addresses; `weaken`
    may change the loaded settings before they are in force.
    """
    # botocore tries a refused connection again; without its pauses.
    monkeypatch.setattr(botocore.endpoint, "time", SimpleNamespace(sleep=lambda _seconds: None))
    with ExitStack() as stack:

        def configured(
            weaken: Callable[[dict[str, Any]], object] | None = None, **variables: str
        ) -> dict[str, Any]:
            variables = running.environment(str(authority.certificate), **variables)
            loaded = running.load(variables)
            if weaken:
                weaken(loaded)
            for name, value in variables.items():
                monkeypatch.setitem(os.environ, name, value)
            monkeypatch.setattr(django_settings, "DATABASES", loaded["DATABASES"])
            database = ConnectionHandler(loaded["DATABASES"])["default"]
            monkeypatch.setattr(clients, "default_connection", database)
            # The test environment's own, so that it can be put back before the cache is cleared.
            same = (
                *("CACHES", "STORAGES", "AWS_CA_FILE", "SECRETS_PREFIX", "EDGE_ADDRESS"),
                *("EDGE_CA_FILE", "GUNICORN_ADDRESS", "CREDENTIALS_DIR"),
            )
            stack.enter_context(override_settings(**{name: loaded[name] for name in same}))
            return loaded

        yield configured
