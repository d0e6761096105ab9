"""A user's totals, kept in the cache."""

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from uuid import uuid4

from django.contrib.auth.models import AbstractBaseUser
from django.core.cache import cache
from django.db import transaction
from django.db.models import Count, Min, Sum
from django.utils import timezone

from apps.notes.models import Note

# The longest that a wrong total could stand, if a process died right after a commit.
KEPT_FOR = timedelta(minutes=5)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """How many notes a user has, and how many bytes of files."""

    notes: int
    size: int


def summary(user: AbstractBaseUser) -> Summary:
    """Return the user's totals, from the cache if nothing has changed.

    The cached value's key holds a generation, which every change discards. A request
    that counted before a change and stores its count after it uses a key that nobody
    reads any more.
    """
    generation = cache.get_or_set(_generation_key(user), lambda: uuid4().hex, timeout=None)
    key = f"notes:summary:{user.pk}:{generation}"
    found: Summary | None = cache.get(key)
    if found is None:
        found, seconds = _count(user)
        cache.set(key, found, seconds)
    return found


def forget_summary(user: AbstractBaseUser) -> None:
    """Discard the user's cached totals, once the current transaction is committed."""
    transaction.on_commit(partial(cache.delete, _generation_key(user)))


def _generation_key(user: AbstractBaseUser) -> str:
    return f"notes:generation:{user.pk}"


def _count(user: AbstractBaseUser) -> tuple[Summary, float]:
    """Count in the database; the result holds for so many seconds, until a note expires."""
    found = Note.objects.visible_to(user).aggregate(
        notes=Count("pk"), size=Sum("attachment__size", default=0), next=Min("expires_at")
    )
    kept_for = KEPT_FOR
    if found["next"]:
        kept_for = min(kept_for, found["next"] - timezone.now())
    return Summary(notes=found["notes"], size=found["size"]), kept_for.total_seconds()
