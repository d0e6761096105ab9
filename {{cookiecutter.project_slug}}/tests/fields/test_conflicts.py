"""`bulk_create` with rows that conflict with others, by the blind index or by other columns."""

from collections.abc import Callable

import pytest
from django.db import IntegrityError, transaction

from tests.fields import stored
from tests.fields.library.models import Loan, Reader, Tag

pytestmark = pytest.mark.django_db

MANY = 3  # rows: PostgreSQL gets them in another way than one


def new_readers() -> list[Reader]:
    """Return one row that conflicts with Ada's, and others."""
    others = [Reader(email=f"{number}@example.com", name="New") for number in range(1, MANY)]
    return [Reader(email="ADA@example.com", name="Countess", plain="x"), *others]


def test_bulk_create_fails_on_conflict(ada: Reader) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Reader.objects.bulk_create(new_readers())
    assert Reader.objects.count() == 1


def test_bulk_create_ignore_conflicts(ada: Reader) -> None:
    Reader.objects.bulk_create(new_readers(), ignore_conflicts=True)
    assert Reader.objects.count() == MANY
    assert Reader.objects.get(email="ada@example.com").name == "Ada"


def test_bulk_create_update_conflicts(ada: Reader) -> None:
    Reader.objects.bulk_create(
        new_readers(),
        update_conflicts=True,
        unique_fields=["email"],
        update_fields=["email", "name"],
    )
    assert Reader.objects.count() == MANY
    found = Reader.objects.get(email="ada@example.com")
    assert (found.pk, found.email, found.name) == (ada.pk, "ADA@example.com", "Countess")
    assert found.plain == "one"


@pytest.mark.parametrize("keys", ["second_index_key", "rotated_index_key"])
def test_bulk_create_update_conflicts_while_and_after_the_index_key_rotates(
    keys: str, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(keys)
    Reader.objects.create(email="Ada@Example.com", name="Ada")
    Reader.objects.bulk_create(
        new_readers(), update_conflicts=True, unique_fields=["email"], update_fields=["name"]
    )
    assert Reader.objects.count() == MANY
    assert Reader.objects.get(email="ada@example.com").name == "Countess"


def test_bulk_create_update_conflicts_on_another_field(ada: Reader) -> None:
    Reader.objects.bulk_create(
        [Reader(pk=ada.pk, email="new@example.com", name="New")],
        update_conflicts=True,
        unique_fields=["pk"],
        update_fields=["email"],
    )
    found = Reader.objects.get(email="new@example.com")
    assert (found.pk, found.name) == (ada.pk, "Ada")


def test_bulk_create_update_conflicts_on_several_fields(
    ada: Reader, bob: Reader, lend: Callable[..., Loan]
) -> None:
    loan = lend(ada, "Emma")
    new = [Loan(reader=reader, book="EMMA", shelf=reader.name, place="9") for reader in (ada, bob)]
    Loan.objects.bulk_create(
        new,
        update_conflicts=True,
        unique_fields=["reader", "book"],
        update_fields=["shelf", "place"],
    )
    assert Loan.objects.count() == 2
    loan.refresh_from_db()
    assert (loan.book, loan.shelf) == ("Emma", "Ada")


def test_bulk_create_update_conflicts_on_unique_together(
    ada: Reader, lend: Callable[..., Loan]
) -> None:
    loan = lend(ada, "Emma", shelf="s", place="p")
    Loan.objects.bulk_create(
        [Loan(reader=ada, book="Persuasion", shelf="s", place="p")],
        update_conflicts=True,
        unique_fields=["shelf", "place"],
        update_fields=["book"],
    )
    assert Loan.objects.get().pk == loan.pk
    assert Loan.objects.get().book == "Persuasion"


def test_bulk_create_update_conflicts_with_null(db: None) -> None:
    Tag.objects.create(word=None, colour="red")
    Tag.objects.bulk_create(
        [Tag(word=None, colour="blue"), Tag(word="x", colour="green")],
        update_conflicts=True,
        unique_fields=["word"],
        update_fields=["is_old"],
    )
    assert Tag.objects.filter(word=None).count() == 2


def test_a_conflict_leaves_what_is_stored(ada: Reader) -> None:
    before = stored.read(ada, "email")
    Reader.objects.bulk_create(
        new_readers(), update_conflicts=True, unique_fields=["email"], update_fields=["plain"]
    )
    assert stored.read(ada, "email") == before
    assert Reader.objects.get(pk=ada.pk).plain == "x"
