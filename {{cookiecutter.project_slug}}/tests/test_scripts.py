"""What the scripts make for this machine: who can read it, and what it can be used for."""

# ruff: noqa: S603, S607 (the tests run the project's own scripts)

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509 import (
    BasicConstraints,
    Certificate,
    ExtendedKeyUsage,
    ExtensionNotFound,
    NameConstraints,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from config.project import BASE_DIR

SERVICES = ("aws", "cache", "postgres", "proxy", "app", "worker")
LEAVES = [*(f"{name}/tls" for name in SERVICES[:-1]), "proxy/client"]


def run(script: str, *arguments: str | Path, **variables: str) -> None:
    """Run a script where new files would be readable by everybody, and log how it ends."""
    subprocess.run(
        ["sh", BASE_DIR / script, *arguments],
        env={**os.environ, **variables},
        umask=0o000,
        check=True,
        capture_output=True,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with certificates, `.env`, and what is installed for each service."""
    folder = tmp_path_factory.mktemp("made")
    run("scripts/certs", folder / "certs")
    run("scripts/env", folder / ".env")
    install = "services/credentials/install"
    run(install, folder / "certs", folder / ".env", folder / "to", OWNERS="keep")
    return folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def certificate(made: Path, name: str) -> Certificate:
    return x509.load_pem_x509_certificate((made / "certs" / f"{name}.crt").read_bytes())


def values(file: Path) -> dict[str, str]:
    """The secrets of a `.env`."""
    return dict(re.findall(r"^(\w*(?:PASSWORD|SECRET_KEY))=(.*)", file.read_text(), re.M))


# .env ---------------------------------------------------------------------------------------


def test_the_file_of_secrets_is_for_its_owner_only(made: Path) -> None:
    assert mode(made / ".env") == 0o600


def test_secrets_are_long_and_never_the_same(made: Path, tmp_path: Path) -> None:
    run("scripts/env", tmp_path / ".env")
    one, other = values(made / ".env"), values(tmp_path / ".env")
    assert one.keys() == other.keys()
    assert len(one) == 5
    assert min(map(len, one.values())) >= 40
    assert len({*one.values(), *other.values()}) == 10


# Certificates ----------------------------------------------------------------------------


def test_keys_are_for_their_owner_only(made: Path) -> None:
    keys = list((made / "certs").rglob("*.key"))
    assert len(keys) == 1 + len(LEAVES)
    assert {mode(key) for key in keys} == {0o600}
    assert {mode(folder) for folder in (made / "certs", *(made / "certs").glob("*/"))} == {0o700}


def test_the_key_of_the_ca_is_in_one_place_only(made: Path) -> None:
    secret = (made / "certs" / "ca.key").read_bytes()
    assert [file for file in made.rglob("*") if file.is_file() and file.read_bytes() == secret] == [
        made / "certs" / "ca.key"
    ]


def test_the_key_of_the_ca_can_be_thrown_away(tmp_path: Path) -> None:
    run("scripts/certs", tmp_path, "proxy", "app", CA_KEY="discard")
    assert sorted(path.name for path in tmp_path.glob("*")) == ["app", "ca.crt", "proxy"]
    assert not list(tmp_path.rglob("ca.key"))


def test_the_ca_vouches_for_this_installation_only(made: Path) -> None:
    ca = certificate(made, "ca").extensions
    constraints = ca.get_extension_for_class(NameConstraints)
    assert constraints.critical
    permitted = {str(name.value) for name in constraints.value.permitted_subtrees or ()}
    assert permitted == {"localhost", "internal", "127.0.0.0/8", "::1/128"}
    basic = ca.get_extension_for_class(BasicConstraints)
    assert basic.critical
    assert basic.value == BasicConstraints(ca=True, path_length=0)


@pytest.mark.parametrize("name", LEAVES)
def test_a_leaf_signs_nothing_and_is_for_one_use(name: str, made: Path) -> None:
    leaf = certificate(made, name)
    assert leaf.extensions.get_extension_for_class(BasicConstraints).value.ca is False
    client = name == "proxy/client"
    use = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
    assert list(leaf.extensions.get_extension_for_class(ExtendedKeyUsage).value) == [use]
    with pytest.raises(ExtensionNotFound):
        leaf.extensions.get_extension_for_class(NameConstraints)
    # Mozilla's "modern" guideline: under 90 days.
    assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).days < 90


def test_every_certificate_has_a_key_of_its_own(made: Path) -> None:
    keys = [path.read_bytes() for path in (made / "certs").rglob("*.key")]
    assert len(set(keys)) == len(keys) == 1 + len(LEAVES)


# What each service gets -----------------------------------------------------------------


def test_each_service_gets_what_it_needs_and_nothing_else(made: Path) -> None:
    got = {
        str(path.relative_to(made / "to")) for path in (made / "to").rglob("*") if path.is_file()
    }
    pairs = {f"{name}/tls.{end}" for name in SERVICES[:-1] for end in ("key", "crt")}
    assert got == {
        *(f"{name}/ca.crt" for name in (*SERVICES, "seed", "release")),
        *pairs,
        *("proxy/client.key", "proxy/client.crt"),
        *("cache/users.acl", "postgres/password", "seed/seed.env"),
        *("release/migrator-password", "release/master-password"),
    }


def test_only_the_service_can_read_it(made: Path) -> None:
    files = [path for path in (made / "to").rglob("*") if path.is_file()]
    assert {mode(path) for path in files} == {0o400}
    assert {mode(path) for path in (made / "to").glob("*/")} == {0o500}


@pytest.mark.parametrize(
    ("name", "who"),
    [
        ("MIGRATOR_PASSWORD", {"release/migrator-password"}),
        ("POSTGRES_PASSWORD", {"release/master-password", "postgres/password"}),
        ("SEED_DATABASE_PASSWORD", {"seed/seed.env"}),
    ],
)
def test_a_password_of_the_database_is_for_whom_it_is_for(
    made: Path, name: str, who: set[str]
) -> None:
    """The migrator's and the superuser's also get into no store: the seed lacks them."""
    secret = values(made / ".env")[name]
    files = [path for path in (made / "to").rglob("*") if path.is_file()]
    assert {str(f.relative_to(made / "to")) for f in files if secret in f.read_text()} == who


def test_an_env_of_before_says_what_to_do(made: Path, tmp_path: Path) -> None:
    old = (made / ".env").read_text().replace("MIGRATOR_PASSWORD", "SOMETHING_ELSE")
    (tmp_path / ".env").write_text(old)
    install = "services/credentials/install"
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run(install, made / "certs", tmp_path / ".env", tmp_path / "to", OWNERS="keep")
    assert b".env has no MIGRATOR_PASSWORD; delete the file. Run: make certs" in caught.value.stderr


def test_nobody_uses_the_cache_without_a_password(made: Path) -> None:
    default, app = (made / "to/cache/users.acl").read_text().splitlines()
    assert default == "user default off"
    assert re.match(r"user app on #[0-9a-f]{64} ", app)
    assert "nopass" not in app
    assert values(made / ".env")["SEED_CACHE_PASSWORD"] not in app
    assert " -@admin -@dangerous " in app
