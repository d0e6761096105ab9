"""The settings of the tests with PostgreSQL in place of SQLite; see `tests.with_postgresql`."""

import os

from django.core.exceptions import ImproperlyConfigured

from tests.settings import *  # noqa: F403
from tests.with_postgresql import PORT, USER, VARIABLE

POSTGRESQL_ENGINE = "apps.fields.postgresql"

if VARIABLE not in os.environ:
    raise ImproperlyConfigured(
        f"{VARIABLE} is not set. Run the tests with: python -m tests.with_postgresql pytest ..."
    )

DATABASES = {
    "default": {
        "ENGINE": POSTGRESQL_ENGINE,
        "HOST": os.environ[VARIABLE],
        "PORT": PORT,
        "NAME": "postgres",  # where Django asks for the database of the tests
        "USER": USER,
    }
}
