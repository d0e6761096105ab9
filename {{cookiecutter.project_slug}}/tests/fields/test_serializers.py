"""Dumps of encrypted fields: complete for who has the keys, and telling nobody else."""

import base64
import datetime
import gc
import json
from collections.abc import Callable
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django import forms
from django.conf import settings
from django.core import serializers
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.core.serializers.base import DeserializationError, SerializationError
from django.db import connection
from django.forms.models import model_to_dict, modelform_factory

from apps.keys import keyring as keys
from apps.keys.errors import AlteredValueError, MalformedValueError, UnknownKeyError
from apps.keys.keyring import Purpose, key_store
from apps.keys.making import make_key
from apps.keys.store import StoredRing
from apps.users.models import User
from tests.fields.library.models import Everything, Loan, Reader, Student, Tag

pytestmark = pytest.mark.django_db

CANARY = "canary-4242424242"
FORMATS = ["json", "jsonl", "python"]
VALUES: dict[str, Any] = {
    "char": CANARY,
    "text": f"{CANARY}\n é 😀",
    "email": f"{CANARY}@example.com",
    "integer": 4242424242,
    "decimal": Decimal("4242424242.5000"),
    "date": datetime.date(4242, 4, 24),
    "datetime": datetime.datetime(4242, 4, 24, 1, 2, 3, 424242, datetime.UTC),
    "time": datetime.time(4, 2, 42, 424242),
    "binary": CANARY.encode(),
    "boolean": True,
    "json": {"encrypted": CANARY, "n": [4242424242, None]},
}
TRACES = [
    CANARY,
    "424242",
    "4242-04-24",
    base64.b64encode(CANARY.encode()).decode()[:-4],
    CANARY.encode().hex(),
]


def dump(kind: str, *objects: Any, **options: Any) -> Any:
    """Serialize objects, and make sure that the result tells nothing."""
    result = serializers.serialize(kind, objects, **options)
    assert not [trace for trace in TRACES if trace in str(result)]
    return result


def load(kind: str, dumped: Any, **options: Any) -> None:
    for found in serializers.deserialize(kind, dumped, **options):
        found.save()


def token(instance: Any, name: str) -> dict[str, str]:
    """Return what a dump has for a field."""
    (row,) = serializers.serialize("python", [instance])
    value: dict[str, str] = row["fields"][name]
    return value


def values_of(instance: Everything) -> dict[str, Any]:
    found = Everything.objects.get(pk=instance.pk)
    values = {name: getattr(found, name) for name in VALUES}
    return values | {"binary": values["binary"] and bytes(values["binary"])}


# There and back ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_every_type_comes_back(kind: str) -> None:
    full, empty = Everything.objects.create(**VALUES), Everything.objects.create()
    zero = Everything.objects.create(
        char="", text="", integer=0, boolean=False, json=[], binary=b""
    )
    dumped = dump(kind, full, empty, zero)
    Everything.objects.all().delete()
    load(kind, dumped)
    assert values_of(full) == VALUES
    assert values_of(empty) == dict.fromkeys(VALUES)
    assert values_of(zero) == dict.fromkeys(VALUES) | {
        "char": "",
        "text": "",
        "integer": 0,
        "boolean": False,
        "json": [],
        "binary": b"",
    }
    assert Everything.objects.get(email=CANARY.upper() + "@EXAMPLE.COM", integer=4242424242)


@pytest.mark.parametrize("kind", FORMATS)
def test_related_rows_come_back(kind: str, lend: Callable[..., Loan]) -> None:
    student = Student.objects.create(email=f"{CANARY}@a.b", name=CANARY, number=4242424242)
    loan = lend(student, CANARY, due=None)
    tag = Tag.objects.create(word=CANARY, colour="red")
    tag.loans.add(loan)
    reader = Reader.objects.get()
    dumped = dump(kind, reader, student, loan, tag)
    Reader.objects.all().delete()
    Tag.objects.all().delete()
    load(kind, dumped)
    found = Student.objects.get(number=4242424242, email=f"{CANARY}@A.B")
    assert found.name == CANARY
    assert Loan.objects.get(reader__name=CANARY, tags__word=CANARY).book == CANARY


def test_plain_values_load() -> None:
    plain = [
        {
            "model": "library.everything",
            "pk": 1,
            "fields": {
                "char": "a",
                "email": "A@b.c",
                "integer": "7",
                "decimal": "1.5",
                "date": "2026-01-02",
                "datetime": "2026-01-02T03:04:05Z",
                "time": "03:04",
                "boolean": "True",
                "json": {"encrypted": "a", "b": 1},
                "binary": base64.b64encode(b"bytes").decode(),
                "text": None,
            },
        }
    ]
    load("json", json.dumps(plain))
    found = Everything.objects.get(email="a@B.c", integer=7, date=datetime.date(2026, 1, 2))
    assert (found.char, found.decimal, found.text, found.boolean) == (
        "a",
        Decimal("1.5"),
        None,
        True,
    )
    assert found.datetime == datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    assert (found.json, bytes(found.binary)) == ({"encrypted": "a", "b": 1}, b"bytes")


def test_the_commands(tmp_path: Path) -> None:
    user = User.objects.create_user(f"{CANARY}@example.com")
    Everything.objects.create(**VALUES)
    for kind in ("json", "jsonl"):
        out = StringIO()
        call_command("dumpdata", "users", "library", format=kind, stdout=out)
        assert not [trace for trace in TRACES if trace in out.getvalue()]
        file = tmp_path / f"dump.{kind}"
        file.write_text(out.getvalue())
        User.objects.all().delete()
        Everything.objects.all().delete()
        call_command("loaddata", file, verbosity=0)
        assert User.objects.get(email=f"{CANARY}@example.com") == user
        assert Everything.objects.get(char=CANARY).json == VALUES["json"]


def test_the_database_of_a_test_run_is_kept() -> None:
    """`serialized_rollback` dumps and loads all tables."""
    made = Everything.objects.create(**VALUES)
    kept = connection.creation.serialize_db_to_string()
    assert not [trace for trace in TRACES if trace in kept]
    made.delete()
    connection.creation.deserialize_db_from_string(kept)
    assert Everything.objects.get(char=CANARY).text == VALUES["text"]


# What is refused --------------------------------------------------------------------------


def test_every_format_hides_or_refuses() -> None:
    full = Everything.objects.create(**VALUES)
    assert {*settings.SERIALIZATION_MODULES} >= {*serializers.BUILTIN_SERIALIZERS}
    for kind in serializers.BUILTIN_SERIALIZERS:
        if kind in FORMATS:
            dump(kind, full)
            continue
        with pytest.raises(SerializationError, match="Use json or jsonl"):
            dump(kind, full)
        with pytest.raises(DeserializationError, match="Use json or jsonl"):
            load(kind, "")
        with pytest.raises(CommandError, match="Use json or jsonl"):
            call_command("dumpdata", "library", format=kind, stdout=StringIO())


def _whole(reader: Reader) -> tuple[Any, ...]:
    return (reader.email,)


def _part(reader: Reader) -> tuple[Any, ...]:
    return (reader.plain, reader.name.lower()[:6])


@pytest.mark.parametrize("key", [_whole, _part])
@pytest.mark.parametrize("kind", FORMATS)
def test_natural_keys_that_tell_a_value(
    kind: str, key: Any, monkeypatch: pytest.MonkeyPatch, lend: Callable[..., Loan]
) -> None:
    reader = Reader.objects.create(email=f"{CANARY}@a.b", name=CANARY, plain="p")
    loan = lend(reader, CANARY, due=None)
    tag = Tag.objects.create(word=CANARY, colour="red")
    tag.loans.add(loan)
    monkeypatch.setattr(Reader, "natural_key", key, raising=False)
    # Its own key is its reader's, so it tells what another model encrypts.
    monkeypatch.setattr(Loan, "natural_key", lambda loan: loan.reader.natural_key(), raising=False)
    refused = pytest.raises(SerializationError, match="made of an encrypted field")
    with refused:
        dump(kind, reader, use_natural_primary_keys=True)
    with refused:
        dump(kind, loan, use_natural_primary_keys=True)
    with refused:
        dump(kind, loan, use_natural_foreign_keys=True)
    with refused:
        dump(kind, tag, use_natural_foreign_keys=True)
    dump(kind, reader, loan, tag)


@pytest.mark.parametrize("kind", FORMATS)
def test_natural_keys_that_tell_none(
    kind: str, monkeypatch: pytest.MonkeyPatch, lend: Callable[..., Loan]
) -> None:
    def natural_key(reader: Reader) -> tuple[str, bool]:
        return (reader.plain, True)

    def get_by_natural_key(_manager: Any, plain: str, _true: bool) -> Reader:
        return Reader.objects.get(plain=plain)

    # The values of other fields happen to be those of the key.
    reader = Reader.objects.create(email=f"{CANARY}@a.b", name="p", notes="", plain="p")
    loan = lend(reader, CANARY, due=None)
    monkeypatch.setattr(Reader, "natural_key", natural_key, raising=False)
    monkeypatch.setattr(
        type(Reader.objects), "get_by_natural_key", get_by_natural_key, raising=False
    )
    natural = {"use_natural_primary_keys": True, "use_natural_foreign_keys": True}
    dumped = dump(kind, reader, loan, **natural)
    assert "p" in str(dumped)
    Reader.objects.all().delete()
    load(kind, dumped)
    assert Loan.objects.get(reader__name="p").book == CANARY


def test_a_users_natural_key_is_refused() -> None:
    User.objects.create_user(f"{CANARY}@example.com")
    with pytest.raises(CommandError, match="made of an encrypted field") as caught:
        call_command("dumpdata", "users", natural_primary=True, stdout=StringIO())
    assert CANARY not in str(caught.value)
    # What is left of the dump has an open cursor. Were it collected during another test, to
    # close the cursor would fail, and abort that test's transaction.
    del caught
    gc.collect()


# What does not load ---------------------------------------------------------------------------


def _altered(stored: bytes, at: int) -> bytes:
    changed = bytearray(stored)
    changed[at] ^= 1
    return bytes(changed)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda stored: _altered(stored, -1), AlteredValueError),
        (lambda stored: _altered(stored, 60), AlteredValueError),
        (lambda stored: _altered(stored, 2), UnknownKeyError),
        (lambda stored: stored[:20], MalformedValueError),
        (lambda _stored: CANARY.encode(), MalformedValueError),
        (lambda _stored: "other column", AlteredValueError),
    ],
)
def test_what_was_not_dumped_from_here(kind: str, change: Any, cause: type[Exception]) -> None:
    made = Everything.objects.create(**VALUES)
    changed = change(base64.b64decode(token(made, "char")["encrypted"]))
    value = token(made, "text")
    if isinstance(changed, bytes):
        value = {"encrypted": base64.b64encode(changed).decode()}
    error = _refused(kind, "char", value)
    assert isinstance(error.__cause__, cause)
    assert value["encrypted"] not in str(error)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("integer", CANARY),
        ("decimal", {"encrypted": CANARY}),
        ("date", f"2026-{CANARY}"),
        ("boolean", [CANARY]),
        ("binary", f"*{CANARY}"),
        ("char", {"encrypted": f"*{CANARY}"}),
    ],
)
def test_what_no_value_of_the_type_is(kind: str, name: str, value: Any) -> None:
    error = _refused(kind, name, value)
    assert "no value that library.Everything" in str(error)


def _refused(kind: str, name: str, value: Any) -> DeserializationError:
    row = {"model": "library.everything", "pk": 1, "fields": {name: value}}
    dumped = {"json": json.dumps([row]), "jsonl": json.dumps(row), "python": [row]}[kind]
    with pytest.raises(DeserializationError, match=r"library\.everything:pk=1") as caught:
        load(kind, dumped)
    error: BaseException | None = caught.value
    while error is not None:
        assert not [trace for trace in TRACES if trace in str(error)]
        error = error.__cause__
    return caught.value


@pytest.mark.parametrize("kind", ["json", "jsonl"])
@pytest.mark.parametrize("dumped", ["3", '{"pk": 1}', '{"model": "no.such", "fields": {}}', "{"])
def test_what_is_no_dump(kind: str, dumped: str) -> None:
    with pytest.raises(DeserializationError):
        load(kind, f"[{dumped}]" if kind == "json" else dumped)


def test_models_and_fields_that_are_gone_can_be_ignored() -> None:
    dumped = json.dumps(
        [
            {"model": "library.gone", "pk": 1, "fields": {"char": {"encrypted": "AA=="}}},
            {"model": "library.everything", "pk": 2, "fields": {"gone": 1, "char": "a"}},
        ]
    )
    load("json", dumped, ignorenonexistent=True)
    assert Everything.objects.get(char="a").pk == 2


def test_a_dump_made_under_a_retired_key() -> None:
    full = Everything.objects.create(**VALUES)
    dumped = dump("json", full)
    Everything.objects.all().delete()
    store = key_store()
    before = store.read(Purpose.FIELDS)
    assert before is not None
    new = make_key(Purpose.FIELDS)
    try:
        store.write(Purpose.FIELDS, StoredRing(active=new.id, keys=(new,)))
        for old in before.keys:
            store.retire(Purpose.FIELDS, old)
        _read_the_store_again()
        with pytest.raises(DeserializationError, match="restore_key fields") as caught:
            load("json", dumped)
        assert isinstance(caught.value.__cause__, UnknownKeyError)
        call_command("restore_key", "fields", before.active, stdout=StringIO())
        _read_the_store_again()
        load("json", dumped)
        assert values_of(full) == VALUES
        stored = base64.b64decode(token(Everything.objects.get(), "char")["encrypted"])
        assert stored[1:5].hex() == new.id
    finally:
        store.write(Purpose.FIELDS, before)
        store.retired(Purpose.FIELDS).clear()
        _read_the_store_again()


def _read_the_store_again() -> None:
    for held in (keys._held, keys._unwrapped, keys._asked_at):
        held.clear()


# No oracle -----------------------------------------------------------------------------------


def test_what_is_pasted_from_a_dump_stays_as_it_is() -> None:
    """Only `loaddata` decrypts; whoever can fill in a form cannot make the site do it."""
    secret = Everything.objects.create(**VALUES)
    tokens = {name: token(secret, name) for name in VALUES}
    form_class = modelform_factory(Everything, fields=[*VALUES.keys() - {"binary"}])
    for name, pasted in tokens.items():
        for value in (pasted, json.dumps(pasted), pasted["encrypted"]):
            _assert_not_decrypted(Everything(**{name: value}), name)
            if name == "binary":
                continue
            form = form_class(data={name: value if isinstance(value, str) else json.dumps(value)})
            if form.is_valid():
                made = form.save()
                made.refresh_from_db()
                _assert_not_decrypted(made, name)
            assert CANARY not in str(form)
    field = Everything._meta.get_field("json").formfield()
    assert isinstance(field, forms.JSONField)
    assert field.clean(json.dumps(tokens["json"])) == tokens["json"]


def _assert_not_decrypted(instance: Everything, name: str) -> None:
    try:
        instance.full_clean()
    except (ValidationError, TypeError) as error:
        assert CANARY not in str(error)  # noqa: PT017
    if name != "boolean":
        assert getattr(instance, name) != VALUES[name]
    assert CANARY not in str(model_to_dict(instance))
