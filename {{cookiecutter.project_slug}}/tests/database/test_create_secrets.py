"""The first secrets of an environment are made in it, and never shown or replaced."""

import runpy
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from config.project import BASE_DIR
from tests.secrets.parameter_store import ParameterStore

NAMES = ("SECRET_KEY", "DATABASE_PASSWORD", "release/DATABASE_PASSWORD")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> ParameterStore:
    made = ParameterStore()
    monkeypatch.setattr(boto3, "client", lambda *_, **__: made.client)
    monkeypatch.setenv("ENVIRONMENT", "staging")
    monkeypatch.setenv("KMS_KEY", "alias/of-the-tests")
    return made


def run() -> dict[str, Any]:
    return runpy.run_path(str(BASE_DIR / "scripts" / "create_secrets.py"), run_name="__main__")


def test_what_is_missing_is_made(store: ParameterStore, capsys: pytest.CaptureFixture[str]) -> None:
    slug = run()["PROJECT"]["slug"]
    assert list(store.values) == [f"/{slug}/staging/{name}" for name in NAMES]
    assert {request["Type"] for request in store.writes} == {"SecureString"}
    assert {request["KeyId"] for request in store.writes} == {"alias/of-the-tests"}
    assert [len(value) for value in store.values.values()] == [64, 40, 40]
    assert len(set(store.values.values())) == 3
    output = capsys.readouterr()
    assert "release/DATABASE_PASSWORD" in output.out
    assert not any(value in output.out + output.err for value in store.values.values())


def test_what_exists_is_kept(store: ParameterStore, capsys: pytest.CaptureFixture[str]) -> None:
    run()
    before = dict(store.values)
    name = next(iter(store.values))
    before[name] = store.values[name] = "rotated-since"
    run()
    assert store.values == before
    assert len(store.writes) == 3
    assert "all exist" in capsys.readouterr().out


def test_a_store_that_refuses_stops_the_release(
    store: ParameterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "PutParameter")

    monkeypatch.setattr(store.client, "put_parameter", refuse)
    with pytest.raises(SystemExit, match=r"AccessDenied.*ssm:PutParameter"):
        run()


def test_a_store_without_tls_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVIRONMENT", "staging")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:1")
    with pytest.raises(SystemExit, match="is not https"):
        run()
