"""Each system check finds the one setting that was weakened, and nothing else."""

# ruff: noqa: S603 (the tests run the project's own programs)

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_django
from django.conf import settings as in_force
from django.core.checks import CheckMessage, run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from apps.encryption import checks
from apps.files.storage import EncryptedS3Storage
from config.project import BASE_DIR
from tests.config import running
from tests.encryption.certificates import Authority

Settings = dict[str, Any]
Weaken = Callable[[Settings], object]


@pytest.fixture
def errors(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Weaken], list[CheckMessage]]:
    """Check the settings of the running project after `weaken` changed them."""
    # tests/keys has the keys' own checks.
    monkeypatch.setattr("apps.keys.checks.keyring", lambda _purpose: None)

    def checked(weaken: Weaken = lambda _settings: None) -> list[CheckMessage]:
        loaded = running.load(running.environment(str(authority.certificate)))
        weaken(loaded)
        for name, value in loaded.items():
            if name.isupper() and hasattr(in_force, name):
                monkeypatch.setattr(in_force, name, value)
        return run_checks(tags=[checks.TAG])

    return checked


def test_the_project_s_settings_have_no_error(
    errors: Callable[..., list[CheckMessage]],
) -> None:
    assert errors() == []


def database(**values: Any) -> Weaken:
    return lambda loaded: loaded["DATABASES"]["default"].update(values)


def database_option(name: str, value: Any) -> Weaken:
    return lambda loaded: loaded["DATABASES"]["default"]["OPTIONS"].update({name: value})


def cache(**values: Any) -> Weaken:
    return lambda loaded: loaded["CACHES"]["default"].update(values)


def cache_option(name: str, value: Any) -> Weaken:
    return lambda loaded: loaded["CACHES"]["default"]["OPTIONS"].update({name: value})


def storage(backend: str) -> Weaken:
    return lambda loaded: loaded["STORAGES"]["default"].update(BACKEND=backend)


def storage_option(name: str, value: Any) -> Weaken:
    return lambda loaded: loaded["STORAGES"]["default"]["OPTIONS"].update({name: value})


def setting(name: str, value: Any) -> Weaken:
    return lambda loaded: loaded.update({name: value})


def hop_list(text: str) -> Weaken:
    """Another `encryption.toml`, which takes its text from the project's own."""

    def weaken(loaded: Settings) -> None:
        file = Path(os.environ["TMPDIR_OF_TEST"]) / "encryption.toml"
        own = loaded["ENCRYPTION_HOPS_FILE"].read_text()
        file.write_text(own.replace('probe = "edge"', text))
        loaded["ENCRYPTION_HOPS_FILE"] = file

    return weaken


SMTP = "django.core.mail.backends.smtp.EmailBackend"
STRONG = running.SECRETS["SECRET_KEY"]
SECURE, PLAIN = "rediss://localhost:6379/0", "redis://localhost:6379/0"
WEAK: list[tuple[int, Weaken]] = [
    (1, database(ENGINE="django.db.backends.sqlite3")),
    (2, database_option("sslmode", "verify-ca")),
    (2, database_option("sslmode", "require")),
    (2, lambda loaded: loaded["DATABASES"]["default"]["OPTIONS"].pop("sslmode")),
    (3, database_option("sslrootcert", "/nowhere/ca.crt")),
    (3, database_option("sslrootcert", "system")),
    (3, lambda loaded: loaded["DATABASES"]["default"]["OPTIONS"].pop("sslrootcert")),
    (4, database_option("channel_binding", "prefer")),
    (4, lambda loaded: loaded["DATABASES"]["default"]["OPTIONS"].pop("channel_binding")),
    (4, database_option("require_auth", "password")),
    (4, lambda loaded: loaded["DATABASES"]["default"]["OPTIONS"].pop("require_auth")),
    (4, database_option("login", "iam")),
    (5, cache(BACKEND="django.core.cache.backends.locmem.LocMemCache")),
    (5, cache(LOCATION=PLAIN)),
    (5, cache(LOCATION=[SECURE, PLAIN])),
    (5, cache(LOCATION=f"{SECURE},{PLAIN}")),
    (5, cache(LOCATION=f"{SECURE};{PLAIN}")),
    (5, cache(LOCATION=[])),
    (6, cache_option("ssl_cert_reqs", "none")),
    (6, cache_option("ssl_cert_reqs", None)),
    (6, cache_option("ssl_check_hostname", False)),
    (6, cache(LOCATION=f"{SECURE}?ssl_cert_reqs=none")),
    (7, cache_option("ssl_ca_certs", "/nowhere/ca.crt")),
    (8, storage("storages.backends.s3.S3Storage")),
    (8, storage("apps.files.storage.EncryptedInMemoryStorage")),
    (8, storage("apps.files.storage.gone")),
    (8, storage("apps.files.storage.logger")),
    (8, lambda loaded: loaded["STORAGES"].pop("default")),
    (9, storage_option("verify", False)),
    (9, storage_option("use_ssl", False)),
    (10, storage_option("endpoint_url", "http://localhost:4566")),
    (11, setting("AWS_CA_FILE", "/nowhere/ca.crt")),
    (12, setting("SECRET_KEY", "short-but-4-different-letters")),
    (12, setting("SECRET_KEY", "ab" * 40)),
    (12, setting("SECRET_KEY_FALLBACKS", [STRONG, "short-but-4-different-letters"])),
    (12, setting("SECRET_KEY_FALLBACKS", ["ab" * 40, STRONG])),
    (13, database(PASSWORD="nineteen-characters")),
    (13, database(PASSWORD="")),
    (13, cache_option("password", "nineteen-characters")),
    (13, lambda loaded: loaded["CACHES"]["default"]["OPTIONS"].pop("password")),
    (14, setting("SESSION_COOKIE_SECURE", False)),
    (14, setting("CSRF_COOKIE_SECURE", False)),
    (14, setting("SECURE_SSL_REDIRECT", False)),
    (14, setting("SECURE_HSTS_SECONDS", 31535999)),
    (14, setting("SECURE_CSP", {})),
    (15, setting("DEBUG", True)),
    (16, setting("ALLOWED_HOSTS", ["example.com", "*"])),
    (16, setting("ALLOWED_HOSTS", [])),
    (17, setting("ENCRYPTION_HOPS_FILE", Path("/nowhere/encryption.toml"))),
    (17, hop_list("unknown = 1")),
    (17, hop_list("not TOML")),
    (18, hop_list('probe = "gone"')),
    (19, setting("MAILERS", None)),
    (19, setting("MAILERS", {"default": {"OPTIONS": {"host": "mail.example.com"}}})),
    (19, setting("MAILERS", {"default": {"BACKEND": SMTP, "OPTIONS": {"use_tls": False}}})),
]


@pytest.mark.parametrize(("number", "weaken"), WEAK)
def test_a_weakened_setting_is_found(
    number: int,
    weaken: Weaken,
    errors: Callable[..., list[CheckMessage]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TMPDIR_OF_TEST", str(tmp_path))
    (error,) = errors(weaken)
    assert error.id == f"encryption.E{number:03}"
    assert error.is_serious()
    assert error.hint
    for secret in (*running.SECRETS.values(), "nineteen-characters", "short-but-4", "abab"):
        assert secret not in f"{error.msg} {error.hint}"


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_an_aws_endpoint_without_tls_is_found(
    variable: str, errors: Callable[..., list[CheckMessage]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "https://localhost:4566")
    assert errors() == []
    monkeypatch.setenv(variable, "http://localhost:4566")
    (error,) = errors()
    assert error.id == "encryption.E010"


class OwnStorage(EncryptedS3Storage):
    """What a project may add to the storage."""


def test_a_subclass_of_the_encrypted_storage_is_accepted(
    errors: Callable[..., list[CheckMessage]],
) -> None:
    assert errors(storage(f"{__name__}.{OwnStorage.__name__}")) == []


def with_iam(loaded: Settings) -> None:
    options = loaded["DATABASES"]["default"]["OPTIONS"]
    options |= loaded["DATABASE_LOGINS"]["iam"] | {"login": "iam"}
    loaded["DATABASES"]["default"]["PASSWORD"] = ""


@pytest.mark.parametrize("option", ["channel_binding", "require_auth"])
def test_only_iam_goes_without_channel_binding_and_only_with_a_token(
    option: str, errors: Callable[..., list[CheckMessage]]
) -> None:
    assert errors(with_iam) == []

    def weaken(loaded: Settings) -> None:
        with_iam(loaded)
        if option == "channel_binding":
            loaded["DATABASES"]["default"]["OPTIONS"]["login"] = "password"
            loaded["DATABASES"]["default"]["PASSWORD"] = running.SECRETS["DATABASE_PASSWORD"]
        else:
            loaded["DATABASES"]["default"]["OPTIONS"]["require_auth"] = "password,none"

    assert [error.id for error in errors(weaken)] == ["encryption.E004"]


def test_every_check_has_its_test() -> None:
    source = Path(checks.__file__).read_text()
    written = {int(number) for number in re.findall(r"_error\(\s*(\d+)", source)}
    assert written == {number for number, _ in WEAK}
    assert written == set(range(1, max(written) + 1))


def test_a_second_database_or_cache_is_checked_too(
    errors: Callable[..., list[CheckMessage]],
) -> None:
    def weaken(loaded: Settings) -> None:
        loaded["DATABASES"]["replica"] = {"ENGINE": "django.db.backends.mysql"}
        loaded["CACHES"]["local"] = {"BACKEND": "django.core.cache.backends.db.DatabaseCache"}

    found = errors(weaken)
    assert [error.id for error in found] == ["encryption.E001", "encryption.E005"]
    assert "DATABASES['replica']" in found[0].msg
    assert "CACHES['local']" in found[1].msg


def test_no_setting_silences_an_error(settings: pytest_django.Settings) -> None:
    settings.SILENCED_SYSTEM_CHECKS = [f"encryption.E{number:03}" for number in range(100)]
    with pytest.raises(SystemCheckError, match=r"encryption\.E001"):
        call_command("check", "--tag", "encryption")


# The start ---------------------------------------------------------------------------------


def test_the_application_exists_only_if_the_checks_pass(
    errors: Callable[..., list[CheckMessage]],
) -> None:
    with pytest.raises(SystemCheckError, match=r"encryption\.E001"):
        runpy.run_module("config.wsgi")
    errors()  # puts the project's settings in force
    assert callable(runpy.run_module("config.wsgi")["application"])


@pytest.mark.django_db
@pytest.mark.parametrize("command", ["migrate", "db_worker", "scheduler"])
def test_the_other_processes_start_only_if_the_checks_pass(
    command: str, settings: pytest_django.Settings
) -> None:
    settings.TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
    with pytest.raises(SystemCheckError, match=r"encryption\.E001"):
        call_command(command, skip_checks=False)  # as on the command line


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=BASE_DIR,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "command",
    [
        ["-c", "import config.wsgi"],
        ["manage.py", "check", "--tag", "encryption"],
    ],
    ids=" ".join,
)
def test_nothing_is_served_with_the_offline_settings(command: list[str]) -> None:
    done = run(*command, DJANGO_SETTINGS_MODULE="config.settings_offline")
    assert done.returncode == 1
    assert "encryption.E001" in done.stderr


# There are no keys here, and the check of them asks KMS.
CHECK_ALL_BUT_KEYS = """
import django; django.setup()
from apps.keys import checks
checks.keyring = lambda purpose: None
from django.core.management import call_command
call_command("check", deploy=True, fail_level="WARNING")
"""


def test_the_project_passes_the_deployment_checks(authority: Authority) -> None:
    done = run(
        *("-c", CHECK_ALL_BUT_KEYS),
        **running.environment(str(authority.certificate), DJANGO_SETTINGS_MODULE="config.settings"),
    )
    assert done.returncode == 0, done.stderr
    for secret in running.SECRETS.values():
        assert secret not in done.stdout + done.stderr
