"""Reports of errors show where and why, and no value."""

import pytest
from django.conf import settings as in_force
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils.module_loading import import_string
from pytest_django import Settings

from config.errors import NoValuesFilter, NoValuesReporter
from tests.config import reports
from tests.config.reports import Reports
from tests.conftest import SecureClient
from tests.keys.hidden import shows

CANARY = "canary-6f1c2b7d9e4a"
ADDRESS = f"/fail/{{kind}}/?{CANARY[:6]}=1&q={CANARY}"


def test_they_are_the_settings_of_the_project() -> None:
    assert import_string(in_force.DEFAULT_EXCEPTION_REPORTER) is NoValuesReporter
    assert import_string(in_force.DEFAULT_EXCEPTION_REPORTER_FILTER) is NoValuesFilter


@pytest.fixture
def failing(settings: Settings) -> Client:
    """Somebody who sends a value in every place of a request."""
    settings.ROOT_URLCONF = "tests.config.failing"
    settings.ALLOWED_HOSTS = ["testserver"]
    client = SecureClient(
        raise_request_exception=False,
        headers={
            "referer": f"https://testserver/?q={CANARY}",
            "user-agent": "a browser",
            "x-requested-with": CANARY,
            "accept": "text/html",
        },
    )
    client.cookies["filter"] = CANARY
    return client


def send(client: Client, kind: str, **headers: str) -> str:
    files = SimpleUploadedFile(f"{CANARY}.txt", CANARY.encode(), "text/plain")
    response = client.post(
        ADDRESS.format(kind=kind), {"title": CANARY, "upload": files}, headers=headers
    )
    assert response.status_code == 500
    return response.text


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("kind", ["view", "template", "encoding"])
@pytest.mark.parametrize("accept", ["text/html", "text/plain"])
def test_no_value_of_a_request_is_reported(
    accept: str, kind: str, debug: bool, failing: Client, settings: Settings
) -> None:
    settings.DEBUG = debug
    with reports.collected() as told:
        told.pages.append(send(failing, kind, accept=accept))
    assert_useful(told, kind, debug=debug)
    for where, text in told.everything().items():
        assert not shows(text, CANARY), where
        assert "Unicode error hint" not in text, where  # a few letters of the value


def assert_useful(told: Reports, kind: str, *, debug: bool) -> None:
    """What is wrong can be found out: the error, the line, the names of what was sent."""
    error = {"template": "TemplateSyntaxError", "encoding": "UnicodeDecodeError"}
    everything = told.everything()
    if not debug:
        assert "failing.py" not in everything.pop("pages")
    assert len(told.mails) >= 1
    for where, text in everything.items():
        assert error.get(kind, "RuntimeError") in text, where
        assert "failing.py" in text, where
        assert f"/fail/{kind}/" in text, where
    for where in set(everything) - {"logs, JSON", "logs, text"}:
        for name in (
            "title",
            "upload",
            "HTTP_REFERER",
            "filter",
            NoValuesFilter.cleansed_substitute,
        ):
            assert name in everything[where], where


@pytest.mark.parametrize("debug", [True, False])
def test_no_secret_of_the_project_is_reported(
    debug: bool, failing: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DEBUG = debug
    secrets = ("secret-key-of-the-test", "former-key-of-the-test", "password-of-the-database")
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = secrets[0], [secrets[1]]
    monkeypatch.setitem(in_force.DATABASES["default"], "PASSWORD", secrets[2])
    monkeypatch.setitem(in_force.CACHES["default"], "OPTIONS", {"password": secrets[2]})
    with reports.collected() as told:
        told.pages.append(send(failing, "view"))
    assert "SECRET_KEY_FALLBACKS" in told.everything()["mails"]
    for where, text in told.everything().items():
        assert not shows(text, *secrets), where


def test_reports_without_a_request_work() -> None:
    reporter = NoValuesReporter(None, None, None, None)
    assert "Request data not supplied" in reporter.get_traceback_text()
    assert reporter.get_traceback_html()
    assert NoValuesFilter().get_post_parameters(None) == {}
    assert NoValuesFilter().get_safe_cookies(None) == {}
    assert NoValuesFilter().get_safe_request_meta(None) == {}
