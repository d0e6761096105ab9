"""Fixtures and helpers for the notes."""

from io import BytesIO
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from PIL import Image

from apps.notes.models import Note
from apps.users.models import User
from tests.conftest import PASSWORD, SecureClient


def picture(
    kind: str = "PNG",
    size: tuple[int, int] = (1000, 500),
    colour: int | str | tuple[int, ...] = "red",
    mode: str = "RGB",
    **options: Any,
) -> bytes:
    """Return a picture of one colour in a file format."""
    content = BytesIO()
    Image.new(mode, size, colour).save(content, kind, **options)
    return content.getvalue()


def upload(
    content: bytes = b"some text", name: str = "file.txt", claim: str = "text/plain"
) -> SimpleUploadedFile:
    """Return what a browser sends for a chosen file."""
    return SimpleUploadedFile(name, content, claim)


def write(client: Client, file: SimpleUploadedFile | None = None, **data: str) -> Note:
    """Write a note through the form, and return it."""
    fields: dict[str, Any] = {"title": "A note", "body": "", "delete_after": "never"} | data
    if file:
        fields["upload"] = file
    response = client.post(reverse("notes:create"), fields)
    assert response.status_code == 302, response.context["form"].errors
    return Note.objects.latest("pk")


def change(client: Client, note: Note, file: SimpleUploadedFile | None = None, **data: str) -> Any:
    """Send the form that changes a note."""
    fields: dict[str, Any] = {"title": note.title, "body": note.body, "delete_after": "never"}
    if file:
        fields["upload"] = file
    return client.post(reverse("notes:edit", args=[note.pk]), fields | data)


def stored() -> set[str]:
    """Return the names of all objects in the storage."""
    if not default_storage.exists("attachments"):
        return set()
    return {f"attachments/{name}" for name in default_storage.listdir("attachments")[1]}


@pytest.fixture
def stranger_client(db: None) -> Client:
    """Another user, logged in."""
    client = SecureClient()
    client.force_login(User.objects.create_user("stranger@example.com", PASSWORD))
    return client
