"""What a rotation leaves, when nothing disturbs it: new keys, the same values, old keys kept."""

import re
from collections.abc import Iterator
from io import StringIO
from itertools import combinations

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from apps.fields.sqlite3.base import DatabaseWrapper as SQLite
from apps.fields.values import seal
from apps.keys.errors import UnknownKeyError
from apps.keys.keyring import Purpose, find_key, keyring
from apps.rotation.tables import tables
from apps.users.models import User
from tests.fields.library.models import Everything, Reader, Tag
from tests.fields.stored import write
from tests.keys.hidden import shows
from tests.keys.stores import FailingStore
from tests.rotation.looking import (
    check_all,
    ids,
    not_found,
    ring,
    rotate,
    stored,
    values,
)

pytestmark = pytest.mark.django_db

ALL = [
    list(purposes)
    for count in range(1, len(Purpose) + 1)
    for purposes in combinations(Purpose, count)
]


def options(purposes: list[Purpose]) -> list[str]:
    return [word for purpose in purposes for word in ("--purpose", purpose)]


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("purposes", ALL, ids=", ".join)
def test_new_keys_and_the_same_values(purposes: list[Purpose], store: FailingStore) -> None:
    before, old = values(), ids()
    old_keys = {purpose: ring(purpose).keys[0] for purpose in Purpose}
    said = rotate(*options(purposes)).out
    check_all(before)
    for purpose in Purpose:
        if purpose in purposes:
            assert ids()[purpose].isdisjoint(old[purpose])
            assert store.archive[purpose] == {old_keys[purpose].id: old_keys[purpose]}
            assert f"Made the {purpose} key {ring(purpose).active}." in said
            with pytest.raises(UnknownKeyError):
                find_key(purpose, bytes.fromhex(old_keys[purpose].id))
        else:
            assert ids()[purpose] == old[purpose]
            assert store.archive[purpose] == {}


@pytest.mark.usefixtures("rows")
def test_no_old_id_is_left_anywhere() -> None:
    # `check_all` asks the application what is current; this does not.
    old = [bytes.fromhex(i) for found in ids().values() for i in found]
    held = b"".join(v for column in stored().values() for v in column if isinstance(v, bytes))
    assert all(i in held for i in old[:2])
    rotate()
    headers = [
        value[:45]
        for column in stored().values()
        for value in (column if isinstance(column, list) else [column])
        if value is not None
    ]
    assert len(headers) > 30
    assert not [header for header in headers for i in old if i in header]


@pytest.mark.usefixtures("rows")
def test_rotations_in_a_row() -> None:
    before, slots, seen = values(), [], [ids()]
    for _ in range(4):
        rotate()
        check_all(before)
        slots.append(ring(Purpose.INDEX).keys[0].slot)
        assert all(seen[-1][purpose].isdisjoint(ids()[purpose]) for purpose in Purpose)
        seen.append(ids())
    assert slots == [1, 0, 1, 0]
    assert [keyring(Purpose.INDEX).active_slot] == slots[-1:]


def test_tables_without_rows() -> None:
    old = ids()
    said = rotate()
    assert "Rewrote 0 rows" in said.out
    assert "Rewrote 0 files" in said.out
    check_all(values())
    assert all(old[purpose].isdisjoint(ids()[purpose]) for purpose in Purpose)


def test_a_column_that_is_null_in_every_row() -> None:
    # PostgreSQL takes an array or a column without a value for text.
    Tag.objects.create(word=None, colour="red")
    Everything.objects.bulk_create(Everything() for _ in range(5))
    before = values()
    rotate("--batch-size", "2")
    check_all(before)


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("size", [1, 2, 7, 100_000])
def test_batches(size: int) -> None:
    Reader.objects.bulk_create(Reader(email=f"{n}@example.com", name="x") for n in range(20))
    before = values()
    rotate("--batch-size", str(size))
    check_all(before)


def test_more_rows_than_one_statement_takes_parameters() -> None:
    Reader.objects.bulk_create(
        (Reader(email=f"{n}@example.com", name="x", notes="y") for n in range(9000)), batch_size=500
    )
    rotate("--purpose", "fields", "--batch-size", "100000")
    assert [table.count_due() for table in tables("default")] == [0] * len(tables("default"))
    assert Reader.objects.get(email="8999@example.com").notes == "y"


def test_what_is_plain_in_a_row_is_left_alone(user: User) -> None:
    Reader.objects.create(email="a@example.com", name="A", plain="plain")
    rows = list(Reader.objects.values()), list(User.objects.values())
    rotate()
    assert (list(Reader.objects.values()), list(User.objects.values())) == rows


@pytest.mark.usefixtures("rows")
def test_a_value_that_only_its_field_has_not_indexed(store: FailingStore) -> None:
    # A column that became searchable while an old release still wrote to it.
    reader = Reader.objects.get(email="reader1@example.com")
    write(reader, "name", seal("library_reader.name", b"Name 1", None))
    assert ("library.Reader.name", reader.pk) in not_found()
    rotate("--resume")
    assert not_found() == []
    assert store.archive[Purpose.FIELDS] == {}


# Dry run ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("rows")
def test_a_dry_run_changes_nothing(store: FailingStore) -> None:
    before, rings, made = stored(), dict(store.rings), len(store.unwrapped)
    said = rotate("--dry-run").out
    assert (stored(), store.rings, len(store.unwrapped)) == (before, rings, made)
    assert store.archive == {purpose: {} for purpose in Purpose}
    for purpose in Purpose:
        assert f"{purpose}: would get a new key\n" in said
    assert f"library_reader: {Reader.objects.count()} rows, 0 of them not under" in said
    assert "library_scan.file: 1 files, 0 of them not under" in said
    assert said.endswith("Nothing is changed.\n")


@pytest.mark.usefixtures("rows")
def test_a_dry_run_counts_what_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_say: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("apps.rotation.management.commands.rotate_keys.settle", stop)
    with pytest.raises(KeyboardInterrupt):
        rotate("--purpose", "fields", "--purpose", "files")
    Reader.objects.create(email="new@example.com", name="x")  # under the new key
    said = rotate("--dry-run").out
    assert "fields: is rotating\n" in said
    assert "index: would get a new key\n" in said
    assert f"library_reader: {Reader.objects.count()} rows, 6 of them not under" in said
    assert "library_everything: 2 rows, 1 of them not under" in said  # the other one is all NULL
    assert "library_scan.file: 1 files, 1 of them" in said
    assert "library_scan.thumbnail: 1 files, 1 of them" in said
    assert "index: gets no new key\n" in rotate("--dry-run", "--resume").out
    assert "index" not in rotate("--dry-run", "--purpose", "files").out


@pytest.mark.usefixtures("rows")
def test_a_dry_run_of_one_purpose() -> None:
    said = rotate("--dry-run", "--purpose", "files").out
    assert "fields" not in said
    assert "library_reader" not in said
    assert "library_scan.file" in said
    said = rotate("--dry-run", "--purpose", "index").out
    assert "library_scan.file" not in said
    assert "library_reader" in said


# What is said -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--purpose", "passwords"],
            r"invalid choice: 'passwords' \(choose from '?fields'?, '?index'?, '?files'?\)",
        ),
        (["--batch-size", "0"], "--batch-size must be at least 1."),
        (["--batch-size", "-5"], "--batch-size must be at least 1."),
        (["--batch-size", "many"], "invalid int value: 'many'"),
    ],
)
def test_wrong_options(arguments: list[str], message: str, store: FailingStore) -> None:
    before = dict(store.rings)
    with pytest.raises(CommandError, match=message):
        rotate(*arguments)
    assert store.rings == before


@pytest.mark.usefixtures("rows")
def test_progress_and_rate_are_printed_and_no_secret(store: FailingStore) -> None:
    secrets: list[bytes | str] = [store.secret(purpose) for purpose in Purpose]
    secrets += [key.wrapped for purpose in Purpose for key in ring(purpose).keys]
    said = rotate("--batch-size", "2")
    secrets += [store.secret(purpose) for purpose in Purpose]
    assert re.search(r"library_reader: 100%.* 6/6 \[.* rows/s\]", said.err)
    assert re.search(r"library_scan.file: 100%.* 1/1 ", said.err)
    assert re.search(r"Rewrote \d+ rows in \d+\.\d s \([\d,]+/s\)\.", said.out)
    assert re.search(r"Rewrote 2 files in \d+\.\d s", said.out)
    for plain in ("ada@", "Ada@", "Reader1", "Name 1", "Emma", "scan.txt"):
        assert plain not in said.out + said.err
    assert not shows(said.out + said.err, *secrets)


class Terminal(StringIO):
    """A terminal, which shows what is after the last carriage return of a line."""

    def isatty(self) -> bool:
        return True


@pytest.mark.usefixtures("rows")
def test_a_bar_stays_in_its_line_on_a_terminal_only() -> None:
    terminal, log = Terminal(), StringIO()
    for stream in (terminal, log):
        call_command("rotate_keys", "--batch-size", "1", stdout=StringIO(), stderr=stream)
    bars = len({*re.findall(r"\r([a-z_.]+):", terminal.getvalue())})
    assert bars >= 8
    lines = terminal.getvalue().count("\n")
    assert lines < terminal.getvalue().count("\r")
    assert not [line for line in log.getvalue().splitlines() if line.count("%|") > 1]


# Several databases ------------------------------------------------------------------------------


@pytest.fixture
def second_database(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Another database, with the table of readers alone."""

    class Router:
        def allow_migrate(self, db: str, app_label: str, **hints: object) -> bool | None:
            return None if db == "default" else hints.get("model_name") == "reader"

    other = connections["default"].settings_dict | {
        "ENGINE": "apps.fields.sqlite3",
        "NAME": f"{tmp_path}/db",
        "OPTIONS": {},
    }
    wrapper = SQLite(other, "other")
    wrapper.ensure_connection()
    monkeypatch.setitem(connections.settings, "other", other)
    monkeypatch.setattr("django.db.router.routers", [Router()])
    connections["other"] = wrapper
    with wrapper.schema_editor() as editor:
        editor.create_model(Reader)
    yield "other"
    wrapper.close()
    del connections["other"]


@pytest.mark.django_db(transaction=True)
def test_keys_are_retired_when_no_database_uses_them(second_database: str) -> None:
    for alias in ("default", second_database):
        Reader.objects.using(alias).create(email=f"{alias}@example.com", name="x")
    rotate()
    for alias in ("default", second_database):
        assert Reader.objects.using(alias).get(name="x").email == f"{alias}@example.com"
        found = {table.name: table for table in tables(alias)}["library_reader"]
        assert (found.count(), found.count_due()) == (1, 0)
    assert [table.name for table in tables(second_database)] == ["library_reader"]
