"""`remove_expired_notes`: what it removes, what it leaves, and what if it dies."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage, default_storage
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from apps.notes.models import Attachment, Note
from apps.users.models import User
from tests.notes.conftest import picture, stored, upload, write

pytestmark = pytest.mark.django_db(transaction=True)


def clean_up(**options: int) -> str:
    output = StringIO()
    call_command("remove_expired_notes", stdout=output, **options)
    return output.getvalue().strip()


def expire(*notes: Note) -> None:
    Note.objects.filter(pk__in=[note.pk for note in notes]).update(expires_at=timezone.now())


def break_storage(monkeypatch: pytest.MonkeyPatch, name: str | None = None) -> None:
    """Let the deletion of one object, or of all, fail."""
    delete = default_storage.delete

    def refuse(wanted: str) -> None:
        if name is None or wanted.startswith(name):
            raise OSError("The storage is away.")
        delete(wanted)

    monkeypatch.setattr(InMemoryStorage, "delete", staticmethod(refuse))


def test_expired_notes_and_their_objects_go_and_the_others_stay(user_client: Client) -> None:
    expired = [write(user_client, upload(picture())) for _ in range(5)]
    expired.append(write(user_client))
    kept = write(user_client, upload(), delete_after="hour")
    expire(*expired)
    assert clean_up(batch_size=2) == "Removed 6 notes and 5 files."
    assert Note.objects.get() == kept
    assert stored() == {Attachment.objects.get().file.name}
    assert clean_up() == "Removed 0 notes and 0 files."


def test_a_storage_failure_loses_nothing_and_stops_nobody(
    user_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = [write(user_client, upload()) for _ in range(3)]
    first = Attachment.objects.earliest("pk")
    expire(*notes)
    with monkeypatch.context() as broken:
        break_storage(broken, str(first.file.name))
        with pytest.raises(CommandError, match=r"1 files could not be removed"):
            clean_up()
    assert not Note.objects.exists()
    assert Attachment.objects.get() == first
    assert stored() == {first.file.name}

    assert clean_up() == "Removed 0 notes and 0 files."  # it could be an upload that goes on
    Attachment.objects.update(created_at=timezone.now() - timedelta(hours=2))
    assert clean_up() == "Removed 0 notes and 1 files."
    assert stored() == set()


def test_a_run_that_died_between_object_and_row_is_completed(user_client: Client) -> None:
    expire(write(user_client, upload(picture())))
    attachment = Attachment.objects.get()
    default_storage.delete(attachment.thumbnail_name)
    default_storage.delete(str(attachment.file.name))
    assert clean_up() == "Removed 1 notes and 1 files."


def test_a_deletion_during_a_storage_failure_is_completed_later(
    user_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = write(user_client, upload())
    with monkeypatch.context() as broken:
        break_storage(broken)
        assert user_client.post(f"{note.get_absolute_url()}delete/").status_code == 302
    assert not Note.objects.exists()
    assert len(stored()) == 1
    Attachment.objects.update(created_at=timezone.now() - timedelta(hours=2))
    assert clean_up() == "Removed 0 notes and 1 files."


def test_an_upload_is_left_alone_until_it_is_surely_abandoned(db: None) -> None:
    Attachment.objects.create(file="attachments/x", file_name="x", size=1)
    default_storage.save("attachments/x", ContentFile(b"x"))
    assert clean_up() == "Removed 0 notes and 0 files."
    Attachment.objects.update(created_at=timezone.now() - timedelta(hours=2))
    assert clean_up() == "Removed 0 notes and 1 files."
    assert stored() == set()


def test_the_files_of_a_deleted_user_go(user_client: Client, user: User) -> None:
    write(user_client, upload(picture()))
    user.delete()
    Attachment.objects.update(created_at=timezone.now() - timedelta(hours=2))
    assert clean_up() == "Removed 0 notes and 1 files."
    assert stored() == set()
