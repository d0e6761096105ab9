"""A key stays in its object: no copy, no text and no report of an error shows it."""

import copy
import dataclasses
import faulthandler
import html
import json
import logging
import pickle
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from django.test import RequestFactory
from django.views.debug import ExceptionReporter
from pytest_django import Settings

from apps.keys.errors import WrongKeyError
from apps.keys.keyring import DataKey, Purpose, keyring
from config import logs
from tests.keys.hidden import forms, shows
from tests.keys.stores import FailingStore


@pytest.fixture
def secret(store: FailingStore) -> bytes:
    return store.secret(Purpose.FIELDS)


@pytest.fixture
def key(store: FailingStore) -> DataKey:
    return keyring(Purpose.FIELDS).active


def test_what_is_hidden_would_be_found(secret: bytes) -> None:
    """Or no test here would prove anything."""
    for form in forms(secret):
        assert shows(f"x{form}x", secret)
    for text in (str([secret]), str([secret[5:25]]), json.dumps({"key": str(secret)})):
        assert shows(text, secret)
        assert shows(html.escape(text), secret)
    assert not shows(str(bytes(32)), secret)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_key_cannot_be_copied(
    copied: Callable[[object], object], key: DataKey, secret: bytes
) -> None:
    for thing in (key, {"key": key}, keyring(Purpose.FIELDS)):
        if thing is key or copied is not copy.copy:  # which would not touch what is inside
            with pytest.raises(TypeError, match="cannot be pickled or copied"):
                copied(thing)
    with pytest.raises(TypeError, match="cannot be pickled or copied"):
        dataclasses.asdict(keyring(Purpose.FIELDS))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_no_protocol_pickles_it(protocol: int, key: DataKey) -> None:
    with pytest.raises(TypeError):
        pickle.dumps(key, protocol)


def test_a_key_shows_its_id_only(key: DataKey, secret: bytes) -> None:
    assert repr(key) == str(key) == f"{key}" == f"<DataKey {key.id.hex()}>"
    with pytest.raises(TypeError):
        vars(key)
    assert not hasattr(key, "__dict__")
    for text in (repr(keyring(Purpose.FIELDS)), f"{keyring(Purpose.FIELDS)}", repr([key])):
        assert key.id.hex() in text
        assert not shows(text, secret)


@pytest.mark.parametrize("as_json", [True, False])
def test_a_log_shows_its_id_only(as_json: bool, key: DataKey, secret: bytes) -> None:
    options = dict(logs.configure(json=as_json)["formatters"]["structured"])
    formatter: logging.Formatter = options.pop("()")(**options)
    try:
        fail(key, secret)
    except ValueError:
        record = logging.LogRecord(
            *("any", logging.ERROR, __file__, 1, "failed with %s", (key,), sys.exc_info())
        )
    line = formatter.format(record)
    assert key.id.hex() in line
    assert "ValueError" in line
    assert not shows(line, secret)


def test_a_structured_log_shows_its_id_only(
    key: DataKey, secret: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    structlog.get_logger("any").warning("used", key=key, ring=keyring(Purpose.FIELDS))
    assert key.id.hex() in caplog.text
    assert not shows(caplog.text, secret)


def fail(key: DataKey, secret: bytes) -> None:
    """Fail with a key, and its secret, in the frame."""
    ring = keyring(Purpose.FIELDS)
    raise ValueError(f"{key} in {ring}")


def test_a_traceback_shows_its_id_only(key: DataKey, secret: bytes) -> None:
    with pytest.raises(ValueError, match=key.id.hex()) as caught:
        fail(key, b"")
    assert not shows("".join(traceback.format_exception(caught.value)), secret)
    with_locals = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert f"key = {key!r}" in "".join(with_locals.format())
    # Only the locals of this test, and of `pytest`, would show it.
    frames = [frame for frame in with_locals.stack if frame.name == "fail"]
    assert frames
    assert not shows(str([frame.locals for frame in frames]), secret)


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("form", ["get_traceback_html", "get_traceback_text"])
def test_an_error_report_shows_its_id_only(
    form: str, debug: bool, key: DataKey, secret: bytes, settings: Settings
) -> None:
    settings.DEBUG = debug
    with pytest.raises(ValueError, match=key.id.hex()) as caught:
        fail(key, secret)
    reporter = ExceptionReporter(RequestFactory().get("/"), caught.type, caught.value, caught.tb)
    report: str = getattr(reporter, form)()
    assert key.id.hex() in report
    assert "in fail" in report
    assert not shows(report, secret)


def test_the_error_about_a_wrong_key_does_not_show_it(secret: bytes) -> None:
    with pytest.raises(WrongKeyError) as caught:
        DataKey(secret + secret[:1])
    text = "".join(traceback.format_exception(caught.value))
    reporter = ExceptionReporter(None, caught.type, caught.value, caught.tb)
    text += reporter.get_traceback_html()
    assert "32 bytes" in text
    assert not shows(text, secret)


def test_a_dump_of_a_crash_shows_names_only(key: DataKey, secret: bytes, tmp_path: Path) -> None:
    def crash(key: DataKey, secret: bytes) -> None:
        with (tmp_path / "dump").open("w") as file:
            faulthandler.dump_traceback(file, all_threads=True)

    crash(key, secret)
    dump = (tmp_path / "dump").read_bytes().decode("latin-1")
    assert "in crash" in dump
    assert not shows(dump, secret)


def test_what_is_derived_does_not_tell_the_key(key: DataKey, secret: bytes) -> None:
    derived: Any = [key.id, key.derive("id"), key.derive(""), key.derive("field a.b")]
    assert not shows(str(derived), secret)
    assert secret not in derived
