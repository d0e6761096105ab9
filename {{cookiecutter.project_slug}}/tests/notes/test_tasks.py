"""The background work: complete, repeatable, and never without an end."""

import hashlib
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.test import Client

from apps.notes import tasks
from apps.notes.images import make_thumbnail
from apps.notes.models import Attachment, Note
from apps.notes.tasks import process_attachment, remove_attachment
from tests.notes.conftest import picture, stored, upload, write
from tests.notes.test_images import huge_png

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def attachment(user_client: Client) -> Attachment:
    """A picture that is still to be read."""
    write(user_client, upload(picture()))
    found = Attachment.objects.get()
    default_storage.delete(found.thumbnail_name)
    Attachment.objects.update(status="pending", sha256="", thumbnail="", content_type="x")
    found.refresh_from_db()
    return found


def test_a_picture_gets_digest_type_and_thumbnail(attachment: Attachment) -> None:
    process_attachment.enqueue(attachment.pk)
    attachment.refresh_from_db()
    assert attachment.status == "ready"
    assert attachment.error == ""
    assert attachment.sha256 == hashlib.sha256(picture()).hexdigest()
    assert attachment.content_type == "image/png"
    assert attachment.thumbnail.name == attachment.thumbnail_name
    assert stored() == {attachment.file.name, attachment.thumbnail_name}
    assert "file.txt" not in f"{attachment} {attachment!r}"


def test_a_second_run_changes_nothing(
    attachment: Attachment, monkeypatch: pytest.MonkeyPatch
) -> None:
    process_attachment.call(attachment.pk)
    before = Attachment.objects.values().get()
    monkeypatch.setattr(tasks, "_examine", pytest.fail)
    process_attachment.call(attachment.pk)
    assert Attachment.objects.values().get() == before


def test_a_run_after_one_that_died_completes_it(attachment: Attachment) -> None:
    default_storage.save(attachment.thumbnail_name, upload(b"half a thumbnail"))
    Attachment.objects.update(status="processing")
    process_attachment.call(attachment.pk)
    attachment.refresh_from_db()
    assert attachment.status == "ready"
    assert attachment.thumbnail.read() != b"half a thumbnail"
    assert stored() == {attachment.file.name, attachment.thumbnail_name}


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (picture()[:-100], "The picture is damaged."),
        (huge_png(100_000, 100_000), "The picture has more than 50 million pixels."),
    ],
)
def test_a_bad_picture_fails_with_its_reason_and_can_be_downloaded(
    user_client: Client, content: bytes, error: str
) -> None:
    note = write(user_client, upload(content))
    attachment = Attachment.objects.get()
    assert (attachment.status, attachment.error) == ("failed", error)
    assert attachment.sha256 == hashlib.sha256(content).hexdigest()
    response = user_client.get(note.get_absolute_url())
    assert error in response.text
    assert "Download" in response.text
    assert "Refresh" not in response.headers


def test_a_missing_or_short_object_fails(attachment: Attachment) -> None:
    Attachment.objects.update(size=1)
    process_attachment.call(attachment.pk)
    attachment.refresh_from_db()
    assert (attachment.status, attachment.error) == (
        "failed",
        "The stored file could not be read.",
    )
    Attachment.objects.update(status="pending", error="")
    default_storage.delete(str(attachment.file.name))
    process_attachment.call(attachment.pk)
    attachment.refresh_from_db()
    assert attachment.status == "failed"


def test_nothing_is_done_for_a_file_without_a_note(attachment: Attachment) -> None:
    Attachment.objects.update(note=None)
    process_attachment.call(attachment.pk)
    attachment.refresh_from_db()
    assert attachment.status == "pending"
    process_attachment.call(attachment.pk + 1)


def test_a_note_deleted_while_its_file_is_read_leaves_no_thumbnail(
    attachment: Attachment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make_slowly(file: Any) -> Any:
        Note.objects.all().delete()
        remove_attachment.call(attachment.pk)
        return make_thumbnail(file)

    monkeypatch.setattr(tasks, "make_thumbnail", make_slowly)
    process_attachment.call(attachment.pk)
    assert stored() == set()
    assert not Attachment.objects.exists()


def test_an_attachment_on_a_note_is_never_removed(attachment: Attachment) -> None:
    assert not remove_attachment.call(attachment.pk)
    assert stored() == {attachment.file.name}


def test_removing_twice_is_no_error(attachment: Attachment) -> None:
    Note.objects.all().delete()
    assert remove_attachment.call(attachment.pk)
    assert not remove_attachment.call(attachment.pk)
    assert stored() == set()
