"""Settings that protect something and that no other test would miss."""

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as in_force
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils.csp import CSP

from tests.config import running
from tests.conftest import SecureClient

CA_FILE = "/run/credentials/ca.crt"


@pytest.fixture(scope="module")
def loaded() -> dict[str, Any]:
    """The settings of the running project."""
    return running.load(running.environment(CA_FILE))


def test_the_database_client_leaves_nothing_to_a_default(loaded: dict[str, Any]) -> None:
    options = loaded["DATABASES"]["default"]["OPTIONS"]
    # GSSAPI's own encryption would take the place of TLS, and of its certificates.
    assert options["gssencmode"] == "disable"
    assert options["ssl_min_protocol_version"] == "TLSv1.3"
    assert options["channel_binding"] == "require"
    assert options["require_auth"] == "scram-sha-256"


@pytest.mark.parametrize("cookie", ["SESSION", "CSRF"])
def test_cookies_are_for_this_site_s_own_requests(loaded: dict[str, Any], cookie: str) -> None:
    assert loaded[f"{cookie}_COOKIE_NAME"].startswith("__Host-")
    assert loaded[f"{cookie}_COOKIE_SECURE"] is True
    assert loaded[f"{cookie}_COOKIE_HTTPONLY"] is True
    assert loaded[f"{cookie}_COOKIE_SAMESITE"] in {"Lax", "Strict"}


def test_browsers_stay_on_https_here_and_below(loaded: dict[str, Any]) -> None:
    assert loaded["SECURE_HSTS_SECONDS"] >= timedelta(days=365).total_seconds()
    assert loaded["SECURE_HSTS_INCLUDE_SUBDOMAINS"] is True
    assert loaded["SECURE_HSTS_PRELOAD"] is True
    assert loaded["SECURE_REFERRER_POLICY"] in {"same-origin", "no-referrer"}


def test_pages_run_nothing_but_files_of_this_site(loaded: dict[str, Any]) -> None:
    policy = loaded["SECURE_CSP"]
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == [CSP.NONE]
    others = {source for sources in policy.values() for source in sources}
    assert others == {CSP.NONE, CSP.SELF}


def test_passwords_are_hard_to_guess_from_their_hashes(loaded: dict[str, Any]) -> None:
    assert loaded["PASSWORD_HASHERS"][0].endswith(".Argon2PasswordHasher")
    validators = {row["NAME"].rpartition(".")[2] for row in loaded["AUTH_PASSWORD_VALIDATORS"]}
    assert {"MinimumLengthValidator", "CommonPasswordValidator"} <= validators


@pytest.mark.django_db
def test_every_page_carries_the_protections(client: Client) -> None:
    headers = client.get("/").headers
    assert headers["Strict-Transport-Security"] == (
        f"max-age={in_force.SECURE_HSTS_SECONDS}; includeSubDomains; preload"
    )
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == in_force.SECURE_REFERRER_POLICY


@pytest.mark.django_db
@pytest.mark.parametrize("page", ["signup", "login"])
def test_a_form_of_another_site_is_refused(page: str) -> None:
    strict = SecureClient(enforce_csrf_checks=True)
    assert strict.post(reverse(page), {}).status_code == 403


@pytest.mark.parametrize("name", ["X-Forwarded-Proto", "X-Forwarded-Ssl"])
def test_no_header_makes_a_request_secure(rf: RequestFactory, name: str) -> None:
    assert not rf.get("/", headers={name: "https"}).is_secure()
