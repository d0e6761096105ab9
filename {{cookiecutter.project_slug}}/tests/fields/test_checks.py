"""System checks of encrypted fields, each with a model that it finds fault with."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from django.contrib.postgres.fields import ArrayField
from django.core import checks
from django.db import models
from django.test.utils import isolate_apps

from apps.fields import (
    EncryptedBooleanField,
    EncryptedCharField,
    EncryptedDateField,
    EncryptedEmailField,
    EncryptedField,
    EncryptedJSONField,
    EncryptedTextField,
    casefold,
)
from tests.fields.library import models as library


@pytest.fixture(autouse=True)
def _isolated() -> Iterator[None]:
    with isolate_apps("tests.fields.library"):
        yield


_numbers = count()


def model(**attributes: Any) -> type[models.Model]:
    """Make a model that no other test sees."""
    meta = type("Meta", (), {"app_label": "library"} | attributes.pop("meta", {}))
    return type(
        f"Checked{next(_numbers)}",
        (models.Model,),
        {"__module__": __name__, "Meta": meta} | attributes,
    )


def faults(checked: type[models.Model]) -> list[str]:
    """Return the ids of what the checks of encrypted fields say."""
    found = [
        message
        for field in checked._meta.local_fields
        for message in field.check()
        if (message.id or "").startswith("fields.EncryptedField.")
    ]
    assert all(isinstance(message, checks.Error) for message in found)
    return [str(message.id).removeprefix("fields.EncryptedField.") for message in found]


def faults_of(field: EncryptedField) -> list[str]:
    return faults(model(field=field))


def test_nothing_is_wrong_with_the_library() -> None:
    for checked in (library.Reader, library.Student, library.Loan, library.Tag):
        assert faults(checked) == []
    for field in library.Everything._meta.local_fields:
        assert field.check() == []


def test_unique_needs_searchable() -> None:
    assert faults_of(EncryptedTextField(unique=True)) == ["E001"]
    assert faults_of(EncryptedTextField(unique=True, searchable=True)) == []


def test_normalize_needs_searchable() -> None:
    assert faults_of(EncryptedTextField(normalize=casefold)) == ["E002"]
    assert faults_of(EncryptedTextField(normalize=casefold, searchable=True)) == []


def test_types_that_cannot_be_searched() -> None:
    assert faults_of(EncryptedBooleanField(searchable=True)) == ["E003"]
    assert faults_of(EncryptedJSONField(searchable=True)) == ["E003"]


def test_a_primary_key() -> None:
    assert "E004" in faults_of(EncryptedCharField(max_length=9, primary_key=True))
    both = model(
        pk=models.CompositePrimaryKey("a", "b"),
        a=models.IntegerField(),
        b=EncryptedCharField(max_length=9, searchable=True),
    )
    assert faults(both) == ["E004"]


def test_an_index_of_the_ciphertext() -> None:
    assert faults_of(EncryptedTextField(db_index=True)) == ["E005"]
    index = models.Index(fields=["-field"], name="index")
    indexed = model(field=EncryptedTextField(searchable=True), meta={"indexes": [index]})
    assert faults(indexed) == ["E009"]


def test_a_default_of_the_database() -> None:
    assert faults_of(EncryptedTextField(db_default="x")) == ["E006"]
    assert faults_of(EncryptedTextField(default="x")) == []


@pytest.mark.parametrize("period", ["date", "month", "year"])
def test_unique_for_a_date(period: str) -> None:
    options: dict[str, Any] = {f"unique_for_{period}": "day"}
    checked = model(field=EncryptedTextField(searchable=True, **options), day=models.DateField())
    assert faults(checked) == ["E007"]


@pytest.mark.parametrize("kind", [models.ForeignKey, models.OneToOneField])
@pytest.mark.parametrize("name", ["pointers", "+"])
def test_a_foreign_key_to_an_encrypted_field(kind: Any, name: str) -> None:
    target = model(email=EncryptedEmailField(unique=True, searchable=True))
    model(to=kind(target, models.CASCADE, to_field="email", related_name=name))
    assert faults(target) == ["E008"]


def test_a_foreign_key_to_the_row_is_fine() -> None:
    target = model(email=EncryptedEmailField(unique=True, searchable=True))
    model(to=models.ForeignKey(target, models.CASCADE))
    assert faults(target) == []


def test_a_part_of_another_field() -> None:
    # Rotations look for encrypted fields among the model's own.
    field: Any = model(field=ArrayField(EncryptedTextField()))._meta.get_field("field")
    (fault,) = [message for message in field.check() if message.id == "postgres.E001"]
    assert "fields.EncryptedField.E010" in fault.msg


def test_djangos_own_checks_are_made() -> None:
    both = model(field=EncryptedDateField(auto_now=True, auto_now_add=True))
    (field,) = [field for field in both._meta.local_fields if field.name == "field"]
    assert [message.id for message in field.check()] == ["fields.E160"]
