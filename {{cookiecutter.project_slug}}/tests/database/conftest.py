"""A real server, a master user that is no superuser, and the project's own client."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.conf import settings as in_force
from django.db.utils import ConnectionHandler
from django.test import override_settings

from apps.database.making import make_roles
from tests.config import running
from tests.database.cluster import Cluster, cluster
from tests.database.store import VersionedStore
from tests.encryption.certificates import Authority

MASTER, MASTER_PASSWORD = "master", "the-masters-password-of-the-tests"
PASSWORDS = {
    "app": "the-password-of-app-in-the-tests-1",
    "migrator": "the-password-of-migrator-in-the-tests-1",
}


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("database-certificates"))


@pytest.fixture(scope="session")
def server(authority: Authority) -> Iterator[Cluster]:
    with cluster(authority) as running_server:
        yield running_server


@pytest.fixture
def empty(server: Cluster) -> Iterator[Cluster]:
    """A server with an empty database `app`, which belongs to a master user as RDS has it."""
    with server.superuser() as connection:
        connection.execute(
            f"CREATE ROLE {MASTER} LOGIN CREATEROLE CREATEDB PASSWORD '{MASTER_PASSWORD}'"
        )
        connection.execute(f"CREATE DATABASE app OWNER {MASTER}")
    yield server
    with server.superuser() as connection:
        connection.execute("DROP DATABASE app WITH (FORCE)")
        for role in ("app", "migrator", "other", "rds_iam", MASTER):
            connection.execute(f"DROP ROLE IF EXISTS {role}")


Configure = Callable[..., Any]


@pytest.fixture
def configure(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, django_db_blocker: Any
) -> Iterator[Configure]:
    """Put the project's settings in force for these variables; return Django's connection.

    The connection is that of one thread; the handler is its attribute `handler`.
    """
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "tests")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with ExitStack() as stack:
        stack.enter_context(django_db_blocker.unblock())

        def configured(**variables: str) -> Any:
            loaded = running.load(running.environment(str(authority.certificate), **variables))
            monkeypatch.setattr(in_force, "DATABASES", loaded["DATABASES"])
            names = ("DATABASE_LOGIN", "DATABASE_LOGINS", "DATABASE_USER", "SECRETS_PREFIX")
            stack.enter_context(override_settings(**{name: loaded[name] for name in names}))
            handler = ConnectionHandler(loaded["DATABASES"])
            connection: Any = handler["default"]
            connection.handler = handler

            def closed() -> None:
                connection.close()
                connection.close_pool()

            stack.callback(closed)
            return connection

        yield configured


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> VersionedStore:
    """A parameter store with both passwords, which every client is a client of."""
    prefix = f"/{in_force.PROJECT.slug}/production/"
    made = VersionedStore(
        prefix,
        DATABASE_PASSWORD=PASSWORDS["app"],
        release__DATABASE_PASSWORD=PASSWORDS["migrator"],
    )
    for module in ("login", "passwords"):
        monkeypatch.setattr(f"apps.database.{module}.ssm_client", lambda: made.client)
    return made


@pytest.fixture
def as_app(empty: Cluster, store: VersionedStore, configure: Configure) -> Any:
    """Django's connection as `app` to a database with both roles."""
    with empty.connect(MASTER, MASTER_PASSWORD, "app") as master:
        make_roles(master, PASSWORDS)
    return configure(
        DATABASE_PORT=str(empty.port), DATABASE_USER="app", DATABASE_PASSWORD=PASSWORDS["app"]
    )
