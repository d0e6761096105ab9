"""Which texts count as the same: by `casefold`, and without it."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.fields import casefold
from tests.fields.library.models import Loan, Reader, Tag

SAME = [
    ("Straße", "STRASSE"),
    ("ß", "ẞ"),
    ("É", "e\u0301"),
    ("ΣΊΣΥΦΟΣ", "σίσυφος"),
    ("ﬁne", "FINE"),
    ("İ", "i\u0307"),
    ("Å", "\u212b"),
    ("\u1100\u1161", "가"),
]
DOTLESS = "\u0131"
DIFFERENT = [
    ("I", DOTLESS),
    ("i", DOTLESS),
    ("İ", "i"),
    ("e", "é"),
    ("a", "a "),
    ("o", "0"),
    ("", " "),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same(one: str, other: str) -> None:
    assert casefold(one) == casefold(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different(one: str, other: str) -> None:
    assert casefold(one) != casefold(other)


@given(st.text())
def test_composition_does_not_matter(text: str) -> None:
    normal = casefold(text)
    assert casefold(normal) == normal
    for form in ("NFC", "NFD"):
        assert casefold(unicodedata.normalize(form, text)) == normal


@pytest.mark.django_db
@pytest.mark.parametrize(("one", "other"), SAME)
def test_searching(ada: Reader, one: str, other: str) -> None:
    loan = Loan.objects.create(reader=ada, book=one, shelf="a", place="b")
    assert Loan.objects.get(book=other) == loan
    assert Loan.objects.get(book__in=[other]) == loan
    assert Loan.objects.get(book__iexact=other).book == one


@pytest.mark.django_db
def test_without_it_every_code_point_matters() -> None:
    for number, pair in enumerate(SAME):
        one, other = pair
        Tag.objects.create(word=f"{number}{one}", colour=str(number))
        assert not Tag.objects.filter(word=f"{number}{other}").exists()
