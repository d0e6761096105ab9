"""The local store keeps the SECRET_KEY that it has, and follows `.env` in all else."""

import runpy
from typing import Any

import boto3
import pytest

from config.project import BASE_DIR
from tests.secrets.parameter_store import ParameterStore

ALIAS = "alias/shop-local"
FIRST = {"SECRET_KEY": "first", "DATABASE_PASSWORD": "first", "CACHE_PASSWORD": "first"}
SECOND = dict.fromkeys(FIRST, "second")


def test_a_rotated_secret_key_survives_the_next_start(monkeypatch: pytest.MonkeyPatch) -> None:
    store = ParameterStore()
    monkeypatch.setattr(boto3, "client", lambda *_arguments, **_options: store.client)
    seed: dict[str, Any] = runpy.run_path(str(BASE_DIR / "scripts" / "seed_local.py"))
    seed["put_secrets"](FIRST, "/shop/local/", ALIAS, "eu-central-1")
    assert store.values == {f"/shop/local/{name}": "first" for name in FIRST}
    store.values["/shop/local/SECRET_KEY"] = "rotated"
    seed["put_secrets"](SECOND, "/shop/local/", ALIAS, "eu-central-1")
    assert store.values == {
        "/shop/local/SECRET_KEY": "rotated",
        "/shop/local/DATABASE_PASSWORD": "second",
        "/shop/local/CACHE_PASSWORD": "second",
    }
    assert {write["KeyId"] for write in store.writes} == {ALIAS}
    assert {write["Type"] for write in store.writes} == {"SecureString"}
