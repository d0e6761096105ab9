"""What the servers' own files say, as far as no client of a test can see it."""

import re
import runpy
from typing import Any

import pytest

from config.project import BASE_DIR

SERVICES = BASE_DIR / "services"


def lines(file: str) -> list[str]:
    """The lines of a file without comments, each with single spaces."""
    found = (line.split("#")[0].split() for line in (SERVICES / file).read_text().splitlines())
    return [" ".join(words) for words in found if words]


# PostgreSQL ------------------------------------------------------------------------------


def test_every_entry_asks_for_tls_and_a_password() -> None:
    assert lines("postgres/pg_hba.conf") == [
        "local all all scram-sha-256",
        "hostssl all all all scram-sha-256",
    ]


def test_passwords_rest_as_verifiers_and_errors_are_logged_without_values() -> None:
    settings = dict(line.split(" = ") for line in lines("postgres/postgresql.conf"))
    assert settings["ssl"] == "on"
    assert settings["password_encryption"] == "'scram-sha-256'"
    assert settings["log_error_verbosity"] == "terse"
    assert settings["log_min_error_statement"] == "panic"
    assert not {"log_statement", "log_min_duration_statement", "log_duration"} & set(settings)


def test_the_application_s_role_may_do_nothing_beyond_its_database() -> None:
    script = (SERVICES / "postgres" / "init.sh").read_text()
    assert "NOSUPERUSER NOCREATEDB NOCREATEROLE" in script
    assert "REVOKE ALL ON DATABASE app FROM PUBLIC" in script


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


def test_no_secret_of_the_file_gets_into_the_native_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / ".env").write_text("SEED_SECRET_KEY=hidden\nHTTPS_PORT=9443\n")
    native = runpy.run_path(str(BASE_DIR / "scripts" / "native.py"))
    monkeypatch.delenv("HTTPS_PORT", raising=False)
    environment = native["environment"]
    monkeypatch.setitem(environment.__globals__, "ROOT", tmp_path)
    found = environment()
    assert found["HTTPS_PORT"] == "9443"
    assert "hidden" not in found.values()
