"""Copies of rows, queries and fields work as their originals."""

import copy
import pickle

import pytest
from django.core.cache import cache
from django.db.models import F, Q

from apps.fields import (
    EncryptedCharField,
    EncryptedDecimalField,
    EncryptedEmailField,
    EncryptedField,
    casefold,
)
from tests.fields.library.models import Everything, Loan, Reader

pytestmark = pytest.mark.django_db


def test_copies_of_rows(ada: Reader) -> None:
    for copied in (copy.copy(ada), copy.deepcopy(ada), pickle.loads(pickle.dumps(ada))):  # noqa: S301
        assert (copied, copied.email, copied.notes) == (ada, ada.email, ada.notes)
        copied.name = "Copy"
        copied.save()
        assert Reader.objects.get(name="Copy") == ada


def test_a_copy_as_a_new_row(ada: Reader) -> None:
    ada.pk, ada.email = None, "new@example.com"
    ada._state.adding = True
    ada.save()
    assert Reader.objects.filter(name="Ada").count() == 2


def test_deferred_fields_stay_deferred(ada: Reader) -> None:
    deferred = Reader.objects.only("name").get()
    copied = pickle.loads(pickle.dumps(deferred))  # noqa: S301
    assert copied.get_deferred_fields() == {"email", "notes", "plain"}
    assert copied.email == ada.email


def test_copies_of_queries(ada: Reader) -> None:
    query = Reader.objects.annotate(who=F("email")).filter(
        Q(who="ADA@example.com") | Q(name__in=["x"]), notes__isnull=False
    )
    restored = Reader.objects.all()
    restored.query = pickle.loads(pickle.dumps(query.query))  # noqa: S301
    for copied in (restored, copy.deepcopy(query), query.all()):
        assert list(copied) == [ada]
    assert list(pickle.loads(pickle.dumps(query))) == [ada]  # noqa: S301


def test_rows_in_the_cache(ada: Reader) -> None:
    cache.set("readers", list(Reader.objects.all()))
    assert [reader.email for reader in cache.get("readers")] == [ada.email]


def test_clones_of_fields() -> None:
    fields: list[EncryptedField] = [
        EncryptedCharField(max_length=9, searchable=True, normalize=casefold),
        EncryptedEmailField(),
        EncryptedEmailField(searchable=True),
        EncryptedEmailField(searchable=True, normalize=None),
        EncryptedDecimalField(max_digits=5, decimal_places=2, null=True),
    ]
    for field in fields:
        for clone in (field.clone(), copy.deepcopy(field)):
            assert type(clone) is type(field)
            assert clone.deconstruct() == field.deconstruct()
            assert (clone.searchable, clone.normalize) == (field.searchable, field.normalize)
            assert clone.null == field.null


def test_a_field_names_only_what_differs_from_its_default() -> None:
    assert EncryptedEmailField(searchable=True).deconstruct()[3] == {
        "max_length": 254,
        "normalize": casefold,
        "searchable": True,
    }
    assert EncryptedEmailField().deconstruct()[3] == {"max_length": 254}


def test_fields_of_models_are_pickled_by_name() -> None:
    field = Loan._meta.get_field("book")
    assert pickle.loads(pickle.dumps(field)) is field  # noqa: S301
    assert Everything._meta.get_field("char") != field
