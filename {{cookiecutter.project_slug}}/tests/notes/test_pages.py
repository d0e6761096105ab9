"""The notes' pages: what the owner sees and does, and that nobody else can."""

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from apps.notes.models import Attachment, Note
from apps.notes.views import PAGE_SIZE
from apps.users.models import User
from tests.conftest import SecureClient
from tests.notes.conftest import change, picture, stored, upload, write

# The background work starts when a transaction is really committed.
pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/notes/"


def test_a_note_is_written_read_changed_and_deleted(user_client: Client) -> None:
    note = write(user_client, title=" Tea ", body="<b>Earl</b>\nGrey")
    address = note.get_absolute_url()
    assert "Tea" not in f"{note} {note!r}"
    page = user_client.get(address).text
    assert "<h1>Tea</h1>" in page
    assert "&lt;b&gt;Earl&lt;/b&gt;<br>Grey" in page
    assert "Tea" in user_client.get(LIST).text

    assert change(user_client, note, title="Coffee").headers["Location"] == address
    assert "<h1>Coffee</h1>" in user_client.get(address).text

    delete = reverse("notes:delete", args=[note.pk])
    assert "Coffee" in user_client.get(delete).text
    assert Note.objects.exists()
    after = user_client.post(delete, follow=True)
    assert "The note is deleted." in after.text
    assert "There are no notes yet." in after.text
    assert user_client.get(address).status_code == 404


def test_nobody_sees_the_note_of_another(user_client: Client, stranger_client: Client) -> None:
    note = write(user_client, upload(picture()), title="My secret")
    attachment = Attachment.objects.get()
    addresses = [
        note.get_absolute_url(),
        reverse("notes:edit", args=[note.pk]),
        reverse("notes:delete", args=[note.pk]),
        reverse("notes:download", args=[attachment.pk]),
        reverse("notes:thumbnail", args=[attachment.pk]),
    ]
    for address in addresses:
        assert user_client.get(address).status_code == 200
        assert stranger_client.get(address).status_code == 404
        visit = SecureClient().get(address)
        assert visit.headers["Location"] == f"{reverse('login')}?next={address}"
    assert stranger_client.post(addresses[1], {"title": "Mine"}).status_code == 404
    assert stranger_client.post(addresses[2]).status_code == 404
    assert "My secret" not in stranger_client.get(LIST).text
    assert Note.objects.get().title == "My secret"


@pytest.mark.parametrize("name", ["detail", "download", "thumbnail"])
def test_reading_pages_take_no_post(user_client: Client, name: str) -> None:
    assert user_client.post(reverse(f"notes:{name}", args=[1])).status_code == 405


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"title": ""}, "This field is required."),
        ({"title": "  "}, "This field is required."),
        ({"title": "x" * 201}, "at most 200 characters"),
        ({"title": "a\0b"}, "Null characters are not allowed."),
        ({"body": "x" * 20_001}, "at most 20000 characters"),
        ({"delete_after": "tomorrow"}, "Select a valid choice."),
        ({"delete_after": "keep"}, "Select a valid choice."),
    ],
)
def test_the_form_explains_what_is_wrong(
    user_client: Client, data: dict[str, str], message: str
) -> None:
    fields = {"title": "T", "body": "", "delete_after": "never"} | data
    response = user_client.post(reverse("notes:create"), fields)
    assert message in response.text
    assert not Note.objects.exists()


def test_the_list_has_pages_and_the_newest_note_first(user_client: Client, user: User) -> None:
    Note.objects.bulk_create(Note(owner=user, title=f"Note {n:03}") for n in range(PAGE_SIZE + 1))
    first = user_client.get(LIST).text
    assert f"Note {PAGE_SIZE:03}" in first
    assert "Note 000" not in first
    assert "Page 1 of 2" in first
    assert "?page=2" in first
    last = user_client.get(LIST, {"page": "2"}).text
    assert "Note 000" in last
    assert "?page=1" in last
    assert "Page 2 of 2" in user_client.get(LIST, {"page": "99"}).text
    assert "Page 1 of 2" in user_client.get(LIST, {"page": "x"}).text


def test_the_number_of_queries_does_not_grow(
    user_client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for n in range(5):
        note = write(user_client, upload(picture(), f"{n}.png"))
    address = reverse("notes:download", args=[Attachment.objects.latest("pk").pk])
    user_client.get(LIST)  # counts the totals, which then are in the cache
    with django_assert_num_queries(3):  # user, number of notes, notes with their files
        user_client.get(LIST)
    with django_assert_num_queries(2):  # user, note with its file
        user_client.get(note.get_absolute_url())
    with django_assert_num_queries(2):  # user, file with the owner's notes
        user_client.get(address)


@pytest.mark.parametrize(
    ("choice", "period"),
    [
        ("never", None),
        ("hour", timedelta(hours=1)),
        ("day", timedelta(days=1)),
        ("month", timedelta(days=30)),
    ],
)
def test_a_note_can_have_an_end(user_client: Client, choice: str, period: timedelta | None) -> None:
    expires_at = write(user_client, delete_after=choice).expires_at
    if period is None:
        assert expires_at is None
    else:
        assert expires_at
        assert abs(expires_at - timezone.now() - period) < timedelta(minutes=1)


def test_the_end_stays_until_it_is_changed(user_client: Client) -> None:
    note = write(user_client, delete_after="hour")
    edit = reverse("notes:edit", args=[note.pk])
    assert '<option value="keep" selected>' in user_client.get(edit).text
    change(user_client, note, delete_after="keep")
    assert Note.objects.get().expires_at == note.expires_at
    change(user_client, note, delete_after="never")
    assert Note.objects.get().expires_at is None
    assert '<option value="keep"' not in user_client.get(edit).text


def test_an_expired_note_is_invisible_at_once(user_client: Client) -> None:
    note = write(user_client, upload(picture()), title="Old")
    attachment = Attachment.objects.get()
    Note.objects.update(expires_at=timezone.now())
    for address in (
        note.get_absolute_url(),
        reverse("notes:edit", args=[note.pk]),
        reverse("notes:download", args=[attachment.pk]),
        reverse("notes:thumbnail", args=[attachment.pk]),
    ):
        assert user_client.get(address).status_code == 404
    assert "Old" not in user_client.get(LIST).text


def test_a_note_deleted_while_it_is_changed_stays_deleted(
    user_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = write(user_client)

    def store_slowly(_upload: object) -> Attachment:
        Note.objects.all().delete()
        return Attachment.objects.create(file="attachments/x", file_name="x", size=1)

    monkeypatch.setattr("apps.notes.views.store", store_slowly)
    assert change(user_client, note, upload()).status_code == 404
    assert not Note.objects.exists()


def test_replacing_removing_and_deleting_delete_the_objects(user_client: Client) -> None:
    note = write(user_client, upload(picture()))
    first = stored()
    assert len(first) == 2

    change(user_client, note, upload(picture(colour="blue"), "second.png"))
    second = stored()
    assert len(second) == 2
    assert not first & second

    change(user_client, note, remove_file="on")
    assert stored() == set()
    assert not Attachment.objects.exists()

    change(user_client, note, upload())
    assert len(stored()) == 1
    user_client.post(reverse("notes:delete", args=[note.pk]))
    assert stored() == set()
    assert not Attachment.objects.exists()


def test_a_change_of_the_text_keeps_the_file(user_client: Client) -> None:
    note = write(user_client, upload())
    before = Attachment.objects.values().get()
    change(user_client, note, title="New title")
    assert Attachment.objects.values().get() == before


@pytest.mark.parametrize("status", ["pending", "processing"])
def test_the_page_reloads_itself_only_while_the_file_is_read(
    user_client: Client, status: str
) -> None:
    note = write(user_client, upload())
    ready = user_client.get(note.get_absolute_url())
    assert "Refresh" not in ready.headers
    assert "<progress" not in ready.text

    Attachment.objects.update(status=status)
    waiting = user_client.get(note.get_absolute_url())
    assert waiting.headers["Refresh"] == "2"
    assert "<progress" in waiting.text
    assert "This page reloads itself." in waiting.text

    Attachment.objects.update(created_at=timezone.now() - timedelta(hours=1))
    late = user_client.get(note.get_absolute_url())
    assert "Refresh" not in late.headers
    assert "longer than usual" in late.text


def test_private_pages_are_not_kept_by_any_cache(user_client: Client) -> None:
    note = write(user_client)
    for address in (LIST, note.get_absolute_url(), reverse("notes:create")):
        assert "no-store" in user_client.get(address).headers["Cache-Control"]
