"""Pages of refused requests.

Django's own views of these look for a CSRF token in the request's form first. A form that
cannot be read then makes an error of the server's of a page that does not exist. The
templates here have no form, and need nothing of the request.
https://docs.djangoproject.com/en/6.1/ref/views/#error-views
"""

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """For `handler400`."""
    return HttpResponse(render_to_string("400.html"), status=400)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """For `handler403`."""
    return HttpResponse(render_to_string("403.html"), status=403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """For `handler404`."""
    return HttpResponse(render_to_string("404.html"), status=404)
