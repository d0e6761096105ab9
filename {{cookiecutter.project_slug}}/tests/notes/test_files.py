"""Attached files: what is accepted, how it is named, stored and sent back."""

import hashlib
import re

import pytest
from django.core.files.storage import default_storage, storages
from django.test import Client
from django.urls import reverse

from apps.files.storage import EncryptedInMemoryStorage
from apps.notes.forms import MAX_UPLOAD_SIZE, clean_file_name
from apps.notes.models import Attachment, Note
from apps.notes.tasks import process_attachment
from apps.users.models import User
from tests.conftest import SecureClient
from tests.files.conftest import put
from tests.notes.conftest import picture, stored, upload, write

pytestmark = pytest.mark.django_db(transaction=True)


def download(client: Client, attachment: Attachment) -> tuple[bytes, dict[str, str]]:
    response = client.get(reverse("notes:download", args=[attachment.pk]))
    return response.getvalue(), dict(response.headers)


def test_a_file_comes_back_as_it_was(user_client: Client) -> None:
    content = bytes(range(256)) * 10_000
    write(user_client, upload(content, "data.bin"))
    attachment = Attachment.objects.get()
    body, headers = download(user_client, attachment)
    assert body == content
    assert attachment.sha256 == hashlib.sha256(content).hexdigest()
    assert headers["Content-Length"] == str(len(content))


def test_a_download_is_safe_for_a_browser(user_client: Client) -> None:
    write(user_client, upload(b"<script>alert(1)</script>", "a.html", "text/html"))
    _, headers = download(user_client, Attachment.objects.get())
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"] == 'attachment; filename="a.html"'
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "private" in headers["Cache-Control"]
    assert "no-store" in headers["Cache-Control"]
    assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_html_that_claims_to_be_a_picture_is_none(user_client: Client) -> None:
    note = write(user_client, upload(b"<html><script></script>", "cat.png", "image/png"))
    attachment = Attachment.objects.get()
    assert attachment.status == "ready"
    assert not attachment.thumbnail
    _, headers = download(user_client, attachment)
    assert headers["Content-Type"] == "application/octet-stream"
    thumbnail = reverse("notes:thumbnail", args=[attachment.pk])
    assert user_client.get(thumbnail).status_code == 404
    assert "<img" not in user_client.get(note.get_absolute_url()).text


def test_a_picture_has_a_thumbnail_and_its_real_type(user_client: Client) -> None:
    note = write(user_client, upload(picture("JPEG"), "x.gif", "text/html"))
    attachment = Attachment.objects.get()
    _, headers = download(user_client, attachment)
    assert headers["Content-Type"] == "image/jpeg"
    address = reverse("notes:thumbnail", args=[attachment.pk])
    assert address in user_client.get(note.get_absolute_url()).text
    response = user_client.get(address)
    assert response.headers["Content-Type"] == "image/webp"
    assert response.headers["Content-Disposition"] == 'inline; filename="thumbnail.webp"'
    assert "no-store" in response.headers["Cache-Control"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_the_objects_name_tells_nothing(user_client: Client) -> None:
    write(user_client, upload(picture(), "salary.png"))
    assert all(re.fullmatch(r"attachments/[0-9a-f]{32}(-thumbnail)?", name) for name in stored())


def altered(name: str) -> bytes:
    """Flip the last bit of a stored object, and return what is stored then."""
    storage = storages["default"]
    assert isinstance(storage, EncryptedInMemoryStorage)
    content = bytearray(storage.open_stored(name).read())
    content[-1] ^= 1
    put(storage, name, bytes(content))
    return bytes(content)


def test_nothing_of_an_altered_file_is_sent(
    user: User, user_client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    write(user_client, upload(picture("PNG", (2000, 1000), 0, "L") + b"canary" * 50_000))
    attachment = Attachment.objects.get()
    client = SecureClient(raise_request_exception=False)
    client.force_login(user)
    for page in ("notes:download", "notes:thumbnail"):
        name = str(attachment.file.name if page == "notes:download" else attachment.thumbnail.name)
        assert client.get(reverse(page, args=[attachment.pk])).status_code == 200
        altered(name)
        caplog.clear()
        response = client.get(reverse(page, args=[attachment.pk]))
        assert response.status_code == 500
        assert not response.streaming
        assert "text/html" in response.headers["Content-Type"]
        assert "Content-Disposition" not in response.headers
        assert caplog.text.count("stored_file_refused") == 1
        assert name in caplog.text
        assert "canary" not in response.text + caplog.text


def test_an_altered_file_is_marked_as_failed(user_client: Client) -> None:
    write(user_client, upload(picture()))
    attachment = Attachment.objects.get()
    Attachment.objects.update(status="pending", sha256="", thumbnail="")
    altered(str(attachment.file.name))
    process_attachment.call(attachment.pk)
    attachment.refresh_from_db()
    assert attachment.status == "failed"
    assert attachment.error == "The stored file could not be read."
    assert attachment.sha256 == ""
    assert not attachment.thumbnail


def test_the_store_holds_no_plaintext(user_client: Client) -> None:
    content = picture() + b"canary" * 50_000
    write(user_client, upload(content))
    storage = storages["default"]
    assert isinstance(storage, EncryptedInMemoryStorage)
    assert len(stored()) == 2
    for name in stored():
        with default_storage.open(name) as file:
            plain = file.read()
        kept = storage.open_stored(name).read()
        assert plain[:100] not in kept
        assert plain[-100:] not in kept


def test_an_object_that_is_gone_is_not_found(user_client: Client) -> None:
    write(user_client, upload())
    attachment = Attachment.objects.get()
    default_storage.delete(str(attachment.file.name))
    address = reverse("notes:download", args=[attachment.pk])
    assert user_client.get(address).status_code == 404


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"", "empty.txt", "The submitted file is empty."),
        (b"x" * (MAX_UPLOAD_SIZE + 1), "big.bin", "The file is too large: 10.0"),
        (b"x", "x" * 121, "name is too long: at most 120 characters."),
    ],
)
def test_the_form_refuses_a_bad_file(
    user_client: Client, content: bytes, name: str, message: str
) -> None:
    data = {"title": "T", "delete_after": "never", "upload": upload(content, name)}
    response = user_client.post(reverse("notes:create"), data)
    assert message in response.context["form"].errors["upload"][0]
    assert "Please choose the file again." in response.text
    assert not Note.objects.exists()
    assert not Attachment.objects.exists()
    assert stored() == set()


def test_a_file_of_exactly_the_limit_is_accepted(user_client: Client) -> None:
    write(user_client, upload(b"x" * MAX_UPLOAD_SIZE))
    attachment = Attachment.objects.get()
    assert attachment.size == MAX_UPLOAD_SIZE
    assert attachment.status == "ready"


def post_raw(client: Client, file_name: str) -> None:
    """Send a file name as it is: the test client would clean it first."""
    quoted = file_name.replace("\\", "\\\\").replace('"', '\\"')
    fields = {
        'name="title"': "T",
        'name="delete_after"': "never",
        f'name="upload"; filename="{quoted}"': "content",
    }
    parts = [
        f"--limit\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n"
        for head, value in fields.items()
    ]
    body = "".join([*parts, "--limit--\r\n"]).encode()
    address = reverse("notes:create")
    response = client.post(address, body, content_type="multipart/form-data; boundary=limit")
    assert response.status_code == 302


@pytest.mark.parametrize(
    ("sent", "kept", "header"),
    [
        ("../../etc/passwd", "passwd", 'filename="passwd"'),
        ("C:\\Users\\ada\\cv.pdf", "cv.pdf", 'filename="cv.pdf"'),
        ("a\0b.txt", "ab.txt", 'filename="ab.txt"'),
        ('"quoted".txt', '"quoted".txt', 'filename="\\"quoted\\".txt"'),
        ("Übung.pdf", "Übung.pdf", "filename*=utf-8''%C3%9Cbung.pdf"),
        ("🎉 party.png", "🎉 party.png", "filename*=utf-8''%F0%9F%8E%89%20party.png"),
        ("gnp.\u202eexe", "gnp.exe", 'filename="gnp.exe"'),
    ],
)
def test_file_names_are_made_harmless(
    user_client: Client, sent: str, kept: str, header: str
) -> None:
    post_raw(user_client, sent)
    attachment = Attachment.objects.get()
    assert attachment.file_name == kept
    _, headers = download(user_client, attachment)
    assert headers["Content-Disposition"] == f"attachment; {header}"


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("a/b\\c.txt", "c.txt"),
        ("a\r\nSet-Cookie: x", "aSet-Cookie: x"),
        ("..", "file"),
        ("dir/", "file"),
        ("\0", "file"),
        (" .hidden ", ".hidden"),
        ("e\u0301.txt", "\u00e9.txt"),
    ],
)
def test_clean_file_name(name: str, clean: str) -> None:
    assert clean_file_name(name) == clean
