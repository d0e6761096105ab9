"""Others write while rows are rewritten: nothing is lost, and nobody waits for long."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from operator import gt
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import OperationalError, connection, connections, transaction
from pytest_django import Settings

from apps.database.login import Connection
from apps.fields.sqlite3.base import DatabaseWrapper as SQLite
from apps.keys.keyring import Purpose
from apps.rotation import keys, waiting
from apps.rotation.management.commands import rotate_keys
from apps.rotation.tables import Table
from apps.rotation.waiting import only_one
from tests.fields.library.models import Loan, Reader
from tests.fields.stored import read
from tests.rotation.conftest import on_postgresql
from tests.rotation.looking import check_all, ids, rotate, values

pytestmark = pytest.mark.django_db(transaction=True)

SOON = 20  # seconds, after which a test has failed


class Other(Thread):
    """Does something over a connection of its own; `with` waits until it has ended."""

    def __init__(self, do: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._do = do
        self.error: BaseException | None = None
        self.pid: int | None = None

    def run(self) -> None:
        try:
            if connection.vendor == "postgresql":
                self.pid = backend()
            self._do()
        except BaseException as error:
            self.error = error
        finally:
            connection.close()

    def __enter__(self) -> "Other":
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.end()

    def end(self) -> None:
        self.join(SOON)
        assert not self.is_alive()
        if self.error:
            raise self.error

    def is_waiting(self) -> bool:
        """Whether the database lets it wait for a lock."""
        return bool(ask("SELECT 1 FROM pg_locks WHERE pid = %s AND NOT granted", self.pid or 0))


def ask(sql: str, *params: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())


def backend() -> int:
    return int(ask("SELECT pg_backend_pid()")[0][0])


def until(condition: Callable[[], object]) -> None:
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < SOON
        time.sleep(0.01)


class Steps:
    """Counts what threads have done, so that a rotation can wait for what they have begun.

    It waits as `waiting.settle` does, but for just as long as needed: a step may encrypt
    under the key that was active at its beginning.
    """

    def __init__(self, threads: int) -> None:
        self.ended = [0] * threads

    def settle(self, _say: object) -> None:
        before = list(self.ended)
        until(lambda: all(map(gt, self.ended, before)))


@contextmanager
def holding(*pks: int) -> Iterator[None]:
    """Let another transaction hold these rows meanwhile."""
    held, may_end = Event(), Event()

    def hold() -> None:
        with transaction.atomic():
            list(Reader.objects.select_for_update().filter(pk__in=pks).order_by("pk"))
            held.set()
            assert may_end.wait(SOON)

    with Other(hold):
        assert held.wait(SOON)
        try:
            yield
        finally:
            may_end.set()


@pytest.fixture
def readers() -> list[Reader]:
    """Rows under an old key."""
    made = [
        Reader.objects.create(email=f"R{n}@Example.com", name=f"Name {n}", notes="old")
        for n in range(10)
    ]
    keys.begin(Purpose.FIELDS, "now")
    return made


@pytest.fixture
def table() -> Table:
    return Table(Reader, "default")


def one_pass(table: Table, size: int = 1000) -> int:
    return table.rotate(size, lambda _count: None).rewritten


def between_reading_and_writing(monkeypatch: pytest.MonkeyPatch, do: Callable[[], None]) -> None:
    """Call `do` once, when a batch has been read and locked but not written yet."""
    write = Table._write
    done = Event()

    def interrupted(table: Table, rows: list[Any]) -> None:
        if not done.is_set():
            done.set()
            do()
        write(table, rows)

    monkeypatch.setattr(Table, "_write", interrupted)


# Rows that others hold --------------------------------------------------------------------------


@on_postgresql
def test_rows_that_others_hold_are_left_for_later(readers: list[Reader], table: Table) -> None:
    held = readers[2].pk, readers[5].pk
    with holding(*held):
        begun = time.monotonic()
        assert one_pass(table, 3) == 8
        assert time.monotonic() - begun < SOON / 4
        assert table.count_due() == 2
    assert one_pass(table) == 2
    assert table.count_due() == 0


@on_postgresql
def test_the_command_comes_back_for_them(
    readers: list[Reader], monkeypatch: pytest.MonkeyPatch, table: Table
) -> None:
    before = values()
    passes = []
    once = Table.rotate

    def rotate_once(table: Table, *arguments: Any) -> Any:
        done = once(table, *arguments)
        passes.append((table.name, done.rewritten))
        return done

    monkeypatch.setattr(Table, "rotate", rotate_once)
    rotation = Other(lambda: rotate("--resume"))
    with holding(readers[2].pk):
        rotation.start()
        until(lambda: ("library_reader", 0) in passes)
        assert len(ids()[Purpose.FIELDS]) == 2
    rotation.end()
    assert passes[0] == ("library_reader", 9)
    assert passes[-1] == ("library_reader", 1)
    check_all(before)


@on_postgresql
def test_no_deadlock_with_who_locks_in_the_opposite_order(
    readers: list[Reader], table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, last = readers[0].pk, readers[-1].pk
    holds_last, batch_is_locked = Event(), Event()

    def backwards() -> None:
        with transaction.atomic():
            Reader.objects.select_for_update().get(pk=last)
            holds_last.set()
            batch_is_locked.wait(2)
            Reader.objects.filter(pk=first).update(name="New")

    def wait_for_the_other() -> None:
        batch_is_locked.set()
        until(other.is_waiting)

    between_reading_and_writing(monkeypatch, wait_for_the_other)
    with Other(backwards) as other:
        assert holds_last.wait(SOON)
        assert one_pass(table) == 9
    assert one_pass(table) == 1
    assert Reader.objects.get(pk=first).name == "New"


@on_postgresql
def test_new_references_to_a_row_do_not_wait(
    readers: list[Reader], table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lend() -> None:
        Loan.objects.create(reader=readers[0], book="Emma", shelf="a", place="b")

    def lend_meanwhile() -> None:
        with Other(lend):
            pass

    between_reading_and_writing(monkeypatch, lend_meanwhile)
    assert one_pass(table) == 10
    assert Loan.objects.get().reader == readers[0]


# Rows that others change ------------------------------------------------------------------------


@on_postgresql
@pytest.mark.parametrize(
    ("change", "left"),
    [
        (lambda rows: rows.update(notes="new", email="New@Example.com"), ["new"]),
        (lambda rows: rows.delete(), []),
    ],
    ids=["updated", "deleted"],
)
def test_a_row_that_changes_between_reading_and_writing(
    change: Callable[[Any], object],
    left: list[str],
    readers: list[Reader],
    table: Table,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = Reader.objects.filter(pk=readers[3].pk)

    def begin() -> None:
        other.start()
        until(other.is_waiting)

    other = Other(lambda: change(rows))
    between_reading_and_writing(monkeypatch, begin)
    one_pass(table)
    other.end()
    assert [row.notes for row in rows] == left
    assert Reader.objects.filter(email="new@example.com").count() == len(left)
    assert table.count_due() == 0


@on_postgresql
def test_a_row_that_was_changed_but_not_committed(readers: list[Reader], table: Table) -> None:
    changed, may_end = Event(), Event()

    def change() -> None:
        with transaction.atomic():
            Reader.objects.filter(pk=readers[3].pk).update(notes="new")
            Reader.objects.filter(pk=readers[4].pk).delete()
            changed.set()
            assert may_end.wait(SOON)

    with Other(change):
        assert changed.wait(SOON)
        assert one_pass(table) == 8
        may_end.set()
    assert Reader.objects.get(pk=readers[3].pk).notes == "new"
    assert not Reader.objects.filter(pk=readers[4].pk).exists()
    assert one_pass(table) == 1  # its other columns
    assert table.count_due() == 0


@on_postgresql
@pytest.mark.parametrize("seed", range(3))
def test_random_interleavings(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers, each with rows of its own, know at the end what must be stored."""
    expected: list[dict[int, tuple[str, str, str]]] = [{} for _ in range(3)]
    stop, steps = Event(), Steps(3)
    lock = Table._lock

    def slow_lock(table: Table, *arguments: Any) -> Any:
        batch = lock(table, *arguments)
        time.sleep(0.002)  # so that others come between reading and writing
        return batch

    def step(number: int, counter: int, chance: random.Random) -> None:
        rows = expected[number]
        new = f"W{number}-{counter}@Example.com", f"name {counter}", f"notes {counter}"
        changes = dict(zip(("email", "name", "notes"), new, strict=True))
        action = chance.random()
        if action < 0.3 or len(rows) < 5:
            rows[Reader.objects.create(**changes).pk] = new
        elif action < 0.4:
            pk = chance.choice(list(rows))
            with transaction.atomic():
                Reader.objects.get(pk=pk).delete()
            del rows[pk]
        elif action < 0.6:
            pk = chance.choice(list(rows))
            Reader.objects.filter(pk=pk).update(notes=new[2])
            rows[pk] = (*rows[pk][:2], new[2])
        elif action < 0.8:
            pk = chance.choice(list(rows))
            with transaction.atomic():
                reader = Reader.objects.select_for_update().get(pk=pk)
                reader.name = new[1]
                reader.save()
            rows[pk] = (rows[pk][0], new[1], rows[pk][2])
        else:
            pks = chance.sample(list(rows), 3)  # in any order
            with transaction.atomic():
                for pk in pks:
                    Reader.objects.filter(pk=pk).update(name=new[1])
            for pk in pks:
                rows[pk] = (rows[pk][0], new[1], rows[pk][2])

    def write(number: int) -> None:
        chance = random.Random(seed * 10 + number)  # noqa: S311
        for counter in count(1):
            if stop.is_set():
                break
            step(number, counter, chance)
            steps.ended[number] += 1

    monkeypatch.setattr(Table, "_lock", slow_lock)
    monkeypatch.setattr(rotate_keys, "settle", steps.settle)
    writers = [Other(partial(write, number)) for number in range(3)]
    for writer in writers:
        writer.start()
    try:
        until(lambda: sum(steps.ended) > 60 or not all(w.is_alive() for w in writers))
        while sum(steps.ended) < 300 and all(writer.is_alive() for writer in writers):
            rotate("--batch-size", "7")
    finally:
        stop.set()
    for writer in writers:
        writer.end()
    rows = {pk: row for part in expected for pk, row in part.items()}
    found = {r.pk: (r.email, r.name, r.notes) for r in Reader.objects.all()}
    assert found == rows
    check_all(values())


# On SQLite --------------------------------------------------------------------------------------


@pytest.fixture
def file_database(tmp_path: Path) -> Iterator[Callable[[], SQLite]]:
    """A SQLite database in a file, and a way to get a connection to it."""
    own = connections["default"]
    settings = own.settings_dict | {
        "ENGINE": "apps.fields.sqlite3",
        "NAME": str(tmp_path / "db"),
        "OPTIONS": {"timeout": 0.1},
    }
    made = []

    def connect() -> SQLite:
        made.append(SQLite(dict(settings), "default"))
        return made[-1]

    connections["default"] = connect()
    with connections["default"].schema_editor() as editor:
        editor.create_model(Reader)
    yield connect
    for one in made:
        one.close()
    connections["default"] = own


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_no_update_is_lost_in_a_file(
    mode: str, file_database: Callable[[], SQLite], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader.objects.create(email="a@example.com", name="A", notes="old")
    with connections["default"].cursor() as cursor:
        cursor.execute(f"PRAGMA journal_mode = {mode}")
    first, second = connections["default"], file_database()
    keys.begin(Purpose.FIELDS, "now")
    refused: list[str] = []

    def update() -> None:
        connections["default"] = second
        try:
            Reader.objects.filter(pk=reader.pk).update(notes="new")
        except OperationalError:
            refused.append("the update")
        finally:
            connections["default"] = first

    between_reading_and_writing(monkeypatch, update)
    table = Table(Reader, "default")
    try:
        one_pass(table)
    except OperationalError:
        refused.append("the rotation")
    assert len(refused) == 1
    assert Reader.objects.get().notes == ("old" if refused == ["the update"] else "new")
    one_pass(table)
    assert table.count_due() == 0
    assert Reader.objects.get().notes == ("old" if refused == ["the update"] else "new")


# Waiting ----------------------------------------------------------------------------------------


@pytest.fixture
def waits(settings: Settings) -> None:
    """A short age of keyrings, so that a real wait is short."""
    settings.KEYRING_MAX_AGE = 0.1


@on_postgresql
@pytest.mark.usefixtures("waits")
def test_a_transaction_that_began_before_is_waited_for(readers: list[Reader]) -> None:
    settled = Event()

    def settle() -> None:
        waiting.settle(lambda _text: None)
        settled.set()

    with Other(settle) as other:
        with holding(readers[0].pk):
            assert not settled.wait(1)
        other.end()
    assert settled.is_set()


@on_postgresql
@pytest.mark.usefixtures("waits")
def test_a_transaction_that_began_later_is_not(readers: list[Reader]) -> None:
    with ExitStack() as before:
        before.enter_context(holding(readers[0].pk))
        with Other(lambda: waiting.settle(lambda _text: None)) as other:
            looks = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND query LIKE %s"
            until(lambda: ask(looks, other.pid or 0, "%xact_start%"))
            with holding(readers[1].pk):
                before.close()
                other.end()


@pytest.mark.usefixtures("waits")
def test_the_wait_is_longer_than_a_keyring_is_held(settings: Settings) -> None:
    said: list[str] = []
    begun = time.monotonic()
    settings.KEYRING_MAX_AGE = 0.5
    waiting.settle(said.append)
    assert time.monotonic() - begun > settings.KEYRING_MAX_AGE
    assert said == ["Waiting 1 s until every process knows the changed keyring."]


# Only one ---------------------------------------------------------------------------------------


def refused_rotation() -> str:
    """Return what a second rotation says."""
    with pytest.raises(CommandError) as refused:
        rotate()
    return str(refused.value)


@on_postgresql
def test_a_second_rotation_refuses(readers: list[Reader], monkeypatch: pytest.MonkeyPatch) -> None:
    waits, may_go_on = Event(), Event()

    def settle(_say: object) -> None:
        waits.set()
        assert may_go_on.wait(SOON)

    monkeypatch.setattr(rotate_keys, "settle", settle)
    with Other(rotate):
        assert waits.wait(SOON)
        rings = ids()
        assert "Another rotation is running" in refused_rotation()
        assert ids() == rings
        rotate("--dry-run")
        may_go_on.set()
    rotate()


@on_postgresql
def test_it_refuses_too_if_both_have_their_connections_of_one_pool(
    readers: list[Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = connections["default"]
    pool = {"min_size": 1, "max_size": 3, "connection_class": Connection}
    options = {**own.settings_dict["OPTIONS"], "pool": pool}

    def pooled() -> Any:
        return type(own)(own.settings_dict | {"OPTIONS": options}, "default")

    waits, may_go_on = Event(), Event()

    def settle(_say: object) -> None:
        waits.set()
        assert may_go_on.wait(SOON)

    def first() -> None:
        connection.close()
        connections["default"] = pooled()
        rotate()
        Reader.objects.count()
        connection.close()

    monkeypatch.setattr(rotate_keys, "settle", settle)
    try:
        with Other(first):
            assert waits.wait(SOON)
            connections["default"] = pooled()
            for _ in range(3):
                assert "Another rotation is running" in refused_rotation()
                connection.close()  # it goes back to the pool
            may_go_on.set()
        with only_one("default"):
            pass  # nobody holds the lock any more
    finally:
        connection.close()
        connections["default"].close_pool()  # type: ignore[attr-defined]
        connections["default"] = own


@on_postgresql
@pytest.mark.parametrize("error", [KeyboardInterrupt, CommandError("failed")])
def test_the_lock_ends_with_a_rotation_that_failed(
    error: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_say: object) -> None:
        raise error

    def failing() -> None:
        with pytest.raises((KeyboardInterrupt, CommandError)):
            rotate()
        alive.set()
        assert may_end.wait(SOON)

    alive, may_end = Event(), Event()
    with monkeypatch.context() as patch:
        patch.setattr(rotate_keys, "settle", fail)
        other = Other(failing)
        other.start()
        assert alive.wait(SOON)
    rotate()
    may_end.set()
    other.end()


@on_postgresql
def test_the_lock_ends_with_a_process_that_was_killed() -> None:
    holds, killed = Event(), Event()

    def hold() -> None:
        with only_one("default"):
            holds.set()
            assert killed.wait(SOON)

    other = Other(hold)
    other.start()
    assert holds.wait(SOON)
    assert "Another rotation is running" in refused_rotation()
    ask("SELECT pg_terminate_backend(%s)", other.pid)  # as the server does when a client is gone
    until(lambda: not ask("SELECT 1 FROM pg_stat_activity WHERE pid = %s", other.pid))
    rotate()
    killed.set()
    with pytest.raises(OperationalError):
        other.end()


def test_values_are_read_behind_the_orm(readers: list[Reader]) -> None:
    # What the tests above stand on: an old row is one that the database shows as such.
    active = ids()[Purpose.FIELDS]
    assert {read(reader, "notes")[1:5].hex() for reader in readers} < active  # type: ignore[index]
