"""Searching by an encrypted field uses an index of the database, in either slot."""

import pytest
from django.db import connection
from django.db.models import Model, QuerySet

from tests.fields.library.models import Loan, Reader

pytestmark = pytest.mark.django_db
INDEXED = "Index" if connection.vendor == "postgresql" else "USING INDEX"


def plan(rows: QuerySet[Model]) -> str:
    """Return how the database would find rows, if it may not read the whole table."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
    return rows.explain()


@pytest.fixture(params=[0, 1])
def slot(request: pytest.FixtureRequest) -> int:
    """Search in this slot."""
    if request.param:
        request.getfixturevalue("second_index_key")
    return int(request.param)


def test_exact_uses_the_index(ada: Reader, slot: int) -> None:
    for condition, label in (
        ({"email": "x@y.z"}, f"library_reader_email_751f60_u{slot}"),
        ({"name": "x"}, f"library_reader_name_55c9c5_i{slot}"),
    ):
        found = plan(Reader.objects.filter(**condition))
        assert INDEXED in found
        assert label in found


def test_in_uses_the_index(ada: Reader, slot: int) -> None:
    found = plan(Reader.objects.filter(email__in=["x@y.z", "a@b.c"]))
    assert INDEXED in found
    assert f"_u{slot}" in found


def test_a_relation_uses_the_index(ada: Reader, slot: int) -> None:
    found = plan(Loan.objects.filter(reader__email="x@y.z"))
    assert f"library_reader_email_751f60_u{slot}" in found


def test_a_constraint_of_several_fields_is_an_index(ada: Reader, slot: int) -> None:
    found = plan(Loan.objects.filter(shelf="a", place="b"))
    assert INDEXED in found
    assert f"_u{slot}" in found or f"_i{slot}" in found
