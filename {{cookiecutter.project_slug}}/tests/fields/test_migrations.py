"""Migrations that make, encrypt, decrypt, move and remove encrypted columns."""

import datetime
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import IntegrityError, connection, connections, models, transaction
from django.db.backends.sqlite3.base import DatabaseWrapper as DjangoSQLite
from django.db.migrations.operations import (
    AddField,
    AlterField,
    AlterModelTable,
    CreateModel,
    RenameField,
    RenameModel,
    RunPython,
    SeparateDatabaseAndState,
)
from django.db.migrations.optimizer import MigrationOptimizer
from django.db.migrations.state import ModelState
from django.test.utils import CaptureQueriesContext

from apps.fields import (
    EncryptedBinaryField,
    EncryptedBooleanField,
    EncryptedCharField,
    EncryptedDateField,
    EncryptedDateTimeField,
    EncryptedDecimalField,
    EncryptedEmailField,
    EncryptedField,
    EncryptedFieldError,
    EncryptedIntegerField,
    EncryptedJSONField,
    EncryptedTextField,
    EncryptedTimeField,
    backend,
    casefold,
)
from apps.fields.sqlite3.base import DatabaseWrapper as SQLite
from apps.fields.values import seal
from apps.keys.errors import AlteredValueError, MalformedValueError
from tests.fields.scratch import LABEL, Scratch, item, model

pytestmark = pytest.mark.django_db(transaction=True)
on_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="what PostgreSQL alone does"
)

CANARY = "canary-4242424242"
TYPES: dict[str, tuple[type[models.Field[Any, Any]], type[EncryptedField], dict[str, Any], Any]] = {
    "char": (models.CharField, EncryptedCharField, {"max_length": 100}, [CANARY, "", "é 😀"]),
    "text": (models.TextField, EncryptedTextField, {}, [CANARY, "", "two\nlines \\x41"]),
    "email": (models.EmailField, EncryptedEmailField, {}, [f"{CANARY}@a.b", "B@a.b", "c@a.b"]),
    "integer": (models.BigIntegerField, EncryptedIntegerField, {}, [4242424242, 0, -(2**63)]),
    "positive": (models.PositiveIntegerField, EncryptedIntegerField, {}, [424242424, 0, 1]),
    "decimal": (
        models.DecimalField,
        EncryptedDecimalField,
        {"max_digits": 12, "decimal_places": 4},
        [Decimal("42424242.4242"), Decimal("-0.5"), Decimal(0)],
    ),
    "date": (
        models.DateField,
        EncryptedDateField,
        {},
        [datetime.date(1912, 6, 23), datetime.date(1, 1, 1), datetime.date(9999, 12, 31)],
    ),
    "datetime": (
        models.DateTimeField,
        EncryptedDateTimeField,
        {},
        [
            datetime.datetime(1912, 6, 23, 1, 2, 3, 456789, datetime.UTC),
            datetime.datetime(2026, 3, 29, 1, 30, tzinfo=datetime.UTC),
            datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC),
        ],
    ),
    "time": (
        models.TimeField,
        EncryptedTimeField,
        {},
        [datetime.time(12, 34, 56, 789012), datetime.time(0), datetime.time(23, 59)],
    ),
    "boolean": (models.BooleanField, EncryptedBooleanField, {}, [True, False]),
    "json": (models.JSONField, EncryptedJSONField, {}, [{"a": [CANARY, None]}, "text", 0]),
    "binary": (
        models.BinaryField,
        EncryptedBinaryField,
        {},
        [CANARY.encode(), b"", bytes(range(256))],
    ),
}


@pytest.fixture(params=[True, False], ids=["atomic", "non-atomic"])
def scratch(request: pytest.FixtureRequest) -> Iterator[Scratch]:
    """An app without models."""
    app = Scratch(atomic=request.param)
    yield app
    app.drop()


def secret(**options: Any) -> Any:
    """Return a searchable field."""
    return EncryptedCharField(max_length=100, searchable=True, **options)


def plain(**options: Any) -> Any:
    """Return its counterpart in plaintext."""
    return models.CharField(max_length=100, **options)


def assert_encrypted(stored: list[Any]) -> None:
    assert stored
    for value in stored:
        assert isinstance(value, bytes)
        assert value[:1] in {b"\x01", b"\x02"}
        assert len(value) >= 33
        assert b"424242" not in value


def assert_refuses(objects: Any, **values: Any) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        objects.create(**values)


# Plaintext to ciphertext and back ------------------------------------------------------


@pytest.mark.parametrize(
    ("scratch", "kind"),
    [*((True, kind) for kind in TYPES), *((False, kind) for kind in ("char", "json", "binary"))],
    indirect=["scratch"],
)
def test_a_plain_column_is_encrypted_and_decrypted_again(scratch: Scratch, kind: str) -> None:
    plain_type, encrypted_type, options, values = TYPES[kind]
    distinct = encrypted_type.can_be_searchable
    before = item(
        maybe=plain_type(null=True, **options),
        listed=plain_type(db_index=True, **options),
        single=plain_type(unique=distinct, **options),
        usual=plain_type(default=values[0], **options),
    )
    after = item(
        maybe=encrypted_type(null=True, **options),
        listed=encrypted_type(searchable=distinct, **options),
        single=encrypted_type(unique=distinct, searchable=distinct, **options),
        usual=encrypted_type(default=values[0], **options),
    )
    scratch.become(before)
    for value in values:
        scratch.objects().create(maybe=value, listed=value, single=value, usual=value)
    scratch.objects().create(maybe=None, listed=values[0], single=_other(values), usual=values[1])
    names = ["maybe", "listed", "single", "usual"]
    rows = _rows(scratch, names)
    stored = [scratch.stored(name) for name in names]

    scratch.become(after)
    assert _rows(scratch, names) == rows
    for name in names:
        assert_encrypted(scratch.stored(name))
    assert scratch.objects().filter(maybe__isnull=True).count() == 1
    if distinct:
        assert scratch.objects().get(single=values[0]).single == rows[0][2]
        assert scratch.objects().filter(listed=values[0]).count() == 2
        assert_refuses(scratch.objects(), listed=values[0], single=values[0])

    scratch.undo()
    assert [scratch.stored(name) for name in names] == stored
    assert _rows(scratch, names) == rows
    if distinct:
        assert_refuses(scratch.objects(), listed=values[0], single=values[0])

    # The same forwards: a later migration gives the encryption up.
    scratch.become(after)
    scratch.become(before)
    assert [scratch.stored(name) for name in names] == stored
    if distinct:
        assert_refuses(scratch.objects(), listed=values[0], single=values[0])


def _other(values: Any) -> Any:
    match values[-1]:
        case datetime.time():
            return datetime.time(1)
        case datetime.date() as day:
            return day - datetime.timedelta(days=7)
        case bytes() | str() as text:
            return text * 2
        case number:
            return number + 7 if number is not False else False


def _rows(scratch: Scratch, names: list[str]) -> list[tuple[Any, ...]]:
    def comparable(value: Any) -> Any:
        return bytes(value) if isinstance(value, memoryview) else value

    rows = scratch.objects().order_by("pk").values_list(*names)
    return [tuple(map(comparable, row)) for row in rows]


def test_null_may_become_a_value_on_the_way(scratch: Scratch) -> None:
    scratch.become(item(name=plain(null=True)))
    scratch.objects().create(name=CANARY)
    scratch.objects().create(name=None)
    scratch.become(item(name=secret(default="none")))
    assert_encrypted(scratch.stored("name"))
    assert _rows(scratch, ["name"]) == [(CANARY,), ("none",)]
    assert scratch.objects().filter(name="none").exists()
    scratch.become(item(name=secret(null=True)))
    scratch.objects().filter(name="none").update(name=None)
    scratch.become(item(name=plain()), default="nothing")
    assert scratch.stored("name") == [CANARY, "nothing"]


def test_null_of_json_stays_apart_from_that_of_sql(scratch: Scratch) -> None:
    scratch.become(item(data=models.JSONField()))
    scratch.objects().create(data=models.Value(None, models.JSONField()))
    scratch.become(item(data=EncryptedJSONField()))
    assert_encrypted(scratch.stored("data"))
    assert scratch.objects().get().data is None
    scratch.undo()
    assert scratch.stored("data") == ["null"]
    if connection.vendor == "sqlite":  # which checks again that it is JSON
        with pytest.raises(IntegrityError):
            scratch.query("UPDATE scratch_item SET data = '{'")


@on_postgresql
def test_nothing_but_the_last_values_is_in_postgresqls_file(scratch: Scratch) -> None:
    """Old versions of rows and a column's statistics hold plaintext too."""
    for before, after in [
        (plain(), secret()),
        (models.BinaryField(), EncryptedBinaryField()),  # both are bytea
    ]:
        scratch.become(item(name=before))
        for number in range(20):
            value = f"{CANARY} {number}"
            scratch.objects().create(name=value if before.max_length else value.encode())
        scratch.query("ANALYZE scratch_item")
        statistics = (
            "SELECT histogram_bounds::text FROM pg_stats "
            "WHERE tablename = 'scratch_item' AND attname = 'name'"
        )
        file = "SELECT pg_relation_filenode('scratch_item')"
        assert scratch.query(statistics)
        old_file = scratch.query(file)
        scratch.become(item(name=after))
        assert scratch.query(file) != old_file
        assert not scratch.query(statistics)
        assert len(scratch.stored("name")) == 20
        columns = scratch.query(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'scratch_item'::regclass "
            "AND attnum > 0 AND NOT attisdropped"
        )
        assert columns == [("id",), ("name",)]
        scratch.become()


def test_no_plaintext_is_left_in_sqlites_file(tmp_path: Path) -> None:
    file = tmp_path / "db.sqlite3"
    settings = connections["default"].settings_dict | {"NAME": str(file), "ENGINE": ""}
    connections["file"] = SQLite(settings, alias="file")
    try:
        scratch = Scratch(alias="file")
        scratch.query("PRAGMA secure_delete = OFF")  # some builds have it on by default
        scratch.become(item(name=plain(unique=True), data=models.JSONField(default=list)))
        old = scratch.objects().model
        scratch.objects().bulk_create(
            old(name=f"{CANARY} {number}", data=[CANARY]) for number in range(300)
        )
        assert CANARY.encode() in file.read_bytes()
        scratch.become(
            item(name=secret(unique=True), data=EncryptedJSONField(default=list)),
        )
        assert CANARY.encode() not in file.read_bytes()
        assert scratch.objects().get(name=f"{CANARY} 7").data == [CANARY]
    finally:
        connections["file"].close()
        del connections["file"]


# A conversion that fails ---------------------------------------------------------------


@pytest.mark.parametrize(
    "new", [secret(), plain(), EncryptedTextField()], ids=lambda f: type(f).__name__
)
def test_an_altered_value_stops_the_migration(
    scratch: Scratch, new: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "_BATCH_SIZE", 1)  # others are converted before it is met
    scratch.become(item(name=EncryptedCharField(max_length=100), place=plain()))
    for number in range(3):
        scratch.objects().create(name=f"{CANARY} {number}", place=number)
    damaged = bytearray(scratch.stored("name")[2])
    damaged[-1] ^= 1
    scratch.query("UPDATE scratch_item SET name = %s WHERE id = 3", bytes(damaged))
    stored = scratch.stored("name")
    for change in (
        AlterField("item", "name", new),
        RenameField("item", "name", "title"),
        RenameModel("Item", "Thing"),
    ):
        with pytest.raises(AlteredValueError) as caught:
            scratch.run(change)
        assert CANARY not in str(caught.value)
        assert scratch.stored("name") == stored
        assert scratch.objects().get(pk=1).name == f"{CANARY} 0"


def test_a_value_that_does_not_fit_stops_the_migration_unseen(scratch: Scratch) -> None:
    scratch.become(item(number=plain()))
    scratch.objects().create(number="1")
    scratch.objects().create(number=CANARY)
    with pytest.raises(EncryptedFieldError, match=r"primary key \[2\].*ValidationError") as caught:
        scratch.run(AlterField("item", "number", EncryptedIntegerField()))
    assert CANARY not in str(caught.value)
    assert scratch.stored("number") == ["1", CANARY]
    scratch.objects().filter(number=CANARY).update(number="2")
    scratch.run(AlterField("item", "number", EncryptedIntegerField()))
    assert _rows(scratch, ["number"]) == [(1,), (2,)]


@pytest.mark.parametrize("rename", ["table", "column"])
def test_what_the_field_did_not_write_stops_a_new_name_unseen(
    scratch: Scratch, rename: str
) -> None:
    scratch.become(item(number=EncryptedIntegerField(searchable=True)))
    scratch.objects().create(number=1)
    stored: list[Any] = [seal("scratch_item.number", CANARY.encode(), b"")]
    if connection.vendor == "sqlite":
        stored.append(CANARY)  # as text, in a column of bytes
    for value in stored:
        scratch.query("UPDATE scratch_item SET number = %s", value)
        with pytest.raises(MalformedValueError) as caught:
            scratch.run(
                RenameModel("Item", "Thing")
                if rename == "table"
                else RenameField("item", "number", "amount")
            )
        assert CANARY not in str(caught.value)
        assert scratch.stored("number") == [value]


def test_a_backend_that_cannot_convert_is_refused() -> None:
    """Django's own would call the column encrypted and leave plaintext in it."""
    settings = connections["default"].settings_dict | {"NAME": ":memory:", "ENGINE": ""}
    connections["stock"] = DjangoSQLite(settings, alias="stock")
    try:
        scratch = Scratch(alias="stock")
        scratch.become(item(name=plain()))
        scratch.objects().create(name=CANARY)
        for operation in (
            AlterField("item", "name", secret()),
            AddField("item", "more", secret(null=True)),
            CreateModel("Other", [("id", models.AutoField(primary_key=True)), ("name", secret())]),
        ):
            with pytest.raises(ImproperlyConfigured, match="ENGINE"):
                scratch.run(operation)
        assert scratch.stored("name") == [CANARY]
    finally:
        connections["stock"].close()
        del connections["stock"]


# Fields that come and go -----------------------------------------------------------------


def test_added_and_removed(scratch: Scratch) -> None:
    scratch.become(item(old=plain()))
    scratch.objects().create(old="1")
    scratch.objects().create(old="2")
    added = item(
        old=plain(),
        empty=secret(null=True, unique=True),
        usual=secret(default=CANARY),
        blank=EncryptedTextField(blank=True),
        bytes=EncryptedBinaryField(blank=True),
        day=EncryptedDateField(auto_now=True),
        moment=EncryptedDateTimeField(auto_now=True),
        clock=EncryptedTimeField(auto_now=True),
    )
    scratch.become(added)
    for name in ("usual", "blank", "bytes", "day", "moment", "clock"):
        assert_encrypted(scratch.stored(name))
    assert scratch.stored("empty") == []
    first, _second = scratch.objects().all()
    assert (first.empty, first.usual, first.blank, first.bytes) == (None, CANARY, "", b"")
    assert type(first.day) is datetime.date
    assert abs(datetime.datetime.now(datetime.UTC) - first.moment) < datetime.timedelta(minutes=1)
    assert isinstance(first.clock, datetime.time)
    assert scratch.objects().filter(usual=CANARY).count() == 2
    scratch.objects().filter(pk=first.pk).update(empty="x")
    assert_refuses(scratch.objects(), old="3", empty="x")
    scratch.undo()
    assert _rows(scratch, ["old"]) == [("1",), ("2",)]
    scratch.become(added)
    scratch.become(item(old=plain()))
    assert _rows(scratch, ["old"]) == [("1",), ("2",)]


def test_a_value_asked_for_by_makemigrations_is_encrypted(scratch: Scratch) -> None:
    scratch.become(item())
    scratch.objects().create()
    scratch.become(item(name=secret()), default=CANARY)
    assert_encrypted(scratch.stored("name"))
    assert scratch.objects().get(name=CANARY).name == CANARY


# Changes of an encrypted field -------------------------------------------------------------


def test_searchable_and_back(scratch: Scratch) -> None:
    hidden = item(name=EncryptedCharField(max_length=100))
    scratch.become(hidden)
    scratch.objects().create(name=CANARY)
    scratch.become(item(name=secret(unique=True)))
    assert scratch.objects().get(name=CANARY).name == CANARY
    assert_refuses(scratch.objects(), name=CANARY)
    scratch.become(hidden)
    assert scratch.stored("name")[0][:1] == b"\x01"
    assert scratch.objects().get().name == CANARY
    scratch.undo()
    assert scratch.objects().get(name=CANARY).name == CANARY


def test_normalize_and_decimal_places_change_what_is_found(scratch: Scratch) -> None:
    def price(places: int) -> Any:
        return EncryptedDecimalField(max_digits=9, decimal_places=places, searchable=True)

    scratch.become(item(name=secret(), price=price(2)))
    scratch.objects().create(name="Straße", price="1.5")
    scratch.become(item(name=secret(normalize=casefold), price=price(4)))
    assert scratch.objects().get(name="STRASSE", price="1.5").name == "Straße"
    scratch.undo()
    assert not scratch.objects().filter(name="STRASSE").exists()
    assert scratch.objects().get(name="Straße", price="1.50").price == Decimal("1.50")


def test_what_does_not_change_the_values_leaves_them_alone(scratch: Scratch) -> None:
    scratch.become(item(name=secret(), day=models.DateField(null=True)))
    scratch.objects().create(name=CANARY)
    stored = scratch.stored("name")
    scratch.become(item(name=secret(default="x", help_text="y"), day=models.DateField(null=True)))
    scratch.become(item(name=secret(null=True), date=models.DateField(null=True, db_index=True)))
    scratch.become(
        item(name=secret(), date=models.DateTimeField(unique=True)),
        default=datetime.datetime.now(datetime.UTC),
    )
    assert scratch.stored("name") == stored
    assert scratch.objects().get(name=CANARY).name == CANARY


# Names -----------------------------------------------------------------------------------


def test_renamed_field(scratch: Scratch) -> None:
    def shop(one: str, two: str) -> type[models.Model]:
        together = models.UniqueConstraint(fields=["shelf", two], name="one_of_each")
        options = {"constraints": [together], "unique_together": [(one, "shelf")]}
        fields = {one: secret(unique=True), two: secret(null=True), "shelf": plain()}
        return item(Meta=options, **fields)

    scratch.become(shop("name", "place"))
    scratch.objects().create(name=CANARY, place=CANARY, shelf="1")
    operations = scratch.become(shop("title", "area"))
    assert sum(isinstance(operation, RenameField) for operation in operations) == 2
    assert scratch.objects().get(title=CANARY, area=CANARY).area == CANARY
    assert_refuses(scratch.objects(), title=CANARY, area="2", shelf="2")
    assert_refuses(scratch.objects(), title="2", area=CANARY, shelf="1")
    scratch.undo()
    assert scratch.objects().get(name=CANARY, place=CANARY).place == CANARY
    assert_refuses(scratch.objects(), name=CANARY, place="2", shelf="2")
    assert_refuses(scratch.objects(), name="2", place=CANARY, shelf="1")


def test_renamed_column(scratch: Scratch) -> None:
    scratch.become(item(name=secret(unique=True)))
    scratch.objects().create(name=CANARY)
    scratch.become(item(name=secret(unique=True, db_column="Old Name")))
    assert scratch.objects().get(name=CANARY).name == CANARY
    assert_refuses(scratch.objects(), name=CANARY)
    scratch.become(item(name=plain(unique=True, db_column="new")))
    assert scratch.stored("new") == [CANARY]
    scratch.undo()
    scratch.undo()
    assert scratch.objects().get(name=CANARY).name == CANARY


def test_renamed_model_and_table(scratch: Scratch) -> None:
    def shop(name: str, **meta: Any) -> list[type[models.Model]]:
        thing = model(name, name=secret(unique=True), Meta=meta)
        label = f"{LABEL}.{name}"
        order = model(
            "Order",
            thing=models.ForeignKey(label, models.CASCADE),
            things=models.ManyToManyField(label, related_name="+"),
            note=secret(null=True),
        )
        return [thing, order]

    scratch.become(*shop("Item"))
    made = scratch.objects().create(name=CANARY)
    scratch.objects("Order").create(thing_id=made.pk, note="n").things.set([made.pk])
    operations = scratch.become(*shop("Thing"))
    assert any(isinstance(operation, RenameModel) for operation in operations)
    assert scratch.objects("Thing").get(name=CANARY).name == CANARY
    assert scratch.objects("Order").get(thing__name=CANARY, things__name=CANARY).note == "n"
    assert_refuses(scratch.objects("Thing"), name=CANARY)
    # SQLite's editor gives such a name to a table on its way.
    for table in ("new__scratch_thing", "scratch_thing", "Scratch_Thing"):
        operations = scratch.become(*shop("Thing", db_table=table))
        assert any(isinstance(operation, AlterModelTable) for operation in operations)
        assert scratch.objects("Thing").get(name=CANARY).name == CANARY
        assert_refuses(scratch.objects("Thing"), name=CANARY)
    for _ in range(4):
        scratch.undo()
    assert scratch.objects().get(name=CANARY).name == CANARY
    assert scratch.objects("Order").get(things__name=CANARY).note == "n"


def test_a_model_that_moves_to_another_app_keeps_its_table(scratch: Scratch) -> None:
    scratch.become(item(name=secret(), Meta={"db_table": "scratch_shared"}))
    scratch.objects().create(name=CANARY)
    moved = ModelState.from_model(
        model("Moved", name=secret(), Meta={"db_table": "scratch_shared"})
    )
    create = CreateModel("Moved", list(moved.fields.items()), moved.options)
    scratch.run(SeparateDatabaseAndState(state_operations=[create]))
    assert scratch.objects("Moved").get(name=CANARY).name == CANARY


# Models of other shapes -------------------------------------------------------------------


def test_a_child_with_a_table_of_its_own(scratch: Scratch) -> None:
    def shop(parent_field: Any, child_field: Any) -> list[type[models.Model]]:
        parent = item(name=parent_field)
        return [parent, model("Book", parent, title=child_field, Meta={"apps": parent._meta.apps})]

    scratch.become(*shop(plain(), plain()))
    scratch.objects("Book").create(name=f"{CANARY} 1", title=f"{CANARY} 2")
    scratch.become(*shop(secret(unique=True), secret(unique=True)))
    assert_encrypted(scratch.stored("name") + scratch.stored("title", "scratch_book"))
    found = scratch.objects("Book").get(name=f"{CANARY} 1", title=f"{CANARY} 2")
    assert (found.name, found.title) == (f"{CANARY} 1", f"{CANARY} 2")
    scratch.run(RenameModel("Book", "Tome"))
    assert scratch.objects("Tome").get(title=f"{CANARY} 2").name == f"{CANARY} 1"
    scratch.undo()
    scratch.undo()
    assert scratch.stored("name") == [f"{CANARY} 1"]
    assert scratch.stored("title", "scratch_book") == [f"{CANARY} 2"]


KEYS: dict[str, Callable[[], tuple[dict[str, Any], list[dict[str, Any]]]]] = {
    "text": lambda: (
        {"code": models.CharField(max_length=9, primary_key=True)},
        [{"code": code} for code in ("b", "B", "a'", 'a"', "é")],
    ),
    "uuid": lambda: (
        {"key": models.UUIDField(primary_key=True, default=uuid.uuid4)},
        [{} for _ in range(5)],
    ),
    "composite": lambda: (
        {
            "pk": models.CompositePrimaryKey("shop", "number"),
            "shop": models.UUIDField(),
            "number": models.IntegerField(),
        },
        [{"shop": uuid.UUID(int=n // 3), "number": -n % 3} for n in range(5)],
    ),
}


@pytest.mark.parametrize("kind", KEYS)
def test_any_primary_key(scratch: Scratch, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_BATCH_SIZE", 2)
    fields, rows = KEYS[kind]()
    scratch.become(item(**fields, name=plain()))
    for number, row in enumerate(rows):
        scratch.objects().create(**row, name=f"{CANARY} {number}")
    names = _rows(scratch, ["pk", "name"])
    fields, _ = KEYS[kind]()
    scratch.become(item(**fields, name=secret()))
    assert_encrypted(scratch.stored("name"))
    assert _rows(scratch, ["pk", "name"]) == names
    scratch.run(RenameModel("Item", "Thing"))
    assert scratch.objects("Thing").get(name=f"{CANARY} 4").name == f"{CANARY} 4"
    scratch.undo()
    scratch.undo()
    assert _rows(scratch, ["pk", "name"]) == names


def test_rows_are_read_in_batches(scratch: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch.become(item(name=plain()))
    model_class = scratch.objects().model
    scratch.objects().bulk_create(model_class(name=f"{CANARY} {n}") for n in range(25))
    monkeypatch.setattr(backend, "_BATCH_SIZE", 10)
    with CaptureQueriesContext(connection) as queries:
        scratch.run(AlterField("item", "name", secret()))
    reads = [query["sql"] for query in queries if query["sql"].startswith("SELECT")]
    assert sum("LIMIT 10" in sql for sql in reads) == 4
    assert_encrypted(scratch.stored("name"))
    assert scratch.objects().get(name=f"{CANARY} 24").name == f"{CANARY} 24"


# Migrations of other kinds ------------------------------------------------------------------


def test_historical_models_read_write_and_search(scratch: Scratch) -> None:
    def shout(apps: Any, _editor: Any) -> None:
        objects = apps.get_model(LABEL, "Item").objects
        found = objects.get(name="a")
        found.name = found.name.upper()
        found.save()
        objects.create(name="b")
        objects.filter(name__in=["b"]).update(name="B")

    def whisper(apps: Any, _editor: Any) -> None:
        objects = apps.get_model(LABEL, "Item").objects
        assert objects.filter(name="B").delete()[0] == 1
        objects.update_or_create(name="A", defaults={"name": "a"})

    scratch.become(item(name=secret(unique=True)))
    scratch.objects().create(name="a")
    scratch.run(RunPython(shout, whisper))
    assert set(scratch.objects().values_list("name", flat=True)) == {"A", "B"}
    scratch.undo()
    assert set(scratch.objects().values_list("name", flat=True)) == {"a"}


def test_squashed(scratch: Scratch) -> None:
    steps = [
        item(name=plain(unique=True)),
        item(name=secret(unique=True)),
        item(title=secret(unique=True)),
        item(title=secret(), size=EncryptedIntegerField(null=True)),
        item(title=secret(), size=models.IntegerField(null=True)),
    ]
    operations = [operation for step in steps for operation in scratch.become(step)]
    for _ in steps:
        scratch.undo()
    squashed = MigrationOptimizer().optimize(operations, LABEL)
    assert len(squashed) < len(operations)
    scratch.run(*squashed)
    assert not scratch.changes(steps[-1])
    scratch.objects().create(title=CANARY, size=3)
    assert scratch.objects().get(title=CANARY, size=3).title == CANARY


def test_sqlmigrate_converts_nothing(scratch: Scratch) -> None:
    scratch.become(item(name=plain(unique=True)))
    scratch.objects().create(name=CANARY)
    after = item(name=secret(unique=True), more=secret(default=CANARY))
    sql = scratch.run(*scratch.changes(after), collect_sql=True)
    assert '-- Python converts "scratch_item"."name" row by row. Only migrate can do that.' in sql
    assert CANARY not in str(sql)
    assert scratch.stored("name") == [CANARY]
    scratch.become(after)
    stored = scratch.stored("name")
    sql = scratch.run(RenameModel("Item", "Thing"), collect_sql=True)
    assert '-- Python converts "scratch_thing"."name" row by row. Only migrate can do that.' in sql
    assert scratch.stored("name") == stored


def test_migrate_with_a_plan_back_and_forth() -> None:
    def migrate(name: str, **options: Any) -> str:
        out = StringIO()
        call_command("migrate", "library", name, stdout=out, verbosity=1, **options)
        return out.getvalue()

    assert "Create model" not in migrate("0001", plan=True)
    assert "Undo Create model Reader" in migrate("zero", plan=True)
    tables = connection.introspection.table_names()
    migrate("zero")
    assert "library_reader" in tables
    assert "library_reader" not in connection.introspection.table_names()
    assert "Create model Reader" in migrate("0001", plan=True)
    migrate("0001")
    assert connection.introspection.table_names() == tables


# PostgreSQL ------------------------------------------------------------------------------


@on_postgresql
def test_foreign_keys_that_are_checked_late(scratch: Scratch) -> None:
    """PostgreSQL does not alter a table for which it still has keys to check."""

    def shop(field: Callable[..., Any]) -> list[type[models.Model]]:
        return [
            model("Shelf"),
            item(
                shelf=models.ForeignKey(f"{LABEL}.Shelf", models.CASCADE),
                parent=models.ForeignKey("self", models.CASCADE, null=True),
                one=field(unique=True),
                two=field(db_index=True) if field is plain else field(),
            ),
        ]

    scratch.become(*shop(plain))
    shelf = scratch.objects("Shelf").create()
    parent = scratch.objects().create(shelf=shelf, one="1", two="1")
    scratch.objects().create(shelf=shelf, parent=parent, one="2", two="2")
    scratch.become(*shop(secret))
    assert scratch.objects().get(parent__one="1", two="2").one == "2"
    scratch.run(
        AlterField("item", "one", secret(normalize=casefold)),
        AlterField("item", "two", secret(normalize=casefold)),
        RenameModel("Item", "Thing"),
        RenameField("thing", "two", "three"),
    )
    assert scratch.objects("Thing").get(parent__one="1", three="2").one == "2"
    scratch.undo()
    scratch.undo()
    assert scratch.stored("one") == ["1", "2"]
    with pytest.raises(IntegrityError):
        scratch.objects().create(shelf_id=99, one="3", two="3")


@on_postgresql
def test_nobody_writes_while_a_column_is_converted(scratch: Scratch) -> None:
    scratch.become(item(name=secret()))
    scratch.objects().create(name=CANARY)
    with CaptureQueriesContext(connection) as queries:
        scratch.run(AlterField("item", "name", secret(normalize=casefold)))
    statements = [query["sql"] for query in queries if "scratch_item" in query["sql"]]
    assert statements[0] == 'LOCK TABLE "scratch_item" IN ACCESS EXCLUSIVE MODE'
