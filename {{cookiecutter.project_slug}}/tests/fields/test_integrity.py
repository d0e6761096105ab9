"""Stored bytes that are not what was written here raise, and never give a value.

What is not detected: a value moved to another row of the same column, as the row is not
bound. See docs/fields.md.
"""

import traceback
from collections.abc import Callable
from typing import Any

import pytest
from django.db import models
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.fields import values
from apps.fields.values import SLOT_SIZE, seal, slot_offset, unseal
from apps.keys.errors import (
    AlteredValueError,
    DataKeyError,
    DecryptionError,
    MalformedValueError,
    UnknownKeyError,
)
from apps.keys.keyring import Purpose, keyring
from tests.fields import stored
from tests.fields.library.models import Everything, Loan, Reader, Tag

pytestmark = pytest.mark.django_db

CANARY = "canary-4711"
Refusal = (AlteredValueError, MalformedValueError, UnknownKeyError)


@pytest.fixture
def reader(db: None) -> Reader:
    """Somebody all of whose values are secret."""
    return Reader.objects.create(email=f"{CANARY}@example.com", name=CANARY, notes=CANARY)


def value_of(row: models.Model, name: str) -> bytes:
    found = stored.read(row, name)
    assert found
    return found


def raised(read: Callable[[], Any], kind: Any = Refusal) -> BaseException:
    """Return what a read raises; neither it nor its traceback may show a secret."""
    with pytest.raises(kind) as caught:
        read()
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert CANARY not in shown
    for purpose in (Purpose.FIELDS, Purpose.INDEX):
        secret = keyring(purpose).active._secret
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown
    error: BaseException = caught.value
    return error


def reads(row: models.Model, name: str) -> list[Callable[[], Any]]:
    """Every way to read a field of a row."""
    rows = type(row)._default_manager.filter(pk=row.pk)
    return [
        rows.get,
        lambda: list(rows.values(name)),
        lambda: list(rows.values_list(name, flat=True)),
        lambda: list(rows.only(name)),
        lambda: getattr(rows.defer(name).get(), name),
        lambda: row.refresh_from_db(fields=[name]),
        lambda: list(rows.annotate(x=models.F(name)).values("x")),
        lambda: list(type(row)._default_manager.raw(f"SELECT * FROM {row._meta.db_table}")),  # noqa: S608
    ]


@pytest.mark.parametrize("name", ["email", "notes"])
def test_every_altered_byte_is_detected(reader: Reader, name: str) -> None:
    place = f"library_reader.{name}"
    value = value_of(reader, name)
    assert unseal(place, value).decode() == getattr(reader, name)
    for position in range(len(value)):
        for change in (1, 0x80, 0xFF):
            altered = bytearray(value)
            altered[position] ^= change
            with pytest.raises(Refusal):
                unseal(place, bytes(altered))


@pytest.mark.parametrize("name", ["email", "notes"])
@pytest.mark.parametrize("position", [0, 1, 5, 20, -17, -1])
def test_an_altered_byte_in_the_database(reader: Reader, name: str, position: int) -> None:
    altered = bytearray(value_of(reader, name))
    altered[position] ^= 1
    stored.write(reader, name, bytes(altered))
    for read in reads(reader, name):
        raised(read)


@pytest.mark.parametrize("name", ["email", "notes"])
def test_every_truncation_is_detected(reader: Reader, name: str) -> None:
    place, value = f"library_reader.{name}", value_of(reader, name)
    for size in range(len(value)):
        with pytest.raises(Refusal):
            unseal(place, value[:size])
        with pytest.raises(Refusal):
            unseal(place, value[size + 1 :])
    with pytest.raises(AlteredValueError):
        unseal(place, value + b"\x00")


@pytest.mark.parametrize("size", [0, 1, 4, 5, 32, 33, 60])
def test_a_truncated_value_in_the_database(reader: Reader, size: int) -> None:
    stored.write(reader, "email", value_of(reader, "email")[:size])
    for read in reads(reader, "email"):
        raised(read)


@pytest.mark.parametrize(
    "plaintext", [b"", CANARY.encode(), b"\x01" + CANARY.encode(), b"\x02" * 100, b"\x03" * 100]
)
def test_plaintext_in_the_column(reader: Reader, plaintext: bytes) -> None:
    stored.write(reader, "name", plaintext)
    for read in reads(reader, "name"):
        raised(read)


def test_a_value_of_another_column(reader: Reader) -> None:
    stored.write(reader, "name", value_of(reader, "email"))
    for read in reads(reader, "name"):
        raised(read, AlteredValueError)


def test_the_place_is_authenticated_and_has_a_key_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Either would do; so each is tried without the other.
    key = keyring(Purpose.FIELDS).active
    ciphers = [values._cipher(key, place)[0] for place in ("t.a", "t.b")]
    assert len({cipher.encrypt(bytes(12), b"x", b"") for cipher in ciphers}) == 2
    monkeypatch.setattr(values, "_cipher", lambda _key, place: (ciphers[0], place.encode()))
    value = seal("t.a", b"x", None)
    assert unseal("t.a", value) == b"x"
    with pytest.raises(AlteredValueError):
        unseal("t.b", value)


def test_a_value_of_another_table(reader: Reader) -> None:
    loan = Loan.objects.create(reader=reader, book=CANARY, shelf="a", place="b")
    tag = Tag.objects.create(word=CANARY, colour="red")
    stored.write(loan, "book", value_of(reader, "name"))
    raised(lambda: Loan.objects.get(), AlteredValueError)
    stored.write(tag, "colour", value_of(tag, "word"))
    raised(lambda: Tag.objects.get(), AlteredValueError)


def test_a_searchable_value_as_one_that_is_not(reader: Reader) -> None:
    value = value_of(reader, "name")
    with pytest.raises(AlteredValueError):
        unseal("library_reader.name", b"\x01" + value[1:5] + value[slot_offset(2) :])


def test_a_value_of_another_row_is_accepted(reader: Reader, ada: Reader) -> None:
    # A limit that the documentation states: who can write to the database can do this.
    stored.write(ada, "name", value_of(reader, "name"))
    ada.refresh_from_db()
    assert ada.name == CANARY
    assert Reader.objects.filter(name=CANARY).count() == 2


@pytest.mark.parametrize("slot", [0, 1])
@pytest.mark.usefixtures("second_index_key")
def test_an_index_of_another_row(reader: Reader, ada: Reader, slot: int) -> None:
    begin, end = slot_offset(slot), slot_offset(slot) + SLOT_SIZE
    mine, other = value_of(ada, "name"), value_of(reader, "name")
    stored.write(ada, "name", mine[:begin] + other[begin:end] + mine[end:])
    raised(lambda: Reader.objects.get(pk=ada.pk), AlteredValueError)
    if slot == 1:  # in which is searched
        raised(lambda: list(Reader.objects.filter(name=CANARY)), AlteredValueError)


@pytest.mark.usefixtures("second_index_key")
def test_slots_exchanged(reader: Reader) -> None:
    value = value_of(reader, "name")
    a, b, c = slot_offset(0), slot_offset(1), slot_offset(2)
    stored.write(reader, "name", value[:a] + value[b:c] + value[a:b] + value[c:])
    raised(lambda: Reader.objects.get(), AlteredValueError)


def test_other_keys(reader: Reader, change_keys: Callable[[], None]) -> None:
    former = keyring(Purpose.FIELDS).active.id.hex()
    change_keys()
    for read in reads(reader, "notes"):
        error = raised(read, UnknownKeyError)
        assert former in str(error)
    assert not Reader.objects.filter(name=CANARY).exists()


def test_another_key_under_the_same_id(
    reader: Reader, change_keys: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    former = keyring(Purpose.FIELDS).active.id
    change_keys()
    other = keyring(Purpose.FIELDS)
    keys = {former: other.active}
    monkeypatch.setattr("apps.fields.values.find_key", lambda _purpose, key_id: keys[key_id])
    raised(lambda: Reader.objects.get(), AlteredValueError)


def test_errors_say_where(reader: Reader) -> None:
    stored.write(reader, "notes", b"short")
    assert "library_reader.notes" in str(raised(lambda: Reader.objects.get()))
    assert not issubclass(DecryptionError, DataKeyError)


def test_no_update_hides_an_altered_value(reader: Reader) -> None:
    stored.write(reader, "notes", b"short")
    Reader.objects.filter(name=CANARY).update(plain="x")
    raised(lambda: Reader.objects.get())
    Reader.objects.filter(name=CANARY).update(notes="restored")
    assert Reader.objects.get().notes == "restored"


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    plaintext=st.binary(max_size=40),
    normal=st.none() | st.binary(max_size=10),
    start=st.integers(0, 200),
    splice=st.binary(max_size=20),
    length=st.integers(0, 20),
)
def test_tampering(
    plaintext: bytes, normal: bytes | None, start: int, splice: bytes, length: int
) -> None:
    value = seal("table.column", plaintext, normal)
    assert unseal("table.column", value) == plaintext
    start %= len(value)
    tampered = value[:start] + splice + value[start + length :]
    if tampered != value:
        with pytest.raises(Refusal):
            unseal("table.column", tampered)
    with pytest.raises(AlteredValueError):
        unseal("table.other", value)


@pytest.mark.parametrize("name", ["integer", "decimal", "date", "datetime", "time", "boolean"])
def test_a_value_of_another_type(name: str) -> None:
    row = Everything.objects.create()
    field: Any = Everything._meta.get_field(name)
    stored.write(row, name, seal(field.place, CANARY.encode(), b"" if field.searchable else None))
    raised(lambda: Everything.objects.get(), MalformedValueError)
    with pytest.raises(MalformedValueError):
        field.decrypt(stored.read(row, name))
