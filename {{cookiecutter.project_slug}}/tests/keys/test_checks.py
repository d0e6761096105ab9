"""A process whose keys cannot be used does not start."""

from dataclasses import replace

import pytest
from django.core.checks import CheckMessage, run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from pytest_django import Settings

from apps.encryption.checks import TAG
from apps.keys import checks
from apps.keys.keyring import Purpose, forget, keyring
from tests.keys.stores import FailingStore

OWN = "tests.keys.stores.FailingStore"


@pytest.fixture
def kms(store: FailingStore, monkeypatch: pytest.MonkeyPatch) -> FailingStore:
    """The store in the place of the one on KMS."""
    monkeypatch.setattr(checks, "AWS_KEY_STORE", OWN)
    return store


def found() -> list[CheckMessage]:
    own = {"encryption.E020", "encryption.E021"}
    return [message for message in run_checks(tags=[TAG]) if message.id in own]


def test_good_keys_are_no_error(kms: FailingStore) -> None:
    assert found() == []


@pytest.mark.parametrize("store_name", [OWN, "apps.keys.memory.MemoryKeyStore", ""])
def test_another_store_than_that_on_kms_is_found(
    store_name: str, store: FailingStore, settings: Settings
) -> None:
    settings.KEY_STORE = store_name
    (error,) = found()
    assert error.id == "encryption.E020"
    assert repr(store_name) in error.msg
    assert error.hint == "Set it to 'apps.keys.aws.AWSKeyStore'."
    assert error.is_serious()
    assert store.reads == []


def test_the_store_on_kms_is_the_right_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.KEY_STORE = "apps.keys.aws.AWSKeyStore"
    monkeypatch.setattr(checks, "keyring", lambda _purpose: None)
    assert found() == []


@pytest.mark.parametrize("lost", [[*Purpose], *([purpose] for purpose in Purpose)], ids=str)
def test_each_purpose_without_a_key_is_named_once(lost: list[Purpose], kms: FailingStore) -> None:
    for purpose in lost:
        del kms.rings[purpose]
    errors = found()
    assert [error.id for error in errors] == ["encryption.E021"] * len(lost)
    for purpose, error in zip(lost, errors, strict=True):
        assert error.msg.startswith(f"The {purpose} keys cannot be used: There is no {purpose} ")
        assert "manage.py create_keys" in error.msg
        assert error.hint


def test_a_store_that_fails_is_found(kms: FailingStore) -> None:
    kms.fails = True
    assert len(found()) == len(Purpose)


def test_a_wrong_key_is_found(kms: FailingStore) -> None:
    ring, other = kms.rings[Purpose.FIELDS], kms.rings[Purpose.INDEX]
    wrong = replace(ring.keys[0], wrapped=other.keys[0].wrapped)
    kms.rings[Purpose.FIELDS] = replace(ring, keys=(wrong,))
    (error,) = found()
    assert f"another key than the fields key {ring.active}" in error.msg


def test_no_setting_silences_them(kms: FailingStore, settings: Settings) -> None:
    settings.SILENCED_SYSTEM_CHECKS = ["encryption.E020", "encryption.E021"]
    kms.fails = True
    with pytest.raises(SystemCheckError, match=r"encryption\.E021"):
        call_command("check", "--tag", TAG)
    kms.fails = False
    settings.KEY_STORE = "apps.keys.memory.MemoryKeyStore"
    with pytest.raises(SystemCheckError, match=r"encryption\.E020"):
        call_command("check", "--tag", TAG)


def test_what_is_checked_is_what_is_used(kms: FailingStore) -> None:
    """The keys are unwrapped before the first request."""
    found()
    kms.fails = True
    assert [keyring(purpose).active.id.hex() for purpose in Purpose] == [
        kms.rings[purpose].active for purpose in Purpose
    ]
    forget()
    assert len(found()) == len(Purpose)
