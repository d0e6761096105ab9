"""The ways of the ORM to read: each returns what was written."""

from collections.abc import Callable

import pytest
from django.db.models import Count, Exists, F, OuterRef, Prefetch, Window, prefetch_related_objects
from django.db.models.functions import RowNumber
from pytest_django import DjangoAssertNumQueries

from apps.keys.errors import AlteredValueError
from tests.fields.library.models import Loan, Reader

pytestmark = pytest.mark.django_db

ADA, BOB = "Ada@Example.com", "bob@example.com"


@pytest.fixture(autouse=True)
def _readers(ada: Reader, bob: Reader) -> None:
    """Both are there."""


def test_get_first_last() -> None:
    assert Reader.objects.get(email=ADA).notes == "likes engines"
    assert Reader.objects.order_by("pk").first().email == ADA  # type: ignore[union-attr]
    assert Reader.objects.order_by("pk").last().email == BOB  # type: ignore[union-attr]


def test_only(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(1):
        reader = Reader.objects.only("email").get(email=ADA)
        assert reader.email == ADA
    with django_assert_num_queries(1):
        assert reader.name == "Ada"


def test_defer(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    reader = Reader.objects.defer("email").get(name="Ada")
    with django_assert_num_queries(1):
        assert reader.email == ADA
    reader.email = "new@example.com"
    reader.save()
    assert Reader.objects.get(email="new@example.com").name == "Ada"


def test_saving_a_deferred_row_keeps_what_was_not_read() -> None:
    reader = Reader.objects.defer("email").get(name="Ada")
    reader.name = "Countess"
    reader.save()
    assert Reader.objects.get(name="Countess").email == ADA


def test_values() -> None:
    assert list(Reader.objects.order_by("pk").values("email", "name")) == [
        {"email": ADA, "name": "Ada"},
        {"email": BOB, "name": "Bob"},
    ]
    assert Reader.objects.values().get(email=ADA)["notes"] == "likes engines"
    condition = {"who": ADA}
    assert list(Reader.objects.values(who=F("email")).filter(**condition)) == [condition]


def test_values_list() -> None:
    rows = Reader.objects.order_by("pk")
    assert rows.values_list("email", "pk")[0][0] == ADA
    assert list(rows.values_list("email", flat=True)) == [ADA, BOB]
    assert rows.values_list("email", named=True)[1].email == BOB


def test_in_bulk(ada: Reader, bob: Reader) -> None:
    assert Reader.objects.in_bulk([ada.pk])[ada.pk].email == ADA
    assert Reader.objects.in_bulk() == {ada.pk: ada, bob.pk: bob}


def test_in_bulk_by_an_encrypted_field(ada: Reader) -> None:
    # The keys are spelt as they are stored.
    found = Reader.objects.in_bulk(["ADA@example.com", "x@y.z"], field_name="email")
    assert found == {ADA: ada}


def test_in_bulk_by_a_field_that_is_not_unique() -> None:
    name = "name"
    with pytest.raises(ValueError, match="must be a unique field"):
        Reader.objects.in_bulk(["Ada"], field_name=str(name))


def test_refresh_from_db(ada: Reader) -> None:
    Reader.objects.update(name="Countess")
    ada.email = "changed"
    ada.refresh_from_db(fields=["name"])
    assert (ada.name, ada.email) == ("Countess", "changed")
    ada.refresh_from_db()
    assert ada.email == ADA


def test_select_related(
    ada: Reader, lend: Callable[..., Loan], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    lend(ada, "Emma")
    with django_assert_num_queries(1):
        loan = Loan.objects.select_related("reader").get(book="emma")
        assert (loan.book, loan.reader.email) == ("Emma", ADA)


def test_select_related_only(ada: Reader, lend: Callable[..., Loan]) -> None:
    lend(ada, "Emma")
    loan = Loan.objects.select_related("reader").only("book", "reader__email").get()
    assert (loan.book, loan.reader.email) == ("Emma", ADA)


def test_prefetch_related(ada: Reader, lend: Callable[..., Loan]) -> None:
    lend(ada, "Emma").tags.create(word="classic", colour="red")
    reader = Reader.objects.prefetch_related("loans__tags").get(email=ADA)
    assert [(loan.book, loan.tags.all()[0].word) for loan in reader.loans.all()] == [
        ("Emma", "classic")
    ]
    loans = list(Loan.objects.all())
    prefetch_related_objects(loans, "reader")
    assert loans[0].reader.email == ADA


def test_prefetch_of_a_filtered_or_sliced_queryset(ada: Reader, lend: Callable[..., Loan]) -> None:
    lend(ada, "Emma")
    lend(ada, "Persuasion")
    for queryset in (Loan.objects.filter(book="emma"), Loan.objects.order_by("pk")[:1]):
        prefetch = Prefetch("loans", queryset=queryset, to_attr="some")
        (reader,) = Reader.objects.prefetch_related(prefetch).filter(email=ADA)
        assert [loan.book for loan in reader.some] == ["Emma"]


def test_iterator() -> None:
    assert [reader.email for reader in Reader.objects.order_by("pk").iterator(1)] == [ADA, BOB]


def test_raw() -> None:
    (ada, bob) = Reader.objects.raw("SELECT * FROM library_reader ORDER BY id")
    assert (ada.email, bob.email) == (ADA, BOB)
    (ada,) = Reader.objects.raw("SELECT id, email FROM library_reader WHERE id = %s", [ada.pk])
    assert (ada.email, ada.name) == (ADA, "Ada")


def test_raw_does_not_read_a_column_as_another() -> None:
    query = Reader.objects.raw("SELECT id, email AS name FROM library_reader")
    with pytest.raises(AlteredValueError):
        list(query)


def test_exists_count_contains(ada: Reader) -> None:
    assert Reader.objects.filter(email=ADA).exists()
    assert not Reader.objects.filter(email="x@y.z").exists()
    assert Reader.objects.filter(email__in=[ADA, BOB]).count() == 2
    assert Reader.objects.filter(name="Ada").contains(ada)
    assert not Reader.objects.filter(name="Bob").contains(ada)


def test_slices_and_distinct_count() -> None:
    assert Reader.objects.order_by("pk")[1].email == BOB
    assert Reader.objects.all()[:1].count() == 1
    assert Reader.objects.distinct().count() == 2


def test_distinct_rows(ada: Reader, lend: Callable[..., Loan]) -> None:
    lend(ada, "Emma")
    lend(ada, "Persuasion")
    readers = Reader.objects.filter(loans__stamp="new")
    assert list(readers.distinct()) == [ada]
    assert list(readers.values_list("pk", "name").distinct()) == [(ada.pk, "Ada")]
    loans = Loan.objects.values_list("pk", "reader__name").distinct()
    assert [name for _pk, name in loans] == ["Ada", "Ada"]


def test_earliest_and_latest_by_a_plain_column(ada: Reader, lend: Callable[..., Loan]) -> None:
    lend(ada, "Emma", due="2030-01-02")
    lend(ada, "Persuasion", due="2030-01-01")
    assert Loan.objects.latest("due").book == "Emma"
    assert Loan.objects.earliest("due").book == "Persuasion"


def test_annotation_of_a_row_with_an_aggregate(ada: Reader, lend: Callable[..., Loan]) -> None:
    lend(ada, "Emma")
    lend(ada, "Persuasion")
    counted = Reader.objects.annotate(n=Count("loans")).order_by("pk")
    assert [(reader.email, reader.n) for reader in counted] == [(ADA, 2), (BOB, 0)]
    assert list(counted.values_list("email", "n")) == [(ADA, 2), (BOB, 0)]
    grouped = Loan.objects.values("reader", "reader__plain").annotate(n=Count("pk"))
    assert [row["n"] for row in grouped] == [2]
    assert counted.filter(n__gt=0).count() == 1


def test_annotation_with_an_encrypted_column(ada: Reader, lend: Callable[..., Loan]) -> None:
    lend(ada, "Emma")
    loans = Loan.objects.annotate(who=F("reader__email"))
    assert loans.get().who == ADA
    assert loans.get(who="ada@EXAMPLE.com").book == "Emma"
    assert loans.filter(who=BOB).count() == 0
    assert Loan.objects.alias(who=F("reader__email")).get(who=ADA).book == "Emma"


def test_annotation_with_exists(ada: Reader, lend: Callable[..., Loan]) -> None:
    lend(ada, "Emma")
    has_it = Exists(Loan.objects.filter(reader=OuterRef("pk"), book="EMMA"))
    readers = Reader.objects.annotate(has_it=has_it).order_by("pk")
    assert list(readers.values_list("email", "has_it")) == [(ADA, True), (BOB, False)]


def test_window_over_plain_columns() -> None:
    numbered = Reader.objects.annotate(number=Window(RowNumber(), order_by="pk"))
    assert [(r.number, r.email) for r in numbered.order_by("pk")] == [(1, ADA), (2, BOB)]
    assert [reader.email for reader in numbered.filter(number=2)] == [BOB]


def test_combined_queries(ada: Reader, bob: Reader) -> None:
    first, both = Reader.objects.filter(email=ADA), Reader.objects.all()
    assert sorted(r.email for r in first.union(both)) == [ADA, BOB]
    assert sorted(r.email for r in first.union(both, all=True)) == [ADA, ADA, BOB]
    assert [r.email for r in both.difference(first)] == [BOB]
    assert [r.email for r in both.intersection(first)] == [ADA]
    assert first.union(both).count() == 2
    assert [r.email for r in first.union(both).order_by("-pk")] == [BOB, ADA]
    emails = first.values_list("email", flat=True).union(
        both.values_list("email", flat=True), all=True
    )
    assert sorted(emails) == [ADA, ADA, BOB]
    pairs = first.values_list("pk", "email").union(both.values_list("pk", "email"))
    assert sorted(pairs) == [(ada.pk, ADA), (bob.pk, BOB)]
