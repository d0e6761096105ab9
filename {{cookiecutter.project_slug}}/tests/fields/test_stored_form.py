"""What the database sees: bytes that tell nothing but which values of a column are equal."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.fields.values import EMPTY_SLOT, PLAIN, SEARCHABLE, SLOT_SIZE, slot_offset
from apps.keys.keyring import Purpose, keyring
from tests.fields import stored
from tests.fields.library.models import Everything, Loan, Reader, Tag

pytestmark = pytest.mark.django_db

CANARY = "canary4711"
EMAIL = f"{CANARY}@example.com"


def slot(value: bytes | None, number: int = 0) -> bytes:
    """Return a slot of a stored value."""
    assert value is not None
    begin = slot_offset(number)
    return value[begin : begin + SLOT_SIZE]


def test_equal_values_differ_but_for_the_index(db: None) -> None:
    one, other = (Loan(book=CANARY) for _ in range(2))
    values = [Loan._meta.get_field("book").encrypt(loan.book) for loan in (one, other)]
    assert values[0] != values[1]
    assert slot(values[0]) == slot(values[1])
    header = slot_offset(2)
    assert values[0][:header] == values[1][:header]
    assert all(
        set(values[0][i : i + 4]) != set(values[1][i : i + 4])
        for i in range(header, len(values[0]) - 4, 4)
    )


def test_no_nonce_comes_twice(db: None) -> None:
    field = Reader._meta.get_field("notes")
    nonces = {field.encrypt("same")[5:17] for _ in range(1000)}
    assert len(nonces) == 1000


def test_an_update_of_many_rows_writes_one_value(ada: Reader, bob: Reader) -> None:
    # The row is not bound, so that one UPDATE can do it.
    Reader.objects.update(name=CANARY)
    assert stored.read(ada, "name") == stored.read(bob, "name")


def test_the_same_value_has_another_index_in_another_column(ada: Reader) -> None:
    loan = Loan.objects.create(reader=ada, book="x", shelf="x", place="x", stamp="x")
    everything = Everything.objects.create(char="x", text="x")
    tag = Tag.objects.create(word="x", colour="x")
    indexes = [
        slot(stored.read(row, name))
        for row, names in (
            (loan, ["book", "shelf", "place", "stamp"]),
            (everything, ["char", "text"]),
            (tag, ["word", "colour"]),
        )
        for name in names
    ]
    assert len(set(indexes)) == len(indexes)


def test_the_index_has_a_key(ada: Reader, change_keys: Callable[[], None]) -> None:
    former = slot(stored.read(ada, "email"))
    change_keys()
    field = Reader._meta.get_field("email")
    assert slot(field.encrypt(ada.email))[4:] != former[4:]
    assert not Reader.objects.filter(email=ada.email).exists()


def test_form_of_a_searchable_value(ada: Reader) -> None:
    value = stored.read(ada, "email")
    assert value
    assert value[:5] == SEARCHABLE + keyring(Purpose.FIELDS).active.id
    assert slot(value)[:4] == keyring(Purpose.INDEX).active.id
    assert slot(value, 1) == EMPTY_SLOT
    assert len(value) == 1 + 4 + 2 * SLOT_SIZE + 12 + len(ada.email) + 16


def test_form_of_a_value_that_is_not_searchable(ada: Reader) -> None:
    value = stored.read(ada, "notes")
    assert value
    assert value[:5] == PLAIN + keyring(Purpose.FIELDS).active.id
    assert len(value) == 1 + 4 + 12 + len(ada.notes) + 16


@pytest.mark.usefixtures("second_index_key")
def test_both_slots_are_written_while_the_index_key_rotates(ada: Reader) -> None:
    value = stored.read(ada, "email")
    keys = keyring(Purpose.INDEX).slots
    assert [slot(value, number)[:4] for number in (0, 1)] == [keys[0].id, keys[1].id]
    assert slot(value, 0)[4:] != slot(value, 1)[4:]


def test_sql_holds_no_value(ada: Reader, lend: Callable[..., Loan]) -> None:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        reader = Reader.objects.create(email=EMAIL, name=CANARY, notes=CANARY)
        reader.notes = f"{CANARY}!"
        reader.save()
        Reader.objects.filter(pk=reader.pk).update(name=f"{CANARY}?")
        Reader.objects.bulk_update([reader], ["name"])
        Reader.objects.bulk_create(
            [Reader(email=f"{n}{EMAIL}", name=CANARY) for n in range(3)],
            update_conflicts=True,
            unique_fields=["email"],
            update_fields=["name"],
        )
        assert Reader.objects.get(email=EMAIL).name == CANARY
        assert list(Reader.objects.filter(email__in=[EMAIL]).exclude(name__in=[CANARY])) == []
        Reader.objects.get_or_create(email=EMAIL)
        Reader.objects.in_bulk([EMAIL], field_name="email")
        reader.full_clean()
        loan = lend(reader, CANARY)
        Loan.objects.filter(reader__email=EMAIL, book=CANARY).delete()
        assert loan.book == CANARY
    assert len(captured) > 12
    for form in (CANARY, CANARY.upper(), CANARY.encode().hex()):
        assert not any(form in query["sql"] for query in captured)
    with CaptureQueriesContext(connection) as captured:
        Reader.objects.create(email="a@b.c", name="x", plain=CANARY)
    assert any(CANARY in query["sql"] for query in captured)  # a plain column's can be seen


def test_a_query_as_text_holds_no_value(ada: Reader) -> None:
    query = Reader.objects.filter(email=EMAIL, name__in=[CANARY]).exclude(name=CANARY)
    assert CANARY not in str(query.query)
    assert CANARY not in Reader.objects.filter(email=EMAIL).explain()


def test_json_keys_are_encrypted(db: None) -> None:
    row = Everything.objects.create(json={CANARY: CANARY})
    assert CANARY.encode() not in (stored.read(row, "json") or b"")
