"""Keys of a test's own, rows of every kind, and rotations that do not wait."""

import datetime
from collections.abc import Iterator
from decimal import Decimal

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from pytest_django import Settings
from tqdm import tqdm

from apps.rotation.management.commands import rotate_keys
from apps.users.models import User
from tests.fields.library.models import Everything, Loan, Reader, Scan, Student, Tag
from tests.keys.conftest import clock, store
from tests.keys.stores import Clock, FailingStore
from tests.rotation.processes import Site

__all__ = ["clock", "store"]

on_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="what PostgreSQL alone does"
)


@pytest.fixture(autouse=True)
def _keys(store: FailingStore, settings: Settings) -> None:
    """Keys that are this test's own, and are not read again because time passes."""
    settings.KEYRING_MAX_AGE = 100_000


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one process, which knows its own changes."""
    monkeypatch.setattr(rotate_keys, "settle", lambda _say: None)
    monkeypatch.setattr(tqdm, "monitor_interval", 0)  # no thread that outlives a test


@pytest.fixture
def rows(db: None) -> Iterator[None]:
    """Rows in every table with encrypted columns, NULLs among them, and files."""
    User.objects.create_user("Ada@Example.com", "x")
    readers = [
        Reader.objects.create(email=f"Reader{n}@Example.com", name=f"Name {n}", notes="n" * n)
        for n in range(5)
    ]
    Student.objects.create(email="Student@Example.com", name="Name 1", number=7)
    for n, reader in enumerate(readers[:3]):
        Loan.objects.create(reader=reader, book="Emma", shelf="a", place=str(n))
    Tag.objects.create(word=None, colour="red")
    Tag.objects.create(word="word", colour="blue")
    Everything.objects.create()
    Everything.objects.create(
        char="é 😀",
        text="",
        email="A@b.c",
        integer=-(2**70),
        decimal=Decimal("-0.5"),
        date=datetime.date(1, 1, 1),
        datetime=datetime.datetime(2026, 3, 29, 1, 30, tzinfo=datetime.UTC),
        time=datetime.time(12, 34, 56, 789012),
        binary=bytes(range(256)),
        boolean=False,
        json={"a": [None, "b"]},
    )
    store_file("scans/1", b"content " * 20_000)
    store_file("scans/1-thumbnail", b"picture")
    Scan.objects.create(file="scans/1", file_name="scan.txt", thumbnail="scans/1-thumbnail")
    yield
    for name in ("scans/1", "scans/1-thumbnail"):
        default_storage.delete(name)


@pytest.fixture
def site(db: None, clock: Clock) -> Site:
    """Processes, and a row and a file that are older than the rotation."""
    Reader.objects.create(email="first@example.com", name="First", notes="kept")
    store_file("kept", b"kept")
    Scan.objects.create(file="kept", file_name="kept")
    return Site(clock)


def store_file(name: str, content: bytes) -> None:
    """Store a file under exactly this name."""
    assert default_storage.save(name, ContentFile(content)) == name
