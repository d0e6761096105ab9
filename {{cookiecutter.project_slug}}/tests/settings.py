"""The offline settings, and an app whose models have every kind of encrypted field."""

from config.settings_offline import *  # noqa: F403
from config.settings_offline import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.fields.library"]
