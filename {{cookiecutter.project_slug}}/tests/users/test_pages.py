"""Sign up, log in, log out, change the password; and the pages around them."""

import re

import pytest
from django.contrib.auth import get_user
from django.db import IntegrityError
from django.template.loader import render_to_string
from django.test import Client
from django.urls import reverse

from apps.users.forms import SignUpForm
from apps.users.models import User
from tests.conftest import PASSWORD, SecureClient

pytestmark = pytest.mark.django_db

SIGN_UP = {"email": "Ada@Example.com", "password1": PASSWORD, "password2": PASSWORD}


def test_sign_up_makes_an_account_and_logs_in(client: Client) -> None:
    response = client.post(reverse("signup"), SIGN_UP, follow=True)
    assert response.redirect_chain == [(reverse("home"), 302)]
    assert "Your account is ready" in response.text
    assert get_user(client).get_username() == "ada@example.com"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"email": ""}, "This field is required."),
        ({"email": "ada"}, "Enter a valid email address."),
        ({"password2": "different words here"}, "password fields"),
        ({"password1": "12345678", "password2": "12345678"}, "too common"),
        ({"password1": "Ada@Example.com", "password2": "Ada@Example.com"}, "too similar"),
    ],
)
def test_sign_up_explains_what_is_wrong(
    client: Client, change: dict[str, str], message: str
) -> None:
    response = client.post(reverse("signup"), SIGN_UP | change)
    assert message in response.text
    assert not User.objects.exists()


def test_sign_up_refuses_an_address_that_is_taken(client: Client, user: User) -> None:
    response = client.post(reverse("signup"), SIGN_UP)
    assert "There is already an account with this e-mail address." in response.text
    assert User.objects.get() == user


def test_sign_up_sent_twice_at_once_is_no_error(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken_meanwhile(_form: SignUpForm) -> User:
        raise IntegrityError

    monkeypatch.setattr(SignUpForm, "save", taken_meanwhile)
    response = client.post(reverse("signup"), SIGN_UP)
    assert "There is already an account with this e-mail address." in response.text


def test_log_in_and_log_out(client: Client, user: User) -> None:
    credentials = {"username": "ADA@example.com", "password": PASSWORD}
    response = client.post(reverse("login"), credentials)
    assert response.headers["Location"] == reverse("home")
    assert get_user(client) == user
    assert client.get(reverse("logout")).status_code == 405
    assert client.post(reverse("logout")).headers["Location"] == reverse("home")
    assert not get_user(client).is_authenticated


def test_log_in_says_the_same_whatever_is_wrong(client: Client, user: User) -> None:
    User.objects.create_user("gone@example.com", PASSWORD, is_active=False)
    tries = [
        {"username": "ada@example.com", "password": "wrong"},
        {"username": "nobody@example.com", "password": PASSWORD},
        {"username": "gone@example.com", "password": PASSWORD},
    ]
    errors = [client.post(reverse("login"), data).context["form"].errors for data in tries]
    assert errors == [{"__all__": ["The e-mail address or the password is wrong."]}] * 3


def test_log_in_leads_back_but_never_to_another_site(client: Client, user: User) -> None:
    credentials = {"username": user.email, "password": PASSWORD}
    back = reverse("password_change")
    response = client.post(f"{reverse('login')}?next={back}", credentials)
    assert response.headers["Location"] == back
    client.logout()
    response = client.post(f"{reverse('login')}?next=https://example.org/", credentials)
    assert response.headers["Location"] == reverse("home")


@pytest.mark.parametrize("page", ["login", "signup"])
def test_who_is_logged_in_needs_neither_page(user_client: Client, page: str) -> None:
    assert user_client.get(reverse(page)).headers["Location"] == reverse("home")


def test_a_new_password_ends_the_other_sessions(user_client: Client, user: User) -> None:
    other = SecureClient()
    other.force_login(user)
    new = "another horse altogether"
    data = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    response = user_client.post(reverse("password_change"), data, follow=True)
    assert "Your password is changed." in response.text
    assert get_user(user_client) == user
    assert not get_user(other).is_authenticated


def test_a_new_password_needs_a_log_in_and_the_old_one(user_client: Client) -> None:
    data = {"old_password": "wrong", "new_password1": "x", "new_password2": "x"}
    response = user_client.post(reverse("password_change"), data)
    assert "old password was entered incorrectly" in response.text
    visit = SecureClient().get(reverse("password_change"))
    assert visit.headers["Location"].startswith(reverse("login"))


def test_errors_are_tied_to_the_form_and_to_their_fields(client: Client) -> None:
    html = client.post(reverse("signup"), {"email": "ada"}).text
    assert 'aria-describedby="form-errors"' in html
    assert 'id="form-errors" role="alert"' in html
    assert '<a href="#id_email">E-mail address</a>: Enter a valid email address.' in html
    assert re.search(r'<input type="email"[^>]*aria-describedby="id_email_error"', html)
    assert 'id="id_email_error"' in html


def test_the_home_page_greets_visitors_users_and_staff(
    client: Client, user_client: Client, user: User
) -> None:
    visitor = client.get(reverse("home")).text
    assert reverse("signup") in visitor
    assert user.email in user_client.get(reverse("home")).text
    status = reverse("encryption-status")
    assert status not in user_client.get(reverse("home")).text
    User.objects.filter(pk=user.pk).update(is_staff=True)
    assert status in user_client.get(reverse("home")).text


@pytest.mark.parametrize("name", ["400", "403", "403_csrf", "404", "429", "500", "503"])
def test_error_pages_need_no_context(name: str) -> None:
    html = render_to_string(f"{name}.html")
    assert "<h1>" in html
    assert 'href="/static/site.css"' in html


def test_an_unknown_page_and_a_form_without_token(client: Client) -> None:
    missing = client.get("/nothing-here/")
    assert missing.status_code == 404
    assert "There is no such page" in missing.text
    strict = SecureClient(enforce_csrf_checks=True)
    refused = strict.post(reverse("login"), {})
    assert refused.status_code == 403
    assert "This form has expired" in refused.text


@pytest.mark.parametrize("page", ["home", "login", "signup", "password_change"])
def test_pages_have_nothing_inline_and_a_strict_policy(user_client: Client, page: str) -> None:
    client = SecureClient() if page in ("login", "signup") else user_client
    response = client.get(reverse(page))
    assert response.status_code == 200
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=", response.text)


@pytest.mark.parametrize("page", ["home", "password_change", "encryption-status"])
def test_nobody_keeps_a_page_of_somebody_who_is_logged_in(
    page: str, user_client: Client, client: Client
) -> None:
    assert "no-store" in user_client.get(reverse(page)).headers["Cache-Control"]
    assert "Cache-Control" not in client.get(reverse("home")).headers
