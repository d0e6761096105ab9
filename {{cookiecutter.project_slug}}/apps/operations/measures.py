"""What the alarms of an environment watch, beside what AWS measures by itself.

Each measure asks the running system and returns one number, or raises whatever the
system raises.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from django.conf import settings
from django.db.models import Min
from django.utils import timezone
from django_tasks_db.models import DBTaskResult, get_date_max

from apps.encryption import hops, probes
from apps.keys.keyring import Purpose, key_store
from apps.secrets.aws import aws_client
from apps.secrets.ssm import parameters_by_path, ssm_client

_DAY = 24 * 60 * 60


def tasks_waiting() -> float:
    """Background tasks that are due and that no worker has taken."""
    return DBTaskResult.objects.ready().count()


def oldest_task_seconds() -> float:
    """How long the oldest of them has been due; 0 if there is none."""
    ready = DBTaskResult.objects.ready()
    # A task without a time of its own has been due since it was enqueued.
    at_once = ready.filter(run_after=get_date_max()).aggregate(at=Min("enqueued_at"))["at"]
    planned = ready.exclude(run_after=get_date_max()).aggregate(at=Min("run_after"))["at"]
    due = [at for at in (at_once, planned) if at]
    return max(0.0, (timezone.now() - min(due)).total_seconds()) if due else 0


def secret_age_days() -> float:
    """Age of the secret that has been replaced longest ago.

    That is one in Parameter Store or, where CACHE_LOGIN_ARN is set, the cache's password.
    Data keys have a measure of their own: their parameters are also written when nothing is
    replaced. Asks for no value: GetParametersByPath gives the dates without decrypting.
    Raises `LookupError` if there is no secret, `BotoCoreError` or `ClientError`.

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParametersByPath.html
    """
    prefix = settings.SECRETS_PREFIX
    written = [
        parameter["LastModifiedDate"]
        for parameter in parameters_by_path(
            ssm_client(), Path=prefix, Recursive=True, WithDecryption=False
        )
        if not parameter["Name"].startswith(f"{prefix}keys/")
    ]
    if not written:
        raise LookupError(f"There is no secret below {prefix}.")
    if settings.CACHE_LOGIN_ARN:
        written.append(_cache_password_made())
    return _days_since(min(written))


def _cache_password_made() -> datetime:
    """When the current version was made; the secret's own date changes with its description.

    Only versions with a label are listed, which are few.
    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_ListSecretVersionIds.html
    """
    client = aws_client("secretsmanager", verify=None, endpoint_url=None)
    versions = client.list_secret_version_ids(SecretId=settings.CACHE_LOGIN_ARN)["Versions"]
    made: datetime = next(
        version["CreatedDate"] for version in versions if "AWSCURRENT" in version["VersionStages"]
    )
    return made


def data_key_age_days() -> float:
    """Age of the oldest key that still encrypts; retired keys do not count.

    Raises `LookupError` if a keyring is missing, `KeyStoreError` if it cannot be read.
    """
    return max(_days_since(_active_since(purpose)) for purpose in Purpose)


def _active_since(purpose: Purpose) -> datetime:
    ring = key_store().read(purpose)
    if ring is None:
        raise LookupError(f"There is no {purpose} keyring.")
    created = next(key.created for key in ring.keys if key.id == ring.active)
    return datetime.fromisoformat(created)


def encryption_failures() -> float:
    """Hops and stores of this process that fall short, as `verify_encryption` counts them.

    Raises `LookupError` if there is none to probe: that proves nothing.
    """
    results = list(probes.run(hops.load(), settings.ROLE))
    if not results:
        raise LookupError(f"The role {settings.ROLE!r} has no hop in encryption.toml.")
    return sum(not result.ok for result in results)


def _days_since(then: datetime) -> float:
    return (datetime.now(UTC) - then).total_seconds() / _DAY


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A metric's name and unit, and the function that measures it.

    Units: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html
    """

    name: str
    unit: str
    take: Callable[[], float]


MEASURES = (
    Measure(name="TasksWaiting", unit="Count", take=tasks_waiting),
    Measure(name="OldestTaskSeconds", unit="Seconds", take=oldest_task_seconds),
    Measure(name="SecretAgeDays", unit="None", take=secret_age_days),
    Measure(name="DataKeyAgeDays", unit="None", take=data_key_age_days),
    Measure(name="EncryptionFailures", unit="Count", take=encryption_failures),
)
