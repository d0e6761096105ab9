"""The storage: whatever Django does with a file works, and the store holds ciphertext alone."""

import io
from collections.abc import Callable
from io import BytesIO

import pytest
import pytest_django
from django.core.files.base import ContentFile, File
from django.core.files.storage import Storage, storages
from PIL import Image

from apps.files.storage import EncryptedInMemoryStorage
from apps.files.stream import CHUNK_SIZE, HEADER_SIZE
from apps.keys.errors import AlteredValueError, MalformedValueError, UnknownKeyError
from apps.keys.keyring import Purpose, keyring
from tests.files.conftest import Keys, put

CANARY = b"canary-4711 "


@pytest.fixture
def storage(settings: pytest_django.Settings) -> EncryptedInMemoryStorage:
    """The tests' default storage."""
    found = storages.create_storage(settings.STORAGES["default"])
    assert isinstance(found, EncryptedInMemoryStorage)
    return found


def stored(storage: EncryptedInMemoryStorage, name: str) -> bytes:
    return storage.open_stored(name).read()


# What Django does with files -----------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, CHUNK_SIZE, 3 * CHUNK_SIZE + 1])
def test_a_file_comes_back_as_it_was(storage: EncryptedInMemoryStorage, size: int) -> None:
    content = (CANARY * (size // 12 + 1))[:size]
    name = storage.save("a/b", ContentFile(content))
    assert storage.size(name) == size
    with storage.open(name) as file:
        assert file.size == len(file) == size
        assert file.name == name
        assert b"".join(file.chunks()) == content
        assert file.seek(0) == 0
        assert file.read() == content
    assert CANARY not in stored(storage, name)


def test_reading_line_by_line(storage: EncryptedInMemoryStorage) -> None:
    storage.save("a", ContentFile(b"one\ntwo\nthree"))
    assert list(storage.open("a")) == [b"one\n", b"two\n", b"three"]
    assert storage.open("a").readline() == b"one\n"


def test_pillow_reads_it(storage: EncryptedInMemoryStorage) -> None:
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "TIFF"):
        picture = BytesIO()
        Image.effect_noise((300, 200), 100).convert("RGB").save(picture, kind)
        name = storage.save("picture", ContentFile(picture.getvalue()))
        with Image.open(storage.open(name)) as opened, Image.open(picture) as plain:
            assert opened.tobytes() == plain.tobytes()


def test_a_closed_file_opens_again(storage: EncryptedInMemoryStorage) -> None:
    file = storage.open(storage.save("a", ContentFile(b"abc")))
    assert file.read() == b"abc"
    assert file.open().read() == b"abc"
    file.close()
    assert file.closed
    assert file.open("rb").read() == b"abc"


def test_a_file_that_was_altered_while_closed_does_not_open_again(
    storage: EncryptedInMemoryStorage,
) -> None:
    file = storage.open(storage.save("a", ContentFile(b"abc")))
    file.close()
    put(storage, "a", stored(storage, "a")[:-1])
    with pytest.raises(AlteredValueError):
        file.open()


def test_two_readers_do_not_disturb_each_other(storage: EncryptedInMemoryStorage) -> None:
    content = CANARY * 20_000
    storage.save("a", ContentFile(content))
    one, other = storage.open("a"), storage.open("a")
    assert one.read(100_000) + other.read(7)[:0] + one.read() == content


def test_text_is_stored_as_utf_8(storage: EncryptedInMemoryStorage) -> None:
    storage.save("a", ContentFile("Übung"))
    assert storage.open("a").read() == "Übung".encode()


def test_a_file_is_stored_from_its_beginning(storage: EncryptedInMemoryStorage) -> None:
    content = ContentFile(b"abc")
    content.read()
    storage.save("a", content)
    assert storage.open("a").read() == b"abc"
    assert not content.closed


def test_a_source_that_cannot_seek(storage: EncryptedInMemoryStorage) -> None:
    class Pipe(BytesIO):
        def seekable(self) -> bool:
            return False

    storage.save("a", File(Pipe(b"abc")))
    assert storage.open("a").read() == b"abc"


@pytest.mark.parametrize("mode", ["r", "w", "wb", "ab", "rb+"])
def test_no_other_way_to_open(storage: EncryptedInMemoryStorage, mode: str) -> None:
    storage.save("a", ContentFile(b"abc"))
    before = stored(storage, "a")
    with pytest.raises(ValueError, match=r"mode 'rb'.*save\(\)"):
        storage.open("a", mode)
    assert stored(storage, "a") == before


def test_a_read_file_cannot_be_written(storage: EncryptedInMemoryStorage) -> None:
    file = storage.open(storage.save("a", ContentFile(b"abc")))
    assert not file.writable()
    with pytest.raises(io.UnsupportedOperation):
        file.write(b"x")


def test_there_is_no_address(storage: EncryptedInMemoryStorage) -> None:
    with pytest.raises(NotImplementedError, match="FileResponse"):
        storage.url(storage.save("a", ContentFile(b"abc")))


def test_a_missing_file_is_not_found(storage: EncryptedInMemoryStorage) -> None:
    calls: list[Callable[[str], object]] = [
        *(storage.open, storage.size, storage.key_id, storage.rewrite)
    ]
    for call in calls:
        with pytest.raises(FileNotFoundError):
            call("gone")


# What is not opened -----------------------------------------------------------------------


def refused(storage: Storage, name: str, caplog: pytest.LogCaptureFixture) -> Exception:
    """Why a file does not open; the log tells, and nobody tells what is in it."""
    caplog.clear()
    with pytest.raises((AlteredValueError, MalformedValueError, UnknownKeyError)) as caught:
        storage.open(name)
    assert caplog.text.count("stored_file_refused") == 1
    assert name in caplog.text
    assert "canary" not in caplog.text + str(caught.value)
    return caught.value


def test_an_altered_file_is_refused_and_logged(
    storage: EncryptedInMemoryStorage, caplog: pytest.LogCaptureFixture
) -> None:
    storage.save("a", ContentFile(CANARY * 10_000))
    original = stored(storage, "a")
    put(storage, "a", original[:-1] + bytes([original[-1] ^ 1]))
    assert isinstance(refused(storage, "a", caplog), AlteredValueError)
    put(storage, "a", CANARY * 100)
    assert isinstance(refused(storage, "a", caplog), MalformedValueError)
    put(storage, "a", original)
    assert storage.open("a").read() == CANARY * 10_000


def test_two_files_that_were_exchanged_are_refused(
    storage: EncryptedInMemoryStorage, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b"):
        storage.save(name, ContentFile(CANARY + name.encode()))
    a, b = stored(storage, "a"), stored(storage, "b")
    put(storage, "a", b)
    put(storage, "b", a)
    put(storage, "copy", a)
    for name in ("a", "b", "copy"):
        assert isinstance(refused(storage, name, caplog), AlteredValueError)


def test_the_name_may_be_written_in_other_ways(storage: EncryptedInMemoryStorage) -> None:
    storage.save("folder/a", ContentFile(b"abc"))
    for name in ("folder/a", "./folder/a", "folder//a", "folder/../folder/a"):
        assert storage.open(name).read() == b"abc"


def test_a_file_of_a_retired_key_is_refused_and_logged(
    storage: EncryptedInMemoryStorage, file_keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    storage.save("a", ContentFile(CANARY))
    file_keys.add()
    assert storage.open("a").read() == CANARY
    file_keys.remove_old()
    assert isinstance(refused(storage, "a", caplog), UnknownKeyError)


# Another key ---------------------------------------------------------------------------------


def test_a_file_is_encrypted_anew_in_its_place(
    storage: EncryptedInMemoryStorage, file_keys: Keys
) -> None:
    content = CANARY * 20_000
    storage.save("a", ContentFile(content))
    old = storage.key_id("a")
    assert old == keyring(Purpose.FILES).active.id
    new = file_keys.add()
    before = stored(storage, "a")
    storage.rewrite("a")
    file_keys.remove_old()
    assert storage.key_id("a") == new.id != old
    assert storage.open("a").read() == content
    assert storage.listdir("") == ([], ["a"])
    assert stored(storage, "a")[HEADER_SIZE:] != before[HEADER_SIZE:]
    storage.rewrite("a")
    assert storage.open("a").read() == content


def test_an_altered_file_is_left_as_it_is(
    storage: EncryptedInMemoryStorage, file_keys: Keys
) -> None:
    storage.save("a", ContentFile(CANARY))
    altered = stored(storage, "a")[:-1] + b"\0\0"
    put(storage, "a", altered)
    file_keys.add()
    with pytest.raises(AlteredValueError):
        storage.rewrite("a")
    assert stored(storage, "a") == altered
