"""In-memory settings for tests, linters and `collectstatic` while an image is built.

No service, no secret, no connection. They cannot serve: `config.wsgi` refuses to
start, because the `encryption` system checks find every protection missing.
"""

import os
import secrets as random

os.environ |= {
    "ENVIRONMENT": "offline",
    "SECRET_KEY": random.token_urlsafe(64),
    "SECRET_KEY_FALLBACKS": "[]",
    "DATABASE_PASSWORD": "unused",
    "DATABASE_HOST": "unused.invalid",
    "DATABASE_CA_FILE": "/unused",
    "CACHE_PASSWORD": "unused",
    "CACHE_HOST": "unused.invalid",
    "CACHE_CA_FILE": "/unused",
}

from config.settings import *  # noqa: F403
from config.settings import STORAGES

ALLOWED_HOSTS = ["testserver"]
DATABASES = {"default": {"ENGINE": "apps.fields.sqlite3", "NAME": ":memory:"}}
KEY_STORE = "apps.keys.memory.MemoryKeyStore"
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
STORAGES["default"] = {"BACKEND": "apps.files.storage.EncryptedInMemoryStorage"}
TASKS = {"default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}}
