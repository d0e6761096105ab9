"""What the servers' own files say, as far as no client of a test can see it."""

import re
import runpy
from collections.abc import Callable
from typing import Any

import pytest

from config.project import BASE_DIR

SERVICES = BASE_DIR / "services"
RELEASE_S = ("DATABASE_USER", "DATABASE_PASSWORD_FILE", "DATABASE_MASTER_PASSWORD_FILE")


def lines(file: str) -> list[str]:
    """The lines of a file without comments, each with single spaces."""
    found = (line.split("#")[0].split() for line in (SERVICES / file).read_text().splitlines())
    return [" ".join(words) for words in found if words]


# PostgreSQL ------------------------------------------------------------------------------


def test_every_entry_asks_for_tls_and_a_password() -> None:
    assert lines("postgres/pg_hba.conf") == [
        "local all all scram-sha-256",
        "hostssl app app,migrator,postgres all scram-sha-256",
    ]


def test_passwords_rest_as_verifiers_and_errors_are_logged_without_values() -> None:
    settings = dict(line.split(" = ") for line in lines("postgres/postgresql.conf"))
    assert settings["ssl"] == "on"
    assert settings["password_encryption"] == "'scram-sha-256'"
    assert settings["log_error_verbosity"] == "terse"
    assert settings["log_min_error_statement"] == "panic"
    assert not {"log_statement", "log_min_duration_statement", "log_duration"} & set(settings)


def test_the_database_is_its_superuser_s_and_closed_until_the_release() -> None:
    script = (SERVICES / "postgres" / "init.sh").read_text()
    statements = script.partition("<<'SQL'\n")[2].splitlines()[:-1]
    assert statements == ["CREATE DATABASE app;", "REVOKE ALL ON DATABASE app FROM PUBLIC;"]


def test_the_health_check_never_tries_plaintext() -> None:
    """By itself libpq does, if the server refuses who comes with TLS."""
    dockerfile = (SERVICES / "postgres" / "Dockerfile").read_text()
    assert '"--dbname", "dbname=app user=app sslmode=require"]' in dockerfile


# The cache ---------------------------------------------------------------------------------


def test_the_cache_has_no_plaintext_port_and_no_open_mode() -> None:
    settings = dict(line.split(" ", 1) for line in lines("cache/cache.conf"))
    assert settings["port"] == "0"
    assert settings["tls-protocols"] == '"TLSv1.2 TLSv1.3"'
    assert settings["protected-mode"] == "yes"
    assert "unixsocket" not in settings


# gunicorn ----------------------------------------------------------------------------------


@pytest.fixture
def gunicorn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Its settings where no variable changes them."""
    monkeypatch.delenv("GUNICORN_ADDRESS", raising=False)
    return runpy.run_path(str(SERVICES / "app" / "gunicorn.conf.py"))


def test_gunicorn_listens_on_loopback_only(gunicorn: dict[str, Any]) -> None:
    assert gunicorn["bind"].startswith("127.0.0.1:")


def test_gunicorn_s_log_has_no_query_and_no_header(gunicorn: dict[str, Any]) -> None:
    # https://gunicorn.org/reference/settings/#access_log_format
    words = re.findall(r"%\(([^)]*)\)s", gunicorn["access_log_format"])
    assert set(words) <= {"t", "m", "U", "H", "s", "b", "M"}


def test_gunicorn_keeps_its_settings_in_one_place(gunicorn: dict[str, Any]) -> None:
    assert gunicorn["control_socket_disable"] is True
    # It knows by its own TLS that a request is secure, and believes no header.
    assert gunicorn["forwarded_allow_ips"] == ""
    assert "raw_env" not in gunicorn


# The native stack ---------------------------------------------------------------------------


def test_native_servers_listen_on_loopback_only() -> None:
    commands = dict(
        line.split(": ", 1)
        for line in (BASE_DIR / "Procfile").read_text().splitlines()
        if line[:1].isalpha()
    )
    assert "-c listen_addresses=localhost " in commands["postgres"]
    assert " -k '' " in commands["postgres"]
    assert "--bind 127.0.0.1 --tls-port " in commands["cache"]
    assert " --port " not in commands["cache"]
    assert " HOST=127.0.0.1 " in commands["aws"]
    assert "HTTPS_LISTEN=127.0.0.1:$HTTPS_PORT HTTP_LISTEN=127.0.0.1:" in commands["proxy"]
    assert "--bind" not in commands["app"]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Callable[[], dict[str, str]]:
    """The native environment with a `.env` of which every secret is "hidden"."""
    names = ("SEED_SECRET_KEY", "MIGRATOR_PASSWORD", "POSTGRES_PASSWORD")
    secrets = "".join(f"{name}=hidden\n" for name in names)
    (tmp_path / ".env").write_text(f"{secrets}HTTPS_PORT=9443\n")
    for name in ("HTTPS_PORT", "ROLE"):
        monkeypatch.delenv(name, raising=False)
    native = runpy.run_path(str(BASE_DIR / "scripts" / "native.py"))
    found: Callable[[], dict[str, str]] = native["environment"]
    monkeypatch.setitem(native["environment"].__globals__, "ROOT", tmp_path)
    return found


@pytest.mark.parametrize("role", ["app", "worker", "scheduler", "release"])
def test_no_secret_of_the_file_gets_into_the_native_environment(
    environment: Callable[[], dict[str, str]], monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    monkeypatch.setenv("ROLE", role)
    found = environment()
    assert found["HTTPS_PORT"] == "9443"
    assert "hidden" not in found.values()


def test_only_the_native_release_is_the_migrator(
    environment: Callable[[], dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for role in ("", "app", "worker", "scheduler"):
        monkeypatch.setenv("ROLE", role)
        assert not set(RELEASE_S) & set(environment())
    monkeypatch.setenv("ROLE", "release")
    found = environment()
    assert found["DATABASE_USER"] == "migrator"
    assert all("/credentials/release/" in found[name] for name in RELEASE_S[1:])
    commands = (BASE_DIR / "Procfile").read_text()
    assert commands.count("ROLE=release") == 1
    assert "ROLE=release python scripts/native.py env sh scripts/release && exec " in commands
