"""`manage.py verify_encryption` and the status page, which show the same results."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from apps.encryption import hops, probes
from apps.encryption.probes import Proof, Result
from apps.encryption.tls import Session
from apps.users.models import User

SESSION = Session(
    version="TLSv1.3",
    cipher="TLS_AES_256_GCM_SHA384",
    issuer="CA of the tests",
    expires=datetime(2030, 2, 1, tzinfo=UTC),
)


def results(*, good: bool) -> list[Result]:
    listed = hops.load()
    hop = Result(item=replace(listed.hops[0], exception="Openly said."), session=SESSION)
    hop.proofs.append(Proof(claim="Plaintext is refused", holds=True))
    store = Result(item=next(store for store in listed.stores if store.name == "media"))
    store.proofs.append(Proof(claim="It rests encrypted", holds=good, reason="" if good else "Why"))
    return [hop, store]


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Result]], None]:
    """Let the probes find these results."""

    def set_to(these: list[Result]) -> None:
        def run(_listed: hops.EncryptionList, role: str) -> Iterator[Result]:
            assert role == "app"
            yield from these

        monkeypatch.setattr(probes, "run", run)

    return set_to


Found = Callable[[list[Result]], None]


def test_the_table_shows_each_result(found: Found, capsys: pytest.CaptureFixture[str]) -> None:
    found(results(good=True))
    call_command("verify_encryption")
    head, _line, edge, media, summary = capsys.readouterr().out.splitlines()
    assert head.split() == [
        *("hop", "or", "store", "TLS", "cipher", "verified", "by", "until", "proofs")
    ]
    assert edge.split() == [
        *("ok", "Browser", "to", "proxy", "TLSv1.3", "TLS_AES_256_GCM_SHA384"),
        *("CA", "of", "the", "tests", "2030-02-01", "1/1"),
    ]
    assert media.split()[-5:] == ["-", "-", "-", "-", "1/1"]
    assert summary == "All 2 hops and stores of 'app' hold (2 proofs)."


def test_what_falls_short_is_named_and_exits_1(
    found: Found, capsys: pytest.CaptureFixture[str]
) -> None:
    found(results(good=False))
    with pytest.raises(CommandError, match=r"^1 of 2 fall short: media\.$") as caught:
        call_command("verify_encryption")
    assert caught.value.returncode == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].startswith("NO")
    assert lines[3].endswith("0/1")
    assert lines[4] == "FALLS SHORT  media: not true: It rests encrypted (Why)"


def test_a_false_proof_without_a_reason_is_shown_too(
    found: Found, capsys: pytest.CaptureFixture[str]
) -> None:
    (edge, _media) = results(good=True)
    edge.proofs = [Proof(claim="Plaintext is refused", holds=False)]
    found([edge])
    with pytest.raises(CommandError):
        call_command("verify_encryption")
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "FALLS SHORT  edge: not true: Plaintext is refused"


@pytest.mark.parametrize("good", [True, False])
def test_json_is_complete(good: bool, found: Found, capsys: pytest.CaptureFixture[str]) -> None:
    found(results(good=good))
    if good:
        call_command("verify_encryption", "--json")
    else:
        with pytest.raises(CommandError, match="media"):
            call_command("verify_encryption", "--json")
    edge, media = json.loads(capsys.readouterr().out)
    assert edge == {
        "name": "edge",
        "title": "Browser to proxy",
        "kind": "hop",
        "ok": True,
        "tls": "TLSv1.3",
        "cipher": "TLS_AES_256_GCM_SHA384",
        "verified_by": "CA of the tests",
        "expires": "2030-02-01T00:00:00+00:00",
        "proofs": [{"claim": "Plaintext is refused", "holds": True, "reason": ""}],
    }
    assert (media["kind"], media["ok"], media["tls"], media["expires"]) == (
        *("store", good, None, None),
    )


def test_a_role_without_hops_is_an_error(settings: Settings) -> None:
    settings.ROLE = "nobody"
    with pytest.raises(CommandError, match="The role 'nobody' has no hop"):
        call_command("verify_encryption")


def test_a_result_without_proofs_falls_short(found: Found) -> None:
    found([Result(item=hops.load().hops[0])])
    with pytest.raises(CommandError, match="edge"):
        call_command("verify_encryption")


# The page ------------------------------------------------------------------------------------


@pytest.fixture
def staff_client(user_client: Client, user: User) -> Client:
    user.is_staff = True
    user.save()
    return user_client


@pytest.fixture
def never_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_arguments: Any) -> None:
        pytest.fail("probed for somebody who may not see it")

    monkeypatch.setattr(probes, "run", run)


@pytest.mark.django_db
@pytest.mark.usefixtures("never_probed")
def test_who_is_not_logged_in_is_sent_to_log_in(client: Client) -> None:
    address = reverse("encryption-status")
    response = client.get(address)
    assert response.status_code == 302
    assert response.headers["Location"] == f"{reverse('login')}?next={address}"


@pytest.mark.usefixtures("never_probed")
def test_an_ordinary_user_is_refused(user_client: Client) -> None:
    assert user_client.get(reverse("encryption-status"), follow=True).status_code == 403


@pytest.mark.usefixtures("never_probed")
def test_the_page_is_only_read(staff_client: Client) -> None:
    assert staff_client.post(reverse("encryption-status")).status_code == 405


def test_the_page_shows_what_holds(staff_client: Client, found: Found) -> None:
    found(results(good=True))
    page = staff_client.get(reverse("encryption-status")).text
    assert "all hold" in page
    assert "falls short" not in page
    assert "Browser to proxy" in page
    assert "TLSv1.3, TLS_AES_256_GCM_SHA384" in page
    assert "CA of the tests, until 2030-02-01" in page
    assert "Exception: Openly said." in page


def test_the_page_shows_what_falls_short(staff_client: Client, found: Found) -> None:
    found(results(good=False))
    page = staff_client.get(reverse("encryption-status")).text
    assert "all hold" not in page
    assert page.count("falls short") == 2
    assert "It rests encrypted" in page
    assert "(Why)" in page


def test_a_page_without_results_does_not_say_all_hold(staff_client: Client, found: Found) -> None:
    found([])
    assert "all hold" not in staff_client.get(reverse("encryption-status")).text
