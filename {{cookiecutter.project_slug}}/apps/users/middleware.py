"""What logging in needs around every request."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.cache import add_never_cache_headers

from apps.users import devices
from apps.users.throttle import CannotCountError, TooManyAttemptsError

_PATIENCE = 60  # seconds to wait for the cache


class LogInMiddleware:
    """Remembers browsers in which somebody is logged in, and answers refused attempts.

    Nobody keeps a page that somebody sees who is logged in, unless its view says so.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        user = request.user
        if user.is_authenticated:
            if not devices.device(request, user):
                devices.remember(response, user)
            if not response.has_header("Cache-Control"):
                add_never_cache_headers(response)
        return response

    def process_exception(self, _request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answer 429 or 503, and say when to try again (RFC 6585, 4; RFC 9110, 15.6.4)."""
        match error:
            case TooManyAttemptsError():
                return _later(429, error.seconds, until=error.until)
            case CannotCountError():
                return _later(503, _PATIENCE)
        return None


def _later(status: int, seconds: int, **context: Any) -> HttpResponse:
    minutes = -(-seconds // 60)
    # Without the request: what a page is made with may be what does not work.
    page = render_to_string(f"{status}.html", {"minutes": minutes, **context})
    response = HttpResponse(page, status=status, headers={"Retry-After": str(seconds)})
    add_never_cache_headers(response)
    return response
