"""Browsers in which a user has logged in before.

Such a browser keeps a signed cookie, by which it is let in while others guess the user's
password. Source: OWASP's device cookies,
https://owasp.org/www-community/Slow_Down_Online_Guessing_Attacks_with_Device_Cookies
"""

import secrets
from datetime import timedelta

from django.core.signing import BadSignature, TimestampSigner
from django.http import HttpRequest, HttpResponse

from apps.users.models import User

COOKIE_NAME = "__Host-device"
MAX_AGE = timedelta(days=365)


def device(request: HttpRequest, user: User) -> str | None:
    """Return the number of the browser if this user has logged in with it, otherwise None."""
    try:
        return _signer(user).unsign(request.COOKIES.get(COOKIE_NAME, ""), max_age=MAX_AGE)
    except BadSignature:
        return None


def remember(response: HttpResponse, user: User) -> None:
    """Give the browser a number. It says nothing about the user, and opens nothing."""
    response.set_cookie(
        COOKIE_NAME,
        _signer(user).sign(secrets.token_urlsafe(16)),
        max_age=MAX_AGE,
        secure=True,
        httponly=True,
        samesite="Lax",
    )


def _signer(user: User) -> TimestampSigner:
    # With the session's hash of the password: a new one makes every browser a stranger, so
    # that nobody who knew the old one has collected numbers, each good for more guesses.
    return TimestampSigner(salt=f"apps.users.devices {user.pk} {user.get_session_auth_hash()}")
