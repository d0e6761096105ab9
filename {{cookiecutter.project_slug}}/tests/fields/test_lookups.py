"""Filters: what equality can answer is answered as on a plain column, the rest refuses.

The other lookups that Django and the database know of a plain field are found by
introspection, so that a new one cannot slip through.
"""

import datetime
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.db import models
from django.db.models import Case, Count, F, FilteredRelation, Q, QuerySet, Value, When

from apps.fields import EncryptedField
from tests.fields.library.models import Everything, Loan, Reader, Student, Tag, Twin
from tests.fields.refusal import answered, refused

pytestmark = pytest.mark.django_db

ADA = "Ada@Example.com"
DAY = datetime.date(2026, 11, 22)
MOMENT = datetime.datetime(2026, 11, 22, 10, 30, 15, 123456, datetime.UTC)
VALUES: dict[str, tuple[Any, Any, Any]] = {  # two that are stored, one that is not
    "char": ("one", "", "One"),
    "text": ("long\n" * 1000, "two", "three"),
    "email": ("a@example.com", "b@example.com", "c@example.com"),
    "integer": (-1, 2**62, 0),
    "decimal": (Decimal("1.5"), Decimal("-0.0001"), Decimal(0)),
    "date": (DAY, datetime.date.min, datetime.date.max),
    "datetime": (MOMENT, MOMENT.replace(microsecond=0), MOMENT.replace(second=0)),
    "time": (MOMENT.time(), datetime.time.min, datetime.time.max),
    "binary": (b"\x00\xff", b"", b"\x00"),
    "boolean": (True, False, None),
    "json": ({"a": [1, None]}, [], {}),
}
NAMES = list(VALUES)
SEARCHABLE = [name for name in NAMES if name not in {"boolean", "json"}]
WORKS = {"exact", "in", "isnull"}


@pytest.fixture
def rows() -> None:
    """The same two rows, and one of NULLs, in plaintext and encrypted."""
    for number in (0, 1):
        values = {name: VALUES[name][number] for name in NAMES}
        Everything.objects.create(pk=number + 1, **values)
        Twin.objects.create(pk=number + 1, **values)
    Everything.objects.create(pk=3)
    Twin.objects.create(pk=3)


def pks(rows: QuerySet[Any]) -> list[int]:
    return list(rows.order_by("pk").values_list("pk", flat=True))


def filtered(condition: str) -> QuerySet[Reader]:
    return Reader.objects.filter(**{condition: "x"})


def agree(name: str, lookup: str, value: Any) -> bool:
    """Whether the encrypted field and its twin find the same rows, also when negated."""
    wanted = {f"{name}__{lookup}": value}
    return pks(Everything.objects.filter(**wanted)) == pks(Twin.objects.filter(**wanted)) and pks(
        Everything.objects.exclude(**wanted)
    ) == pks(Twin.objects.exclude(**wanted))


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("name", SEARCHABLE)
def test_exact(name: str) -> None:
    for value in VALUES[name]:
        assert agree(name, "exact", value)
    assert pks(Everything.objects.filter(**{name: VALUES[name][0]})) == [1]


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("name", SEARCHABLE)
def test_in(name: str) -> None:
    one, two, missing = VALUES[name]
    for values in ([one], [one, two, missing], [missing], [], [one, one], [None, two], {two}):
        assert agree(name, "in", values)
    assert pks(Everything.objects.filter(**{f"{name}__in": [one, two]})) == [1, 2]


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("name", NAMES)
def test_isnull(name: str) -> None:
    for value in (True, False):
        assert agree(name, "isnull", value)


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("name", SEARCHABLE)
def test_none(name: str) -> None:
    assert pks(Everything.objects.filter(**{name: None})) == [3]
    assert pks(Everything.objects.exclude(**{name: None})) == [1, 2]


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("name", NAMES)
def test_every_lookup_that_django_knows_of_the_plain_twin(name: str) -> None:
    queries = {}
    lookups = Twin._meta.get_field(name).get_lookups()
    assert set(lookups) > WORKS
    for lookup in lookups:
        value = VALUES[name][0]
        if lookup == "isnull" or (name in SEARCHABLE and lookup in WORKS):
            assert agree(name, lookup, {"in": [value], "isnull": True}.get(lookup, value))
        elif (name, lookup) == ("email", "iexact"):
            assert agree(name, lookup, "A@example.com")
        else:
            condition = f"{name}__{lookup}"
            for number, other in enumerate((value, "x", [value], 1, None, True)):
                wanted = {condition: other}
                queries[f"{lookup} {number}"] = partial(Everything.objects.filter, **wanted)
                queries[f"not {lookup} {number}"] = partial(Everything.objects.exclude, **wanted)
    assert answered(queries, r"in Python|normalize=casefold") == []


@pytest.mark.parametrize("name", NAMES)
def test_other_lookups(name: str) -> None:
    names = [f"{name}__{lookup}" for lookup in ("nonsense", "date", "a__b", "0", "exact__gt")]
    queries = {name: partial(Everything.objects.filter, **{name: 1}) for name in names}
    assert answered(queries, r"in Python") == []


def test_lookups_registered_later_are_refused(ada: Reader) -> None:
    class Shouted(models.Transform):
        lookup_name = "shouted"
        function = "UPPER"

    models.CharField.register_lookup(Shouted)
    try:
        assert answered({"shouted": lambda: filtered("name__shouted")}, r"in Python") == []
    finally:
        models.CharField._unregister_lookup(Shouted)  # type: ignore[arg-type]


def test_what_is_not_searchable_says_how_to_make_it_so(ada: Reader) -> None:
    for lookup in ("exact", "in", "iexact", "contains"):
        with refused(r"searchable=True and migrate"):
            list(Reader.objects.filter(**{f"notes__{lookup}": "x"}))
    assert not Reader.objects.filter(notes__isnull=True).exists()


@pytest.mark.parametrize("name", ["boolean", "json"])
def test_what_cannot_be_searchable_does_not_advise_it(name: str) -> None:
    with refused(r"^(?!.*searchable=True).*Compare in Python"):
        list(Everything.objects.filter(**{name: None}))


def test_iexact(ada: Reader, lend: Callable[..., Loan]) -> None:
    assert Reader.objects.get(email__iexact="ADA@EXAMPLE.COM") == ada
    assert lend(ada, "Emma") == Loan.objects.get(book__iexact="EMMA")
    assert answered({"iexact": lambda: filtered("name__iexact")}, r"normalize=casefold") == []


def test_values_are_converted_as_by_plain_fields(rows: None) -> None:
    same: dict[str, list[Any]] = {
        "integer": ["-1", -1.0, -1.9],
        "decimal": ["1.5", "1.50000", 1.5],
        "date": ["2026-11-22", MOMENT],
        "datetime": ["2026-11-22T10:30:15.123456Z", MOMENT.astimezone(datetime.timezone.max)],
        "time": ["10:30:15.123456"],
        "binary": [bytearray(b"\x00\xff"), memoryview(b"\x00\xff")],
    }
    for name, spellings in same.items():
        for value in spellings:
            assert pks(Everything.objects.filter(**{name: value})) == [1], (name, value)
            assert pks(Everything.objects.filter(**{f"{name}__in": [value]})) == [1]


def test_q_and_or_not(ada: Reader, bob: Reader) -> None:
    def found(*conditions: Q) -> set[Reader]:
        return set(Reader.objects.filter(*conditions))

    assert found(Q(email=ADA) | Q(name="Bob")) == {ada, bob}
    assert found(Q(email=ADA) & Q(name="Bob")) == set()
    assert found(Q(email=ADA) ^ Q(name="Ada")) == set()
    assert found(~Q(email=ADA)) == {bob}
    assert found(~(Q(email=ADA) | Q(name="Bob"))) == set()
    assert found(~Q(email__in=[]), Q(plain="one")) == {ada}
    assert set(Reader.objects.exclude(email=ADA)) == {bob}
    assert set(Reader.objects.exclude(email__in=[ADA, "x"])) == {bob}
    assert set(Reader.objects.filter(email=ADA) | Reader.objects.filter(name="Bob")) == {ada, bob}


def test_negation_keeps_null(db: None) -> None:
    null = Tag.objects.create(word=None, colour="red")
    word = Tag.objects.create(word="x", colour="blue")
    assert list(Tag.objects.exclude(word="x")) == [null]
    assert list(Tag.objects.exclude(word="y").order_by("pk")) == [null, word]
    assert list(Tag.objects.filter(~Q(word__in=["x"]))) == [null]


def test_relations(ada: Reader, bob: Reader, lend: Callable[..., Loan]) -> None:
    loan = lend(ada, "Emma")
    loan.tags.create(word="classic", colour="red")
    lend(bob, "Persuasion")
    assert Loan.objects.get(reader__email=ADA) == loan
    assert Reader.objects.get(loans__book="EMMA") == ada
    assert Reader.objects.get(loans__tags__word="classic", loans__book="emma") == ada
    assert list(Reader.objects.exclude(loans__book="emma")) == [bob]
    assert list(Reader.objects.exclude(loans__tags__word="classic")) == [bob]
    assert list(Loan.objects.filter(tags__word=None).values_list("book", flat=True)) == [
        "Persuasion"
    ]
    assert Loan.objects.filter(reader__in=Reader.objects.filter(email=ADA)).get() == loan


def test_a_filtered_relation(ada: Reader, bob: Reader, lend: Callable[..., Loan]) -> None:
    lend(ada, "Emma")
    lend(bob, "Persuasion")
    emma = FilteredRelation("loans", condition=Q(loans__book="EMMA"))
    readers = Reader.objects.annotate(emma=emma)
    assert list(readers.filter(emma__isnull=False)) == [ada]
    assert list(readers.filter(emma__stamp="new")) == [ada]


def test_subqueries_that_filter_by_an_encrypted_field(
    ada: Reader, bob: Reader, lend: Callable[..., Loan]
) -> None:
    loan = lend(ada, "Emma")
    inner = Reader.objects.filter(email="ADA@example.com")
    assert list(Loan.objects.filter(reader__in=inner)) == [loan]
    assert list(Reader.objects.filter(pk__in=inner.values("pk"))) == [ada]
    assert list(Reader.objects.exclude(pk__in=inner)) == [bob]
    borrowers = Loan.objects.filter(book="emma").values("reader")
    assert list(Reader.objects.filter(pk__in=borrowers, email=ADA)) == [ada]


def test_conditions_in_expressions(ada: Reader, bob: Reader) -> None:
    is_ada = Q(email=ADA)
    rows = Reader.objects.annotate(is_ada=is_ada).order_by("pk")
    assert list(rows.values_list("name", "is_ada")) == [("Ada", True), ("Bob", False)]
    kind = Case(When(email=ADA, then=Value("countess")), default=Value("nobody"))
    assert Reader.objects.annotate(kind=kind).get(kind="countess") == ada
    assert list(Reader.objects.order_by(Case(When(name="Bob", then=0), default=1))) == [bob, ada]
    assert Reader.objects.aggregate(n=Count("pk", filter=is_ada), all=Count("pk")) == {
        "n": 1,
        "all": 2,
    }
    assert Reader.objects.update(plain=kind) == 2
    assert Reader.objects.get(plain="countess") == ada


def test_grouping_by_a_condition(ada: Reader, bob: Reader) -> None:
    Reader.objects.create(email="c@example.com", name="Bob")
    groups = Reader.objects.annotate(hit=Q(name="Bob")).values("hit").annotate(n=Count("pk"))
    assert sorted((group["hit"], group["n"]) for group in groups) == [(False, 1), (True, 2)]


def test_annotated_columns(ada: Reader, lend: Callable[..., Loan]) -> None:
    lend(ada, "Emma")
    loans = Loan.objects.annotate(who=F("reader__email"), what=F("book"))
    assert loans.filter(who=ADA, what__in=["EMMA"]).count() == 1
    assert loans.filter(who__isnull=True).count() == 0
    contains = {"who__contains": "E"}
    with refused(r"in Python"):
        list(loans.filter(**contains))


def test_a_parents_field(db: None) -> None:
    student = Student.objects.create(email=ADA, name="Ada", number=7)
    assert Student.objects.get(email="ada@example.com", number="7") == student
    assert Reader.objects.get(student__number=7) == Reader.objects.get()


def test_a_column_with_another_name(db: None) -> None:
    tag = Tag.objects.create(word="x", colour="red")
    assert Tag.objects.get(colour="red") == tag


def test_queries_that_are_kept_or_combined(ada: Reader, bob: Reader) -> None:
    kept = Reader.objects.filter(email=ADA)
    assert list(kept) == [ada]
    assert list(kept.all().filter(name="Bob")) == []
    ada.delete()
    assert list(kept.all()) == []


@pytest.mark.parametrize("keys", ["second_index_key", "rotated_index_key"])
def test_search_in_the_second_slot(keys: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(keys)
    ada = Reader.objects.create(email=ADA, name="Ada")
    assert Reader.objects.get(email="ADA@example.com") == ada
    assert list(Reader.objects.filter(name__in=["Ada", "Bob"])) == [ada]


def test_every_type_of_encrypted_field_is_tested() -> None:
    def types(field: type[Any]) -> Iterator[type[Any]]:
        for found in field.__subclasses__():
            yield found
            yield from types(found)

    tested = {type(Everything._meta.get_field(name)) for name in NAMES}
    assert {t for t in types(EncryptedField) if t.__module__ == "apps.fields.fields"} == tested
