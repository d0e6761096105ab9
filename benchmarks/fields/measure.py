"""Measures one library against plain columns; run.py starts it in the library's environment.

    measure.py MODULE ROWS ROUNDS

PGHOST and its like say where the database is. Plain and encrypted pieces of work alternate
in one process. Every result is checked: what does not come back as it was written, or is not
found, is reported instead of timed. Prints one JSON document.
"""

# ruff: noqa: S101, T201 (it checks the libraries, and prints)

import gc
import hashlib
import importlib
import importlib.metadata
import itertools
import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import django
from django.conf import settings
from django.db import connections
from libraries import Library, stored_values

BATCH = 1000
LOOKUPS = 1000  # in a round, or as many as SECONDS_OF_LOOKUPS allow
SECONDS_OF_LOOKUPS = 2.0
ROWS_OF_ALL_ROUNDS = 500_000  # a large table has fewer rounds, but at least one

Values = tuple[str, str, int]


def start(library: Library) -> None:
    """Set Django up for one library. Plain columns always have Django's own backend."""
    own = library.settings()
    options = {
        "NAME": os.environ.get("PGDATABASE", "postgres"),
        "USER": os.environ.get("PGUSER", "postgres"),
        "HOST": os.environ["PGHOST"],
        "PORT": os.environ.get("PGPORT", ""),
        "PASSWORD": os.environ.get("PGPASSWORD", ""),
    }
    settings.configure(
        **{
            "LIBRARY": library,
            "SECRET_KEY": "unused",
            "USE_TZ": True,
            "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
            **own,
            "INSTALLED_APPS": ["project", *own.get("INSTALLED_APPS", [])],
            "DATABASES": {
                "default": {"ENGINE": library.engine, **options},
                "plain": {"ENGINE": "django.db.backends.postgresql", **options},
            },
        }
    )
    django.setup()


class Table:
    """One of the two tables, and what is done with it."""

    def __init__(self, model: Any, alias: str, library: Library | None) -> None:
        self.name = model._meta.db_table
        self.model = model
        self.connection = connections[alias]
        self.rows = model._default_manager.using(alias)
        self.library = library

    def create(self) -> None:
        with self.connection.schema_editor() as editor:
            editor.create_model(self.model)

    def instance(self, email: str, note: str, number: int) -> Any:
        if self.library:
            return self.library.make(self.model, email, note, number)
        return self.model(email=email, note=note, number=number)

    def query(self, email: str) -> dict[str, Any]:
        return self.library.query(email) if self.library else {"email": email}

    def execute(self, sql: str) -> Any:
        with self.connection.cursor() as cursor:
            cursor.execute(sql.format(f'"{self.name}"'))
            return cursor.fetchone() if cursor.description else None

    def empty(self) -> None:
        self.execute("TRUNCATE {}")

    def insert(self, batch: list[Values]) -> None:
        """Make and insert the rows of a batch."""
        self.rows.bulk_create([self.instance(*values) for values in batch])

    def open(self) -> None:
        """Begin to read the table."""
        self.reading = self.rows.iterator()

    def read(self, rows: int) -> None:
        """Read the next rows as instances, with their attributes."""
        for row in itertools.islice(self.reading, rows):
            row.email, row.note, row.number  # noqa: B018

    def look_up(self, email: str) -> None:
        """Fetch one row by its e-mail address."""
        self.rows.get(**self.query(email))

    def plan(self, email: str) -> str:
        """The way the database finds an e-mail address."""
        return str(self.rows.filter(**self.query(email)).explain())

    def size(self) -> int:
        """Bytes on disk, with all indexes."""
        return int(self.execute(f"SELECT pg_total_relation_size('\"{self.name}\"')")[0])

    def check_values(self, count: int) -> None:
        """Every row must come back as it was written. Raises `AssertionError` or the library's."""
        found = 0
        for row in self.rows.iterator():
            assert (row.email, row.note) == values_of(row.number)[:2], "a value came back altered"
            found += 1
        assert found == count, f"{found} of {count} rows came back"

    def check_lookup(self, numbers: list[int]) -> None:
        """Each of these rows must be found by its e-mail address."""
        for number in numbers:
            email, note, _ = values_of(number)
            row = self.rows.get(**self.query(email))
            assert (row.number, row.note) == (number, note), "the lookup found another row"


def values_of(number: int) -> Values:
    """The values of the row with a number: always the same ones."""
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    return f"{digest[:12]}.{number}@example.com", (digest + digest[::-1])[:100], number


def batches(count: int) -> Iterator[list[Values]]:
    for begin in range(0, count, BATCH):
        yield [values_of(number) for number in range(begin, min(begin + BATCH, count))]


def reason(error: Exception) -> str:
    """An exception as one short line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:160]


class Run:
    """All measures of one library at one size."""

    def __init__(self, plain: Table, encrypted: Table, count: int, rounds: int) -> None:
        self.plain, self.encrypted = plain, encrypted
        self.count, self.rounds = count, rounds
        self.chosen = random.Random(7)  # noqa: S311

    def alternate(
        self,
        prepare: Callable[[Table], None],
        pieces: Callable[[], Iterable[Any]],
        action: Callable[[Table, Any], None],
        count: int,
    ) -> dict[str, Any]:
        """Time an action on both tables, piece by piece in turn: a busy machine slows both.

        `count` is how many rows all pieces have; the times are those of one row.
        """
        tables = (self.plain, self.encrypted)
        seconds: dict[Table, list[float]] = {table: [] for table in tables}
        for _ in range(self.rounds):
            for table in tables:
                prepare(table)
            spent = dict.fromkeys(tables, 0.0)
            gc.collect()
            for number, piece in enumerate(pieces()):
                for table in tables if number % 2 == 0 else reversed(tables):
                    begin = time.perf_counter()
                    action(table, piece)
                    spent[table] += time.perf_counter() - begin
            for table in tables:
                seconds[table].append(spent[table])
        plain, encrypted = seconds[self.plain], seconds[self.encrypted]
        ratios = [e / p for e, p in zip(encrypted, plain, strict=True)]
        return {
            "ratio": statistics.median(ratios),
            "ratios": ratios,
            "plain": statistics.median(plain) / count,
            "encrypted": statistics.median(encrypted) / count,
        }

    def all(self) -> dict[str, Any]:
        """Run every measure; one that cannot be taken is the line that says why."""
        result: dict[str, Any] = {"rows": self.count}
        result["insert"] = self.alternate(
            Table.empty, lambda: batches(self.count), Table.insert, self.count
        )
        self.settle()
        self.encrypted.check_values(self.count)
        self.check_encrypted()
        result["bytes"] = {"plain": self.plain.size(), "encrypted": self.encrypted.size()}
        result["read"] = self.alternate(
            Table.open,
            lambda: [len(batch) for batch in batches(self.count)],
            Table.read,
            self.count,
        )
        result["lookup"] = self.lookups()
        result["rotation"] = self.rotations()
        return result

    def settle(self) -> None:
        """Do now what autovacuum would do at some time."""
        for table in (self.plain, self.encrypted):
            table.execute("VACUUM ANALYZE {}")

    def check_encrypted(self) -> None:
        """Neither text may stand in the stored row."""
        for number in self.chosen.sample(range(self.count), 10):
            stored = b"|".join(stored_values(self.encrypted.model, number))
            for text in values_of(number)[:2]:
                assert text.encode() not in stored, "a value is stored in plaintext"

    def lookups(self) -> dict[str, Any]:
        numbers = self.chosen.sample(range(self.count), min(LOOKUPS, self.count))
        begin = time.perf_counter()
        try:
            self.encrypted.check_lookup(numbers[:10])
        except Exception as error:  # of whatever type the library raises
            return {"failed": reason(error)}
        one = (time.perf_counter() - begin) / 10
        numbers = numbers[: max(20, int(SECONDS_OF_LOOKUPS / one))]
        emails = [values_of(number)[0] for number in numbers]
        result = self.alternate(lambda _: None, lambda: emails, Table.look_up, len(emails))
        return {
            **result,
            "plan": self.encrypted.plan(emails[0]),
            "plain_plan": self.plain.plan(emails[0]),
        }

    def rotations(self) -> dict[str, Any]:
        library = self.encrypted.library
        assert library
        rates, said = [], ""
        for _ in range(self.rounds):
            library.add_key()
            gc.collect()
            begin = time.perf_counter()
            try:
                said = library.rotate(self.encrypted.model)
                rates.append(self.count / (time.perf_counter() - begin))
                library.drop_old_key()
                self.encrypted.check_values(self.count)
                self.encrypted.check_lookup(self.chosen.sample(range(self.count), 10))
            except Exception as error:  # of whatever type the library raises
                return {"failed": reason(error), "said": said}
            self.settle()
        return {"rate": statistics.median(rates), "rates": rates, "said": said}


def main() -> None:
    name, count, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    library: Library = importlib.import_module(f"libraries.{name}").Adapter()
    start(library)
    from project.models import Encrypted, Plain

    tables = Table(Plain, "plain", None), Table(Encrypted, "default", library)
    for table in tables:
        table.execute("DROP TABLE IF EXISTS {}")
        table.create()
    rounds = max(1, min(rounds, ROWS_OF_ALL_ROUNDS // count))
    result = Run(*tables, count, rounds).all()
    for table in tables:
        table.execute("DROP TABLE {}")
    version = "" if name == "fullcrypt" else importlib.metadata.version(library.distribution)
    versions = {
        "library": version,
        "Django": django.get_version(),
        "psycopg": importlib.metadata.version("psycopg"),
        "Python": platform.python_version(),
        "PostgreSQL": str(tables[0].execute("SHOW server_version")[0]).split()[0],
    }
    result["rotation"]["by"] = library.rotation
    result |= {"name": library.distribution, "versions": versions, "rounds": rounds}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
