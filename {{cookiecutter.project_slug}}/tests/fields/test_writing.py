"""The ways of the ORM to write: each stores what is read again, encrypted and findable."""

from collections.abc import Callable

import pytest
from django.db import IntegrityError, transaction
from django.db.models import Case, F, Model, Value, When
from django.db.models.functions import Cast, Lower

from apps.fields.values import SEARCHABLE
from tests.fields import stored
from tests.fields.library.models import Loan, Reader, Student, Tag
from tests.fields.refusal import refused

pytestmark = pytest.mark.django_db
EMAIL = Reader._meta.get_field("email")


def holds(instance: Model, name: str, value: str) -> bool:
    """Whether a row holds a value: encrypted, and found by it alone."""
    model = type(instance)
    found = model._default_manager.filter(**{name: value})
    assert list(found.values_list("pk", name)) == [(instance.pk, value)]
    return (stored.read(instance, name) or b"").startswith(SEARCHABLE)


def test_create(ada: Reader, bob: Reader) -> None:
    assert holds(ada, "email", "Ada@Example.com")
    assert holds(bob, "name", "Bob")


def test_create_with_a_literal_of_the_field(bob: Reader) -> None:
    made = Reader.objects.create(email=Value("x@y.z", output_field=EMAIL), name="X")
    assert made.email == "x@y.z"
    assert holds(made, "email", "x@y.z")


def test_create_with_an_expression_is_refused(ada: Reader) -> None:
    with refused("Compute it in Python"):
        Reader.objects.create(email=Lower(Value("X@Y.Z")), name="X")
    assert Reader.objects.count() == 1


def test_save(ada: Reader, bob: Reader) -> None:
    ada.name = "Countess"
    ada.save()
    assert holds(ada, "name", "Countess")
    assert not Reader.objects.filter(name="Ada").exists()


def test_save_update_fields(ada: Reader) -> None:
    before = stored.read(ada, "email")
    ada.name, ada.email = "Countess", "new@example.com"
    ada.save(update_fields=["name"])
    assert holds(ada, "name", "Countess")
    assert stored.read(ada, "email") == before
    assert Reader.objects.get().email == "Ada@Example.com"


def test_save_force_insert(ada: Reader) -> None:
    new = Reader(pk=ada.pk + 1, email="new@example.com", name="New")
    new.save(force_insert=True)
    assert holds(new, "email", "new@example.com")
    with pytest.raises(IntegrityError), transaction.atomic():
        Reader(pk=ada.pk, email="other@example.com", name="Other").save(force_insert=True)


def test_save_force_update(ada: Reader) -> None:
    Reader(pk=ada.pk, email="new@example.com", name="New").save(force_update=True)
    assert holds(ada, "email", "new@example.com")


def test_update(ada: Reader, bob: Reader) -> None:
    assert Reader.objects.filter(email="ada@example.com").update(name="Countess") == 1
    assert holds(ada, "name", "Countess")
    assert holds(bob, "name", "Bob")


def test_update_of_many_rows(ada: Reader, bob: Reader) -> None:
    assert Reader.objects.update(name="Same") == 2
    assert list(Reader.objects.filter(name="Same").values_list("name", flat=True)) == ["Same"] * 2


def test_update_of_a_plain_column(ada: Reader) -> None:
    Reader.objects.filter(name="Ada").update(plain=Lower(Value("THREE")))
    assert Reader.objects.get(name="Ada").plain == "three"


def test_update_through_a_relation(ada: Reader, lend: Callable[..., Loan]) -> None:
    loan = lend(ada, "Emma")
    assert Loan.objects.filter(reader__email="ada@example.com").update(stamp="old") == 1
    assert holds(loan, "stamp", "old")


@pytest.mark.parametrize(
    "expression", [F("name"), Lower(F("name")), Lower(Value("X")), Value("x")], ids=str
)
def test_update_to_an_expression_is_refused(ada: Reader, expression: object) -> None:
    with refused("Compute it in Python"):
        Reader.objects.update(email=expression)
    assert Reader.objects.get().email == "Ada@Example.com"


@pytest.mark.parametrize("expression", [F("name"), Lower("name")], ids=str)
def test_update_of_a_plain_column_from_an_encrypted_one_is_refused(
    ada: Reader, expression: object
) -> None:
    with refused("do that in Python"):
        Reader.objects.update(plain=expression)
    assert Reader.objects.get().plain == "one"


def test_update_to_literals_of_the_field(ada: Reader, bob: Reader) -> None:
    new, other = (Value(value, output_field=EMAIL) for value in ("new@b.cd", "other@b.cd"))
    Reader.objects.update(email=Case(When(name="Ada", then=new), default=other))
    assert holds(ada, "email", "new@b.cd")
    assert holds(bob, "email", "other@b.cd")


def test_a_literal_of_another_field_is_refused(ada: Reader) -> None:
    name = Value("x", output_field=Reader._meta.get_field("name"))
    for expression in (
        name,
        Case(When(pk=1, then=name), default=Value("x", EMAIL)),
        Cast(name, EMAIL),
    ):
        with refused("Compute it in Python"):
            Reader.objects.update(email=expression)


def test_save_of_an_expression_is_refused(ada: Reader) -> None:
    ada.name = F("email")
    with refused("Compute it in Python"):
        ada.save()
    ada.name = Value("Countess", output_field=Reader._meta.get_field("name"))
    ada.save()
    assert holds(ada, "name", "Countess")


def test_bulk_create(db: None) -> None:
    # Three rows, for which PostgreSQL gets arrays.
    readers = Reader.objects.bulk_create(
        Reader(email=f"{name}@example.com", name=name) for name in ("x", "y", "z")
    )
    for reader in readers:
        assert holds(reader, "email", f"{reader.name}@example.com")


def test_bulk_create_in_batches(db: None) -> None:
    names = [str(number) for number in range(10)]
    Reader.objects.bulk_create(
        [Reader(email=f"{name}@example.com", name=name) for name in names], batch_size=3
    )
    assert sorted(Reader.objects.values_list("name", flat=True)) == names
    assert Reader.objects.get(email="7@example.com").name == "7"


def test_bulk_create_with_a_literal_of_the_field(db: None) -> None:
    Reader.objects.bulk_create([Reader(email=Value("x@y.z", output_field=EMAIL), name="X")])
    assert holds(Reader.objects.get(), "email", "x@y.z")


def test_bulk_update(ada: Reader, bob: Reader) -> None:
    ada.email, bob.email = "a@b.c", "Ada@Example.com"
    ada.name, bob.name = "A", "B"
    assert Reader.objects.bulk_update([ada, bob], ["email", "name"]) == 2
    assert holds(ada, "email", "a@b.c")
    assert holds(bob, "email", "Ada@Example.com")
    assert holds(bob, "name", "B")


def test_bulk_update_to_null(db: None) -> None:
    tags = [Tag.objects.create(word=word, colour=word) for word in ("x", "y")]
    tags[0].word = None
    Tag.objects.bulk_update(tags, ["word"])
    assert stored.read(tags[0], "word") is None
    assert holds(tags[1], "word", "y")


def test_bulk_update_of_a_parents_field(db: None) -> None:
    student = Student.objects.create(email="s@example.com", name="S", number=1)
    student.email, student.number = "t@example.com", 2
    Student.objects.bulk_update([student], ["email", "number"])
    assert Student.objects.get(email="t@example.com").number == 2


def test_bulk_update_to_an_expression_is_refused(ada: Reader) -> None:
    ada.name = F("email")
    with refused("Compute it in Python"):
        Reader.objects.bulk_update([ada], ["name"])
    assert Reader.objects.get().name == "Ada"


def test_get_or_create(ada: Reader) -> None:
    found, made = Reader.objects.get_or_create(email="ADA@example.com", defaults={"name": "X"})
    assert (found, found.name, made) == (ada, "Ada", False)
    found, made = Reader.objects.get_or_create(email="new@example.com", defaults={"name": "New"})
    assert made
    assert holds(found, "email", "new@example.com")


def test_get_or_create_without_lookup_of_the_field(ada: Reader) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Reader.objects.get_or_create(name="X", defaults={"email": "ada@EXAMPLE.com"})


def test_update_or_create(ada: Reader) -> None:
    found, made = Reader.objects.update_or_create(email="ADA@example.com", defaults={"name": "X"})
    assert (found, made) == (ada, False)
    assert holds(ada, "name", "X")
    found, made = Reader.objects.update_or_create(
        email="new@example.com", defaults={"name": "Y"}, create_defaults={"name": "New"}
    )
    assert made
    assert holds(found, "name", "New")


def test_delete(ada: Reader, bob: Reader) -> None:
    assert Reader.objects.filter(email="ADA@example.com").delete()[0] == 1
    assert list(Reader.objects.all()) == [bob]
    bob.delete()
    assert not Reader.objects.exists()


def test_delete_cascades(ada: Reader, bob: Reader, lend: Callable[..., Loan]) -> None:
    lend(ada, "Emma")
    kept = lend(bob, "Emma")
    Reader.objects.filter(loans__book="emma", email="ada@example.com").delete()
    assert list(Loan.objects.all()) == [kept]


def test_related_managers(ada: Reader, lend: Callable[..., Loan]) -> None:
    loan = ada.loans.create(book="Emma", shelf="a", place="1")
    assert ada.loans.get(book="EMMA") == loan
    ada.loans.filter(book="emma").update(book="Persuasion")
    assert ada.loans.get().book == "Persuasion"
    tag = loan.tags.create(word="classic", colour="red")
    assert list(Loan.objects.filter(tags__word="classic")) == [loan]
    assert loan.tags.get_or_create(word="classic", defaults={"colour": "blue"}) == (tag, False)


def test_select_for_update(ada: Reader) -> None:
    with transaction.atomic():
        locked = Reader.objects.select_for_update().get(email="ada@example.com")
        locked.name = "Locked"
        locked.save()
    assert holds(ada, "name", "Locked")


def test_null_stays_null(db: None) -> None:
    tag = Tag.objects.create(word=None, colour="red")
    assert stored.read(tag, "word") is None
    assert Tag.objects.get(word=None).word is None
    Tag.objects.update(word="x")
    Tag.objects.update(word=None)
    assert stored.read(tag, "word") is None


def test_a_column_that_may_not_be_null(db: None) -> None:
    values = {"email": None, "name": "X"}
    with pytest.raises(IntegrityError), transaction.atomic():
        Reader.objects.create(**values)


def test_default(ada: Reader, lend: Callable[..., Loan]) -> None:
    assert holds(lend(ada, "Emma"), "stamp", "new")
