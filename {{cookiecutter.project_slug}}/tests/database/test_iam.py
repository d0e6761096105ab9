"""With IAM every connection has a token of its own, and RDS alone gets one."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from django.db import OperationalError

from apps.database import login
from apps.database.connecting import connect_as_master
from apps.fields.postgresql.base import DatabaseClient
from tests.database.conftest import Configure
from tests.database.rds import Clock, RDSServer
from tests.encryption.certificates import Authority
from tests.encryption.servers import tls

USER = {"DATABASE_LOGIN": "iam", "DATABASE_USER": "app", "DATABASE_PASSWORD": ""}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def rds(authority: Authority, clock: Clock) -> Iterator[RDSServer]:
    with RDSServer(tls(authority.of("postgres")), clock=clock) as server:
        yield server


def alone(connection: Any, **options: Any) -> None:
    """Have one connection at a time in the pool, so that the clock stands while it is made."""
    connection.settings_dict["OPTIONS"]["pool"] |= {"max_size": 1, **options}


def use_up(connection: Any) -> None:
    """Make the pool forget its connections, as it does after an hour."""
    connection.close()
    if connection.pool:
        connection.pool.drain()


def ask(connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


@pytest.mark.parametrize("pooled", [True, False], ids=["pool", "no pool"])
def test_a_token_is_made_for_each_connection(
    pooled: bool, rds: RDSServer, clock: Clock, configure: Configure
) -> None:
    """Also long after the first one has ended."""
    connection = configure(DATABASE_PORT=str(rds.port), **USER)
    if pooled:
        alone(connection)
    else:
        del connection.settings_dict["OPTIONS"]["pool"]
    ask(connection)
    for _ in range(4):
        clock.wait(minutes=16)
        use_up(connection)
        ask(connection)
    assert len(set(rds.tokens)) == 5
    for token in rds.tokens:
        query = parse_qs(urlsplit(f"https://{token}").query)
        assert (query["Action"], query["DBUser"]) == (["connect"], ["app"])
        assert query["X-Amz-Expires"] == ["900"]
        assert "/eu-central-1/rds-db/" in query["X-Amz-Credential"][0]
        assert token.startswith(f"localhost:{rds.port}/?")


def test_this_test_would_notice_a_frozen_token(
    rds: RDSServer, clock: Clock, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = configure(DATABASE_PORT=str(rds.port), **USER)
    frozen = list(connection.login.passwords())
    monkeypatch.setattr(login.IAMLogin, "passwords", lambda _login: iter(frozen))
    alone(connection, timeout=3, reconnect_timeout=1)
    ask(connection)
    clock.wait(minutes=16)
    use_up(connection)
    with pytest.raises(OperationalError):
        ask(connection)


def test_no_token_is_made_before_a_connection_is(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a client was made")

    monkeypatch.setattr(login, "aws_client", never)
    configure(DATABASE_PORT="1", **USER).get_connection_params()


def test_commands_and_the_shell_have_one_too(rds: RDSServer, configure: Configure) -> None:
    connection = configure(DATABASE_PORT=str(rds.port), **USER)
    with connection._nodb_cursor() as cursor:
        cursor.execute("SELECT 1")
    assert len(rds.tokens) == 1
    _, variables = DatabaseClient.settings_to_cmd_args_env(connection.settings_dict, [])
    assert variables is not None
    assert variables["PGPASSWORD"].startswith(f"localhost:{rds.port}/?Action=connect")
    assert variables["PGREQUIREAUTH"] == "password"
    assert variables["PGSSLMODE"] == "verify-full"


def test_who_asks_for_nothing_is_not_rds(
    authority: Authority, clock: Clock, configure: Configure
) -> None:
    with RDSServer(tls(authority.of("postgres")), clock=clock, method=0) as server:
        connection = configure(DATABASE_PORT=str(server.port), **USER)
        with pytest.raises(psycopg.OperationalError, match="authentication method requirement"):
            login.Connection.connect(**connection.get_connection_params())


def test_a_token_goes_to_a_verified_server_only(
    tmp_path_factory: pytest.TempPathFactory, clock: Clock, configure: Configure
) -> None:
    stranger = Authority(tmp_path_factory.mktemp("stranger"))
    with RDSServer(tls(stranger.of("postgres")), clock=clock) as server:
        connection = configure(DATABASE_PORT=str(server.port), **USER)
        with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
            login.Connection.connect(**connection.get_connection_params())
    assert server.tokens == []


def test_the_master_shows_a_token_where_rds_wants_one(rds: RDSServer, configure: Configure) -> None:
    """As from when it has made a role that logs in with IAM."""
    configure(DATABASE_PORT=str(rds.port), **USER)
    with connect_as_master("master", "the master's password") as connection:
        assert connection.execute("SELECT 1").fetchone() is not None
    (token,) = rds.tokens
    assert parse_qs(urlsplit(f"https://{token}").query)["DBUser"] == ["master"]


def test_the_master_shows_no_token_where_roles_have_passwords(
    rds: RDSServer, configure: Configure
) -> None:
    configure(DATABASE_PORT=str(rds.port))
    with pytest.raises(psycopg.OperationalError, match="authentication method"):
        connect_as_master("master", "the master's password")
    assert rds.tokens == []


def test_with_a_password_nobody_is_told_it(
    authority: Authority, clock: Clock, configure: Configure
) -> None:
    """Not even the right server: it could only be an impostor's question."""
    with RDSServer(tls(authority.of("postgres")), clock=clock) as server:
        connection = configure(DATABASE_PORT=str(server.port))
        with pytest.raises(psycopg.OperationalError, match="authentication method"):
            login.Connection.connect(**connection.get_connection_params())
    assert server.tokens == []
