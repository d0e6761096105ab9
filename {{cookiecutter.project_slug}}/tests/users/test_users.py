"""The user model, its manager and its place in the admin."""

import pytest
from django.contrib.auth import authenticate
from django.db import IntegrityError
from django.test import Client
from django.urls import reverse

from apps.users.models import User
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db


def test_email_is_stored_normalised_however_the_user_is_made() -> None:
    assert User.objects.create_user(" Ada@Example.COM ", PASSWORD).email == "ada@example.com"
    assert User.objects.create(email="Bob@Example.com").email == "bob@example.com"


def test_email_is_unique_without_regard_to_case(user: User) -> None:
    with pytest.raises(IntegrityError):
        User.objects.create_user(user.email.upper())


def test_a_user_needs_an_email() -> None:
    with pytest.raises(ValueError, match="needs an e-mail"):
        User.objects.create_user(" ")


def test_a_new_user_has_no_rights_and_without_password_no_way_in() -> None:
    user = User.objects.create_user("ada@example.com")
    assert not user.is_staff
    assert not user.is_superuser
    assert not user.has_usable_password()


def test_a_superuser_may_do_everything() -> None:
    user = User.objects.create_superuser("root@example.com", PASSWORD)
    assert user.is_staff
    assert user.has_perm("users.delete_user")
    assert user.email not in f"{user} {user!r}"  # logs and the admin's history hold it


def test_any_spelling_of_the_email_logs_in(user: User) -> None:
    assert authenticate(username=" ADA@example.com", password=PASSWORD) == user
    assert authenticate(username="bob@example.com", password=PASSWORD) is None


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root@example.com", PASSWORD))
    return client


def test_the_admin_adds_a_user(admin: Client) -> None:
    data = {
        "email": "New@Example.com",
        "usable_password": "true",
        "password1": PASSWORD,
        "password2": PASSWORD,
    }
    response = admin.post(reverse("admin:users_user_add"), data)
    assert response.status_code == 302
    assert authenticate(username="new@example.com", password=PASSWORD)


def test_the_admin_refuses_an_address_that_is_taken(admin: Client, user: User) -> None:
    data = {"email": "ADA@example.com", "usable_password": "false"}
    response = admin.post(reverse("admin:users_user_add"), data)
    assert "There is already an account with this e-mail address." in response.text
    assert User.objects.count() == 2


def test_the_admin_lists_and_changes_users(admin: Client, user: User) -> None:
    listing = reverse("admin:users_user_changelist")
    assert user.email in admin.get(listing).text
    assert user.email in admin.get(listing, {"q": "ADA@example.com"}).text
    assert user.email not in admin.get(listing, {"q": "ada"}).text
    address = reverse("admin:users_user_change", args=[user.pk])
    assert admin.get(address).status_code == 200
    assert admin.post(address, {"email": "Ada2@example.com"}).status_code == 302
    user.refresh_from_db()
    assert user.email == "ada2@example.com"
    assert not user.is_active
