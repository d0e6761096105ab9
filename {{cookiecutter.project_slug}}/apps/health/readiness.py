"""Can this process serve: are its stores reachable, and over which TLS version?"""

from collections.abc import Callable, Mapping
from typing import Any

import structlog
from django.core.cache import cache
from django.core.files.storage import default_storage

from apps.encryption.clients import cache_seen, database_seen, storage_peer
from apps.encryption.tls import handshake

logger = structlog.get_logger(__name__)


def _database() -> str:
    return database_seen().version


def _cache() -> str:
    cache.get("readyz")
    return cache_seen().version


def _storage() -> str:
    client = default_storage.connection.meta.client  # type: ignore[attr-defined]
    client.head_bucket(Bucket=default_storage.bucket_name)  # type: ignore[attr-defined]
    return handshake(storage_peer()).version


_PARTS: dict[str, Callable[[], str]] = {
    "database": _database,
    "cache": _cache,
    "storage": _storage,
}


def readiness(parts: Mapping[str, Callable[[], str]] = _PARTS) -> dict[str, dict[str, Any]]:
    """Return `{part: {"ok": bool, "tls": version}}`.

    The answer is public, so a failure shows only that it failed; the reason is logged.
    """
    answers: dict[str, dict[str, Any]] = {}
    for name, ask in parts.items():
        try:
            answers[name] = {"ok": True, "tls": ask()}
        except Exception as error:
            logger.exception("not_ready", part=name, reason=type(error).__name__)
            answers[name] = {"ok": False, "tls": None}
    return answers
