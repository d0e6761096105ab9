"""Files while they are rewritten: those that go, change, were altered, or are named twice."""

import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from threading import Event
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage, default_storage
from django.core.management import CommandError
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from apps.files.storage import EncryptedInMemoryStorage, EncryptedStorageMixin
from apps.keys.keyring import Purpose, keyring
from apps.rotation import keys, objects
from apps.rotation.management.commands import rotate_keys
from apps.rotation.objects import Files, files
from tests.fields.library.models import Scan
from tests.keys.stores import FailingStore
from tests.rotation.conftest import on_postgresql, store_file
from tests.rotation.looking import file_key, ids, rotate
from tests.rotation.test_writers import Other, Steps, until

pytestmark = pytest.mark.django_db(transaction=True)

CONTENT = b"canary-4711 " * 10_000


@pytest.fixture(autouse=True)
def _no_objects(transactional_db: None) -> Iterator[None]:
    """No object is left of a test."""
    yield
    for name in itertools.chain(*default_storage.listdir("")):
        default_storage.delete(name)


def scan(name: str, thumbnail: str = "") -> Scan:
    """Make a row and its object."""
    store_file(name, CONTENT)
    return Scan.objects.create(file=name, file_name="x", thumbnail=thumbnail)


def remove(pk: int) -> bool:
    """Delete the object and then the row, as `apps.rotation.objects` expects of everybody."""
    with transaction.atomic():
        row = Scan.objects.select_for_update().filter(pk=pk).first()
        if row is None:
            return False
        default_storage.delete(str(row.file.name))
        row.delete()
    return True


def place(name: str = "file") -> Files:
    """The place of all files of this field."""
    return {one.name: one for one in files("default")}[f"library_scan.{name}"]


def begin() -> None:
    keys.begin(Purpose.FILES, "now")


def one_pass(name: str = "file") -> tuple[int, list[Any]]:
    done = place(name).rotate(1, lambda _count: None)
    return done.rewritten, done.failed


def is_current(name: str) -> bool:
    return file_key(name) == keyring(Purpose.FILES).active.id


def before_rewriting(monkeypatch: pytest.MonkeyPatch, do: Callable[[str], object]) -> None:
    """Call `do` with a file's name when it is about to be rewritten and its row is locked."""
    rewrite = EncryptedStorageMixin.rewrite

    def interrupted(storage: EncryptedStorageMixin, name: str) -> None:
        do(name)
        rewrite(storage, name)

    monkeypatch.setattr(EncryptedStorageMixin, "rewrite", interrupted)


def put(name: str, content: bytes) -> None:
    """Put an object into the store behind the application's back."""
    default_storage.delete(name)
    InMemoryStorage._save(default_storage, name, ContentFile(content))  # type: ignore[attr-defined]


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 4])
def test_rows_are_looked_at_in_pages(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_PAGE", 2)
    names = [f"{n}" for n in range(rows)]
    for name in names:
        scan(name)
    begin()
    assert (place().count(), place().count_due()) == (rows, rows)
    assert one_pass() == (rows, [])
    assert all(is_current(name) for name in names)


def test_files_and_thumbnails_get_the_new_key() -> None:
    store_file("small", b"small")
    scan("large", thumbnail="small")
    rotate("--purpose", "files")
    (active,) = ids()[Purpose.FILES]
    assert [file_key(name).hex() for name in ("large", "small")] == [active, active]
    assert default_storage.open("large").read() == CONTENT
    assert default_storage.open("small").read() == b"small"
    with default_storage.open_stored("large") as stored:  # type: ignore[attr-defined]
        assert CONTENT[:20] not in stored.read()


def test_an_object_that_is_missing() -> None:
    # An upload that has not ended, or one that never will.
    scan("a")
    Scan.objects.create(file="missing", file_name="x")
    Scan.objects.create(file="", file_name="x")
    rotate("--purpose", "files")
    assert is_current("a")
    assert not default_storage.exists("missing")
    assert "library_scan.file: 2 files, 0 of them" in rotate("--dry-run").out


def test_a_row_without_a_thumbnail() -> None:
    scan("a", thumbnail="")
    store_file("b", b"small")
    scan("c", thumbnail="b")
    begin()
    assert one_pass("thumbnail") == (1, [])
    assert is_current("b")
    assert not is_current("a")


def test_an_object_that_is_deleted_meanwhile_does_not_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scan("a")
    scan("b")
    begin()
    before_rewriting(monkeypatch, default_storage.delete)
    assert one_pass() == (0, [])
    assert not default_storage.exists("a")
    assert place().count_due() == 0


def test_a_row_that_is_gone_or_changed_before_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    gone, changed = scan("a"), scan("b")
    begin()
    is_due = Files._is_due

    def look_and_change(place: Files, name: str) -> bool:
        due = is_due(place, name)
        Scan.objects.filter(pk=gone.pk).delete()
        Scan.objects.filter(pk=changed.pk).update(file="c")
        return due

    monkeypatch.setattr(Files, "_is_due", look_and_change)
    assert one_pass() == (0, [])
    assert not is_current("a")  # no row names them any more
    assert not is_current("b")
    assert not default_storage.exists("c")


def test_two_rows_that_name_the_same_object() -> None:
    scan("a", thumbnail="a")
    Scan.objects.create(file="a", file_name="x")
    rotate("--purpose", "files")
    assert is_current("a")
    assert default_storage.open("a").read() == CONTENT


@pytest.mark.parametrize(
    "change",
    [
        lambda stored: stored[:-1] + bytes([stored[-1] ^ 1]),
        lambda stored: stored[:-20],
        lambda stored: CONTENT,
        lambda stored: b"",
        lambda stored: stored[:1] + b"\x0a\x0b\x0c\x0d" + stored[5:],
    ],
    ids=["altered", "cut off", "plaintext", "empty", "unknown key"],
)
def test_an_object_that_cannot_be_decrypted_stops_it(
    change: Callable[[bytes], bytes], store: FailingStore
) -> None:
    bad = scan("bad")
    scan("good")
    damaged = change(default_storage.open_stored("bad").read())  # type: ignore[attr-defined]
    put("bad", damaged)
    for _ in range(2):
        with pytest.raises(CommandError) as stopped:
            rotate()
        assert str(stopped.value).startswith(
            f"library_scan.file: 1 files cannot be decrypted, for example {bad.pk}. Restore "
        )
    assert is_current("good")
    assert default_storage.open_stored("bad").read() == damaged  # type: ignore[attr-defined]
    assert store.archive == {purpose: {} for purpose in Purpose}
    bad.delete()
    rotate()
    assert default_storage.open("good").read() == CONTENT
    assert {len(found) for found in ids().values()} == {1}


def test_a_storage_that_fails_stops_it(
    monkeypatch: pytest.MonkeyPatch, store: FailingStore
) -> None:
    scan("a")

    def fail(_name: str) -> None:
        raise ConnectionError("The storage is away.")

    with monkeypatch.context() as patch:
        before_rewriting(patch, fail)
        with pytest.raises(ConnectionError):
            rotate("--purpose", "files")
    assert store.archive[Purpose.FILES] == {}
    assert default_storage.open("a").read() == CONTENT
    rotate("--purpose", "files")
    assert default_storage.open("a").read() == CONTENT
    assert is_current("a")
    assert len(ids()[Purpose.FILES]) == 1


# While others delete ----------------------------------------------------------------------------


@on_postgresql
def test_who_deletes_waits_until_a_file_is_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    one = scan("a")
    begin()
    remover = Other(lambda: remove(one.pk))

    def begin_to_delete(_name: str) -> None:
        remover.start()
        until(remover.is_waiting)
        assert default_storage.exists("a")

    before_rewriting(monkeypatch, begin_to_delete)
    assert one_pass() == (1, [])
    remover.end()
    assert not default_storage.exists("a")
    assert not Scan.objects.exists()


@on_postgresql
def test_a_rotation_waits_for_who_deletes(monkeypatch: pytest.MonkeyPatch) -> None:
    one = scan("a")
    begin()
    deletes, may_end = Event(), Event()
    delete = EncryptedInMemoryStorage.delete

    def slow_delete(storage: Any, name: str) -> None:
        deletes.set()
        assert may_end.wait(20)
        delete(storage, name)

    with monkeypatch.context() as patch:
        patch.setattr(EncryptedInMemoryStorage, "delete", slow_delete)
        with Other(lambda: remove(one.pk)):
            assert deletes.wait(20)
            passed: list[Any] = []
            with Other(lambda: passed.append(one_pass())) as rotation:
                until(rotation.is_waiting)
                assert passed == []
                may_end.set()
    assert passed == [(0, [])]
    assert not default_storage.exists("a")


@on_postgresql
def test_uploads_and_removals_while_files_are_rewritten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the end there is an object for each row, under the current key, and no other."""
    stop, steps = Event(), Steps(2)
    rewrite = EncryptedStorageMixin.rewrite

    def slow_rewrite(storage: EncryptedStorageMixin, name: str) -> None:
        time.sleep(0.005)
        rewrite(storage, name)

    def visit(visitor: int) -> None:
        kept: list[Scan] = []
        for number in count():
            if stop.is_set():
                break
            name = f"{visitor}-{number}"
            # The row is there before its object, so that every object has a row.
            kept.append(Scan.objects.create(file=name, file_name="x"))
            store_file(name, name.encode() * 999)
            if len(kept) > 8:
                assert remove(kept.pop(0).pk)
            steps.ended[visitor] += 1

    monkeypatch.setattr(EncryptedStorageMixin, "rewrite", slow_rewrite)
    monkeypatch.setattr(rotate_keys, "settle", steps.settle)
    with Other(partial(visit, 0)), Other(partial(visit, 1)):
        try:
            until(lambda: Scan.objects.count() >= 10)
            for _ in range(4):
                rotate("--purpose", "files")
        finally:
            stop.set()
    names = set(Scan.objects.values_list("file", flat=True))
    assert set(default_storage.listdir("")[1]) == names
    assert all(map(is_current, names))
    for name in names:
        assert default_storage.open(name).read() == name.encode() * 999


@on_postgresql
def test_the_lock_does_not_hold_off_references() -> None:
    scan("a")
    begin()
    with CaptureQueriesContext(connection) as queries:
        assert one_pass() == (1, [])
    assert any('FOR NO KEY UPDATE OF "library_scan"' in query["sql"] for query in queries)
