"""Queries that the database cannot answer about encrypted values: each raises at once."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import FieldError
from django.db import connection, transaction
from django.db.models import (
    Avg,
    Case,
    CharField,
    Count,
    Exists,
    ExpressionWrapper,
    F,
    Func,
    Max,
    Min,
    OuterRef,
    Q,
    Subquery,
    Sum,
    TextField,
    Value,
    When,
    Window,
)
from django.db.models.fields.json import KT
from django.db.models.functions import (
    Cast,
    Coalesce,
    Collate,
    Concat,
    FirstValue,
    Greatest,
    JSONObject,
    Length,
    Lower,
    NullIf,
    Rank,
    RowNumber,
    Substr,
    TruncYear,
)
from django.db.models.lookups import Exact, IsNull

from tests.fields.library.models import Everything, Loan, Reader
from tests.fields.refusal import answered, refused

pytestmark = pytest.mark.django_db

ANNOTATED = Reader.objects.annotate(who=F("email"))
BOOK = Subquery(Loan.objects.filter(reader=OuterRef("pk")).values("book")[:1])

Query = Callable[[], Any]


@pytest.fixture(autouse=True)
def _rows(ada: Reader, bob: Reader, lend: Callable[..., Loan]) -> None:
    """Rows that a query which is not refused would return."""
    lend(ada, "Emma")
    lend(ada, "Persuasion")


ORDERINGS: dict[str, Query] = {
    "name": lambda: Reader.objects.order_by("email"),
    "descending": lambda: Reader.objects.order_by("-email"),
    "second": lambda: Reader.objects.order_by("pk", "email"),
    "expression": lambda: Reader.objects.order_by(F("email").desc(nulls_last=True)),
    "function": lambda: Reader.objects.order_by(Lower("email")),
    "relation": lambda: Loan.objects.order_by("reader__email"),
    "unsearchable": lambda: Reader.objects.order_by("notes"),
    "values": lambda: Reader.objects.values("email").order_by("email"),
    "values by expression": lambda: Reader.objects.values("email").order_by(F("email").desc()),
    "values of a relation": lambda: Loan.objects.values("reader__email").order_by("reader__email"),
    "values_list": lambda: Reader.objects.order_by("-email").values_list("email", flat=True),
    "values by alias": lambda: Reader.objects.values(who=F("email")).order_by("who"),
    "annotation": lambda: ANNOTATED.order_by("who"),
    "annotation by expression": lambda: ANNOTATED.order_by(F("who").asc()),
    "annotation, reversed": lambda: ANNOTATED.order_by("-who"),
    "alias": lambda: Reader.objects.alias(who=F("email")).order_by("who"),
    "subquery": lambda: Reader.objects.alias(book=BOOK).order_by("book"),
    "reverse": lambda: Reader.objects.order_by("email").reverse(),
    "first": lambda: Reader.objects.order_by("email").first(),
    "latest": lambda: Reader.objects.latest("email"),
    "earliest": lambda: Everything.objects.earliest("date"),
    "latest of values": lambda: Reader.objects.values("email").latest("email"),
    "union": lambda: Reader.objects.all().union(Reader.objects.all()).order_by("email"),
    "union of values": lambda: (
        Reader.objects.values("email")
        .union(Reader.objects.values("email"), all=True)
        .order_by("email")
    ),
    "window filter": lambda: (
        ANNOTATED.annotate(n=Window(RowNumber(), order_by="pk")).filter(n=1).order_by("who")
    ),
    "window": lambda: Reader.objects.annotate(n=Window(Rank(), order_by="email")),
    "window of annotation": lambda: ANNOTATED.annotate(n=Window(Rank(), order_by="who")),
    "partition": lambda: Reader.objects.annotate(n=Window(Count("pk"), partition_by="email")),
    "slice of a subquery": lambda: Reader.objects.filter(
        pk__in=Loan.objects.order_by("book").values("reader")[:1]
    ),
    "extra": lambda: Reader.objects.values("email").extra(order_by=["email"]),
}


def test_sorting() -> None:
    assert answered(ORDERINGS, r"in Python|in a query of their own") == []


def test_sorting_by_the_models_own_ordering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reader._meta, "ordering", ["email"])
    for query in (Reader.objects.all(), Reader.objects.values("email")):
        with refused(r"in Python"):
            list(query)
    assert len(Reader.objects.order_by("pk")) == 2


AGGREGATES: dict[str, Query] = {
    "Max": lambda: Reader.objects.aggregate(Max("email")),
    "Min": lambda: Everything.objects.aggregate(Min("integer")),
    "Sum": lambda: Everything.objects.aggregate(Sum("integer")),
    "Avg": lambda: Everything.objects.aggregate(Avg("decimal")),
    "Count": lambda: Reader.objects.aggregate(Count("email")),
    "Count distinct": lambda: Reader.objects.aggregate(Count("name", distinct=True)),
    "relation": lambda: Loan.objects.aggregate(Max("reader__email")),
    "annotated": lambda: Reader.objects.annotate(n=Max("loans__book")),
    "of annotation": lambda: ANNOTATED.aggregate(Max("who")),
    "of annotation beside another": lambda: ANNOTATED.annotate(n=Count("loans")).aggregate(
        Count("who", distinct=True)
    ),
    "of slice": lambda: Reader.objects.all()[:5].aggregate(Max("email")),
    "of distinct": lambda: ANNOTATED.distinct().aggregate(Max("who")),
    "of subquery": lambda: Reader.objects.annotate(book=BOOK).aggregate(Max("book")),
    "filter": lambda: Reader.objects.aggregate(n=Count("pk", filter=Q(email=F("name")))),
    "order_by": lambda: Reader.objects.aggregate(n=Max(Length("email"))),
}


def test_aggregates() -> None:
    assert answered(AGGREGATES, r"in Python|in a query of their own|Fetch the values first") == []


GROUPS: dict[str, Query] = {
    "group by": lambda: Reader.objects.values("email").annotate(n=Count("pk")),
    "group by annotation": lambda: ANNOTATED.values("who").annotate(n=Count("pk")),
    "group by relation": lambda: Loan.objects.values("reader__name").annotate(n=Count("pk")),
    "group by rows and a to-many relation": lambda: Reader.objects.values(
        "pk", "loans__stamp"
    ).annotate(n=Count("loans")),
    "group by rows and an annotation": lambda: Reader.objects.annotate(
        s=F("loans__stamp"), n=Count("loans")
    ),
    "having": lambda: (
        Reader.objects.values("plain").annotate(n=Count("pk")).filter(Q(n__gt=0) | Q(name="Ada"))
    ),
    "having isnull": lambda: (
        Reader.objects.values("plain")
        .annotate(n=Count("pk"))
        .filter(Q(n__gt=0) | Q(name__isnull=True))
    ),
    "selected later": lambda: (
        Reader.objects.values("plain").annotate(n=Count("pk")).values("name", "n")
    ),
    "distinct": lambda: Reader.objects.values("name").distinct(),
    "distinct values_list": lambda: Reader.objects.values_list("name", flat=True).distinct(),
    "distinct annotation": lambda: ANNOTATED.values("who").distinct(),
    "distinct relation": lambda: Loan.objects.values("reader__name").distinct(),
    "distinct foreign key": lambda: Loan.objects.values("reader", "stamp").distinct(),
    "distinct rows and a to-many relation": lambda: Reader.objects.values(
        "pk", "loans__stamp"
    ).distinct(),
    "distinct rows and an annotation": lambda: Reader.objects.annotate(
        s=F("loans__stamp")
    ).distinct(),
    "distinct count": lambda: Reader.objects.values("name").distinct().count(),
    "union": lambda: Reader.objects.values("name").union(Reader.objects.values("name")),
    "union of values": lambda: Reader.objects.all().union(Reader.objects.all()).values_list("name"),
    "intersection": lambda: Reader.objects.values("name").intersection(
        Reader.objects.values("name")
    ),
    "difference": lambda: Reader.objects.values("name").difference(Reader.objects.values("name")),
    "dates": lambda: Everything.objects.dates("date", "year"),
    "datetimes": lambda: Everything.objects.datetimes("datetime", "year"),
}


def test_groups_and_duplicates() -> None:
    assert answered(GROUPS, r"Select the primary key|in Python|in a query of their own") == []


@pytest.mark.skipif(connection.vendor != "postgresql", reason="DISTINCT ON is PostgreSQL's")
def test_distinct_on() -> None:
    queries: dict[str, Query] = {
        "column": lambda: Reader.objects.distinct("email"),
        "annotation": lambda: ANNOTATED.distinct("who"),
        "values": lambda: Reader.objects.values("email").distinct("email"),
        "relation": lambda: Loan.objects.distinct("reader__email"),
    }
    assert answered(queries, r"in Python") == []


@pytest.mark.parametrize("path", ["email__lower", "loans__book__length"])
def test_transforms(path: str) -> None:
    # Some come as a FieldError of Django's own, which says that there is no such transform.
    for query in (
        lambda: Reader.objects.order_by(path),
        lambda: Reader.objects.values(path),
        lambda: Reader.objects.annotate(x=F(path)),
        lambda: Reader.objects.filter(**{f"{path}__gt": 1}),
    ):
        with pytest.raises(FieldError), transaction.atomic():
            list(query())


def test_keys_of_json() -> None:
    path = "json__key"
    for query in (
        lambda: Everything.objects.order_by(path),
        lambda: Everything.objects.values(path),
        lambda: Everything.objects.annotate(x=F(path)),
        lambda: Everything.objects.annotate(x=KT(path)),
        lambda: Everything.objects.filter(**{path: 1}),
    ):
        with pytest.raises(FieldError), transaction.atomic():
            list(query())


MIXED: dict[str, Query] = {
    "another field": lambda: Reader.objects.values("name").union(
        Reader.objects.values("email"), all=True
    ),
    "another model": lambda: Reader.objects.values("name").union(
        Loan.objects.values("book"), all=True
    ),
    "a plain field": lambda: Reader.objects.values("name").union(
        Reader.objects.values("plain"), all=True
    ),
    "another annotation": lambda: Reader.objects.values(x=F("name")).union(
        Reader.objects.values(x=F("plain")), all=True
    ),
}


def test_combined_queries_of_different_columns() -> None:
    assert answered(MIXED, r"must select the same columns") == []


EXPRESSIONS: dict[str, Query] = {
    "Lower": lambda: Reader.objects.annotate(x=Lower("email")),
    "Length": lambda: Reader.objects.annotate(x=Length("email")),
    "Substr": lambda: Reader.objects.annotate(x=Substr("email", 1, 1)),
    "slice": lambda: Reader.objects.annotate(x=F("name")[:1]),
    "Concat": lambda: Reader.objects.annotate(x=Concat("email", Value("!"))),
    "Cast": lambda: Reader.objects.annotate(x=Cast("email", TextField())),
    "Collate": lambda: Reader.objects.annotate(x=Collate("name", "C")),
    "Coalesce": lambda: Reader.objects.annotate(x=Coalesce("name", "email")),
    "Greatest": lambda: Reader.objects.annotate(x=Greatest("name", "email")),
    "NullIf": lambda: Reader.objects.annotate(x=NullIf("name", "email")),
    "JSONObject": lambda: Reader.objects.annotate(x=JSONObject(x="name")),
    "Func": lambda: Reader.objects.annotate(x=Func("name", function="HEX")),
    "Trunc": lambda: Everything.objects.annotate(x=TruncYear("date")),
    "sum": lambda: Everything.objects.annotate(x=F("integer") + 1),
    "wrapper": lambda: Reader.objects.annotate(
        x=ExpressionWrapper(F("name"), output_field=CharField())
    ),
    "Case result": lambda: Reader.objects.annotate(x=Case(When(pk=1, then=F("email")))),
    "Case default": lambda: Reader.objects.annotate(
        x=Case(When(pk=1, then=F("email")), default=F("name"))
    ),
    "window function": lambda: Reader.objects.annotate(x=Window(FirstValue("name"), order_by="pk")),
    "of annotation": lambda: ANNOTATED.annotate(x=Lower("who")),
    "filter": lambda: Reader.objects.alias(x=Lower("email")).filter(x="a"),
    "Exact": lambda: Reader.objects.filter(Exact(F("email"), "x")),
    "Exact of values": lambda: Reader.objects.filter(Exact(Value("x"), F("email"))),
    "IsNull": lambda: Reader.objects.filter(IsNull(F("email"), False)),
}


def test_expressions() -> None:
    assert answered(EXPRESSIONS, r"in Python") == []


COMPARISONS: dict[str, Query] = {
    "with a column": lambda: Reader.objects.filter(name=F("plain")),
    "with itself": lambda: Reader.objects.filter(name=F("name")),
    "with an encrypted column": lambda: Reader.objects.exclude(email=F("name")),
    "with a related column": lambda: Loan.objects.filter(book=F("reader__name")),
    "with a function": lambda: Reader.objects.filter(name=Lower(Value("ADA"))),
    "with a literal": lambda: Reader.objects.filter(name=Value("Ada")),
    "with a subquery": lambda: Reader.objects.filter(name=Loan.objects.values("book")[:1]),
    "in a subquery": lambda: Reader.objects.filter(name__in=Reader.objects.values("name")),
    "in columns": lambda: Reader.objects.filter(name__in=[F("plain"), "x"]),
    "with the outer query": lambda: Reader.objects.filter(
        Exists(Reader.objects.filter(name=OuterRef("name")))
    ),
    "of a plain column": lambda: Reader.objects.filter(plain=F("name")),
    "of a plain column in a subquery": lambda: Reader.objects.filter(
        plain__in=Reader.objects.values("name")
    ),
    "of a plain column with the outer query": lambda: Reader.objects.filter(
        Exists(Reader.objects.filter(plain=OuterRef("name")))
    ),
    "range": lambda: Reader.objects.filter(plain__range=(F("name"), "z")),
    "in a condition": lambda: Reader.objects.annotate(x=Case(When(name=F("plain"), then=Value(1)))),
}


def test_comparisons_with_what_the_database_computes() -> None:
    assert answered(COMPARISONS, r"Fetch the values first|in Python|in a query of their own") == []


SUBQUERIES: dict[str, Query] = {
    "selected": lambda: Reader.objects.annotate(book=BOOK),
    "compared": lambda: Reader.objects.alias(book=BOOK).filter(book="Emma"),
    "wrapped": lambda: Reader.objects.annotate(x=Coalesce(BOOK, Value("none"))),
    "as primary keys": lambda: Reader.objects.filter(pk__in=Loan.objects.values("book")),
    "of an annotation": lambda: Reader.objects.filter(
        plain__in=Loan.objects.annotate(x=F("reader__name")).values("x")
    ),
}


def test_subqueries_that_give_encrypted_values() -> None:
    assert answered(SUBQUERIES, r"in a query of their own") == []
