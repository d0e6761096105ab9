"""One settings file for every environment, and the project's names."""

import json
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from apps.secrets.ssm import SSMSecretsRetriever
from config import context_processors, project
from config.project import BASE_DIR
from tests.config import running

CA_FILE = "/run/credentials/ca.crt"


def test_no_variable_changes_how_a_peer_is_verified() -> None:
    """Whatever is called like a switch, the settings that verify stay the same."""
    names = ("DEBUG", "DATABASE_SSLMODE", "PGSSLMODE", "CACHE_SSL", "SSL_VERIFY", "USE_SSL")
    plain = running.load(running.environment(CA_FILE))
    for value in ("0", "1", "false", "true", "off", "on", "disable"):
        other = running.load(running.environment(CA_FILE, **dict.fromkeys(names, value)))
        for name in ("DATABASES", "CACHES", "STORAGES", "DEBUG", "SECURE_SSL_REDIRECT"):
            assert plain[name] == other[name], value


def test_secrets_go_where_they_are_used() -> None:
    loaded = running.load(running.environment(CA_FILE))
    assert loaded["SECRET_KEY"] == running.SECRETS["SECRET_KEY"]
    assert loaded["DATABASES"]["default"]["PASSWORD"] == running.SECRETS["DATABASE_PASSWORD"]
    assert loaded["CACHES"]["default"]["OPTIONS"]["password"] == running.SECRETS["CACHE_PASSWORD"]
    assert "PASSWORD" not in loaded["CACHES"]["default"]["LOCATION"]
    assert loaded["SECRETS_PREFIX"] == f"/{loaded['PROJECT'].slug}/production/"


def test_the_migrator_s_password_is_not_the_application_s(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = {
        "/production/": {"DATABASE_PASSWORD": "of-the-application"},
        "/production/release/": {"DATABASE_PASSWORD": "of-the-migrator"},
    }

    def fetch(retriever: SSMSecretsRetriever) -> dict[str, str]:
        return stored["/production/" + retriever.prefix.partition("/production/")[2]]

    monkeypatch.setattr(SSMSecretsRetriever, "fetch", fetch)
    for user, wanted in (("app", "of-the-application"), ("migrator", "of-the-migrator")):
        variables = running.environment(CA_FILE, DATABASE_PASSWORD="", DATABASE_USER=user)
        database = running.load(variables)["DATABASES"]["default"]
        assert (database["USER"], database["PASSWORD"]) == (user, wanted)


def test_with_iam_there_is_no_password() -> None:
    variables = running.environment(CA_FILE, DATABASE_PASSWORD="", DATABASE_LOGIN="iam")
    database = running.load(variables)["DATABASES"]["default"]
    assert database["PASSWORD"] == ""
    assert database["OPTIONS"]["sslmode"] == "verify-full"
    assert database["OPTIONS"]["require_auth"] == "password"
    assert database["OPTIONS"]["channel_binding"] == "disable"


def test_there_is_no_third_way_to_log_in() -> None:
    with pytest.raises(ImproperlyConfigured, match="DATABASE_LOGIN"):
        running.load(running.environment(CA_FILE, DATABASE_LOGIN="trust"))


def test_fallbacks_of_the_secret_key_can_be_injected() -> None:
    other = "another-key-0123456789-abcdefghijklmnopqrstuvwxyz-0123456789"
    both = json.dumps([running.SECRETS["SECRET_KEY"], other])
    loaded = running.load(running.environment(CA_FILE, SECRET_KEY_FALLBACKS=both))
    assert loaded["SECRET_KEY_FALLBACKS"] == [other]
    assert running.load(running.environment(CA_FILE))["SECRET_KEY_FALLBACKS"] == []


def test_damaged_fallbacks_stop_the_start() -> None:
    with pytest.raises(ImproperlyConfigured, match="SECRET_KEY_FALLBACKS is not a JSON list"):
        running.load(running.environment(CA_FILE, SECRET_KEY_FALLBACKS="a-key-without-its-list"))


@pytest.mark.parametrize(
    "name", ["ENVIRONMENT", "DATABASE_HOST", "DATABASE_CA_FILE", "CACHE_HOST", "CACHE_CA_FILE"]
)
def test_an_address_that_is_missing_stops_the_start(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(name, raising=False)
    variables = running.environment(CA_FILE)
    del variables[name]
    with pytest.raises(ImproperlyConfigured, match=name):
        running.load(variables)


def test_forwarding_headers_are_not_trusted() -> None:
    """gunicorn speaks TLS itself, so no header says whether a request was secure."""
    loaded = running.load(running.environment(CA_FILE))
    assert "SECURE_PROXY_SSL_HEADER" not in loaded
    assert "USE_X_FORWARDED_HOST" not in loaded


def test_the_host_is_the_project_s_domain_unless_named() -> None:
    assert running.load(running.environment(CA_FILE))["ALLOWED_HOSTS"] == [project.load().domain]
    named = running.load(running.environment(CA_FILE, ALLOWED_HOSTS="localhost,127.0.0.1"))
    assert named["ALLOWED_HOSTS"] == ["localhost", "127.0.0.1"]


def test_lines_are_json_except_on_a_laptop() -> None:
    def renderer(environment: str) -> str:
        loaded = running.load(running.environment(CA_FILE) | {"ENVIRONMENT": environment})
        return type(loaded["LOGGING"]["formatters"]["structured"]["processors"][-1]).__name__

    assert renderer("production") == "JSONRenderer"
    assert renderer("local") == "ConsoleRenderer"


def test_the_project_s_names_are_complete(tmp_path: Path) -> None:
    text = (BASE_DIR / "project.toml").read_text()
    (tmp_path / "fewer.toml").write_text(text.replace("slug =", "#"))
    with pytest.raises(TypeError, match="slug"):
        project.load(tmp_path / "fewer.toml")
    (tmp_path / "more.toml").write_text(text + '\ncolour = "red"\n')
    with pytest.raises(TypeError, match="colour"):
        project.load(tmp_path / "more.toml")


def test_templates_know_the_project(rf: object) -> None:
    assert context_processors.project(None) == {"project": project.load()}  # type: ignore[arg-type]
