"""`manage.py report_metrics`: what CloudWatch gets to see, and what it must not."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber
from django.conf import settings
from django.core.management import CommandError, call_command, get_commands
from django.utils import timezone
from django_tasks_db.models import DBTaskResult, get_date_max

from apps.encryption import hops, probes
from apps.encryption.probes import Proof, Result
from apps.keys.errors import KeyStoreError
from apps.keys.keyring import Purpose, key_store
from apps.keys.store import StoredRing
from apps.operations import emf, measures
from apps.operations.management.commands import report_metrics
from apps.operations.measures import MEASURES, Measure
from config import schedule
from tests.secrets.parameter_store import ParameterStore

PREFIX = settings.SECRETS_PREFIX
DAY = timedelta(days=1)


class Parameters(ParameterStore):
    """Parameter Store that lists what is below a path, and counts who asks for values."""

    def write(self, name: str, *, age: timedelta) -> None:
        self.values[PREFIX + name] = "a secret value"
        self.written_at[PREFIX + name] = datetime.now(UTC) - age

    def GetParametersByPath(  # noqa: N802
        self,
        Path: str,  # noqa: N803
        Recursive: bool,  # noqa: N803
        WithDecryption: bool,  # noqa: N803
        NextToken: str = "0",  # noqa: N803
    ) -> tuple[int, dict[str, Any]]:
        """Answer with a page of one, as AWS may."""
        assert Path == PREFIX
        assert Recursive
        assert not WithDecryption, "the role must need no kms:Decrypt for this"
        names = sorted(self.values)
        page = int(NextToken)
        found = [
            {"Name": name, "LastModifiedDate": self.written_at[name]}
            for name in names[page : page + 1]
        ]
        more = {"NextToken": str(page + 1)} if page + 1 < len(names) else {}
        return 200, {"Parameters": found, **more}


@pytest.fixture
def parameters(monkeypatch: pytest.MonkeyPatch) -> Parameters:
    store = Parameters()
    monkeypatch.setattr(measures, "ssm_client", lambda: store.client)
    return store


@pytest.fixture
def keyrings() -> Iterator[dict[str, StoredRing]]:
    """The keyrings of the in-memory key store; left as they were."""
    rings = key_store().rings  # type: ignore[attr-defined]
    before = dict(rings)
    yield rings
    rings.clear()
    rings.update(before)


def task(*, enqueued: timedelta, run_after: timedelta | None = None, **values: Any) -> None:
    """A task enqueued `enqueued` ago, due `run_after` ago (None: at once)."""
    now = timezone.now()
    due = get_date_max() if run_after is None else now - run_after
    made = DBTaskResult.objects.create(
        args_kwargs={}, task_path="unused", backend_name="default", run_after=due, **values
    )
    DBTaskResult.objects.filter(pk=made.pk).update(enqueued_at=now - enqueued)


def probed(*holds: bool) -> list[Result]:
    hop = hops.load().hops[0]
    results = [Result(item=replace(hop, name=f"hop-{n}")) for n in range(len(holds))]
    for result, held in zip(results, holds, strict=True):
        result.proofs.append(Proof(claim="Plaintext is refused", holds=held))
    return results


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Result]], None]:
    """Let the probes find these results."""

    def set_to(these: list[Result]) -> None:
        def run(_listed: hops.EncryptionList, role: str) -> Iterator[Result]:
            assert role == settings.ROLE
            yield from these

        monkeypatch.setattr(probes, "run", run)

    return set_to


# Background tasks -----------------------------------------------------------------


@pytest.mark.django_db
def test_no_task_waits() -> None:
    assert (measures.tasks_waiting(), measures.oldest_task_seconds()) == (0, 0)


@pytest.mark.django_db
def test_a_task_waits_from_when_it_is_due() -> None:
    task(enqueued=timedelta(seconds=40))
    task(enqueued=timedelta(days=9), run_after=timedelta(seconds=90))
    assert measures.tasks_waiting() == 2
    assert measures.oldest_task_seconds() == pytest.approx(90, abs=5)
    task(enqueued=timedelta(seconds=200))
    assert measures.oldest_task_seconds() == pytest.approx(200, abs=5)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "values",
    [
        {"status": "RUNNING"},
        {"status": "SUCCESSFUL"},
        {"status": "FAILED"},
        {"run_after": -timedelta(hours=1)},
    ],
)
def test_what_a_worker_could_not_take_does_not_wait(values: dict[str, Any]) -> None:
    task(enqueued=DAY, **values)
    assert (measures.tasks_waiting(), measures.oldest_task_seconds()) == (0, 0)


# Secrets and data keys ------------------------------------------------------------


def test_the_oldest_secret_counts(parameters: Parameters) -> None:
    parameters.write("SECRET_KEY", age=2 * DAY)
    parameters.write("release/DATABASE_PASSWORD", age=100 * DAY)
    parameters.write("DATABASE_PASSWORD", age=30 * DAY)
    assert measures.secret_age_days() == pytest.approx(100, abs=0.01)


def test_keyrings_and_retired_keys_are_no_secrets_that_are_replaced(parameters: Parameters) -> None:
    parameters.write("SECRET_KEY", age=2 * DAY)
    parameters.write("keys/fields", age=400 * DAY)
    parameters.write("keys/fields/retired/1a2b3c4d", age=800 * DAY)
    assert measures.secret_age_days() == pytest.approx(2, abs=0.01)


def test_no_secret_at_all_is_an_error_and_not_young(parameters: Parameters) -> None:
    parameters.write("keys/fields", age=DAY)
    with pytest.raises(LookupError, match=f"no secret below {PREFIX}"):
        measures.secret_age_days()


def test_the_cache_password_counts_from_when_it_was_made(
    parameters: Parameters, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """A new one that is still pending, or an old one, says nothing."""
    client: Any = boto3.client(
        "secretsmanager",
        region_name="eu-central-1",
        aws_access_key_id="t",
        aws_secret_access_key="t",
    )
    ages = {"AWSPENDING": 1, "AWSCURRENT": 95, "AWSPREVIOUS": 200}
    versions = [
        {
            "VersionId": str(days).zfill(32),
            "VersionStages": [stage],
            "CreatedDate": datetime.now(UTC) - days * DAY,
        }
        for stage, days in ages.items()
    ]
    monkeypatch.setattr(
        measures, "aws_client", lambda service, **_: {"secretsmanager": client}[service]
    )
    parameters.write("SECRET_KEY", age=2 * DAY)
    assert measures.secret_age_days() == pytest.approx(2, abs=0.01), "not asked for elsewhere"

    settings.CACHE_LOGIN_ARN = "arn:of-the-password"
    with Stubber(client) as stubber:
        stubber.add_response(
            "list_secret_version_ids", {"Versions": versions}, {"SecretId": "arn:of-the-password"}
        )
        assert measures.secret_age_days() == pytest.approx(95, abs=0.01)


def test_an_age_that_secrets_manager_does_not_tell_is_an_error_and_not_young(
    parameters: Parameters, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise EndpointConnectionError(endpoint_url="x")

    monkeypatch.setattr(measures, "aws_client", away)
    settings.CACHE_LOGIN_ARN = "arn:of-the-password"
    parameters.write("SECRET_KEY", age=2 * DAY)
    with pytest.raises(EndpointConnectionError):
        measures.secret_age_days()


def _aged(ring: StoredRing, age: timedelta) -> StoredRing:
    created = (datetime.now(UTC) - age).isoformat(timespec="seconds")
    return replace(ring, keys=tuple(replace(key, created=created) for key in ring.keys))


def test_the_oldest_active_data_key_counts(keyrings: dict[str, StoredRing]) -> None:
    assert measures.data_key_age_days() < 1
    keyrings[Purpose.INDEX] = _aged(keyrings[Purpose.INDEX], 50 * DAY)
    assert measures.data_key_age_days() == pytest.approx(50, abs=0.01)


def test_a_key_that_only_decrypts_does_not_count(keyrings: dict[str, StoredRing]) -> None:
    ring = keyrings[Purpose.FIELDS]
    old = replace(_aged(ring, 300 * DAY).keys[0], id="0badc0de")
    keyrings[Purpose.FIELDS] = replace(ring, keys=(old, *ring.keys))
    assert measures.data_key_age_days() < 1


def test_a_missing_keyring_is_an_error(keyrings: dict[str, StoredRing]) -> None:
    del keyrings[Purpose.FILES]
    with pytest.raises(LookupError, match="no files keyring"):
        measures.data_key_age_days()


# Encryption -----------------------------------------------------------------------

Found = Callable[[list[Result]], None]


def test_hops_that_fall_short_are_counted(found: Found) -> None:
    found(probed(True, True))
    assert measures.encryption_failures() == 0
    found(probed(True, False, False))
    assert measures.encryption_failures() == 2


def test_a_result_without_a_proof_falls_short(found: Found) -> None:
    result = probed(True)[0]
    result.proofs.clear()
    found([result])
    assert measures.encryption_failures() == 1


def test_nothing_to_probe_is_an_error_and_not_zero_failures(found: Found) -> None:
    found([])
    with pytest.raises(LookupError, match="has no hop"):
        measures.encryption_failures()


# What CloudWatch reads --------------------------------------------------------------


def _measured(name: str, value: float) -> Measure:
    return Measure(name=name, unit="Count", take=lambda: value)


def _failing(name: str, error: Exception) -> Measure:
    def take() -> float:
        raise error

    return Measure(name=name, unit="Count", take=take)


def _report(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *taken: Measure
) -> dict[str, Any]:
    monkeypatch.setattr(report_metrics, "MEASURES", taken)
    call_command("report_metrics")
    out = capfd.readouterr().out
    document: dict[str, Any] = json.loads(out)
    assert out == json.dumps(document) + "\n", "one line, nothing around it"
    return document


def test_it_prints_one_line_of_the_format(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    before = datetime.now(UTC).timestamp() * 1000
    document = _report(monkeypatch, capfd, _measured("A", 3), _measured("B", 1.5))
    head = document.pop("_aws")
    assert document == {"Environment": settings.ENVIRONMENT, "A": 3, "B": 1.5}
    assert before - 1 <= head.pop("Timestamp") <= datetime.now(UTC).timestamp() * 1000
    assert head == {
        "CloudWatchMetrics": [
            {
                "Namespace": settings.PROJECT.slug,
                "Dimensions": [["Environment"]],
                "Metrics": [{"Name": "A", "Unit": "Count"}, {"Name": "B", "Unit": "Count"}],
            }
        ]
    }


@pytest.mark.parametrize(
    "error", [KeyStoreError("away"), EndpointConnectionError(endpoint_url="x")]
)
def test_a_measure_that_fails_is_left_out_and_logged_and_loses_no_other(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    taken = (_measured("Before", 1), _failing("Broken", error), _measured("After", 2))
    document = _report(monkeypatch, capfd, *taken)
    assert (document["Before"], document["After"]) == (1, 2)
    assert "Broken" not in json.dumps(document), "not even as 0: missing data is the alarm"
    assert "metric_not_measured" in caplog.text
    assert "Broken" in caplog.text


def test_it_fails_if_nothing_could_be_measured(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report_metrics, "MEASURES", (_failing("A", OSError("away")),))
    with pytest.raises(CommandError, match="Nothing could be measured"):
        call_command("report_metrics")
    assert "_aws" not in capfd.readouterr().out


def test_a_value_that_json_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        emf.line("n", {"E": "e"}, {"A": float("nan")}, {"A": "Count"}, at=timezone.now())


@pytest.mark.django_db
def test_all_measures_together_show_no_secret(
    parameters: Parameters, found: Found, capfd: pytest.CaptureFixture[str]
) -> None:
    parameters.write("SECRET_KEY", age=DAY)
    found(probed(True))
    call_command("report_metrics")
    out = capfd.readouterr().out
    assert json.loads(out).keys() == {
        "_aws",
        "Environment",
        *(measure.name for measure in MEASURES),
    }
    assert "a secret value" not in out


def test_it_is_run_on_aws_and_not_on_a_laptop() -> None:
    assert "report_metrics" not in settings.SCHEDULE
    assert "report_metrics" in schedule.ON_AWS
    assert schedule.ON_AWS.keys() <= get_commands().keys()
