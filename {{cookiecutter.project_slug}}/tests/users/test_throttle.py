"""Guessing is limited, and nobody is kept out by somebody else's guesses."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings as project_settings
from django.contrib.auth import aauthenticate, authenticate
from django.contrib.auth.backends import ModelBackend
from django.core.cache import cache
from django.core.exceptions import BadRequest
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.urls import reverse
from pytest_django import Settings
from redis import ConnectionError as CacheError

from apps.users import checks, throttle
from apps.users.devices import COOKIE_NAME
from apps.users.models import User
from apps.users.networks import network
from tests.conftest import PASSWORD, SecureClient

pytestmark = pytest.mark.django_db

LIMITS = {"device": 3, "account_and_network": 3, "network": 8, "account": 6, "sign_up": 4}
MINUTE = 60
HOME, ELSEWHERE = "198.51.100.7", "203.0.113.9"
EMAIL = "ada@example.com"
WRONG = "wrong"


class Clock:
    """A clock that tests set."""

    now = 1_000_000 * 15.0 * MINUTE

    def time(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Clock:
    settings.ATTEMPT_LIMITS = LIMITS
    clock = Clock()
    monkeypatch.setattr(throttle, "time", clock)
    return clock


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Passwords that were looked at."""
    seen: list[str] = []
    of_django = ModelBackend.authenticate

    def look(self: Any, request: Any, username: Any, password: Any, **more: Any) -> Any:
        seen.append(password)
        return of_django(self, request, username, password, **more)

    monkeypatch.setattr(ModelBackend, "authenticate", look)
    return seen


def log_in(
    password: str = WRONG,
    email: str = EMAIL,
    origin: str = HOME,
    client: Client | None = None,
    page: str = "login",
) -> Any:
    client = client or SecureClient()
    data = {"username": email, "password": password}
    return client.post(reverse(page), data, headers={"X-Forwarded-For": origin})


def statuses(times: int, attempt: Callable[[], HttpResponse]) -> list[int]:
    return [attempt().status_code for _ in range(times)]


# What is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["login", "admin:login"])
@pytest.mark.parametrize("email", [EMAIL, "nobody@example.com"])
def test_wrong_passwords_are_looked_at_so_many_times(
    page: str, email: str, user: User, looked_at: list[str]
) -> None:
    assert statuses(5, lambda: log_in(page=page, email=email)) == [200, 200, 200, 429, 429]
    assert len(looked_at) == 3
    assert log_in(PASSWORD, page=page, email=email).status_code == 429


def test_the_answer_says_when_to_try_again(user: User, clock: Clock) -> None:
    statuses(3, log_in)
    clock.now += 5 * MINUTE + 1
    answer = log_in()
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == str(10 * MINUTE - 1)
    assert "no-store" in answer.headers["Cache-Control"]
    assert "<h1>Too many attempts</h1>" in answer.text
    assert "in 10 minutes" in answer.text
    assert '<time datetime="' in answer.text
    assert EMAIL not in answer.text


def test_the_answer_does_not_tell_who_has_an_account(user: User) -> None:
    def text(email: str) -> list[tuple[int, str]]:
        answers = [log_in(email=email, origin=f"198.51.100.{n % 3}") for n in range(12)]
        return [(answer.status_code, answer.text.replace(email, "")) for answer in answers]

    def without_token(answers: list[tuple[int, str]]) -> list[tuple[int, list[str]]]:
        return [
            (status, [line for line in page.splitlines() if "csrf" not in line])
            for status, page in answers
        ]

    known = text(EMAIL)
    cache.clear()
    assert without_token(known) == without_token(text("nobody@example.com"))


def test_refused_attempts_prolong_nothing(user: User, clock: Clock) -> None:
    statuses(3, log_in)
    for _ in range(14):
        clock.now += MINUTE
        assert log_in().status_code == 429
    clock.now += MINUTE
    assert log_in(PASSWORD).status_code == 302


@pytest.mark.parametrize("spelling", ["ADA@example.com", " ada@example.com", "Ada@EXAMPLE.com "])
def test_another_spelling_is_no_other_account(spelling: str, user: User) -> None:
    statuses(3, log_in)
    assert log_in(email=spelling).status_code == 429
    unknown = spelling.lower().replace("ada", "eve")
    statuses(3, lambda: log_in(email="eve@example.com", origin=ELSEWHERE))
    assert log_in(email=unknown.upper(), origin=ELSEWHERE).status_code == 429


def test_many_networks_do_not_help_against_one_account(user: User, looked_at: list[str]) -> None:
    for number in range(20):
        log_in(origin=f"198.51.100.{number}")
    assert len(looked_at) == LIMITS["account"]


def test_many_accounts_do_not_help_one_network(looked_at: list[str]) -> None:
    for number in range(20):
        log_in(email=f"user{number}@example.com")
    assert len(looked_at) == LIMITS["network"]


def test_one_network_cannot_use_up_the_account(user: User, looked_at: list[str]) -> None:
    statuses(50, log_in)
    assert len(looked_at) == LIMITS["account_and_network"] < LIMITS["account"]
    assert log_in(PASSWORD, origin=ELSEWHERE).status_code == 302


def test_attempts_at_once_do_not_pass_together(
    user: User, looked_at: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They all look before any of them counts."""
    monkeypatch.setattr(cache, "get_many", lambda _keys: {})
    counters = throttle.counters_of_log_in(None, EMAIL)

    def attempt(_number: int) -> bool:
        try:
            throttle.count(counters)
        except throttle.TooManyAttemptsError:
            return False
        return True

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(attempt, range(200))) == LIMITS["account"]


def test_programs_count_too(user: User, looked_at: list[str]) -> None:
    for _ in range(LIMITS["account"]):
        assert authenticate(username=EMAIL, password=WRONG) is None
    with pytest.raises(throttle.TooManyAttemptsError):
        authenticate(username=EMAIL, password=PASSWORD)
    assert len(looked_at) == LIMITS["account"]


@pytest.mark.django_db(transaction=True)
def test_asynchronous_programs_count_too(user: User) -> None:
    async def guess() -> None:
        for _ in range(LIMITS["account"]):
            assert await aauthenticate(username=EMAIL, password=WRONG) is None
        with pytest.raises(throttle.TooManyAttemptsError):
            await aauthenticate(username=EMAIL, password=PASSWORD)

    async_to_sync(guess)()


@pytest.mark.parametrize("page", ["password_change", "admin:password_change"])
def test_the_old_password_is_limited_too(
    page: str, user_client: Client, user: User, looked_at: list[str]
) -> None:
    User.objects.update(is_staff=True)
    new = "another horse altogether"
    data = {"old_password": WRONG, "new_password1": new, "new_password2": new}
    target = user_client.get(reverse(page), follow=True).request["PATH_INFO"]
    assert statuses(4, lambda: user_client.post(target, data)) == [200, 200, 200, 429]  # type: ignore[arg-type,return-value]
    assert looked_at == [WRONG] * 3


def test_who_has_an_account_cannot_be_asked_without_limit(user: User, client: Client) -> None:
    data = {"email": EMAIL, "password1": PASSWORD, "password2": PASSWORD}
    answers = [client.post(reverse("signup"), data) for _ in range(LIMITS["sign_up"] + 1)]
    assert [answer.status_code for answer in answers] == [200] * LIMITS["sign_up"] + [429]


# What is not ------------------------------------------------------------------------------------


def test_right_passwords_do_not_count(user: User) -> None:
    assert set(statuses(20, lambda: log_in(PASSWORD))) == {302}
    assert statuses(3, log_in) == [200, 200, 200]


def test_accounts_that_are_made_do_not_count() -> None:
    for number in range(2 * LIMITS["sign_up"]):
        data = {"email": f"{number}@example.com", "password1": PASSWORD, "password2": PASSWORD}
        assert SecureClient().post(reverse("signup"), data).status_code == 302


def test_a_browser_that_was_let_in_before_is_let_in_during_an_attack(user: User) -> None:
    known = SecureClient()
    assert log_in(PASSWORD, client=known).status_code == 302
    known.post(reverse("logout"))
    for number in range(20):
        log_in(origin=f"198.51.100.{number}")  # HOME is among them
    assert log_in(PASSWORD).status_code == 429
    assert log_in(PASSWORD, origin=ELSEWHERE).status_code == 429
    assert log_in(PASSWORD, client=known).status_code == 302


def test_a_known_browser_has_a_limit_of_its_own(user: User, looked_at: list[str]) -> None:
    known = SecureClient()
    log_in(PASSWORD, client=known)
    known.post(reverse("logout"))
    looked_at.clear()
    assert statuses(5, lambda: log_in(client=known)) == [200, 200, 200, 429, 429]
    assert len(looked_at) == LIMITS["device"]
    assert log_in(PASSWORD).status_code == 302


# Known browsers -----------------------------------------------------------------------------


def known_client(user: User) -> Client:
    """Return a browser with nothing but the cookie that a log-in leaves."""
    client, copy = SecureClient(), SecureClient()
    log_in(PASSWORD, email=user.email, client=client)
    copy.cookies[COOKIE_NAME] = client.cookies[COOKIE_NAME].value
    return copy


def is_known(client: Client) -> bool:
    """Use up what strangers have, and see whether this browser is let in all the same."""
    cache.clear()
    for number in range(2 * LIMITS["account"]):
        log_in(origin=f"198.51.100.{number}")
    return bool(log_in(PASSWORD, client=client).status_code == 302)


def test_a_browser_is_remembered_by_its_cookie_alone(user: User) -> None:
    assert is_known(known_client(user))
    assert not is_known(SecureClient())


def test_a_browser_that_knows_somebody_else_is_a_stranger(user: User) -> None:
    other = User.objects.create_user("eve@example.com", PASSWORD)
    assert not is_known(known_client(other))


@pytest.mark.parametrize("change", [lambda c: "", lambda c: "x" + c, lambda c: c + "x"])
def test_a_forged_cookie_is_none(user: User, change: Callable[[str], str]) -> None:
    client = known_client(user)
    client.cookies[COOKIE_NAME] = change(client.cookies[COOKIE_NAME].value)
    assert not is_known(client)


def test_a_new_password_makes_browsers_strangers(user: User) -> None:
    client = known_client(user)
    user.set_password("another horse altogether")
    user.save()
    user.set_password(PASSWORD)  # the same again, with another salt
    user.save()
    assert not is_known(client)


def test_the_browser_that_changes_the_password_stays_known(user_client: Client) -> None:
    before = user_client.get(reverse("home")).cookies[COOKIE_NAME].value
    data = {
        "old_password": PASSWORD,
        "new_password1": "horse 2 horse",
        "new_password2": "horse 2 horse",
    }
    after = user_client.post(reverse("password_change"), data).cookies[COOKIE_NAME].value
    assert after != before
    assert COOKIE_NAME not in user_client.get(reverse("home")).cookies


def test_a_rotation_of_the_secret_key_makes_no_strangers(user: User, settings: Settings) -> None:
    client = known_client(user)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "new" * 20
    assert is_known(client)


def test_visitors_get_no_number(client: Client) -> None:
    assert COOKIE_NAME not in client.get(reverse("home")).cookies


# Where requests come from ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_a_network(address: str, expected: str) -> None:
    request = RequestFactory().get("/", headers={"X-Forwarded-For": address})
    assert network(request) == expected


@pytest.mark.parametrize(
    "header", ["198.51.100.7, 203.0.113.9", "unknown", "198.51.100.7:80", "[::1]", "_x", "1", " "]
)
def test_anything_but_one_address_is_refused(header: str, user: User) -> None:
    request = RequestFactory().get("/", headers={"X-Forwarded-For": header})
    with pytest.raises(BadRequest):
        network(request)
    assert log_in(origin=header).status_code == 400


def test_without_the_proxy_the_peer_counts() -> None:
    assert network(RequestFactory().get("/", REMOTE_ADDR=HOME)) == HOME


# What is kept -----------------------------------------------------------------------------------


@pytest.mark.parametrize("account", [True, False])
def test_nothing_that_is_kept_names_account_or_network(
    caplog: pytest.LogCaptureFixture, *, account: bool
) -> None:
    email = "lovelace@example.com"
    if account:
        User.objects.create_user(email)
    names: dict[str, Any] = {}
    caplog.set_level(logging.DEBUG)
    for counter in throttle.counters_of_log_in(
        RequestFactory().get("/", headers={"X-Forwarded-For": HOME}), email
    ):
        names[counter.key] = None
        throttle.count([counter])
    with pytest.raises(throttle.TooManyAttemptsError) as error:
        throttle.count([throttle.Counter("device", next(iter(names)))] * 9)
    assert len(names) == 3
    kept = f"{names} {caplog.text} {error.value}"
    assert "attempt_refused" in caplog.text
    assert not any(text in kept for text in ("lovelace", "example", HOME))


def test_counters_need_the_secret_key(settings: Settings) -> None:
    before = throttle.counter("account", EMAIL)
    settings.SECRET_KEY = "other" * 20
    assert throttle.counter("account", EMAIL) != before


def test_every_counter_expires(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[str, float] = {}
    add = cache.add

    def noted(key: str, value: int, timeout: float) -> bool:
        kept[key] = timeout
        return add(key, value, timeout)

    monkeypatch.setattr(cache, "add", noted)
    log_in()
    assert len(kept) == 3
    assert set(kept.values()) == {2 * 15 * MINUTE}


def test_a_flood_of_refused_attempts_makes_no_counters(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(LIMITS["network"]):
        log_in(email=f"user{number}@example.com")
    monkeypatch.setattr(cache, "add", lambda *_: pytest.fail("a new counter"))
    assert log_in(email="one-more@example.com").status_code == 429


# Without the cache ------------------------------------------------------------------------------


def test_nobody_is_let_through_uncounted(
    user: User, looked_at: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_arguments: Any) -> None:
        raise CacheError

    for name in ("get_many", "add", "incr"):
        with monkeypatch.context() as broken:
            broken.setattr(cache, name, unreachable)
            answer = log_in(PASSWORD)
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert "does not work at the moment" in answer.text
    assert looked_at == []
    monkeypatch.setattr(cache, "decr", unreachable)
    assert log_in(PASSWORD).status_code == 302


# The system check -------------------------------------------------------------------------------


def test_the_settings_pass() -> None:
    assert project_settings.AUTHENTICATION_BACKENDS == ["apps.users.backends.ThrottledBackend"]
    assert checks.check_throttle() == []


def test_a_backend_without_limits_is_an_error(settings: Settings) -> None:
    unlimited = "django.contrib.auth.backends.ModelBackend"
    settings.AUTHENTICATION_BACKENDS = [*settings.AUTHENTICATION_BACKENDS, unlimited]
    assert [error.id for error in checks.check_throttle()] == ["users.E001"]


def test_a_missing_middleware_is_an_error(settings: Settings) -> None:
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "apps.users" not in name]
    assert [error.id for error in checks.check_throttle()] == ["users.E002"]
