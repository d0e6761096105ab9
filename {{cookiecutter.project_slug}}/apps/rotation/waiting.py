"""Waits until no process can still use a former state of the keyring."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.conf import settings
from django.core.management.base import CommandError
from django.db import connections

from apps.database.roles import APP, MIGRATOR

# One number for this program: https://www.postgresql.org/docs/current/explicit-locking.html
_ADVISORY_LOCK = 7_150_211_933


@contextmanager
def only_one(using: str) -> Iterator[None]:
    """Raise `CommandError` if another rotation of this database runs.

    The lock ends with the database session, however this process ends. SQLite has none.
    """
    connection = connections[using]
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_ADVISORY_LOCK])
        if not cursor.fetchone()[0]:
            raise CommandError("Another rotation is running. Wait until it has ended.")
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_ADVISORY_LOCK])


def settle(say: Callable[[str], object]) -> None:
    """Return when every process has the present keyring, and what it began before is over."""
    seconds = settings.KEYRING_MAX_AGE * 1.1
    say(f"Waiting {seconds:.0f} s until every process knows the changed keyring.")
    time.sleep(seconds)
    since = time.monotonic()
    for alias in connections:
        for _ in _transactions_before_now(alias):
            if time.monotonic() - since > 10:
                say("Waiting for transactions that began before.")
                since = time.monotonic()
            time.sleep(0.2)


def _transactions_before_now(using: str) -> Iterator[None]:
    """Yield as long as a transaction of the application lasts that is older than the call.

    The migrator is a member of `app`, without which it would not see when those began.
    """
    connection = connections[using]
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (now,) = cursor.fetchone()
        while True:
            cursor.execute(
                "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND usename IN (current_user, %s, %s) AND pid <> pg_backend_pid() "
                "AND xact_start < %s",
                [APP, MIGRATOR, now],
            )
            if cursor.fetchone()[0] == 0:
                return
            yield
