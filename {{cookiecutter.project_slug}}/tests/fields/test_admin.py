"""The admin: lists, exact search, forms; what the index cannot do is said."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from apps.users.models import User
from tests.conftest import PASSWORD, SecureClient
from tests.fields import admin_site
from tests.fields.library.models import Loan, Reader, Tag
from tests.fields.refusal import refused

pytestmark = [pytest.mark.django_db, pytest.mark.urls(admin_site.__name__)]


@pytest.fixture
def staff(db: None) -> Client:
    """Somebody who may do everything."""
    client = SecureClient()
    client.force_login(User.objects.create_superuser("root@example.com", PASSWORD))
    return client


def url(model: str, page: str = "changelist", *args: object) -> str:
    return reverse(f"library_admin:library_{model}_{page}", args=args)


def page(client: Client, address: str, **query: str) -> str:
    response = client.get(address, query)
    assert response.status_code == 200
    return response.content.decode()


def reader_data(**values: str) -> dict[str, Any]:
    management = {"loans-TOTAL_FORMS": "0", "loans-INITIAL_FORMS": "0"}
    return {"email": "new@example.com", "name": "New", "notes": "", **management, **values}


def test_list(staff: Client, ada: Reader, bob: Reader) -> None:
    shown = page(staff, url("reader"))
    assert "Ada@Example.com" in shown
    assert "bob@example.com" in shown


def test_search(staff: Client, ada: Reader, bob: Reader) -> None:
    for words in ("ADA@example.com", "Ada", "one"):
        shown = page(staff, url("reader"), q=words)
        assert "Ada@Example.com" in shown
        assert "bob@example.com" not in shown
    assert "0 readers" in page(staff, url("reader"), q="ada@example")


def test_search_through_a_relation_and_without_case(
    staff: Client, ada: Reader, lend: Callable[..., Loan]
) -> None:
    lend(ada, "Emma")
    lend(ada, "Sanditon")
    assert "2 loans" in page(staff, url("loan"), q="ADA@example.com")
    shown = page(staff, url("loan"), q="EMMA")
    assert "Emma" in shown
    assert "Sanditon" not in shown
    assert "1 loan" in page(staff, url("loan"), reader__id__exact=str(ada.pk), q="emma")


def test_autocompletion(staff: Client, ada: Reader) -> None:
    query = {"app_label": "library", "model_name": "loan", "field_name": "reader"}
    response = staff.get(reverse("library_admin:autocomplete"), query | {"term": "ADA@example.com"})
    assert [found["id"] for found in response.json()["results"]] == [str(ada.pk)]


def test_filter_by_an_exact_value_in_the_address(staff: Client, ada: Reader, bob: Reader) -> None:
    shown = page(staff, url("reader"), email__exact="ADA@example.com")
    assert "Ada@Example.com" in shown
    assert "bob@example.com" not in shown


def test_another_filter_in_the_address_is_not_applied(staff: Client, ada: Reader) -> None:
    response = staff.get(url("reader"), {"email__contains": "ada"})
    assert response.status_code == 302
    assert response["Location"].endswith("?e=1")


def test_sorting_is_refused(staff: Client, ada: Reader) -> None:
    with refused(r"in Python"):
        staff.get(url("reader"), {"o": "1"})
    assert page(staff, url("reader"), o="3")


def test_a_list_filter_is_refused(staff: Client) -> None:
    Tag.objects.create(word="word", colour="red")
    with refused(r"in Python"):
        staff.get(url("tag"))


def test_a_search_for_parts_is_refused(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_site.TagAdmin, "list_filter", ())
    Tag.objects.create(word="word", colour="red")
    assert "word" in page(staff, url("tag"))
    with refused(r"Use exact"):
        staff.get(url("tag"), {"q": "wor"})


def test_add_and_change(staff: Client) -> None:
    assert staff.post(url("reader", "add"), reader_data(notes="n")).status_code == 302
    made = Reader.objects.get(email="NEW@example.com")
    assert 'value="new@example.com"' in page(staff, url("reader", "change", made.pk))
    address = url("reader", "change", made.pk)
    assert staff.post(address, reader_data(name="Newer", notes="n")).status_code == 302
    assert Reader.objects.get(name="Newer") == made
    assert "Email" not in str(LogEntry.objects.first())


def test_a_duplicate(staff: Client, ada: Reader, bob: Reader) -> None:
    duplicate = reader_data(email="ADA@example.com", notes="n")
    for address in (url("reader", "add"), url("reader", "change", bob.pk)):
        response = staff.post(address, duplicate)
        assert response.content.decode().count("Reader with this Email already exists.") == 1
    assert Reader.objects.count() == 2


def test_inlines_and_their_constraints(
    staff: Client, ada: Reader, lend: Callable[..., Loan]
) -> None:
    loan = lend(ada, "Emma")
    address = url("reader", "change", ada.pk)
    assert 'value="Emma"' in page(staff, address)
    data = reader_data(email=ada.email, notes="n") | {
        "loans-TOTAL_FORMS": "2",
        "loans-INITIAL_FORMS": "1",
    }
    for number, book, pk in ((0, "Emma", loan.pk), (1, "EMMA", "")):
        values = {"id": pk, "reader": ada.pk, "book": book, "shelf": "s", "place": number}
        values |= {"stamp": "new", "due": "2030-01-01"}
        data |= {f"loans-{number}-{name}": value for name, value in values.items()}
    shown = staff.post(address, data).content.decode()
    assert "Please correct the duplicate data for reader and book" in shown or (
        shown.count("Loan with this Reader and Book already exists.") == 1
    )
    assert Loan.objects.count() == 1


def test_editing_in_the_list(staff: Client, ada: Reader) -> None:
    data = {
        "form-TOTAL_FORMS": "1",
        "form-INITIAL_FORMS": "1",
        "form-0-id": str(ada.pk),
        "form-0-name": "Countess",
        "_save": "Save",
    }
    assert staff.post(url("reader"), data).status_code == 302
    assert Reader.objects.get(name="Countess") == ada


def test_delete(staff: Client, ada: Reader) -> None:
    assert staff.post(url("reader", "delete", ada.pk), {"post": "yes"}).status_code == 302
    assert not Reader.objects.exists()
