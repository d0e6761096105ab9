"""Values that cannot be decrypted stop a rotation, which says which ones and keeps the keys."""

from collections.abc import Callable

import pytest
from django.core.management import CommandError
from django.db import connection

from apps.fields.values import seal
from apps.keys.errors import MalformedValueError
from apps.keys.keyring import Purpose, keyring
from apps.rotation.tables import Table
from tests.fields import stored
from tests.fields.library.models import Everything, Loan, Reader, Scan
from tests.keys.stores import FailingStore
from tests.rotation.looking import check_all, ids, not_current, ring, rotate, values

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("rows")]

CANARY = b"canary-4711"

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "altered": lambda value: value[:-1] + bytes([value[-1] ^ 1]),
    "plaintext": lambda value: CANARY,
    "long plaintext": lambda value: CANARY * 20,
    "plaintext like a version": lambda value: b"\x02" + CANARY * 20,
    "empty": lambda value: b"",
    "cut off": lambda value: value[:50],
    "an unknown key's": lambda value: value[:1] + b"\x0a\x0b\x0c\x0d" + value[5:],
    "another column's": lambda value: seal("library_reader.email", CANARY, CANARY),
}


def damage(reader: Reader, change: Callable[[bytes], bytes]) -> None:
    value = stored.read(reader, "name")
    assert value
    stored.write(reader, "name", change(value))


def failure(*arguments: str) -> str:
    """Return what a rotation says that stops; it shows no value."""
    with pytest.raises(CommandError) as stopped:
        rotate(*arguments)
    said = str(stopped.value)
    assert CANARY.decode() not in said
    assert CANARY.hex() not in said
    return said


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("purpose", [Purpose.FIELDS, Purpose.INDEX, None], ids=str)
def test_it_stops_and_goes_on_without_the_row(
    purpose: Purpose | None, kind: str, store: FailingStore
) -> None:
    bad = Reader.objects.create(email="bad@example.com", name=CANARY.decode())
    damage(bad, DAMAGES[kind])
    old = ids()
    options = ["--purpose", purpose] if purpose else []
    said = failure("--batch-size", "2", *options)
    assert said == (
        f"library_reader: 1 rows cannot be decrypted, for example {bad.pk}. Restore them from a "
        'backup, or delete them: .filter(pk=...).only("pk").delete(). Then run this again: no '
        "key that decrypts was retired."
    )
    assert store.archive == {p: {} for p in Purpose}
    begun = purpose or Purpose.FIELDS
    assert old[begun] < ids()[begun]
    # The other rows of the table are done, as far as another key than theirs is active.
    assert stored.read(Reader.objects.earliest("pk"), "name")[1:5] == (  # type: ignore[index]
        keyring(Purpose.FIELDS).active.id
    )
    assert failure() == said  # again, and nothing more has happened
    # Django reads what it deletes, unless it is told not to.
    Reader.objects.filter(pk=bad.pk).only("pk").delete()
    before = values()
    rotate()
    check_all(before)


def test_many_rows_are_counted_and_some_are_named() -> None:
    bad = Reader.objects.bulk_create(Reader(email=f"b{n}@b.c", name="x") for n in range(9))
    for reader in bad:
        damage(reader, DAMAGES["altered"])
    named = ", ".join(str(reader.pk) for reader in bad[:5])
    assert f"library_reader: 9 rows cannot be decrypted, for example {named}. R" in failure()
    assert f"library_reader: 9 rows cannot be decrypted, for example {named}. R" in failure(
        "--batch-size", "1"
    )


def test_one_value_of_several_in_a_row() -> None:
    # The others stay as they are too, so that a restored value and they are under one key.
    loan = Loan.objects.earliest("pk")
    before = {name: stored.read(loan, name) for name in ("stamp", "shelf", "place")}
    value = stored.read(loan, "book")
    assert value
    stored.write(loan, "book", CANARY)
    assert f"library_loan: 1 rows cannot be decrypted, for example {loan.pk}." in failure()
    assert {name: stored.read(loan, name) for name in before} == before
    stored.write(loan, "book", value)
    rotate()
    assert Loan.objects.get(pk=loan.pk).book == "Emma"
    assert not_current() == []


def test_a_value_that_the_field_did_not_write() -> None:
    row = Everything.objects.earliest("pk")
    stored.write(row, "date", seal("library_everything.date", CANARY, b""))
    assert f"library_everything: 1 rows cannot be decrypted, for example {row.pk}." in failure()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="what SQLite alone stores")
def test_text_in_a_column_of_bytes() -> None:
    row = Everything.objects.earliest("pk")
    stored.write(row, "text", CANARY.decode())
    with pytest.raises(MalformedValueError) as caught:
        Table(Everything, "default").look(1)
    assert CANARY.decode() not in str(caught.value)
    assert f"library_everything: 1 rows cannot be decrypted, for example {row.pk}." in failure()


def test_a_row_that_is_repaired_by_a_write() -> None:
    scan = Scan.objects.get()
    stored.write(scan, "file_name", CANARY)
    assert "library_scan: 1 rows" in failure()
    Scan.objects.update(file_name="new.txt")
    before = values()
    rotate()
    check_all(before)


def test_what_is_under_the_current_keys_already_is_not_looked_at() -> None:
    # Only `verify_encryption` and readers find such a value: no rotation depends on it.
    reader = Reader.objects.earliest("pk")
    rotate()
    damage(reader, DAMAGES["altered"])
    rotate("--resume")
    assert str(reader.pk) in failure()
    assert len(ring(Purpose.FIELDS).keys) == 2
