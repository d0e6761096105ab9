"""Model forms: values come back, duplicates are told once, and nothing else changes."""

from collections.abc import Callable
from typing import Any

import pytest
from django import forms
from django.forms import inlineformset_factory, modelform_factory, modelformset_factory
from django.test import override_settings

from tests.fields.library.models import Everything, Loan, Reader, Student, Tag, Twin

pytestmark = pytest.mark.django_db

ReaderForm = modelform_factory(Reader, fields=["email", "name", "notes"])
LoanForm = modelform_factory(Loan, fields=["reader", "book", "shelf", "place", "due"])
TagForm = modelform_factory(Tag, fields=["word", "colour", "is_old"])
NEW = {"email": "new@example.com", "name": "New", "notes": "n"}


def test_create_and_change(ada: Reader) -> None:
    form = ReaderForm(NEW)
    assert form.is_valid()
    made = form.save()
    assert Reader.objects.get(email="NEW@example.com") == made
    form = ReaderForm(NEW | {"name": "Newer"}, instance=made)
    assert form.initial["email"] == "new@example.com"
    assert form.changed_data == ["name"]
    form.save()
    assert Reader.objects.get(name="Newer") == made


def test_a_duplicate_in_another_spelling(ada: Reader) -> None:
    form = ReaderForm(NEW | {"email": "ADA@EXAMPLE.com"})
    assert form.errors == {"email": ["Reader with this Email already exists."]}


def test_a_row_is_no_duplicate_of_itself(ada: Reader) -> None:
    form = ReaderForm(NEW | {"email": "ADA@example.com"}, instance=ada)
    assert form.is_valid()
    assert form.save().email == "ADA@example.com"


def test_the_fields_own_error_message(ada: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    field = Reader._meta.get_field("email")
    monkeypatch.setitem(field.error_messages, "unique", "Taken.")
    assert ReaderForm(NEW | {"email": ada.email}).errors == {"email": ["Taken."]}


def test_a_child_tables_form(ada: Reader) -> None:
    form_class = modelform_factory(Student, fields=["email", "name", "notes", "number"])
    Student.objects.create(email="s@example.com", name="S", number=1)
    form = form_class(NEW | {"email": "ADA@example.com", "number": "1"})
    assert form.errors == {
        "email": ["Reader with this Email already exists."],
        "number": ["Student with this Number already exists."],
    }


def test_unique_together_and_constraints(ada: Reader, lend: Callable[..., Loan]) -> None:
    lend(ada, "Emma", shelf="s", place="p")
    values = {"reader": ada.pk, "book": "EMMA", "shelf": "s", "place": "q", "due": "2030-01-01"}
    assert LoanForm(values).errors == {
        "__all__": ["Loan with this Reader and Book already exists."]
    }
    values |= {"book": "Sanditon", "place": "p"}
    assert LoanForm(values).errors == {
        "__all__": ["Loan with this Shelf and Place already exists."]
    }
    values |= {"place": "q"}
    assert LoanForm(values).is_valid()


def test_a_constraint_with_a_condition_and_a_message(db: None) -> None:
    Tag.objects.create(word="one", colour="red")
    form = TagForm({"word": "two", "colour": "red"})
    assert form.errors == {"__all__": ["There is a new tag of this colour."]}
    assert TagForm({"word": "two", "colour": "red", "is_old": "on"}).is_valid()


def test_a_constraint_of_which_the_form_has_one_field_only(
    ada: Reader, lend: Callable[..., Loan]
) -> None:
    lend(ada, "Emma")
    form_class = modelform_factory(Loan, fields=["book"])
    assert form_class({"book": "Emma"}, instance=Loan(reader=ada)).is_valid()


def test_validators(ada: Reader) -> None:
    form = ReaderForm({"email": "no address", "name": "x" * 101, "notes": ""})
    assert form.errors == {
        "email": ["Enter a valid email address."],
        "name": ["Ensure this value has at most 100 characters (it has 101)."],
    }


def test_form_fields_are_those_of_the_plain_twin() -> None:
    names = [field.name for field in Twin._meta.fields if field.editable and field.name != "id"]
    encrypted, plain = (
        modelform_factory(model, fields=names).base_fields for model in (Everything, Twin)
    )
    for name in names:
        assert type(encrypted[name]) is type(plain[name])
        assert type(encrypted[name].widget) is type(plain[name].widget)
        assert encrypted[name].required is plain[name].required
        if name != "integer":  # which has no range
            assert encrypted[name].widget_attrs(encrypted[name].widget) == plain[name].widget_attrs(
                plain[name].widget
            )


def test_every_type_through_a_form(db: None) -> None:
    names = [field.name for field in Twin._meta.fields if field.editable and field.name != "id"]
    values = {
        "char": "c",
        "text": "t",
        "email": "a@b.cd",
        "integer": "12345678901234567890",
        "decimal": "1.5",
        "date": "2026-01-02",
        "datetime": "2026-01-02 03:04:05",
        "time": "03:04:05",
        "boolean": "true",
        "json": '{"a": [1]}',
    }
    assert set(names) == set(values)
    form_class = modelform_factory(Everything, fields=names)
    form = form_class(values)
    assert form.is_valid(), form.errors
    made = Everything.objects.get(pk=form.save().pk)
    assert made.integer == 12345678901234567890
    assert made.json == {"a": [1]}
    assert not form_class(values, instance=made).has_changed()


def test_a_model_formset(ada: Reader, bob: Reader) -> None:
    formset_class = modelformset_factory(Reader, form=ReaderForm, extra=0)
    formset: Any = formset_class(queryset=Reader.objects.order_by("pk"))
    assert [form.initial["email"] for form in formset] == [ada.email, bob.email]

    def submit(first: str, second: str) -> Any:
        data = {"form-TOTAL_FORMS": "2", "form-INITIAL_FORMS": "2"}
        for number, reader, email in ((0, ada, first), (1, bob, second)):
            values = {"id": str(reader.pk), "email": email, "name": "N", "notes": "n"}
            data |= {f"form-{number}-{name}": value for name, value in values.items()}
        return formset_class(data, queryset=Reader.objects.order_by("pk"))

    assert submit(ada.email, "ADA@example.com").errors[1] == {
        "email": ["Reader with this Email already exists."]
    }
    assert submit("same@example.com", "same@example.com").non_form_errors() == [
        "Please correct the duplicate data for email."
    ]
    formset = submit("a@example.com", "b@example.com")
    assert formset.is_valid()
    formset.save()
    assert set(Reader.objects.values_list("email", flat=True)) == {
        "a@example.com",
        "b@example.com",
    }


def test_an_inline_formset(ada: Reader) -> None:
    formset_class = inlineformset_factory(Reader, Loan, fields=["book", "shelf", "place", "due"])
    data = {"loans-TOTAL_FORMS": "1", "loans-INITIAL_FORMS": "0"}
    values = {"book": "Emma", "shelf": "a", "place": "1", "due": "2030-01-01"}
    data |= {f"loans-0-{name}": value for name, value in values.items()}
    formset = formset_class(data, instance=ada)
    assert formset.is_valid(), formset.errors
    formset.save()
    assert ada.loans.get(book="emma").shelf == "a"


def test_choices_of_related_rows(ada: Reader) -> None:
    field = forms.ModelChoiceField(Reader.objects.filter(name="Ada"), to_field_name="email")
    assert field.clean("ADA@example.com") == ada
    with pytest.raises(forms.ValidationError):
        field.clean("bob@example.com")


def test_a_value_that_is_not_valid_is_not_logged(
    ada: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    with override_settings(DEBUG=True), caplog.at_level(0):
        form = ReaderForm(NEW | {"email": "canary-4711"})
        assert not form.is_valid()
        Reader.objects.filter(email="canary-4711").exists()
    assert "canary-4711" not in caplog.text
