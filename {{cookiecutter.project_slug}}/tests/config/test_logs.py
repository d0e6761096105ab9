"""What may be secret is blanked before a line is written."""

import json
import logging
import sys
from typing import Any

import pytest
import structlog
from django.test import Client

from config import logs

VALUE = "s3cr3t-value"


def redacted(**event: Any) -> dict[str, Any]:
    return dict(logs.redact(None, "info", event))


@pytest.mark.parametrize(
    "key",
    [
        *("password", "PASSWORD", "passwd", "SECRET_KEY", "client_secret", "access_token"),
        *("Cookie", "authorization", "sessionid", "credentials"),
    ],
)
def test_a_key_that_sounds_secret_is_blanked(key: str) -> None:
    assert redacted(**{key: VALUE}) == {key: "[redacted]"}
    assert redacted(**{key: [VALUE]}) == {key: "[redacted]"}


def test_nested_values_are_blanked() -> None:
    event = redacted(
        request={"headers": [{"Cookie": VALUE}, {"Accept": "*/*"}], 1: ("a", "b")},
        sites=[f"redis://app:{VALUE}@cache:6379"],
    )
    assert event == {
        "request": {"headers": [{"Cookie": "[redacted]"}, {"Accept": "*/*"}], 1: ["a", "b"]},
        "sites": ["redis://app:[redacted]@cache:6379"],
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"postgres://app:{VALUE}@db:5432/app", "postgres://app:[redacted]@db:5432/app"),
        (f"rediss://:{VALUE}@cache/0", "rediss://:[redacted]@cache/0"),
        (f"a://u:{VALUE}@b and c://v:{VALUE}@d", "a://u:[redacted]@b and c://v:[redacted]@d"),
        ("https://localhost:8443/a@b", "https://localhost:8443/a@b"),
        ("ada@example.com: at 10:30", "ada@example.com: at 10:30"),
    ],
)
def test_only_the_password_in_a_url_is_blanked(text: str, shown: str) -> None:
    assert redacted(event=text) == {"event": shown}


def test_other_values_are_kept() -> None:
    event = {"event": "done", "count": 3, "ok": True, "nothing": None}
    assert redacted(**event) == event


@pytest.fixture
def formatter() -> logging.Formatter:
    """The formatter of the running project, as LOGGING makes it."""
    options = dict(logs.configure(json=True)["formatters"]["structured"])
    made: logging.Formatter = options.pop("()")(**options)
    assert isinstance(made, structlog.stdlib.ProcessorFormatter)
    return made


def test_an_exception_s_text_is_redacted(formatter: logging.Formatter) -> None:
    try:
        raise ConnectionError(f"cannot reach redis://app:{VALUE}@cache:6379")
    except ConnectionError:
        record = logging.LogRecord(
            *("any", logging.ERROR, __file__, 1, "failed at %s"),
            args=(f"redis://app:{VALUE}@cache",),
            exc_info=sys.exc_info(),
        )
    line = formatter.format(record)
    data = json.loads(line)
    assert VALUE not in line
    assert data["event"] == "failed at redis://app:[redacted]@cache"
    assert "cannot reach redis://app:[redacted]@cache:6379" in data["exception"]
    assert data["level"] == "error"
    assert data["timestamp"].endswith("Z")


def test_lines_of_other_libraries_are_redacted(formatter: logging.Formatter) -> None:
    record = logging.LogRecord("any", logging.INFO, __file__, 1, f"x://u:{VALUE}@h", (), None)
    assert VALUE not in formatter.format(record)


def test_botocore_never_logs_what_it_receives() -> None:
    """At DEBUG it would write responses, and with them secrets."""
    loggers = logs.configure(json=False)["loggers"]
    assert loggers["botocore"]["level"] == "WARNING"
    assert logs.configure(json=False)["root"]["level"] == "INFO"


def test_what_people_search_for_is_not_logged(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    client.get("/nowhere/", {"q": "searched"})
    assert "GET /nowhere/" in caplog.text
    assert "searched" not in caplog.text
