"""The containers may do nothing that they need not, and no secret is in their environment."""

import re
from typing import Any

import pytest
import yaml

from config.project import BASE_DIR

COMPOSE: dict[str, Any] = yaml.safe_load((BASE_DIR / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
# Gives each server its key, with the owner that the server insists on. Has no network.
INSTALLER = "credentials"
SECRET_NAME = re.compile("PASSWORD|SECRET|TOKEN|KEY|CREDENTIAL")
# A file's name, the stand-in's two words, and seconds.
NO_SECRETS = {
    "POSTGRES_PASSWORD_FILE": "/run/credentials/password",
    "DATABASE_PASSWORD_FILE": "/run/credentials/migrator-password",
    "DATABASE_MASTER_PASSWORD_FILE": "/run/credentials/master-password",
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "KEYRING_MAX_AGE": "${KEYRING_MAX_AGE:-300}",
}
RELEASE_S = (
    *("DATABASE_USER", "DATABASE_PASSWORD_FILE"),
    *("DATABASE_MASTER_USER", "DATABASE_MASTER_PASSWORD_FILE"),
)
each_service = pytest.mark.parametrize("name", SERVICES)


def mounts(service: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    """What is mounted, where, and whether it can only be read."""
    found = {}
    for volume in service.get("volumes", []):
        if isinstance(volume, dict):
            found[volume["source"]] = volume["target"], volume.get("read_only", False)
        else:
            source, target, *options = volume.split(":")
            found[source] = target, options == ["ro"]
    return found


def environment_of(service: dict[str, Any]) -> dict[str, str]:
    return dict(service.get("environment", {}))


@each_service
def test_a_container_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "pid", "ipc", "userns_mode", "devices", "env_file"} & set(service)
    assert service["ulimits"]["core"] == 0
    if name == INSTALLER:
        assert service["network_mode"] == "none"
    else:
        assert "cap_add" not in service
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])


def test_only_the_proxy_s_ports_are_published_and_on_loopback_only() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"task"}
    assert [port.split(":")[0] for port in published["task"]] == ["127.0.0.1", "127.0.0.1"]


@each_service
def test_no_secret_is_in_an_environment(name: str) -> None:
    for variable, value in SERVICES[name].get("environment", {}).items():
        assert not re.search(r"SEED_|(POSTGRES|MIGRATOR)_PASSWORD", str(value)), variable
        if SECRET_NAME.search(variable):
            assert str(value) == NO_SECRETS.get(variable), variable


@each_service
def test_a_container_sees_no_other_credentials_than_its_own(name: str) -> None:
    seen = mounts(SERVICES[name])
    own = {"scheduler": "worker"}.get(name, name)
    for source, (_target, only_read) in seen.items():
        if name == INSTALLER:
            assert only_read or source.startswith("credentials-")
        else:
            assert not source.startswith("."), source
            if source.startswith("credentials-"):
                assert (source, only_read) == (f"credentials-{own}", True)


def test_only_the_release_is_the_migrator() -> None:
    """Its passwords are in its own volume: see above."""
    with_database = {name for name, s in SERVICES.items() if "DATABASE_HOST" in environment_of(s)}
    assert {"app", "worker", "scheduler", "release"} <= with_database
    for name in with_database - {"release"}:
        assert not set(RELEASE_S) & set(environment_of(SERVICES[name])), name
    release = SERVICES["release"]
    assert set(RELEASE_S) <= set(environment_of(release))
    assert environment_of(release)["DATABASE_USER"] == "migrator"
    assert release["command"] == ["sh", "scripts/release"]
    for name in ("app", "worker", "scheduler"):
        needed = SERVICES[name]["depends_on"]["release"]
        assert needed == {"condition": "service_completed_successfully"}


def test_gunicorn_is_reached_through_the_proxy_only() -> None:
    assert SERVICES["app"]["network_mode"] == SERVICES["proxy"]["network_mode"] == "service:task"
    assert "GUNICORN_ADDRESS" not in SERVICES["app"]["environment"]


def test_the_database_asks_for_a_password_from_the_first_moment() -> None:
    arguments = SERVICES["postgres"]["environment"]["POSTGRES_INITDB_ARGS"]
    assert set(arguments.split()) == {"--auth-local=scram-sha-256", "--auth-host=scram-sha-256"}
