"""System checks of what limits guessing."""

from typing import Any

from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.core.checks import Error, Tags, register
from django.utils.module_loading import import_string

from apps.users.backends import ThrottledBackend


@register(Tags.security)
def check_throttle(**_options: Any) -> list[Error]:
    """Every backend that looks at passwords counts, and somebody answers what is refused."""
    errors = []
    for name in settings.AUTHENTICATION_BACKENDS:
        backend = import_string(name)
        if issubclass(backend, ModelBackend) and not issubclass(backend, ThrottledBackend):
            errors.append(
                Error(
                    f"AUTHENTICATION_BACKENDS: {name} looks at any number of passwords.",
                    hint="Use apps.users.backends.ThrottledBackend, or derive from it.",
                    id="users.E001",
                )
            )
    if "apps.users.middleware.LogInMiddleware" not in settings.MIDDLEWARE:
        errors.append(
            Error(
                "MIDDLEWARE lacks apps.users.middleware.LogInMiddleware: refused attempts end "
                "in an error, and no browser is remembered.",
                hint="Put it after django.contrib.auth.middleware.AuthenticationMiddleware.",
                id="users.E002",
            )
        )
    return errors
