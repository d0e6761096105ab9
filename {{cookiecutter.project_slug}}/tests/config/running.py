"""The settings of the running project, loaded without a stack."""

import os
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from config.project import BASE_DIR

SECRETS = {
    "SECRET_KEY": "the-secret-key-of-the-tests-0123456789-abcdefghijklmnopqrstuvwxyz",
    "DATABASE_PASSWORD": "the-database-password-of-the-tests",
    "CACHE_PASSWORD": "the-cache-password-of-the-tests",
}


def environment(ca_file: str, **more: str) -> dict[str, str]:
    """The variables of a running process; secrets as ECS injects them."""
    return {
        **SECRETS,
        "SECRET_KEY_FALLBACKS": "[]",
        "ENVIRONMENT": "production",
        "DATABASE_HOST": "localhost",
        "DATABASE_CA_FILE": ca_file,
        "CACHE_HOST": "localhost",
        "CACHE_CA_FILE": ca_file,
        "STATIC_ROOT": str(Path(ca_file).parent),
        "MEDIA_BUCKET": "media",
        "AWS_CA_BUNDLE": ca_file,
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_EC2_METADATA_DISABLED": "true",
        **more,
    }


def load(variables: Mapping[str, str]) -> dict[str, Any]:
    """Run `config/settings.py` with these variables and return its names."""
    with mock.patch.dict(os.environ, variables):
        return runpy.run_path(str(BASE_DIR / "config" / "settings.py"))
