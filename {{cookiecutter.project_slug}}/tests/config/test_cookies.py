"""Every cookie is bound to this host."""

import pytest
from django.test import Client
from django.urls import reverse


@pytest.mark.django_db
def test_every_cookie_has_the_host_prefix(client: Client) -> None:
    words = "correct horse battery staple"
    form = {"email": "someone@example.com", "password1": words, "password2": words}
    page = client.get(reverse("signup"))
    answer = client.post(reverse("signup"), form)
    assert answer.status_code == 302
    cookies = {**page.cookies, **answer.cookies}
    assert set(cookies) == {"__Host-session", "__Host-csrf", "__Host-device"}
    for cookie in cookies.values():
        assert cookie["secure"]
        assert cookie["httponly"]
        assert cookie["path"] == "/"
        assert not cookie["domain"]
