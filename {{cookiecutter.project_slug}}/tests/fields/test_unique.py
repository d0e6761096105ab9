"""No two rows with equal values where a model says so, in the database and in validation."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import IntegrityError, connection, models, transaction

from apps.fields import EncryptedCharField, EncryptedField, EncryptedFieldError
from apps.fields.columns import BlindIndex
from apps.fields.values import SLOTS
from tests.fields.library.models import Loan, Reader, Student, Tag

pytestmark = pytest.mark.django_db


def rejected(make: Callable[[], Any]) -> bool:
    """Whether the database refuses to store something."""
    try:
        with transaction.atomic():
            make()
    except IntegrityError:
        return True
    return False


def complaints(instance: models.Model) -> dict[str, list[str]]:
    """Return what full_clean() says."""
    try:
        instance.full_clean()
    except ValidationError as error:
        return error.message_dict
    return {}


def test_unique(ada: Reader, bob: Reader) -> None:
    assert rejected(lambda: Reader.objects.create(email="Ada@Example.com", name="x"))
    assert rejected(lambda: Reader.objects.filter(pk=bob.pk).update(email="Ada@Example.com"))
    assert rejected(lambda: Reader.objects.update(email="same@example.com"))
    bob.email = "Ada@Example.com"
    assert rejected(bob.save)
    assert rejected(lambda: Reader.objects.bulk_update([bob], ["email"]))
    assert Reader.objects.count() == 2


def test_unique_in_another_spelling(ada: Reader) -> None:
    assert rejected(lambda: Reader.objects.create(email="ADA@EXAMPLE.COM", name="x"))


def test_case_matters_without_normalize(db: None) -> None:
    Tag.objects.create(word="word", colour="red")
    Tag.objects.create(word="Word", colour="blue")
    assert rejected(lambda: Tag.objects.create(word="word", colour="green"))


def test_a_value_may_be_kept_or_given_up(ada: Reader, bob: Reader) -> None:
    ada.email = "ADA@example.com"
    ada.save()
    ada.email = "new@example.com"
    ada.save()
    bob.email = "Ada@Example.com"
    bob.save()
    assert Reader.objects.get(email="ada@example.com") == bob


def test_null_is_not_equal_to_null(db: None) -> None:
    for colour in ("red", "blue"):
        Tag.objects.create(word=None, colour=colour)
    assert complaints(Tag(word=None, colour="green")) == {"word": ["This field cannot be blank."]}


def test_empty_text_is_equal_to_empty_text(db: None) -> None:
    Tag.objects.create(word="", colour="red")
    assert rejected(lambda: Tag.objects.create(word="", colour="blue"))


@pytest.mark.parametrize("keys", ["second_index_key", "rotated_index_key"])
def test_unique_while_and_after_the_index_key_rotates(
    keys: str, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(keys)
    Reader.objects.create(email="Ada@Example.com", name="Ada")
    assert rejected(lambda: Reader.objects.create(email="ADA@example.com", name="x"))


def test_unique_between_rows_with_one_and_with_two_indexes(
    ada: Reader, request: pytest.FixtureRequest
) -> None:
    # Ada's row has the former key's index only, which new rows have too.
    request.getfixturevalue("second_index_key")
    assert rejected(lambda: Reader.objects.create(email="ADA@example.com", name="x"))


def test_unique_in_a_child_table(db: None) -> None:
    Student.objects.create(email="a@example.com", name="A", number=1)
    assert rejected(lambda: Student.objects.create(email="A@example.com", name="B", number=2))
    assert rejected(lambda: Student.objects.create(email="b@example.com", name="B", number=1))
    assert rejected(lambda: Reader.objects.create(email="a@example.com", name="B"))


def test_unique_constraint_of_several_fields(
    ada: Reader, bob: Reader, lend: Callable[..., Loan]
) -> None:
    lend(ada, "Emma")
    lend(bob, "Emma")
    lend(ada, "Persuasion")
    assert rejected(lambda: lend(ada, "EMMA"))
    assert Loan.objects.count() == 3


def test_unique_together(ada: Reader, lend: Callable[..., Loan]) -> None:
    lend(ada, "Emma", shelf="a", place="1")
    lend(ada, "Persuasion", shelf="a", place="2")
    assert rejected(lambda: lend(ada, "Sanditon", shelf="a", place="1"))


def test_unique_constraint_with_a_condition(db: None) -> None:
    Tag.objects.create(word="1", colour="red", is_old=True)
    Tag.objects.create(word="2", colour="red", is_old=True)
    Tag.objects.create(word="3", colour="red")
    assert rejected(lambda: Tag.objects.create(word="4", colour="red"))
    assert rejected(lambda: Tag.objects.update(is_old=False))


def test_validation_of_unique(ada: Reader) -> None:
    twice = Reader(email="ADA@example.com", name="x", notes="y")
    assert complaints(twice) == {"email": ["Reader with this Email already exists."]}
    assert complaints(ada) == {}
    student = Student(email="ADA@example.com", name="x", notes="y", number=1)
    assert complaints(student) == {"email": ["Reader with this Email already exists."]}


def test_validation_of_a_constraint_of_several_fields(
    ada: Reader, bob: Reader, lend: Callable[..., Loan]
) -> None:
    loan = lend(ada, "Emma")
    twice = Loan(reader=ada, book="EMMA", shelf="x", place="y", stamp="new", due="2030-01-01")
    assert complaints(twice) == {"__all__": ["Loan with this Reader and Book already exists."]}
    twice.reader = bob
    assert complaints(twice) == {}
    assert complaints(loan) == {}


def test_validation_of_unique_together(ada: Reader, lend: Callable[..., Loan]) -> None:
    lend(ada, "Emma", shelf="x", place="y")
    twice = Loan(reader=ada, book="Sanditon", shelf="x", place="y", due="2030-01-01")
    assert complaints(twice) == {"__all__": ["Loan with this Shelf and Place already exists."]}


def test_validation_of_a_constraint_with_a_condition(db: None) -> None:
    Tag.objects.create(word="1", colour="red")
    assert complaints(Tag(word="2", colour="red")) == {
        "__all__": ["There is a new tag of this colour."]
    }
    assert complaints(Tag(word="2", colour="red", is_old=True)) == {}


def test_both_slots_have_a_constraint() -> None:
    with connection.cursor() as cursor:
        constraints = connection.introspection.get_constraints(cursor, Reader._meta.db_table)
    unique = [name for name, found in constraints.items() if found["unique"]]
    assert sum("email" in name for name in unique) == 2
    assert not any(found["unique"] for found in constraints.values() if "email" in found["columns"])


def test_every_searchable_field_has_a_constraint_or_an_index_for_each_slot() -> None:
    call_command("makemigrations", "library", check=True, dry_run=True)
    for model in (Reader, Student, Loan, Tag):
        unique = [c.expressions for c in model._meta.constraints if hasattr(c, "expressions")]
        indexed = [index.expressions for index in model._meta.indexes]
        for field in model._meta.local_fields:
            if isinstance(field, EncryptedField) and field.searchable:
                for slot in SLOTS:
                    index = (BlindIndex(field.name, slot),)
                    assert index in (unique if field.unique else indexed)
    for slot in SLOTS:
        several = (models.F("reader"), BlindIndex("book", slot))
        assert several in [getattr(c, "expressions", ()) for c in Loan._meta.constraints]


def refuse(**options: Any) -> str:
    """Return what is said of a model with such options."""
    with pytest.raises(EncryptedFieldError) as caught:
        type(
            "Refused",
            (models.Model,),
            {
                "__module__": __name__,
                "a": EncryptedCharField(max_length=9, searchable=True),
                "b": EncryptedCharField(max_length=9),
                "Meta": type("Meta", (), {"app_label": "refused"} | options),
            },
        )
    return str(caught.value)


def test_constraints_that_cannot_work() -> None:
    unsearchable = models.UniqueConstraint(fields=["a", "b"], name="n")
    assert "must be searchable" in refuse(constraints=[unsearchable])
    assert "must be searchable" in refuse(unique_together=[("a", "b")])
    null = models.UniqueConstraint(fields=["a"], name="n", nulls_distinct=False)
    assert "Remove nulls_distinct" in refuse(constraints=[null])
