"""The system check that the keys can be used. It runs at start, so a task without keys
does not begin to serve."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, register

from apps.encryption.checks import TAG, encryption_error
from apps.keys.errors import DataKeyError
from apps.keys.keyring import Purpose, keyring

AWS_KEY_STORE = "apps.keys.aws.AWSKeyStore"


def _errors() -> Iterator[CheckMessage]:
    if settings.KEY_STORE != AWS_KEY_STORE:
        yield encryption_error(
            20,
            f"KEY_STORE is {settings.KEY_STORE!r}: its keys are not wrapped by KMS.",
            f"Set it to {AWS_KEY_STORE!r}.",
        )
        return
    for purpose in Purpose:
        try:
            keyring(purpose)
        except DataKeyError as error:
            yield encryption_error(
                21, f"The {purpose} keys cannot be used: {error}", "See docs/fields.md, Keys."
            )


@register(TAG)
def check_keys(app_configs: Sequence[AppConfig] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Find out whether every purpose has a key that KMS unwraps."""
    return list(_errors())
