"""Types of requests."""

from django.http import HttpRequest

from apps.users.models import User


class AuthenticatedRequest(HttpRequest):
    """The request that a view behind `login_required` gets; only for annotations."""

    user: User
