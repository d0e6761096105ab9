"""What Django does with a user's name and address, when that is encrypted."""

import re
from io import StringIO
from unittest import mock

import pytest
from django.contrib.auth import authenticate, get_user_model
from django.contrib.auth.forms import PasswordResetForm
from django.core import mail
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from apps.users.forms import SignUpForm, UserAddForm, UserEditForm
from apps.users.models import User
from tests.config.reports import LOCMEM
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db

SPELLINGS = ["ada@example.com", "ADA@EXAMPLE.COM", "Ada@Example.com", " aDa@example.com "]
NEW_PASSWORD = "a horse of another colour"
TAKEN = "There is already an account with this e-mail address."


# Find and log in ----------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_user_is_found_by_any_spelling(spelling: str, user: User) -> None:
    User.objects.create_user("eve@example.com")
    assert User.objects.get_by_natural_key(spelling) == user
    assert authenticate(email=spelling, password=PASSWORD) == user
    assert authenticate(username=spelling, password=PASSWORD) == user


@pytest.mark.parametrize("spelling", ["ada@example.co", "da@example.com", "ada", "", "%", "a%"])
def test_nothing_but_the_whole_address_finds_a_user(spelling: str, user: User) -> None:
    with pytest.raises(User.DoesNotExist):
        User.objects.get_by_natural_key(spelling)
    assert authenticate(email=spelling, password=PASSWORD) is None


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_any_spelling_logs_in(spelling: str, user: User, client: Client) -> None:
    response = client.post(reverse("login"), {"username": spelling, "password": PASSWORD})
    assert response.status_code == 302
    assert client.session["_auth_user_id"] == str(user.pk)


def test_a_wrong_password_or_an_unknown_address_does_not(user: User, client: Client) -> None:
    for sent in ((user.email, "wrong"), ("eve@example.com", PASSWORD)):
        data = {"username": sent[0], "password": sent[1]}
        assert "is wrong." in client.post(reverse("login"), data).text
    assert "_auth_user_id" not in client.session


# Forgotten password -------------------------------------------------------------------------


@pytest.fixture
def _mailer(settings: Settings) -> None:
    settings.MAILERS = LOCMEM
    settings.ROOT_URLCONF = "tests.users.reset_urls"
    settings.DEFAULT_FROM_EMAIL = "shop@example.com"
    mail.outbox = []


def ask(client: Client, address: str) -> list[str]:
    """Ask for a new password; return the links that were sent."""
    mail.outbox = []
    response = client.post(reverse("password_reset"), {"email": address})
    assert response.status_code == 302  # whether there is such a user or not
    assert all(message.to == ["ada@example.com"] for message in mail.outbox)
    bodies = "".join(str(message.body) for message in mail.outbox)
    return re.findall(r"https://testserver(/reset/\S+)", bodies)


def set_password(client: Client, link: str, password: str = NEW_PASSWORD) -> bool:
    """Follow a link and set a password; return whether that was possible."""
    response = client.get(link)
    if response.status_code == 200:
        assert not response.context["validlink"]
        return False
    data = {"new_password1": password, "new_password2": password}
    response = client.post(response["Location"], data)
    assert response.status_code == 302
    return True


@pytest.mark.usefixtures("_mailer")
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_any_spelling_gets_a_link_that_works_once(
    spelling: str, user: User, client: Client
) -> None:
    (link,) = ask(client, spelling)
    assert set_password(client, link)
    assert authenticate(email=user.email, password=NEW_PASSWORD) == user
    assert authenticate(email=user.email, password=PASSWORD) is None
    assert not set_password(client, link, PASSWORD)
    assert authenticate(email=user.email, password=NEW_PASSWORD) == user


@pytest.mark.usefixtures("_mailer")
@pytest.mark.parametrize("address", ["eve@example.com", "ada@example.co", "%@example.com"])
def test_an_unknown_address_gets_nothing(address: str, user: User, client: Client) -> None:
    assert ask(client, address) == []
    assert mail.outbox == []


@pytest.mark.usefixtures("_mailer")
def test_a_link_ends_with_the_address_it_was_sent_to(user: User, client: Client) -> None:
    (link,) = ask(client, user.email)
    user.email = "ada@example.org"
    user.save()
    assert not set_password(client, link)


@pytest.mark.usefixtures("_mailer")
def test_a_link_is_for_one_user(user: User, client: Client) -> None:
    (link,) = ask(client, user.email)
    other = User.objects.create_user("eve@example.com", PASSWORD)
    uid = link.split("/")[2]
    others = link.replace(f"/{uid}/", "/Mg/" if uid != "Mg" else "/MQ/")
    assert others != link
    assert not set_password(client, others)
    assert authenticate(email=other.email, password=PASSWORD) == other


@pytest.mark.usefixtures("_mailer")
def test_users_without_a_password_or_who_are_inactive_get_no_link(
    user: User, client: Client
) -> None:
    User.objects.update(is_active=False)
    assert ask(client, user.email) == []
    user.is_active = True
    user.set_unusable_password()
    user.save()
    assert ask(client, user.email) == []


def test_the_form_finds_users_by_any_spelling(user: User) -> None:
    for spelling in SPELLINGS:
        assert list(PasswordResetForm().get_users(spelling.strip())) == [user]
    assert list(PasswordResetForm().get_users("eve@example.com")) == []


def test_the_password_is_changed_and_the_session_goes_on(user_client: Client, user: User) -> None:
    data = {
        "old_password": PASSWORD,
        "new_password1": NEW_PASSWORD,
        "new_password2": NEW_PASSWORD,
    }
    assert user_client.post(reverse("password_change"), data).status_code == 302
    assert authenticate(email=user.email.upper(), password=NEW_PASSWORD) == user
    assert user_client.get(reverse("password_change")).status_code == 200


# createsuperuser, changepassword ------------------------------------------------------------


def create_superuser(*answers: str) -> str:
    """Call the command as at a terminal; return what it says."""
    said = StringIO()
    terminal = mock.Mock(isatty=lambda: True)
    with (
        mock.patch("builtins.input", side_effect=answers) as asked,
        mock.patch("getpass.getpass", side_effect=[PASSWORD, PASSWORD]),
    ):
        call_command("createsuperuser", stdin=terminal, stdout=said, stderr=said)
    assert asked.call_count == len(answers)
    return said.getvalue()


def test_createsuperuser_asks() -> None:
    assert "Superuser created" in create_superuser("Root@Example.com")
    root = User.objects.get(email="root@example.com")
    assert root.is_superuser
    assert authenticate(email="ROOT@example.com", password=PASSWORD) == root


def test_createsuperuser_asks_again_for_an_address_that_is_taken(user: User) -> None:
    said = create_superuser("ADA@example.com", "not an address", "root@example.com")
    assert "That e-mail address is already taken." in said
    assert "Enter a valid email address." in said
    assert User.objects.get(is_superuser=True).email == "root@example.com"
    assert User.objects.count() == 2


def test_createsuperuser_without_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_EMAIL", "Root@Example.com")
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", PASSWORD)
    call_command("createsuperuser", interactive=False, stdout=StringIO())
    root = User.objects.get(email="root@example.com")
    assert root.email == "root@example.com"
    assert root.is_superuser
    assert authenticate(email="root@EXAMPLE.com", password=PASSWORD) == root


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_createsuperuser_without_questions_refuses_an_address_that_is_taken(
    spelling: str, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", PASSWORD)
    with (
        pytest.raises((CommandError, IntegrityError)) as caught,
        transaction.atomic(),
    ):
        call_command("createsuperuser", interactive=False, email=spelling, stdout=StringIO())
    assert spelling.strip().lower() not in str(caught.value).lower()
    assert list(User.objects.all()) == [user]


def test_changepassword_finds_the_user(user: User) -> None:
    with mock.patch("getpass.getpass", return_value=NEW_PASSWORD):
        call_command("changepassword", "ADA@example.com", stdout=StringIO())
    assert authenticate(email=user.email, password=NEW_PASSWORD) == user


# Duplicates ---------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_second_user_has_the_address_in_any_spelling(spelling: str, user: User) -> None:
    for make in (
        lambda: User.objects.create_user(spelling),
        lambda: User.objects.create(email=spelling),
        lambda: User.objects.bulk_create([User(email=spelling.strip())]),
        lambda: User.objects.create_superuser(spelling),
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            make()
    other = User.objects.create_user("eve@example.com")
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.filter(pk=other.pk).update(email=spelling.strip())
    with pytest.raises(ValidationError, match=TAKEN):
        User(email=spelling.strip(), password="x").full_clean()


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_form_says_that_the_address_is_taken(spelling: str, user: User) -> None:
    data = {"email": spelling, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    assert SignUpForm(data).errors == {"email": [TAKEN]}
    assert UserAddForm({**data, "usable_password": "true"}).errors == {"email": [TAKEN]}
    other = User.objects.create_user("eve@example.com")
    edited = {"email": spelling, "date_joined": other.date_joined, "password": other.password}
    assert UserEditForm(edited, instance=other).errors["email"] == [TAKEN]
    # A user's own address is no duplicate.
    assert "email" not in UserEditForm(edited, instance=user).errors


def test_the_page_to_sign_up_says_so(user: User, client: Client) -> None:
    data = {"email": "ADA@Example.com", "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    response = client.post(reverse("signup"), data)
    assert response.status_code == 200
    assert TAKEN in response.text
    assert User.objects.count() == 1


# The admin ----------------------------------------------------------------------------------


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root@example.com", PASSWORD))
    return client


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_admin_finds_a_user_by_any_spelling(spelling: str, admin: Client, user: User) -> None:
    response = admin.get(reverse("admin:users_user_changelist"), {"q": spelling})
    assert [found.pk for found in response.context["cl"].result_list] == [user.pk]


@pytest.mark.parametrize("part", ["ada", "ada@", "example.com", "eve@example.com"])
def test_the_admin_finds_nobody_by_a_part(part: str, admin: Client, user: User) -> None:
    response = admin.get(reverse("admin:users_user_changelist"), {"q": part})
    assert response.status_code == 200
    assert list(response.context["cl"].result_list) == []


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_admin_neither_adds_nor_renames_to_an_address_that_is_taken(
    spelling: str, admin: Client, user: User
) -> None:
    data = {"email": spelling, "usable_password": "false"}
    assert TAKEN in admin.post(reverse("admin:users_user_add"), data).text
    other = User.objects.create_user("eve@example.com")
    change = reverse("admin:users_user_change", args=[other.pk])
    assert TAKEN in admin.post(change, {"email": spelling}).text
    other.refresh_from_db()
    assert other.email == "eve@example.com"
    assert User.objects.count() == 3


def test_the_admin_sets_a_password(admin: Client, user: User) -> None:
    data = {"usable_password": "true", "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    address = reverse("admin:auth_user_password_change", args=[user.pk])
    assert admin.post(address, data).status_code == 302
    assert authenticate(email=user.email, password=NEW_PASSWORD) == user


def test_the_admin_logs_in_by_any_spelling(client: Client) -> None:
    User.objects.create_superuser("root@example.com", PASSWORD)
    data = {"username": "ROOT@example.com", "password": PASSWORD, "next": "/admin/"}
    assert client.post(reverse("admin:login"), data).status_code == 302
    assert get_user_model() is User
