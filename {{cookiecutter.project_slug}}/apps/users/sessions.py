"""Sessions whose key is stored as a digest only.

Django stores a session under the very value of the cookie, so whoever reads the database,
the cache or a backup could go on with everybody's session. Here database and cache
hold its SHA-256; the key has 165 random bits, so no salt is needed (ASVS 5.0, 7.2).
https://docs.djangoproject.com/en/6.1/topics/http/sessions/#extending-database-backed-session-engines
"""

import hashlib
from typing import Any

from django.contrib.sessions.backends import cached_db
from django.contrib.sessions.base_session import AbstractBaseSession
from django.utils import timezone


def stored_key(session_key: str) -> str:
    """Return the name under which a session is stored: 160 bits, all that its column holds."""
    return hashlib.sha256(session_key.encode()).hexdigest()[:40]


class SessionStore(cached_db.SessionStore):
    """For `SESSION_ENGINE`."""

    @property
    def cache_key(self) -> str:
        key: str = self._get_or_create_session_key()  # type: ignore[attr-defined]
        return f"{self.cache_key_prefix}{stored_key(key)}"

    async def acache_key(self) -> str:
        key: str = await self._aget_or_create_session_key()  # type: ignore[attr-defined]
        return f"{self.cache_key_prefix}{stored_key(key)}"

    def exists(self, session_key: str) -> bool:
        return bool(super().exists(stored_key(session_key)))

    async def aexists(self, session_key: str) -> bool:
        return bool(await super().aexists(stored_key(session_key)))

    def create_model_instance(self, data: dict[str, Any]) -> AbstractBaseSession:
        session = super().create_model_instance(data)
        session.session_key = stored_key(session.session_key)
        return session

    async def acreate_model_instance(self, data: dict[str, Any]) -> AbstractBaseSession:
        session = await super().acreate_model_instance(data)
        session.session_key = stored_key(session.session_key)
        return session

    def delete(self, session_key: str | None = None) -> None:
        if key := session_key or self.session_key:
            super().delete(stored_key(key))

    async def adelete(self, session_key: str | None = None) -> None:
        if key := session_key or self.session_key:
            await super().adelete(stored_key(key))

    def _get_session_from_db(self) -> AbstractBaseSession | None:
        found: AbstractBaseSession | None = self._stored().first()
        if found is None:
            self._session_key = None
        return found

    async def _aget_session_from_db(self) -> AbstractBaseSession | None:
        found: AbstractBaseSession | None = await self._stored().afirst()
        if found is None:
            self._session_key = None
        return found

    def _stored(self) -> Any:
        name = stored_key(self.session_key or "")
        return self.model.objects.filter(session_key=name, expire_date__gt=timezone.now())
