"""A request is taken for what it is, and one that cannot be read is refused."""

from typing import Any

import pytest
from django.test import Client, RequestFactory
from django_structlog.app_settings import app_settings
from structlog.contextvars import clear_contextvars, get_contextvars

from config.middleware import RequestLogMiddleware, client_address, utf8_only
from tests.conftest import SecureClient

FORGED = "203.0.113.66"
# What python-ipware, of django-structlog, looks at.
HEADERS = (
    *("Client-IP", "X-Client-IP", "X-Cluster-Client-IP", "True-Client-IP", "CF-Connecting-IP"),
    *("Fastly-Client-IP", "Forwarded-For", "X-Forwarded", "X-Real-IP", "Forwarded"),
)


def test_the_address_is_the_proxy_s_word() -> None:
    request = RequestFactory().get("/", headers={"X-Forwarded-For": "198.51.100.7"})
    assert client_address(request) == "198.51.100.7"
    assert client_address(RequestFactory().get("/")) == "127.0.0.1"


@pytest.mark.parametrize("header", HEADERS)
def test_the_log_believes_no_other_header(header: str) -> None:
    assert app_settings.IP_LOGGING_ENABLED
    headers = {"X-Forwarded-For": "127.0.0.1", header: FORGED}
    clear_contextvars()
    RequestLogMiddleware.bind_ip(RequestFactory().get("/", headers=headers))
    assert get_contextvars() == {"ip": "127.0.0.1"}
    clear_contextvars()


def ask(content_type: str) -> tuple[str, list[bytes]]:
    """Return the status, and what the application got the request for."""
    statuses: list[str] = []

    def start_response(status: str, _headers: Any, _error: Any = None) -> Any:
        statuses.append(status)

    def application(_environ: Any, start: Any) -> list[bytes]:
        start("200 OK", [])
        return [b"reached"]

    body = utf8_only(application)({"CONTENT_TYPE": content_type}, start_response)
    return statuses[0], list(body)


@pytest.mark.parametrize(
    "content_type",
    [
        *("", "text/plain", "multipart/form-data; boundary=x", "text/plain; charset=utf-8"),
        *("application/json;charset=UTF-8", 'text/plain; charset="utf-8"', "a/b; c*=utf-8''d", ";"),
    ],
)
def test_what_browsers_send_is_taken(content_type: str) -> None:
    assert ask(content_type) == ("200 OK", [b"reached"])


@pytest.mark.parametrize(
    "content_type",
    [
        *("text/plain; charset=hex", "text/plain; charset=idna", "text/plain; charset=utf-16"),
        *("text/plain; charset=nonsense", "text/plain; charset=", "text/plain; charset*=hex''a"),
        *("a/b; c*=idna''%ff", "a/b; c*=%00''d", "a/b; " + "c=d;" * 3000),
    ],
)
def test_what_django_cannot_decode_is_refused(content_type: str) -> None:
    status, body = ask(content_type)
    assert status == "415 Unsupported Media Type"
    assert body != [b"reached"]


@pytest.mark.parametrize(
    ("path", "host", "status"),
    [("/nothing/", "testserver", 404), ("/", "evil.example", 400)],
)
def test_an_unreadable_form_makes_no_error_of_the_server_s(
    path: str, host: str, status: int
) -> None:
    """Django's own pages of errors would read the form for a CSRF token."""
    client = SecureClient(enforce_csrf_checks=True)
    client.cookies["__Host-csrf"] = "a" * 32
    headers = {"host": host, "referer": f"https://{host}/", "x-csrftoken": "a" * 32}
    for content_type, body in (
        ("multipart/form-data", b"no boundary"),
        ("application/x-www-form-urlencoded", b"a=b&" * 1500),
        ("application/x-www-form-urlencoded", b"a" * 2_000_000),
    ):
        answer = client.post(path, body, content_type=content_type, headers=headers)
        assert answer.status_code == status
        assert "To the start page" in answer.text


def test_who_may_not_see_a_page_is_told_so(user_client: Client) -> None:
    answer = user_client.get("/encryption/")
    assert answer.status_code == 403
    assert "no permission" in answer.text
