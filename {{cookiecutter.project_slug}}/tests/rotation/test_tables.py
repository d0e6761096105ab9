"""Tables that are not like most: other primary keys, and how they are looked at."""

import datetime
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, models

from apps.fields import EncryptedCharField, EncryptedTextField
from apps.keys.keyring import Purpose
from apps.rotation import keys
from apps.rotation.tables import Table
from tests.fields.scratch import LABEL, model

pytestmark = pytest.mark.django_db(transaction=True)

MANY = 25
KEYS: dict[str, tuple[type[models.Field[Any, Any]], dict[str, Any], list[Any]]] = {
    "small": (models.SmallAutoField, {}, [*range(1, MANY)]),
    "auto": (models.AutoField, {}, [*range(1, MANY)]),
    "big": (models.BigIntegerField, {}, [-(2**63), -1, 0, 1, 2**31, 2**63 - 1]),
    "char": (models.CharField, {"max_length": 20}, ["", "A", "a", "é", "it's", "%s", "\\x", "{,}"]),
    "text": (models.TextField, {}, ["a\nb", '"', "NULL", "1", "10", "2"]),
    "slug": (models.SlugField, {}, [f"slug-{n}" for n in range(MANY)]),
    "uuid": (models.UUIDField, {}, [uuid.uuid4() for _ in range(MANY)]),
    "date": (models.DateField, {}, [datetime.date(2026, 1, day) for day in range(1, MANY)]),
    "datetime": (
        models.DateTimeField,
        {},
        [datetime.datetime(2026, 1, 1, 1, 1, n, n, datetime.UTC) for n in range(MANY)],
    ),
    "decimal": (
        models.DecimalField,
        {"max_digits": 12, "decimal_places": 3},
        [Decimal(n) / 8 for n in range(MANY)],
    ),
    "float": (models.FloatField, {}, [0.1, 1e300, -2.5, 1 / 3]),
    "duration": (models.DurationField, {}, [datetime.timedelta(microseconds=n) for n in range(9)]),
    "binary": (models.BinaryField, {"max_length": 9}, [b"", b"\x00", b"\xff'", b"\\x41"]),
    "address": (models.GenericIPAddressField, {}, ["10.0.0.1", "10.0.0.10", "::1", "2001:db8::"]),
    "boolean": (models.BooleanField, {}, [False, True]),
}


@pytest.fixture
def made() -> Iterator[list[type[models.Model]]]:
    """The models whose tables a test has made."""
    found: list[type[models.Model]] = []
    yield found
    for one in reversed(found):
        with connection.schema_editor() as editor:
            editor.delete_model(one)


def make(made: list[type[models.Model]], name: str, **attributes: Any) -> Any:
    """Make a model with two encrypted columns, and its table."""
    one = model(
        name,
        value=EncryptedCharField(max_length=50, searchable=True, null=True),
        text=EncryptedTextField(default=""),
        **attributes,
    )
    with connection.schema_editor() as editor:
        editor.create_model(one)
    made.append(one)
    return one


def renew_all(table: Table, size: int) -> int:
    """Give the purpose `fields` a new key, and move the table to it."""
    keys.begin(Purpose.FIELDS, "now")
    assert table.count_due() == table.count()
    done = table.rotate(size, lambda _count: None)
    assert done.failed == []
    assert table.count_due() == 0
    return done.rewritten


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("kind", KEYS)
def test_primary_keys(kind: str, size: int, made: list[type[models.Model]]) -> None:
    field, options, pks = KEYS[kind]
    one = make(made, "Item", key=field(primary_key=True, **options))
    one._default_manager.bulk_create(one(pk=pk, value=f"of {pk}", text=f"{pk}") for pk in pks)
    assert renew_all(Table(one, "default"), size) == len(pks)
    rows = one._default_manager.all()
    assert {row.text for row in rows} == {f"{pk}" for pk in pks}
    for row in rows:
        assert rows.get(value=f"of {row.text}").pk == row.pk


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_composite_primary_key(size: int, made: list[type[models.Model]]) -> None:
    one = make(
        made,
        "Item",
        pk=models.CompositePrimaryKey("word", "number"),
        word=models.CharField(max_length=5),
        number=models.IntegerField(),
    )
    pks = [(word, number) for word in ("a", "b", "c") for number in range(3)]
    one._default_manager.bulk_create(one(pk=pk, value=f"of {pk}") for pk in pks)
    table = Table(one, "default")
    assert renew_all(table, size) == len(pks)
    for pk in pks:
        assert one._default_manager.get(value=f"of {pk}").pk == pk
    table.look(2)
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {LABEL}_item SET value = %s WHERE word = 'b'", [b"plain"])  # noqa: S608
    keys.begin(Purpose.FIELDS, "now")
    assert table.rotate(size, lambda _count: None).failed == pks[3:6]


def test_a_primary_key_that_is_a_foreign_key(made: list[type[models.Model]]) -> None:
    parent = make(made, "Parent", key=models.UUIDField(primary_key=True))
    child = make(
        made, "Child", parent=models.OneToOneField(parent, models.CASCADE, primary_key=True)
    )
    for n in range(5):
        one = parent._default_manager.create(key=uuid.uuid4(), value=f"p{n}")
        child._default_manager.create(parent=one, value=f"c{n}")
    assert renew_all(Table(child, "default"), 2) == 5
    assert child._default_manager.get(value="c3").parent.value == "p3"


def test_names_that_need_quotes(made: list[type[models.Model]]) -> None:
    one = make(
        made,
        "Item",
        key=models.IntegerField(primary_key=True, db_column="the Key"),
        Meta={"db_table": f"{LABEL} Table"},
        Order=EncryptedCharField(max_length=9, searchable=True, db_column="Order By"),
    )
    one._default_manager.bulk_create(one(key=n, value=f"{n}", Order=f"{n}") for n in range(5))
    assert renew_all(Table(one, "default"), 2) == 5
    assert [row.Order for row in one._default_manager.order_by("key")] == list("01234")


def test_many_columns(made: list[type[models.Model]]) -> None:
    columns = {f"c{n}": EncryptedTextField(null=True) for n in range(60)}
    one = make(made, "Item", **columns)
    one._default_manager.bulk_create(
        (one(text="x", **{name: f"{name} {n}" for name in columns}) for n in range(600)),
        batch_size=100,
    )
    assert renew_all(Table(one, "default"), 1000) == 600
    row = one._default_manager.latest("pk")
    assert [getattr(row, name) for name in columns] == [f"{name} 599" for name in columns]
