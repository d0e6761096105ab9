"""Application to PostgreSQL, through the parameters of Django's own connection."""

import ssl
from pathlib import Path

import psycopg
import pytest

from apps.database.login import Connection
from apps.encryption.clients import _database_params
from apps.fields.postgresql.base import DatabaseClient
from tests.config.running import SECRETS
from tests.encryption.certificates import Authority
from tests.encryption.conftest import Configure
from tests.encryption.servers import OLD, REACHED, PostgresServer, tls


def connect(server: PostgresServer, configure: Configure, **variables: str) -> str:
    """Connect as Django does; return why it failed, as it must with these servers."""
    with server:
        configure(DATABASE_PORT=str(server.port), **variables)
        with pytest.raises(psycopg.OperationalError) as caught:
            Connection.connect(**_database_params())
    return str(caught.value)


@pytest.mark.proves("database", "positive")
def test_a_good_server_is_accepted(configure: Configure, authority: Authority) -> None:
    server = PostgresServer(tls(authority.of("postgres")))
    assert REACHED in connect(server, configure)
    assert b"user\0app\0" in server.received[0]
    assert server.raw == b""


def refused(server: PostgresServer, configure: Configure, **variables: str) -> str:
    """Why the client refuses; it must not have told the server anything."""
    reason = connect(server, configure, **variables)
    assert server.received == []
    assert server.raw == b""
    return reason


@pytest.mark.proves("database", "negative")
def test_another_ca_is_refused(configure: Configure, stranger: Authority) -> None:
    reason = refused(PostgresServer(tls(stranger.of("postgres"))), configure)
    assert "certificate verify failed" in reason


@pytest.mark.proves("database", "negative")
def test_another_name_is_refused(configure: Configure, authority: Authority) -> None:
    server = PostgresServer(tls(authority.of("postgres")))
    assert "does not match host name" in refused(server, configure, DATABASE_HOST="127.0.0.1")


@pytest.mark.proves("database", "negative")
def test_an_expired_certificate_is_refused(configure: Configure, expired: Path) -> None:
    reason = refused(PostgresServer(tls(expired)), configure)
    assert "certificate verify failed" in reason


@pytest.mark.proves("database", "negative")
def test_plaintext_in_its_place_is_refused(configure: Configure) -> None:
    reason = refused(PostgresServer(None), configure)
    assert "server does not support SSL, but SSL was required" in reason


@pytest.mark.proves("database", "negative")
def test_tls_1_1_is_refused(configure: Configure, authority: Authority) -> None:
    old = tls(authority.of("postgres"), oldest=OLD, newest=OLD)
    assert "version" in refused(PostgresServer(old), configure)
    # Today's OpenSSL refuses by itself; the project does not leave it to that.
    assert _database_params()["ssl_min_protocol_version"] == "TLSv1.3"


@pytest.mark.proves("database", "negative")
def test_tls_1_2_is_refused(configure: Configure, authority: Authority) -> None:
    """It has ciphers that should not be used, and libpq cannot choose any."""
    old = tls(authority.of("postgres"), newest=ssl.TLSVersion.TLSv1_2)
    assert "version" in refused(PostgresServer(old), configure)


def test_the_shell_of_the_database_is_as_strict(configure: Configure, authority: Authority) -> None:
    loaded = configure(DATABASE_PORT="1")
    options = loaded["DATABASES"]["default"]["OPTIONS"]
    _, variables = DatabaseClient.settings_to_cmd_args_env(loaded["DATABASES"]["default"], [])
    assert variables is not None
    strict = {name: value for name, value in variables.items() if name != "PGPASSWORD"}
    assert strict == {
        "PGSSLMODE": options["sslmode"],
        "PGSSLROOTCERT": str(authority.certificate),
        "PGCHANNELBINDING": options["channel_binding"],
        "PGREQUIREAUTH": options["require_auth"],
        "PGGSSENCMODE": options["gssencmode"],
        "PGSSLMINPROTOCOLVERSION": options["ssl_min_protocol_version"],
    }


@pytest.mark.proves("database", "negative")
def test_without_the_ca_s_file_nothing_is_trusted(
    configure: Configure, authority: Authority
) -> None:
    server = PostgresServer(tls(authority.of("postgres")))
    reason = refused(server, configure, DATABASE_CA_FILE="/nowhere/ca.crt")
    assert 'root certificate file "/nowhere/ca.crt" does not exist' in reason


def test_the_password_is_never_sent_before_the_server_is_verified(
    configure: Configure, stranger: Authority
) -> None:
    server = PostgresServer(tls(stranger.of("postgres")), also_plaintext=True)
    refused(server, configure)
    assert SECRETS["DATABASE_PASSWORD"].encode() not in server.raw + b"".join(server.received)
