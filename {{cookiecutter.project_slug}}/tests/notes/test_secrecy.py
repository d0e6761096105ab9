"""What users write, and the keys, are in no report of an error, no log, no dump, no history."""

import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import StringIO
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.db.models import Model, Q
from django.test import Client
from django.urls import reverse
from django_tasks_db.models import DBTaskResult
from pytest_django import Settings

from apps.fields import EncryptedFieldError
from apps.keys.errors import AlteredValueError, DecryptionError
from apps.keys.keyring import Purpose, keyring
from apps.notes.models import Attachment, Note
from apps.notes.tasks import process_attachment, remove_attachment
from apps.users.models import User
from tests.config import reports
from tests.conftest import PASSWORD, SecureClient
from tests.fields import stored
from tests.keys.hidden import shows
from tests.notes.conftest import change, upload, write

TITLE = "title-1f0b7c5e93a2d864"
BODY = "body-6c2e8a4f07b9d135"
FILE_NAME = "file-9a3d5e7c1b0f8246.txt"
CONTENT = "content-27d1b9e3f5a0c648"
EMAIL = "mail-4b8f2d6a0c7e9153@5d3b1f9e7c8a0264.test"
CANARIES = (TITLE, BODY, FILE_NAME, CONTENT, EMAIL)

pytestmark = pytest.mark.django_db


@pytest.fixture
def note(db: None) -> Note:
    """A note with a file, of a user whose e-mail address nobody may see either."""
    user = User.objects.create_user(EMAIL, PASSWORD)
    client = SecureClient()
    client.force_login(user)
    return write(client, upload(CONTENT.encode(), FILE_NAME), title=TITLE, body=BODY)


@pytest.fixture
def owner(note: Note) -> Client:
    """The user, who gets to see the pages that fail."""
    client = SecureClient(raise_request_exception=False)
    client.force_login(note.owner)
    return client


@pytest.fixture
def admin(db: None) -> Client:
    """Somebody who may do everything."""
    client = SecureClient(raise_request_exception=False)
    client.force_login(User.objects.create_superuser("root@example.com", PASSWORD))
    return client


@pytest.fixture
def secrets(note: Note) -> list[bytes | str]:
    """The canaries, what is stored for them, and the keys."""
    places = [(note, "title"), (note, "body"), (note.attachment, "file_name")]
    tokens = [stored.read(row, name) or b"" for row, name in [*places, (note.owner, "email")]]
    assert not shows(str(tokens), *CANARIES)
    keys = [keyring(purpose).active._secret for purpose in Purpose]
    return [*CANARIES, *tokens, *keys]


def altered(token: bytes, _other: bytes) -> bytes:
    return token[:-1] + bytes([token[-1] ^ 1])


def truncated(token: bytes, _other: bytes) -> bytes:
    return token[: len(token) // 2]


def shortened(token: bytes, _other: bytes) -> bytes:
    return token[:-1]


def of_another_column(_token: bytes, other: bytes) -> bytes:
    return other


def under_an_unknown_key(token: bytes, _other: bytes) -> bytes:
    return token[:1] + b"\x0a\x0b\x0c\x0d" + token[5:]


def never_encrypted(_token: bytes, _other: bytes) -> bytes:
    return BODY.encode()


DAMAGES = (
    altered,
    truncated,
    shortened,
    of_another_column,
    under_an_unknown_key,
    never_encrypted,
)
ERRORS = ("AlteredValueError", "MalformedValueError", "UnknownKeyError")
PLACES: dict[str, Callable[[Note], Model]] = {
    "title": lambda note: note,
    "body": lambda note: note,
    "file_name": lambda note: note.attachment,
    "email": lambda note: note.owner,
}


def damage(
    note: Note, place: str, how: Callable[[bytes, bytes], bytes] = altered
) -> tuple[Model, bytes]:
    """Put something else in the place of a value; return the row, and what was put."""
    row = PLACES[place](note)
    other = stored.read(note, "body" if place == "title" else "title")
    token = stored.read(row, place)
    assert token
    assert other
    stored.write(row, place, how(token, other))
    return row, how(token, other)


def by_owner(note: Note, owner: Client) -> Iterator[Any]:
    """Make the requests of the note's owner that read title, body, file name and address."""
    yield owner.get(reverse("notes:detail", args=[note.pk]))
    yield owner.get(reverse("notes:download", args=[note.attachment.pk]))
    yield change(owner, note, upload(CONTENT.encode(), FILE_NAME), title=TITLE, body=BODY)


def by_admin(note: Note, admin: Client) -> Iterator[Any]:
    """Make the requests of an admin that read the owner's address."""
    yield admin.get(reverse("admin:users_user_changelist"), {"q": EMAIL})
    yield admin.get(reverse("admin:users_user_change", args=[note.owner.pk]))


@pytest.mark.parametrize(("how", "debug"), [(altered, False), *((how, True) for how in DAMAGES)])
@pytest.mark.parametrize("place", PLACES)
def test_a_value_that_cannot_be_decrypted_is_in_no_report(
    place: str,
    how: Callable[[bytes, bytes], bytes],
    debug: bool,
    note: Note,
    owner: Client,
    admin: Client,
    secrets: list[bytes | str],
    settings: Settings,
) -> None:
    settings.DEBUG = debug
    _row, put = damage(note, place, how)
    with reports.collected() as told:
        responses = list(by_admin(note, admin) if place == "email" else by_owner(note, owner))
    told.pages = [response.text for response in responses if response.status_code == 500]
    assert told.pages
    assert told.mails
    for where, text in told.everything().items():
        if debug or where != "pages":
            assert any(error in text for error in ERRORS), where
        assert not shows(text, *secrets, put), where


@pytest.mark.parametrize("debug", [True, False])
def test_an_address_that_cannot_be_decrypted_is_in_no_report_about_its_owner(
    debug: bool, note: Note, owner: Client, secrets: list[bytes | str], settings: Settings
) -> None:
    """Then there is no `request.user`, which reports name."""
    settings.DEBUG = debug
    _row, put = damage(note, "email")
    with reports.collected() as told:
        told.pages.append(owner.get(reverse("notes:list")).text)
        told.pages.append(owner.post(reverse("login"), {"username": EMAIL}).text)
    assert "AlteredValueError" in told.everything()["logs, JSON"]
    for where, text in told.everything().items():
        assert not shows(text, *secrets, put), where


@pytest.mark.parametrize("debug", [True, False])
def test_what_is_sent_is_in_no_report(
    debug: bool,
    owner: Client,
    secrets: list[bytes | str],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.DEBUG = debug

    def fail(*_args: Any, **_options: Any) -> None:
        raise RuntimeError("It failed.")

    monkeypatch.setattr(Note, "save", fail)
    with reports.collected() as told:
        fields = {"title": TITLE, "body": BODY, "delete_after": "never"}
        file = upload(CONTENT.encode(), FILE_NAME)
        response = owner.post(reverse("notes:create"), fields | {"upload": file})
    assert response.status_code == 500
    told.pages.append(response.text)
    for where, text in told.everything().items():
        assert "It failed." in text or (where == "pages" and not debug)
        assert not shows(text, *secrets), where


def test_good_requests_log_no_value(
    note: Note, owner: Client, admin: Client, secrets: list[bytes | str]
) -> None:
    with reports.collected() as told:
        responses = [*by_owner(note, owner), *by_admin(note, admin)]
        responses.append(owner.post(reverse("login"), {"username": EMAIL, "password": PASSWORD}))
    assert {response.status_code for response in responses} == {200, 302}
    assert TITLE in responses[0].text
    assert EMAIL in responses[-2].text
    assert "request_finished" in told.everything()["logs, JSON"]
    for where, text in told.everything().items():
        assert not shows(text, *secrets), where


# Background work --------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)  # the worker closes its connection
def test_a_task_that_fails_leaves_no_value_in_its_result(
    note: Note, secrets: list[bytes | str], settings: Settings
) -> None:
    settings.TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
    attachment, put = damage(note, "file_name")
    Attachment.objects.update(note=None)
    with reports.collected() as told:
        remove_attachment.enqueue(attachment.pk)
        call_command("db_worker", batch=True, startup_delay=False, interval=0)
    result = DBTaskResult.objects.get()
    assert result.status == "FAILED"
    assert "AlteredValueError" in result.traceback
    for where, text in (told.everything() | {"result": str(DBTaskResult.objects.values())}).items():
        assert where == "pages" or "AlteredValueError" in text
        assert not shows(text, *secrets, put), where


def test_a_task_that_goes_on_logs_no_value(note: Note, secrets: list[bytes | str]) -> None:
    attachment, put = damage(note, "file_name")
    Attachment.objects.update(status="pending")
    with reports.collected() as told:
        process_attachment.call(attachment.pk)
    assert Attachment.objects.values_list("status", "error").get() == (
        "failed",
        "The stored file could not be read.",
    )
    for where, text in told.everything().items():
        assert where == "pages" or "attachment_failed" in text
        assert not shows(text, *secrets, put), where


# What is written elsewhere ------------------------------------------------------------------


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_a_dump_shows_no_value(form: str, note: Note) -> None:
    dump = StringIO()
    call_command("dumpdata", format=form, stdout=dump)
    assert '"notes.attachment"' in dump.getvalue()
    assert '"encrypted"' in dump.getvalue()
    assert not shows(dump.getvalue(), *CANARIES)


@pytest.fixture
def _no_cursor_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server-side cursor of a dump that failed would be closed in another test."""
    monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)


@pytest.mark.usefixtures("_no_cursor_is_left")
@pytest.mark.parametrize("form", ["xml", "yaml"])
def test_a_dump_in_a_form_that_would_show_them_is_refused(form: str, note: Note) -> None:
    dump, errors = StringIO(), StringIO()
    with pytest.raises(CommandError, match="encrypted") as caught:
        call_command("dumpdata", format=form, stdout=dump, stderr=errors)
    assert_chain_hides(caught.value, *CANARIES)
    assert not shows(dump.getvalue() + errors.getvalue(), *CANARIES)


@pytest.mark.usefixtures("_no_cursor_is_left")
@pytest.mark.parametrize("place", PLACES)
def test_a_dump_of_a_damaged_value_fails_without_a_word_of_it(
    place: str, note: Note, secrets: list[bytes | str]
) -> None:
    _row, put = damage(note, place)
    dump, errors = StringIO(), StringIO()
    with pytest.raises((CommandError, DecryptionError), match="was altered") as caught:
        call_command("dumpdata", format="json", stdout=dump, stderr=errors)
    assert_chain_hides(caught.value, *secrets, put)
    assert not shows(dump.getvalue() + errors.getvalue(), *CANARIES)


def test_the_admins_history_and_messages_show_no_value(note: Note, admin: Client) -> None:
    root = User.objects.get(is_superuser=True)
    change = reverse("admin:users_user_change", args=[note.owner.pk])
    assert admin.post(change, {"email": f"new-{EMAIL}", "is_active": "on"}).status_code == 302
    listing = reverse("admin:users_user_changelist")
    add = {"email": f"more-{EMAIL}", "usable_password": "false"}
    assert admin.post(reverse("admin:users_user_add"), add).status_code == 302
    selected = User.objects.exclude(pk=root.pk).values_list("pk", flat=True)
    action = {"action": "delete_selected", "_selected_action": list(selected), "post": "yes"}
    assert admin.post(listing, action).status_code == 302
    assert not User.objects.exclude(pk=root.pk).exists()
    entries = LogEntry.objects.values()
    assert sorted(entry["action_flag"] for entry in entries) == [1, 2, 3, 3]
    assert not shows(str(list(entries)), *CANARIES)
    sessions = [session.get_decoded() for session in Session.objects.all()]
    assert "User" in str(sessions)  # the messages
    assert not shows(str(sessions), *CANARIES)


# Objects and exceptions -----------------------------------------------------------------------


def test_rows_show_their_number_only(note: Note, secrets: list[bytes | str]) -> None:
    for row in (note, note.attachment, note.owner):
        text = f"{row!r} {row} {[row]} {type(row)._default_manager.all()!r}"
        assert f"{type(row).__name__} {row.pk}" in text
        assert not shows(text, *secrets)
    assert not shows(str(User.objects.filter(email=EMAIL).query), *CANARIES)


REFUSED: dict[str, Callable[[Note], object]] = {
    "get": lambda note: User.objects.get(email=f"no-{EMAIL}"),
    "get of what cannot be searched": lambda note: Note.objects.get(title=TITLE),
    "a lookup": lambda note: User.objects.filter(Q(email__startswith=EMAIL[:20])),
    "an order": lambda note: list(Note.objects.order_by("title")),
    "a duplicate": lambda note: User.objects.create(email=EMAIL),
    "a duplicate in bulk": lambda note: User.objects.bulk_create([User(email=EMAIL)]),
    "an update": lambda note: User.objects.update(email=EMAIL),
    "no owner": lambda note: Note.objects.create(title=TITLE, body=BODY),
    "no body": lambda note: Note.objects.filter(pk=note.pk).update(title=TITLE, body=None),
    "an attachment": lambda note: Attachment.objects.create(
        note=note, file_name=FILE_NAME, size=1, sha256=CONTENT
    ),
    "an invalid address": lambda note: User(email=TITLE).full_clean(),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_exception_shows_no_value(name: str, note: Note, secrets: list[bytes | str]) -> None:
    User.objects.create(email="other@example.com")
    with pytest.raises(Exception) as caught, transaction.atomic():  # noqa: PT011 (any)
        REFUSED[name](note)
    assert not isinstance(caught.value, AssertionError)
    assert_chain_hides(caught.value, *secrets)


def test_the_exceptions_are_those_that_are_meant(note: Note) -> None:
    kinds = {}
    User.objects.create(email="other@example.com")
    for name, refused in REFUSED.items():
        with pytest.raises(Exception) as caught, transaction.atomic():  # noqa: PT011 (any)
            refused(note)
        kinds[name] = caught.type
    assert kinds["get"] is User.DoesNotExist
    assert {kinds[name] for name in ("a lookup", "an order")} == {EncryptedFieldError}
    broken = ("a duplicate", "a duplicate in bulk", "an update", "no owner", "no body")
    assert {kinds[name] for name in (*broken, "an attachment")} == {IntegrityError}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("how", DAMAGES)
def test_the_exception_about_a_damaged_value_shows_no_value(
    how: Callable[[bytes, bytes], bytes], place: str, note: Note, secrets: list[bytes | str]
) -> None:
    row, put = damage(note, place, how)
    with pytest.raises(Exception) as caught:  # noqa: PT011 (its name is asserted)
        row.refresh_from_db()
    assert caught.typename in ERRORS
    assert_chain_hides(caught.value, *secrets, put)


def assert_chain_hides(error: BaseException, *secrets: bytes | str) -> None:
    """No secret in an error, its arguments, what caused it, or the traceback as it is printed."""
    texts = ["".join(traceback.format_exception(error))]
    reason: BaseException | None = error
    while reason:
        texts += [str(reason), repr(reason), repr(reason.args), repr(vars(reason))]
        reason = reason.__cause__ or reason.__context__
    for text in texts:
        assert not shows(text, *secrets), text[:1000]
        # Nor another token, as PostgreSQL quotes it; one made just now is in no list.
        assert not re.search(r"\\x[0-9a-f]{16}", text), text[:1000]


def test_nothing_is_lost_by_all_this(note: Note) -> None:
    """The canaries are there, and a damaged value is not read."""
    note.refresh_from_db()
    assert (note.title, note.body, note.attachment.file_name) == (TITLE, BODY, FILE_NAME)
    assert note.attachment.file.read() == CONTENT.encode()
    row, _put = damage(note, "title")
    with suppress(AlteredValueError):
        row.refresh_from_db()
        pytest.fail("it was read")
