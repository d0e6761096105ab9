"""SECRET_KEY as it is stored while it rotates.

Django signs with SECRET_KEY and verifies with SECRET_KEY_FALLBACKS too:
https://docs.djangoproject.com/en/6.1/ref/settings/#secret-key-fallbacks

During a rotation the parameter SECRET_KEY_FALLBACKS holds both keys, so that each
step is one write of one parameter. A process that reads one parameter before the
write and the other after it still has both keys, and no moment has lost one:

    after      SECRET_KEY    SECRET_KEY_FALLBACKS
    (before)   old           none, or []
    prepare    old           [old, new]
    switch     new           [old, new]
    finish     new           []
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

KEY, FALLBACKS = "SECRET_KEY", "SECRET_KEY_FALLBACKS"


class Stage(Enum):
    """Where a rotation stands."""

    IDLE = auto()
    PREPARED = auto()
    SWITCHED = auto()


def fallback_keys(secrets: Mapping[str, str]) -> list[str]:
    """Return the keys that are accepted besides SECRET_KEY: the setting of that name.

    The secret is a JSON list of strings, or absent. Raises `ImproperlyConfigured`,
    which never shows it, if it is anything else.
    """
    try:
        accepted = json.loads(secrets.get(FALLBACKS, "[]"))
    except ValueError:
        accepted = None
    # Not raised above: the error there holds the text.
    if not isinstance(accepted, list) or not all(isinstance(key, str) for key in accepted):
        raise ImproperlyConfigured(
            f"The secret {FALLBACKS} is not a JSON list of strings. Put back its last version "
            "(aws ssm get-parameter-history), or [] if no rotation of SECRET_KEY is under way."
        )
    return [key for key in accepted if key != secrets[KEY]]


@dataclass(frozen=True, repr=False)
class StoredKeys:
    """Both parameters, and when SECRET_KEY was last written, by the store's clock."""

    secret_key: str
    fallbacks: list[str]
    stage: Stage
    written_at: datetime


def read(client: "SSMClient") -> StoredKeys:
    """Return what is stored.

    Raises `ImproperlyConfigured` if SECRET_KEY is missing or the two do not belong
    together, `BotoCoreError` or `ClientError` if the store cannot be read.
    """
    prefix = settings.SECRETS_PREFIX
    answer = client.get_parameters(Names=[prefix + KEY, prefix + FALLBACKS], WithDecryption=True)
    found = {item["Name"].removeprefix(prefix): item for item in answer["Parameters"]}
    if KEY not in found:
        raise ImproperlyConfigured(
            f"There is no parameter {prefix}{KEY}. A key that is kept elsewhere "
            "is rotated there: see 'Rotate SECRET_KEY' in docs/operations.md."
        )
    values = {name: item["Value"] for name, item in found.items()}
    fallbacks = fallback_keys(values)
    match json.loads(values.get(FALLBACKS, "[]")):
        case []:
            stage = Stage.IDLE
        case [old, _] if fallbacks and old == values[KEY]:
            stage = Stage.PREPARED
        case [_, new] if fallbacks and new == values[KEY]:
            stage = Stage.SWITCHED
        case _:
            raise ImproperlyConfigured(
                f"{prefix}{FALLBACKS} is not of the same rotation as {prefix}{KEY}: one of them "
                "was changed by hand. Put back its last version (aws ssm get-parameter-history)."
            )
    return StoredKeys(values[KEY], fallbacks, stage, found[KEY]["LastModifiedDate"])
