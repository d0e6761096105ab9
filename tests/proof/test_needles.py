"""What the search for secrets finds, in every spelling, and what it leaves alone."""

import base64
import os
import subprocess
from pathlib import Path

import pytest
from needles import Needles, aws_keys, of_project, private_key, private_keys, spellings

SECRET = b"3j9x0q8w7e6r5t4y3u2i1o0p9a8s7d6f5g4h"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private key in PEM form, as scripts/certs makes them."""
    path = tmp_path_factory.mktemp("key") / "tls.key"
    make = ("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    subprocess.run([*make, "-out", path], check=True, capture_output=True)
    return path


@pytest.mark.parametrize("before", range(4))
def test_a_value_is_found_in_every_spelling(before: int) -> None:
    needles = Needles({"secret": spellings(SECRET)})
    text = b"x" * before + SECRET + b", and more"
    for spelt in (
        text,
        text.hex().encode(),
        text.hex().upper().encode(),
        base64.b64encode(text),
        base64.urlsafe_b64encode(text),
    ):
        assert needles.found(os.urandom(99) + spelt + os.urandom(99)) == {"secret"}


def test_another_value_is_not_found() -> None:
    needles = Needles({"secret": spellings(SECRET)})
    assert needles.found(base64.b64encode(SECRET[::-1]) + os.urandom(100_000)) == set()


def test_a_value_that_might_be_met_by_chance_is_refused() -> None:
    with pytest.raises(ValueError, match="short: a search needs 16 bytes"):
        Needles({"short": {b"local"}})
    with pytest.raises(ValueError, match="none: a search needs 16 bytes"):
        Needles({"none": set()})


def test_a_place_is_within_the_part_that_is_searched() -> None:
    needles = Needles({"secret": {SECRET}})
    data = b"-" * 10 + SECRET + b"-" * 10
    assert list(needles.at(data)) == [("secret", 10)]
    assert list(needles.at(data, 11)) == []
    assert list(needles.at(data, 0, len(data) - 11)) == []


@pytest.mark.parametrize("form", ["PEM", "DER", "text", "PKCS8 in base64", "SEC1"])
def test_a_private_key_is_found_in_every_form(form: str, key: Path) -> None:
    options = {
        "PEM": ("pkey",),
        "DER": ("pkey", "-outform", "DER"),
        "text": ("pkey", "-noout", "-text"),
        "PKCS8 in base64": ("pkey", "-outform", "DER"),
        "SEC1": ("ec",),
    }[form]
    command = ("openssl", *options, "-in", str(key))
    data = subprocess.run(command, check=True, capture_output=True).stdout
    if form == "PKCS8 in base64":
        data = base64.b64encode(b"somewhere in a file: " + data)
    if form == "text":  # hexadecimal, with colons and on several lines
        data = b"".join(data.split()).replace(b":", b"")
    assert Needles({"key": private_key(key.read_bytes())}).found(data) == {"key"}


def test_a_file_without_a_key_is_refused(key: Path) -> None:
    public = ("openssl", "pkey", "-in", key, "-pubout")
    data = subprocess.run(public, check=True, capture_output=True).stdout
    with pytest.raises(ValueError, match="no private key"):
        private_key(data)
    assert Needles({"key": private_key(key.read_bytes())}).found(data) == set()


def test_whole_private_keys_are_found_and_mentions_are_not(key: Path) -> None:
    pem = key.read_bytes()
    mention = b"begins with -----BEGIN PRIVATE KEY----- and -----BEGIN CERTIFICATE-----\n"
    assert list(private_keys(mention + pem + mention)) == [len(mention)]
    assert list(private_keys(mention + pem, 0, len(mention))) == []


def test_aws_keys_are_found_and_examples_are_not() -> None:
    real = b"AKIA" + b"Q7" * 8
    data = b"key=%s;AKIAIOSFODNN7EXAMPLE;X%s;%sX" % (real, real, real)
    assert list(aws_keys(data)) == [4]


def test_a_project_s_secrets_are_read(project: Path) -> None:
    needles = of_project(project)
    authority = project / ".local" / "certs" / "ca.key"
    assert needles.found(authority.read_bytes()) == {"ca.key"}
    in_env = needles.found((project / ".env").read_bytes())
    assert in_env == {
        *("SEED_SECRET_KEY", "SEED_DATABASE_PASSWORD", "SEED_CACHE_PASSWORD"),
        *("MIGRATOR_PASSWORD", "POSTGRES_PASSWORD"),
    }
    assert len(needles) > len(in_env) + 1
