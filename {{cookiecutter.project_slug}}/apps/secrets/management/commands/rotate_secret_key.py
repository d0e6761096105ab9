"""`manage.py rotate_secret_key`: a new SECRET_KEY, and nobody is logged out."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.crypto import get_random_string

from apps.secrets import secret_key
from apps.secrets.secret_key import FALLBACKS, KEY, Stage, StoredKeys
from apps.secrets.ssm import put_secret, ssm_client

# Each step leads from one stage to another.
STEPS = {
    "prepare": (Stage.IDLE, Stage.PREPARED),
    "switch": (Stage.PREPARED, Stage.SWITCHED),
    "finish": (Stage.SWITCHED, Stage.IDLE),
}
# Processes from before the switch sign with the old key until they have been replaced.
REPLACED_WITHIN = timedelta(days=1)


class Command(BaseCommand):
    """Three steps; after each one every process is restarted.

    A process treats a session that it cannot verify as empty, so every process must
    accept the new key before the first one signs with it. A step that has been made is
    not made again: any call may be repeated, also one that was killed.
    """

    help = "Rotates SECRET_KEY step by step; without a step, says which one is next."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("step", nargs="?", choices=STEPS)
        parser.add_argument(
            "--early",
            action="store_true",
            help="finish now, and end the sessions that were last saved before the switch",
        )

    def handle(self, *, step: str | None, early: bool, **_options: Any) -> None:
        try:
            client = ssm_client()
            keys = secret_key.read(client)
            stage, switched_at = keys.stage, keys.written_at
            if step and stage is not STEPS[step][1]:
                name, value = next_write(step, keys, early=early)
                put_secret(client, settings.SECRETS_PREFIX + name, value)
                stage, switched_at = STEPS[step][1], timezone.now()
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        except (BotoCoreError, ClientError) as error:
            raise CommandError(
                f"The parameter store failed: {error} Check that it is reachable, and that this "
                f"role may call ssm:GetParameters and ssm:PutParameter on {KEY} and {FALLBACKS} "
                f"below {settings.SECRETS_PREFIX} and may use {settings.KMS_KEY}. Then repeat this."
            ) from error
        self.stdout.write(advice(stage, switched_at))


def next_write(step: str, keys: StoredKeys, *, early: bool) -> tuple[str, str]:
    """Return the name and the value of the parameter that `step` writes.

    Raises `CommandError` if it is not the next step, or not yet its time.
    """
    if keys.stage is not STEPS[step][0]:
        raise CommandError(f"'{step}' is not next. {advice(keys.stage, keys.written_at)}")
    if (keys.secret_key, keys.fallbacks) != (settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS):
        raise CommandError(
            f"This process has another {KEY} or {FALLBACKS} than is stored below "
            f"{settings.SECRETS_PREFIX}. If they are injected as environment variables, "
            "inject the stored ones and restart every process, this one too."
        )
    match step:
        case "prepare":
            return FALLBACKS, json.dumps([keys.secret_key, get_random_string(64)])
        case "switch":
            return KEY, keys.fallbacks[0]
        case _:
            if not early and timezone.now() < may_finish_at(keys.written_at):
                raise CommandError(f"Too early. {advice(keys.stage, keys.written_at)}")
            return FALLBACKS, "[]"


def may_finish_at(switched_at: datetime) -> datetime:
    """Return when nothing is valid any more that the old key has signed."""
    longest = max(settings.SESSION_COOKIE_AGE, settings.PASSWORD_RESET_TIMEOUT)
    return switched_at + timedelta(seconds=longest) + REPLACED_WITHIN


def advice(stage: Stage, switched_at: datetime) -> str:
    """Say where the rotation stands and what to do next."""
    match stage:
        case Stage.IDLE:
            return (
                "No rotation is under way. After 'finish' restart every process: those from "
                "before still accept the old key. To rotate again: rotate_secret_key prepare"
            )
        case Stage.PREPARED:
            return (
                "Prepared: a process that starts now accepts the new key too. Restart every "
                "process; when no older one is left: rotate_secret_key switch"
            )
        case Stage.SWITCHED:
            return (
                "Switched: a process that starts now signs with the new key and accepts the old "
                f"one too. Restart every process, within a day; after "
                f"{may_finish_at(switched_at).astimezone(UTC):%Y-%m-%d %H:%M} UTC: "
                "rotate_secret_key finish"
            )
