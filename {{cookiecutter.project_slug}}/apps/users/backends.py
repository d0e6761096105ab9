"""Who somebody is."""

from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest
from django.views.decorators.debug import sensitive_variables

from apps.users import throttle
from apps.users.models import User


class ThrottledBackend(ModelBackend):
    """Django's own, which does not look at a password after too many wrong ones.

    Every log-in form (the site's, the admin's, a library's) comes through here.
    """

    @sensitive_variables("password")
    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        """Return the user with this password. Raises as `throttle.count` does."""
        if username is None:
            username = kwargs.get(User.USERNAME_FIELD)
        if username is None or password is None:
            return None
        counters = throttle.counters_of_log_in(request, username)
        throttle.count(counters)
        user: User | None = super().authenticate(request, username, password)
        if user:
            throttle.take_back(counters)
        return user

    @sensitive_variables("password")
    async def aauthenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        """Do the same; Django's own would look at any number of passwords."""
        return await sync_to_async(self.authenticate)(request, username, password, **kwargs)
