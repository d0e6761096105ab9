"""Several processes in one: each knows the keys as they were when it last read them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from itertools import count
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import IntegrityError, transaction

from apps.fields.values import unseal
from apps.files import stream
from apps.files.storage import EncryptedStorageMixin
from apps.keys import keyring as keys
from apps.keys.keyring import Purpose, find_key, forget, keyring
from apps.rotation.management.commands import rotate_keys
from apps.rotation.tables import Table
from tests.fields.library.models import Loan, Reader, Scan, Tag
from tests.fields.stored import read
from tests.keys.stores import Clock, FailingStore

_KEPT = 12  # more than are written between two waits
_REWRITING = ("count_due", "_write", "rewrite")
_KNOWN = ("_held", "_unwrapped", "_asked_at", "_failed")


class Process:
    """What is done in `with process:` is done by another process.

    It has just read the keyrings, and reads them again only when it meets a key that it
    does not know, or is told to.
    """

    def __init__(self) -> None:
        self._known: dict[str, Any] = {name: {} for name in _KNOWN}
        self.refresh()

    def refresh(self) -> None:
        """Read the keyrings as they are now."""
        with self:
            forget()
            for purpose in Purpose:
                keyring(purpose)

    def __enter__(self) -> None:
        self._outer = {name: getattr(keys, name) for name in _KNOWN}
        self._set(self._known)

    def __exit__(self, *_error: object) -> None:
        self._set(self._outer)

    def _set(self, known: dict[str, Any]) -> None:
        for name, value in known.items():
            setattr(keys, name, value)


class Site:
    """Processes that use the site while another one rotates its keys.

    `fresh` always has the present keyrings. `stale` has those of when the rotation last
    waited; it only writes, for a new key that it met would make it read them again. So
    has `reading`, which reads too, and holds values in its hands that it has read since.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.fresh, self.stale, self.reading = Process(), Process(), Process()
        self.checks = 0
        self._numbers = count()
        self._fetched: list[tuple[bytes, bytes]] = []
        self._newest: Reader | None = None

    def settle(self) -> None:
        """Let time pass until nobody has a former keyring, or uses what was read under it."""
        self.stale.refresh()
        self.reading.refresh()
        self._fetched.clear()

    def check(self, step: str = "") -> None:
        """Read, search and write as each process; raise `AssertionError` if one is disturbed.

        While rows are rewritten the stale process is quiet: if it had too old keys, the
        rotation would not come to an end.
        """
        self.checks += 1
        self._clock.advance(2)  # an unknown key is looked for once a second
        self.fresh.refresh()
        readers = {"reading": self.reading, "fresh": self.fresh}
        writers = {"stale": self.stale, "fresh": self.fresh}
        if step.endswith(_REWRITING):
            del writers["stale"]
        for name, process in writers.items():
            with process, _named(f"what the {name} process writes"):
                reader, loan = self._write()
            for other, process in readers.items():
                with process, _named(f"what the {name} process wrote, in the {other} one"):
                    self._see(reader, loan)
        for name, process in readers.items():
            with process, _named(f"all rows, in the {name} process"):
                self._see_all()
        self._fetch()
        self._delete_old()

    def _write(self) -> tuple[Reader, Loan]:
        n = next(self._numbers)
        reader = Reader.objects.create(email=f"Site{n}@Example.com", name=f"Site {n}")
        loan = Loan.objects.create(reader=reader, book=f"Book {n}", shelf=f"{n}", place="a")
        Tag.objects.create(word=f"site {n}", colour=f"{n}")
        if self._newest:  # an old row gets new values too
            self._newest.name = f"Former {n}"
            self._newest.save()
        self._newest = reader
        name = f"site/{n}"
        default_storage.save(name, ContentFile(name.encode()))
        Scan.objects.create(file=name, file_name=name)
        return reader, loan

    def _see(self, reader: Reader, loan: Loan) -> None:
        email, book = reader.email.upper(), loan.book.upper()
        assert Reader.objects.get(email=email) == reader
        assert Loan.objects.get(book__in=["x", book], reader__email=email) == loan
        assert Loan.objects.get(shelf=loan.shelf, place="a").book == loan.book
        assert Tag.objects.filter(word=f"site {loan.shelf}").count() == 1
        assert default_storage.open(f"site/{loan.shelf}").read() == f"site/{loan.shelf}".encode()
        _refused(lambda: Reader.objects.create(email=email, name="x"))
        _refused(lambda: Reader.objects.exclude(pk=reader.pk).update(email=email))
        _refused(lambda: Loan.objects.create(reader=reader, book=book, shelf="x", place="x"))
        _refused(lambda: Loan.objects.create(reader=reader, book="x", shelf=loan.shelf, place="a"))
        _refused(lambda: Tag.objects.create(word=f"site {loan.shelf}", colour="x"))

    def _see_all(self) -> None:
        for reader in Reader.objects.all():
            assert Reader.objects.filter(email=reader.email.lower()).get() == reader
            assert Reader.objects.filter(name__in=[reader.name], pk=reader.pk).exists()
        for tag in Tag.objects.exclude(word=None):
            assert Tag.objects.get(word=tag.word) == tag
        for scan in Scan.objects.all():
            assert scan.file_name
            with scan.file.open() as content:
                assert content.read()
        for column, file in self._fetched:
            unseal("library_reader.notes", column)
            stream.decrypt(BytesIO(file), "kept", partial(find_key, Purpose.FILES))

    def _fetch(self) -> None:
        """Take stored bytes into the hands, to decrypt them later."""
        column = read(Reader.objects.earliest("pk"), "notes")
        assert column
        file = default_storage.open_stored("kept").read()  # type: ignore[attr-defined]
        self._fetched.append((column, file))

    def _delete_old(self) -> None:
        """Leave the first row of each table and the newest ones, so that checks stay quick."""
        for model in (Scan, Tag, Reader):
            rows = model._default_manager.order_by("pk").values_list("pk", flat=True)
            model._default_manager.filter(pk__in=[*rows][1:-_KEPT]).delete()


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Let every failure be an `AssertionError` that says of what."""
    try:
        yield
    except Exception as error:
        raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error


def _refused(write: Callable[[], object]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        write()


def at_every_step(
    monkeypatch: pytest.MonkeyPatch, store: FailingStore, do: Callable[[str], object]
) -> None:
    """Call `do` with a name before and after all that a rotation does to keys and rows."""
    steps = [
        (store, "generate"),
        (store, "write"),
        (store, "retire"),
        (rotate_keys, "settle"),
        (Table, "count_due"),
        (Table, "_write"),
        (EncryptedStorageMixin, "rewrite"),
    ]
    for owner, name in steps:
        monkeypatch.setattr(owner, name, _around(getattr(owner, name), name, do))


def _around(step: Callable[..., Any], name: str, do: Callable[[str], object]) -> Any:
    def around(*arguments: Any) -> Any:
        do(f"before {name}")
        result = step(*arguments)
        do(f"after {name}")
        return result

    return around
