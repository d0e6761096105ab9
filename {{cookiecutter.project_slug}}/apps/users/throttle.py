"""Limits to guessing, which lock nobody out for good.

A browser in which the user has logged in before (`apps.users.devices`) has a limit of its
own, which nobody else can use up. All other browsers have three: for one account from one
network, for one network, and for one account. The first keeps one attacker from using up
the last, which is there for attackers with many networks.

Every attempt is counted before the password is looked at, so that attempts made at once
do not pass together, and taken back if it was right. Counters stand in the cache, under
names that say nothing without SECRET_KEY. Time is cut into windows; a refused attempt
prolongs none. Sources: OWASP ASVS 5.0, 6.3.1, and
https://owasp.org/www-community/Slow_Down_Online_Guessing_Attacks_with_Device_Cookies
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from django.utils.crypto import salted_hmac
from redis import RedisError

from apps.fields.normalize import casefold
from apps.users.devices import device
from apps.users.models import User, UserManager
from apps.users.networks import network

logger = structlog.get_logger(__name__)


class TooManyAttemptsError(Exception):
    """The attempt was not looked at."""

    def __init__(self, seconds: int) -> None:
        """`seconds` is how long to wait before the next one."""
        super().__init__(f"Too many attempts; the next is possible in {seconds} s.")
        self.seconds = seconds
        self.until = datetime.fromtimestamp(int(time.time()) + seconds, UTC)


class CannotCountError(Exception):
    """The attempt was not looked at, because the cache cannot count it."""


@dataclass(frozen=True)
class Counter:
    """A counter of one window: `name` of ATTEMPT_LIMITS, for these particulars."""

    name: str
    key: str

    @property
    def limit(self) -> int:
        limit: int = settings.ATTEMPT_LIMITS[self.name]
        return limit


def counter(name: str, *particulars: object) -> Counter:
    """Return the current window's counter."""
    text = repr((name, particulars, _window()[0]))
    digest = salted_hmac(__name__, text, algorithm="sha256").hexdigest()
    return Counter(name, f"attempts:{digest}")


def counters_of_log_in(request: HttpRequest | None, username: str) -> list[Counter]:
    """Return what counts an attempt to log in, the narrowest first.

    The account counts, whatever the spelling of its name, or whether there is one at all.
    Without a request, as in a program, nothing but the account is known.
    Raises `BadRequest` as `network` does.
    """
    try:
        user = User.objects.get_by_natural_key(username)
    except User.DoesNotExist:
        user = None
    account = user.pk if user else casefold(UserManager.normalize_email(username))
    if request is None:
        return [counter("account", account)]
    if user and (number := device(request, user)):
        return [counter("device", account, number)]
    origin = network(request)
    return [
        counter("account_and_network", account, origin),
        counter("network", origin),
        counter("account", account),
    ]


def count(counters: Sequence[Counter]) -> None:
    """Count one attempt, each counter only if those before it have room.

    Raises `TooManyAttemptsError`, or `CannotCountError` if the cache does not answer: to let
    everybody through would only need an attack on the cache.
    """
    _number, left = _window()
    try:
        # Look before counting, so that a flood of refused attempts fills no cache.
        seen = cache.get_many([each.key for each in counters])
        full = next((each for each in counters if seen.get(each.key, 0) >= each.limit), None)
        full = full or next((each for each in counters if _increase(each.key) > each.limit), None)
    except (RedisError, ValueError) as error:
        raise CannotCountError from error
    if full:
        logger.warning("attempt_refused", limit=full.name)
        raise TooManyAttemptsError(left)


def take_back(counters: Sequence[Counter]) -> None:
    """Count one attempt less: it was right."""
    for each in counters:
        # A counter that is gone is no reason to refuse somebody who has the password.
        with suppress(RedisError, ValueError):
            cache.decr(each.key)


def _increase(key: str) -> int:
    # Kept for longer than its window, so that it never expires between these two lines.
    cache.add(key, 0, 2 * settings.ATTEMPT_WINDOW.total_seconds())
    return cache.incr(key)


def _window() -> tuple[int, int]:
    """Return the number of the current window, and the seconds until it ends."""
    length = int(settings.ATTEMPT_WINDOW.total_seconds())
    number, gone = divmod(int(time.time()), length)
    return number, length - gone
