"""What stands around every request: its log line, and a guard before Django reads it."""

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import structlog
from django.http import HttpRequest
from django.utils.http import parse_header_parameters
from django_structlog.middlewares import RequestMiddleware


def client_address(request: HttpRequest) -> str:
    """Return the address that a request comes from, as the proxy saw it.

    The proxy replaces what a client says in X-Forwarded-For, and nobody else can reach
    gunicorn. No other header is believed: the proxy knows only some of their names.
    """
    address: str = request.META.get("HTTP_X_FORWARDED_FOR") or request.META["REMOTE_ADDR"]
    return address


class RequestLogMiddleware(RequestMiddleware):
    """Logs a request's path without its query, in which people search for addresses."""

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        """Return method and path."""
        return f"{request.method} {request.path}"

    @classmethod
    def bind_ip(cls, request: HttpRequest) -> None:
        """Log the proxy's word: the library would take that of a dozen headers."""
        structlog.contextvars.bind_contextvars(ip=client_address(request))


def utf8_only(application: WSGIApplication) -> WSGIApplication:
    """Answer 415 to a Content-Type that Django cannot read or that names another charset.

    Django decodes with any codec of Python's that the header names, in a request's
    constructor, its query and its form; where that fails, nothing catches it. Browsers
    send a page's forms in the page's own encoding, which is UTF-8.
    """

    def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            _, parameters = parse_header_parameters(environ.get("CONTENT_TYPE", ""))
            is_readable = parameters.get("charset", "utf-8").lower() in {"utf-8", "utf8"}
        except ValueError:
            is_readable = False
        if is_readable:
            return application(environ, start_response)
        start_response("415 Unsupported Media Type", [("Content-Type", "text/plain")])
        return [b"The content must be UTF-8, and the header Content-Type must say nothing else.\n"]

    return guarded
