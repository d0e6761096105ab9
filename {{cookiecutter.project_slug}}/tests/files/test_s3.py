"""Encrypted files in S3, through the real client over HTTPS: upload, download, retries."""

import os
import tempfile
from typing import Any

import pytest
from botocore.exceptions import ClientError
from django.core.files.base import ContentFile
from storages.backends import s3 as backend

from apps.files.storage import EncryptedS3Storage
from apps.files.stream import HEADER_SIZE
from apps.keys.errors import AlteredValueError, MalformedValueError
from tests.files.conftest import Keys
from tests.files.objects import ObjectServer

CANARY = b"canary-4711 "
SMALL, LARGE = 100_000, 9_000_000  # one request; two parts, as s3transfer cuts at 8 MiB


def content_of(size: int) -> bytes:
    return CANARY * (size // len(CANARY))


@pytest.mark.parametrize("size", [0, SMALL, LARGE])
def test_a_file_goes_and_comes_back(
    s3: EncryptedS3Storage, objects: ObjectServer, size: int
) -> None:
    content = content_of(size)
    name = s3.save("folder/a", ContentFile(content))
    sent = b"".join(request.body for request in objects.requests)
    assert CANARY not in sent
    assert CANARY not in objects.objects["folder/a"]
    assert s3.size(name) == len(content)
    with s3.open(name) as file:
        assert file.read() == content


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_an_upload_that_fails_at_first_is_repeated(
    s3: EncryptedS3Storage, objects: ObjectServer, size: int
) -> None:
    objects.failures = 2
    name = s3.save("a", ContentFile(content_of(size)))
    assert objects.failures == 0
    assert s3.open(name).read() == content_of(size)


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_an_upload_that_fails_leaves_what_was_there(
    s3: EncryptedS3Storage, objects: ObjectServer, size: int
) -> None:
    s3.save("a", ContentFile(content_of(size)))
    before = objects.objects["a"]
    objects.failures = 1000
    with pytest.raises(ClientError, match="InternalError"):
        s3.rewrite("a")
    assert objects.objects == {"a": before}


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_source_that_fails_stores_nothing(
    s3: EncryptedS3Storage, objects: ObjectServer, size: int
) -> None:
    class Failing(ContentFile):  # type: ignore[type-arg]  # not subscriptable at run time
        def read(self, count: int = -1) -> bytes:
            if self.tell() >= size - 50_000:
                raise OSError("broken on purpose")
            return super().read(count)  # type: ignore[no-any-return]

    with pytest.raises(OSError, match="broken on purpose"):
        s3.save("a", Failing(content_of(size)))
    assert objects.objects == {}


def test_the_store_learns_no_media_type_and_no_encoding(
    s3: EncryptedS3Storage, objects: ObjectServer
) -> None:
    content = ContentFile(b"abc")
    content.content_type = "text/html"  # type: ignore[attr-defined]
    s3.save("a.html.gz", content)
    (upload,) = (request for request in objects.requests if request.method == "PUT")
    assert upload.headers["content-type"] == "application/octet-stream"
    assert upload.headers["content-encoding"] == "aws-chunked"  # of the transfer, not the object


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("position", [0, HEADER_SIZE, -1])
def test_an_altered_object_does_not_open(
    s3: EncryptedS3Storage, objects: ObjectServer, size: int, position: int
) -> None:
    s3.save("a", ContentFile(content_of(size)))
    altered = bytearray(objects.objects["a"])
    altered[position] ^= 128
    objects.objects["a"] = bytes(altered)
    with pytest.raises((AlteredValueError, MalformedValueError)):
        s3.open("a")


def test_an_object_of_another_name_or_folder_does_not_open(
    s3: EncryptedS3Storage, objects: ObjectServer
) -> None:
    other = EncryptedS3Storage(bucket_name=s3.bucket_name, location="other")
    s3.save("a", ContentFile(CANARY))
    other.save("a", ContentFile(CANARY))
    assert other.open("a").read() == CANARY
    a = objects.objects["a"]
    objects.objects |= {"other/a": a, "b": a}
    for storage, name in ((other, "a"), (s3, "other/a"), (s3, "b")):
        with pytest.raises(AlteredValueError):
            storage.open(name)


@pytest.mark.parametrize("there", [b"", CANARY])
def test_an_object_that_was_not_encrypted_does_not_open(
    s3: EncryptedS3Storage, objects: ObjectServer, there: bytes
) -> None:
    objects.objects["a"] = there
    for call in (s3.open, s3.key_id, s3.size):
        with pytest.raises(MalformedValueError):
            call("a")


def test_a_missing_object_is_not_found(s3: EncryptedS3Storage) -> None:
    for call in (s3.open, s3.key_id, s3.size, s3.rewrite):
        with pytest.raises(FileNotFoundError):
            call("gone")


def test_a_denied_request_is_no_missing_object(
    s3: EncryptedS3Storage, objects: ObjectServer
) -> None:
    objects.denies = True
    for call in (s3.open, s3.key_id, s3.size, s3.rewrite):
        with pytest.raises(ClientError, match=r"Forbidden|AccessDenied"):
            call("a")


def test_the_key_of_an_object_costs_one_request_for_its_header(
    s3: EncryptedS3Storage, objects: ObjectServer
) -> None:
    s3.save("a", ContentFile(content_of(SMALL)))
    objects.requests.clear()
    assert s3.key_id("a") == objects.objects["a"][1:5]
    (request,) = objects.requests
    assert request.method == "GET"
    assert request.headers["range"] == f"bytes=0-{HEADER_SIZE - 1}"


@pytest.mark.parametrize("size", [0, SMALL, LARGE])
def test_an_object_gets_another_key_by_one_overwrite(
    s3: EncryptedS3Storage, objects: ObjectServer, file_keys: Keys, size: int
) -> None:
    s3.save("a", ContentFile(content_of(size)))
    new = file_keys.add()
    assert s3.key_id("a") != new.id
    objects.requests.clear()
    s3.rewrite("a")
    file_keys.remove_old()
    assert s3.key_id("a") == new.id
    assert s3.open("a").read() == content_of(size)
    writes = [r for r in objects.requests if r.method == "PUT" and "partNumber" not in r.query]
    writes += [r for r in objects.requests if r.method == "POST" and "uploadId" in r.query]
    assert [request.path for request in writes] == ["a"]
    assert not [request for request in objects.requests if request.method == "DELETE"]
    assert list(objects.objects) == ["a"]


def test_temporary_files_hold_ciphertext_only(
    s3: EncryptedS3Storage, objects: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    class Recording(tempfile.SpooledTemporaryFile[bytes]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr(backend.tempfile, "SpooledTemporaryFile", Recording)
    monkeypatch.setattr(s3, "max_memory_size", SMALL)
    content = content_of(3 * SMALL)
    s3.save("a", ContentFile(content))
    assert made == []  # an upload needs none
    with s3.open("a") as file:
        assert file.read() == content
        file.seek(SMALL)
        assert file.read() == content[SMALL:]
        (spooled,) = made
        assert spooled._rolled  # is on the disk
        spooled.seek(0)
        assert spooled.read() == objects.objects["a"]
    assert spooled.closed


def test_a_download_that_is_refused_leaves_no_temporary_file(
    s3: EncryptedS3Storage, objects: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    real = tempfile.SpooledTemporaryFile

    def recording(*args: Any, **kwargs: Any) -> Any:
        made.append(real(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(backend.tempfile, "SpooledTemporaryFile", recording)
    objects.objects["a"] = b"\x02" + os.urandom(1000)
    with pytest.raises(MalformedValueError) as caught:
        s3.open("a")
    assert [file.closed for file in made] == [True]  # while the error still holds its frames
    assert caught.tb
