"""Through the edge: guessing is limited without locking anybody out, and a session stays its own.

Attackers come from addresses of their own, which NGINX tells the application: on Linux the whole
of 127.0.0.0/8 is this machine's, and the stack listens at 127.0.0.1.
"""

import http.client
import re
import ssl
import statistics
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from http.cookies import Morsel, SimpleCookie
from itertools import count
from types import MappingProxyType

import pytest
from canaries import canary
from report import Evidence
from stack import NativeStack

pytestmark = [pytest.mark.proof, pytest.mark.native, pytest.mark.timeout(300)]

LOG_IN, SIGN_UP, LOG_OUT = "/accounts/login/", "/accounts/signup/", "/accounts/logout/"
PASSWORD_PAGE, ADMIN, STATUS = "/accounts/password/", "/admin/", "/encryption/"
RIGHT = "correct horse battery staple"
LOOKED_AT, REFUSED, LET_IN = 200, 429, 302  # the form again, with its message; too many; in
SESSION, CSRF, DEVICE = "__Host-session", "__Host-csrf", "__Host-device"

_third, _fourth = count(1), count(1)


def new_address() -> str:
    """Return an address of this machine that no test has used."""
    return f"127.77.{next(_third) // 200}.{next(_fourth) % 200 + 1}"


# A browser that does what it is told ----------------------------------------------------


@dataclass
class Answer:
    """What the site said."""

    status: int
    headers: http.client.HTTPMessage
    text: str
    seconds: float

    @property
    def location(self) -> str:
        return self.headers.get("Location", "")

    @property
    def cookies(self) -> list["Morsel[str]"]:
        """The cookies that the answer sets or deletes."""
        lines = self.headers.get_all("Set-Cookie", [])
        return [morsel for line in lines for morsel in SimpleCookie(line).values()]


@dataclass
class Browser:
    """Cookies, an address, and no rule of a browser's that would hinder an attack."""

    stack: NativeStack
    address: str = field(default_factory=new_address)
    cookies: dict[str, str] = field(default_factory=dict)

    @property
    def host(self) -> str:
        return self.stack.url.removeprefix("https://")

    def ask(
        self,
        method: str,
        path: str,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Answer:
        """Send one request over verified TLS, and keep the cookies of the answer."""
        sent = {"Host": self.host, **headers}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        body = None
        if form is not None:
            body = urllib.parse.urlencode(form)
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        connection = http.client.HTTPSConnection(
            "localhost",
            int(self.stack.addresses["HTTPS_PORT"]),
            timeout=60,
            source_address=(self.address, 0),
            context=_context(self.stack),
        )
        try:
            started = time.perf_counter()
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
            answer = Answer(response.status, response.headers, text, time.perf_counter() - started)
        finally:
            connection.close()
        for cookie in answer.cookies:
            if cookie["max-age"] == "0":
                self.cookies.pop(cookie.key, None)
            else:
                self.cookies[cookie.key] = cookie.value
        return answer

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def token(self, path: str) -> str:
        """Return the CSRF token of a page."""
        page = self.get(path).text
        found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
        assert found, f"{path} has no form: {page}"
        return found[1]

    def post(self, path: str, _page: str = "", **fields: str) -> Answer:
        """Fill in and send a form, as a person would; `_page` has it, if not `path`."""
        form = {"csrfmiddlewaretoken": self.token(_page or path), **fields}
        return self.ask("POST", path, form, {"Origin": self.stack.url})

    def log_in(self, email: str, password: str = RIGHT, path: str = LOG_IN) -> Answer:
        return self.post(path, username=email, password=password)

    def log_out(self) -> Answer:
        return self.post(LOG_OUT, "/")

    def knows(self, path: str = PASSWORD_PAGE) -> bool:
        """Is somebody logged in?"""
        return self.get(path).status == 200

    def guess(self, email: str, token: str, path: str = LOG_IN) -> int:
        """Send a wrong password; return the status."""
        form = {"csrfmiddlewaretoken": token, "username": email, "password": canary()}
        answer = self.ask("POST", path, form, {"Origin": self.stack.url})
        assert answer.status in {LOOKED_AT, REFUSED}, answer.text
        return answer.status

    def guesses(self, email: str, path: str = LOG_IN) -> Iterator[int]:
        """Yield the statuses of wrong passwords, for ever."""
        token = self.token(path)
        while True:
            yield self.guess(email, token, path)


_contexts: dict[str, ssl.SSLContext] = {}


def _context(stack: NativeStack) -> ssl.SSLContext:
    return _contexts.setdefault(str(stack.ca), ssl.create_default_context(cafile=stack.ca))


# People and limits ----------------------------------------------------------------------


@dataclass
class Site:
    """The running site: people who are in no other test, and the limits in its settings."""

    stack: NativeStack
    emails: list[str]
    staff: str
    limits: dict[str, int]
    window: int

    def person(self) -> str:
        """Return the e-mail address of a user whom no other test knows."""
        return self.emails.pop()

    @property
    def browser(self) -> Browser:
        return Browser(self.stack)

    def wait_for_a_window(self, seconds: int = 20) -> None:
        """Wait, if the window of time in which attempts are counted ends soon."""
        left = self.window - time.time() % self.window
        if left < seconds:
            time.sleep(left + 1)


@pytest.fixture(scope="module")
def site(native: NativeStack) -> Site:
    emails, staff = [f"{canary()}@example.com" for _ in range(20)], f"{canary()}@example.com"
    said = native.shell(
        "from django.conf import settings\n"
        f"for email in {emails!r}:\n    User.objects.create_user(email, {RIGHT!r})\n"
        f"User.objects.create_superuser({staff!r}, {RIGHT!r})\n"
        "window = getattr(settings, 'ATTEMPT_WINDOW', None)\n"
        "print(int(window.total_seconds()) if window else 0)\n"
        "for name, limit in getattr(settings, 'ATTEMPT_LIMITS', {}).items():\n"
        "    print(name, limit)"
    )
    window, *lines = said.splitlines()
    limits = {name: int(limit) for name, limit in map(str.split, lines)}
    return Site(native, emails, staff, limits, int(window))


@pytest.fixture
def limited(site: Site, foreign: bool) -> Site:
    """The site, if it limits attempts as the template does."""
    if foreign and not site.limits:
        pytest.skip("the project's settings have no ATTEMPT_LIMITS")
    site.wait_for_a_window()
    return site


def looked_at(statuses: "Counter[int] | list[int]") -> int:
    return Counter(statuses)[LOOKED_AT]


def _count(evidence: Evidence, tried: int, let_through: int) -> None:
    evidence.figure("login", "wrong passwords tried", tried)
    evidence.figure("login", "let through to the password check", let_through)


# Guessing -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [LOG_IN, f"{ADMIN}login/"])
@pytest.mark.parametrize("account", ["of a user", "of nobody"])
def test_one_attacker(limited: Site, evidence: Evidence, path: str, account: str) -> None:
    email = limited.person() if account == "of a user" else f"{canary()}@example.com"
    limit, attacker = limited.limits["account_and_network"], limited.browser
    guesses = attacker.guesses(email, path)
    statuses = [next(guesses) for _ in range(limit + 5)]
    _count(evidence, len(statuses), looked_at(statuses))
    last = attacker.log_in(email, path=path)
    evidence.line(
        "login",
        subject=f"{path}: one attacker, the address {account}",
        tried=f"{len(statuses)} wrong passwords, then the right one",
        expected=f"{limit} looked at, then status 429, until the window ends",
        seen=f"{looked_at(statuses)} looked at, then {last.status}",
    )
    assert statuses == [LOOKED_AT] * limit + [REFUSED] * 5
    assert last.status == REFUSED
    left = limited.window - time.time() % limited.window
    assert abs(int(last.headers["Retry-After"]) - left) < 5
    assert "no-store" in last.headers["Cache-Control"]
    assert re.search(r"<h1>Too many attempts</h1>.*<time datetime=", last.text, re.DOTALL)
    assert email not in last.text


def test_a_client_cannot_say_where_it_comes_from(limited: Site, evidence: Evidence) -> None:
    email, limit = limited.person(), limited.limits["account_and_network"]
    attacker = limited.browser
    form = {"csrfmiddlewaretoken": attacker.token(LOG_IN), "username": email, "password": "wrong"}
    names = ("X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Client-IP", "CF-Connecting-IP")
    statuses = [
        attacker.ask(
            "POST",
            LOG_IN,
            form,
            {"Origin": limited.stack.url}
            | {name: f"{'for=' * (name == 'Forwarded')}203.0.113.{number}" for name in names},
        ).status
        for number in range(limit + 5)
    ]
    _count(evidence, len(statuses), looked_at(statuses))
    evidence.line(
        "login",
        subject="one attacker who claims another address each time",
        tried=f"{len(statuses)} wrong passwords, with {', '.join(names)}",
        expected=f"{limit} looked at",
        seen=f"{looked_at(statuses)} looked at",
    )
    assert looked_at(statuses) == limit


AT_ONCE = 12  # of the application's 16 threads


def guess_at_once(site: Site, emails: list[str], addresses: list[str]) -> "Counter[int]":
    """Send a wrong password for each account, from one address after the other."""
    first = site.browser
    token = first.token(LOG_IN)

    def guess(number: int) -> int:
        address = addresses[number % len(addresses)]
        return Browser(site.stack, address, dict(first.cookies)).guess(emails[number], token)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return Counter(pool.map(guess, range(len(emails))))


@pytest.mark.parametrize("networks", [1, 40])
def test_attempts_at_once(limited: Site, evidence: Evidence, networks: int) -> None:
    limited.wait_for_a_window(60)
    email, times = limited.person(), 200
    limit = limited.limits["account" if networks > 1 else "account_and_network"]
    addresses = [new_address() for _ in range(networks)]
    statuses = guess_at_once(limited, [email] * times, addresses)
    _count(evidence, times, looked_at(statuses))
    evidence.line(
        "login",
        subject=f"one account, {networks} address{'es' * (networks > 1)}",
        tried=f"{times} wrong passwords, {AT_ONCE} at once",
        expected=f"{limit} looked at, the others refused with 429",
        seen=f"{looked_at(statuses)} looked at, {statuses[REFUSED]} refused",
    )
    assert statuses == {LOOKED_AT: limit, REFUSED: times - limit}


def test_many_accounts_from_one_address(limited: Site, evidence: Evidence) -> None:
    limited.wait_for_a_window(60)
    limit, address, left = limited.limits["network"], new_address(), 10
    # To look at so many passwords would take half a minute.
    limited.stack.shell(
        "from apps.users import throttle\n"
        f"counter = throttle.counter('network', {address!r})\n"
        f"for _ in range({limit - left}):\n    throttle.count([counter])"
    )
    statuses = guess_at_once(limited, [f"{canary()}@example.com" for _ in range(30)], [address])
    _count(evidence, 30, looked_at(statuses))
    evidence.line(
        "login",
        subject="one address, another account each time",
        tried=f"30 wrong passwords, after {limit - left} that were only counted",
        expected=f"{left} looked at, the others refused with 429",
        seen=f"{looked_at(statuses)} looked at, {statuses[REFUSED]} refused",
    )
    assert statuses == {LOOKED_AT: left, REFUSED: 30 - left}


def test_the_owner_is_not_locked_out(limited: Site, evidence: Evidence) -> None:
    limited.wait_for_a_window(60)
    email = limited.person()
    known = limited.browser
    known.log_in(email)
    known.log_out()

    one = limited.browser
    next(guesses := one.guesses(email))
    assert REFUSED in [next(guesses) for _ in range(2 * limited.limits["account_and_network"])]
    elsewhere = limited.browser.log_in(email).status

    addresses = [new_address() for _ in range(10)]
    statuses = guess_at_once(limited, [email] * 3 * limited.limits["account"], addresses)
    assert statuses[REFUSED]
    stranger = limited.browser.log_in(email)
    known.address = addresses[0]  # even there
    remembered = known.log_in(email).status
    for who, tried, expected, seen in (
        ("one attacker; the owner at another address", "new browser", "let in", elsewhere),
        ("many attackers; the owner's own browser", "cookie of a log-in", "let in", remembered),
        ("many attackers; a browser that never logged in", "right password", "429, says when", 0),
    ):
        evidence.line(
            "login",
            subject=who,
            tried=f"the right password ({tried}) during the attack",
            expected=expected,
            seen={LET_IN: "let in", 0: str(stranger.status)}.get(seen, str(seen)),
        )
    assert (elsewhere, remembered) == (LET_IN, LET_IN)
    assert stranger.status == REFUSED
    assert int(stranger.headers["Retry-After"]) <= limited.window


def test_the_time_does_not_tell_who_has_an_account(limited: Site, evidence: Evidence) -> None:
    email = limited.person()

    def seconds(address: str) -> float:
        browser = limited.browser
        form = {"csrfmiddlewaretoken": browser.token(LOG_IN), "username": address}
        own = {"Origin": limited.stack.url}
        return browser.ask("POST", LOG_IN, form | {"password": "wrong"}, own).seconds

    pairs = [(seconds(email), seconds(f"{canary()}@example.com")) for _ in range(7)]
    known, unknown = (statistics.median(side) for side in zip(*pairs, strict=True))
    guesses = limited.browser.guesses(email)
    while next(guesses) != REFUSED:
        pass
    started = time.perf_counter()
    assert [next(guesses) for _ in range(9)] == [REFUSED] * 9
    refused = (time.perf_counter() - started) / 9
    evidence.line(
        "login",
        subject="the time that an answer takes",
        tried="7 wrong passwords for a user, 7 for addresses that nobody has",
        expected="about the same; a control without a password check takes less than half",
        seen=f"{known * 1000:.0f} ms, {unknown * 1000:.0f} ms; control {refused * 1000:.0f} ms",
    )
    assert 0.6 < known / unknown < 1.6
    assert refused < min(known, unknown) / 2


# Sessions -------------------------------------------------------------------------------


def test_session_fixation(site: Site, evidence: Evidence) -> None:
    email, attacker = site.person(), site.browser
    attacker.log_in(site.person())
    planted = {"made up": "a" * 32, "an attacker's own": attacker.cookies[SESSION]}
    for what, key in planted.items():
        victim = site.browser
        victim.cookies[SESSION] = key
        if what == "an attacker's own":  # whose log-in page only leads home
            victim.log_out()
            victim.cookies[SESSION] = key
        victim.log_in(email)
        changed = victim.cookies[SESSION] != key
        opened = Browser(site.stack, cookies={SESSION: key}).knows()
        evidence.line(
            "login",
            subject="session fixation",
            tried=f"log in with a planted session id ({what})",
            expected="a new id; the planted one opens nothing",
            seen=f"{'a new' if changed else 'the same'} id; {'opens' if opened else 'nothing'}",
        )
        assert victim.knows()
        assert changed
        assert not opened


def test_log_out_ends_the_session(site: Site, evidence: Evidence) -> None:
    browser = site.browser
    browser.log_in(site.person())
    first = dict(browser.cookies)
    refused = browser.get(LOG_OUT).status
    still = browser.knows()
    browser.log_out()
    opened = Browser(site.stack, cookies=first).knows()
    evidence.line(
        "login",
        subject="log-out",
        tried="GET; then the form; then the old cookie again",
        expected="405 and still logged in; the old cookie opens nothing",
        seen=f"{refused}; {'logged in' if still else 'out'}; {'opens' if opened else 'nothing'}",
    )
    assert (refused, still, opened) == (405, True, False)
    assert SESSION not in browser.cookies


def test_a_new_password_ends_the_other_sessions(site: Site, evidence: Evidence) -> None:
    email, new = site.person(), canary()
    here, there = site.browser, site.browser
    here.log_in(email)
    there.log_in(email)
    before = dict(here.cookies)
    fields = {"old_password": RIGHT, "new_password1": new, "new_password2": new}
    assert here.post(PASSWORD_PAGE, **fields).status == LET_IN
    seen = here.knows(), there.knows(), Browser(site.stack, cookies=before).knows()
    evidence.line(
        "login",
        subject="a new password",
        tried="go on in this browser, in another one, with this one's old cookie",
        expected="only this one is logged in, under a new id",
        seen=", ".join("logged in" if one else "out" for one in seen),
    )
    assert seen == (True, False, False)


# Cookies and caches ---------------------------------------------------------------------


def pages(site: Site) -> list[str]:
    """Return pages of the project, and the sample app's if it is there."""
    paths = ["/", LOG_IN, SIGN_UP, PASSWORD_PAGE, ADMIN, f"{ADMIN}users/user/", STATUS]
    more = ["/notes/", "/notes/new/"] if (site.stack.project / "apps/notes").is_dir() else []
    return [*paths, f"{ADMIN}login/", "/nothing-here/", "/livez", "/static/site.css", *more]


def flaws(cookie: "Morsel[str]") -> list[str]:
    """Return what a cookie lacks. Nothing is kept of one that is deleted."""
    wanted = {"the prefix __Host-": cookie.key.startswith("__Host-"), "Secure": cookie["secure"]}
    wanted |= {"Path=/": cookie["path"] == "/", "no Domain": not cookie["domain"]}
    if cookie["max-age"] != "0":
        wanted["HttpOnly"] = cookie["httponly"]
    wanted["SameSite"] = cookie["samesite"] in {"Lax", "Strict"}
    return [f"{cookie.key}: {what}" for what, is_there in wanted.items() if not is_there]


def test_every_cookie_of_every_page(site: Site, evidence: Evidence) -> None:
    visitor, member, staff = site.browser, site.browser, site.browser
    email, password = f"{canary()}@example.com", canary()
    answers = [
        visitor.post(SIGN_UP, email=email, password1=password, password2=password),
        visitor.log_out(),
        member.log_in(site.person(), "wrong"),
        member.log_in(site.person()),
        staff.log_in(site.staff, path=f"{ADMIN}login/"),
        *(browser.get(path) for browser in (visitor, member, staff) for path in pages(site)),
        member.log_out(),
        visitor.ask("POST", LOG_IN, {}),
    ]
    cookies = [cookie for answer in answers for cookie in answer.cookies]
    names = {cookie.key for cookie in cookies}
    found = sorted({flaw for cookie in cookies for flaw in flaws(cookie)})
    evidence.line(
        "login",
        subject=f"cookies: {', '.join(sorted(names))}",
        tried=f"{len(cookies)} Set-Cookie headers of {len(answers)} answers",
        expected="__Host-, Secure, HttpOnly, SameSite, Path=/, no Domain",
        seen="all of it" if not found else f"without {', '.join(found)}",
    )
    assert found == []
    assert {SESSION, CSRF, DEVICE} <= names
    weak = next(iter(SimpleCookie("session=1; Path=/accounts/; Domain=example.com").values()))
    assert len(flaws(weak)) == 6  # the control


def test_no_cache_keeps_pages_behind_the_log_in(site: Site, evidence: Evidence) -> None:
    staff = site.browser
    staff.log_in(site.staff)
    own = [path for path in pages(site) if not path.startswith(("/static", "/livez"))]
    answers = {path: staff.get(path) for path in own}
    kept = {
        path: answer.headers.get("Cache-Control", "no header")
        for path, answer in answers.items()
        if "no-store" not in answer.headers.get("Cache-Control", "")
        or "Cookie" not in answer.headers.get("Vary", "")
    }
    evidence.line(
        "login",
        subject="caches",
        tried=f"{len(own)} pages, logged in",
        expected="Cache-Control: no-store, Vary: Cookie",
        seen="on all of them" if not kept else f"{kept}",
    )
    assert kept == {}
    control = site.browser.get("/static/site.css").headers.get("Cache-Control", "")
    assert "no-store" not in control


# Forged requests ------------------------------------------------------------------------

FOREIGN = "https://evil.example"


def attacks(
    site: Site, browser: Browser, token: str
) -> dict[str, tuple[dict[str, str], str | None]]:
    """Return headers and token of each forged request."""
    own, referrer = {"Origin": site.stack.url}, f"{site.stack.url}/"
    other = Browser(site.stack).token(LOG_IN)
    return {
        "no token": (own, None),
        "an empty token": (own, ""),
        "a made-up token": (own, "a" * len(token)),
        "the token of another visitor": (own, other),
        "Origin of another site": ({"Origin": FOREIGN, "Referer": referrer}, token),
        "Origin null": ({"Origin": "null", "Referer": referrer}, token),
        "Origin without TLS": ({"Origin": site.stack.url.replace("https", "http")}, token),
        "Origin with another port": ({"Origin": f"https://{browser.host.split(':')[0]}:1"}, token),
        "Referer of another site": ({"Referer": f"{FOREIGN}/{browser.host}/"}, token),
        "Referer that only begins alike": ({"Referer": f"{site.stack.url}.evil.example/"}, token),
        "Referer without TLS": ({"Referer": referrer.replace("https", "http")}, token),
        "neither Origin nor Referer": ({}, token),
    }


def test_forged_requests(site: Site, evidence: Evidence) -> None:
    """Each for a form of a visitor, and for one of a member."""
    email = site.person()
    member = site.browser
    member.log_in(email)
    log_in = {"username": email, "password": RIGHT}
    # Django's own views refuse by themselves; the project's rely on its middleware.
    sign_up = {"email": f"{canary()}@example.com", "password1": RIGHT, "password2": RIGHT}
    forms: list[tuple[str, Browser, dict[str, str]]] = [
        (SIGN_UP, site.browser, sign_up),
        (LOG_IN, site.browser, log_in),
        (LOG_OUT, member, {}),
    ]
    for path, browser, fields in forms:
        token = browser.token("/" if path == LOG_OUT else path)
        for what, (headers, sent) in attacks(site, browser, token).items():
            form = fields | ({} if sent is None else {"csrfmiddlewaretoken": sent})
            answer = browser.ask("POST", path, form, headers)
            _forged(evidence, path, what, answer)
        without = Browser(
            site.stack, cookies={k: v for k, v in browser.cookies.items() if k != CSRF}
        )
        answer = without.ask(
            "POST", path, fields | {"csrfmiddlewaretoken": token}, {"Origin": site.stack.url}
        )
        _forged(evidence, path, "no cookie with the token", answer)
    assert member.knows()
    for path, headers in (
        (SIGN_UP, {"Origin": site.stack.url}),
        (LOG_IN, {"Referer": f"{site.stack.url}{LOG_IN}"}),
    ):
        right = site.browser
        form = log_in | sign_up | {"csrfmiddlewaretoken": right.token(path)}
        answer = right.ask("POST", path, form, headers)
        evidence.line(
            "login",
            subject=f"POST {path}",
            tried=f"the site's own token and {next(iter(headers))}",
            expected="let in",
            seen="let in" if answer.status == LET_IN else str(answer.status),
        )
        assert answer.status == LET_IN


def _forged(evidence: Evidence, path: str, what: str, answer: Answer) -> None:
    evidence.line(
        "login", subject=f"POST {path}", tried=what, expected="403", seen=str(answer.status)
    )
    assert answer.status == 403, what


ELSEWHERE = (
    *(f"{FOREIGN}/", "//evil.example/", "///evil.example/", "/\\evil.example/", "\\\\evil.example"),
    *("https:evil.example", "https:///evil.example", "http://localhost/", "javascript:alert(1)"),
    *(
        "https://localhost@evil.example/",
        "\t//evil.example/",
        "/\t/evil.example/",
        "data:text/html,x",
    ),
    *(
        "https://localhost.evil.example/",
        "%68ttps://evil.example/",
        "//%65vil.example",
        " //x.example",
    ),
)


@pytest.mark.parametrize("path", [LOG_IN, f"{ADMIN}login/"])
def test_log_in_leads_to_no_other_site(site: Site, evidence: Evidence, path: str) -> None:
    def query(target: str) -> str:
        return f"{path}?{urllib.parse.urlencode({'next': target})}"

    staff = site.browser
    leads = {"(sent with the form)": staff.log_in(site.staff, path=query(ELSEWHERE[0])).location}
    # Who is logged in is led on at once, by the same rule and without a password.
    leads |= {target: staff.get(query(target)).location for target in ELSEWHERE}
    base = f"{site.stack.url}{path}"
    away = {
        target: location
        for target, location in leads.items()
        if "\\" in location
        or urllib.parse.urlsplit(urllib.parse.urljoin(base, location)).netloc
        != site.stack.url.removeprefix("https://")
    }
    evidence.line(
        "login",
        subject=f"{path}?next=…",
        tried=f"{len(leads)} ways to write another site",
        expected="a page of this site",
        seen="a page of this site" if not away else f"{away}",
    )
    assert away == {}
    assert all(leads.values())
    assert staff.get(query(PASSWORD_PAGE)).location == PASSWORD_PAGE  # the control


def test_pages_for_staff(site: Site, evidence: Evidence) -> None:
    member, staff = site.browser, site.browser
    member.log_in(site.person())
    staff.log_in(site.staff)
    to_log_in = partial(re.match, r"/(accounts|admin)/login/")
    for path in (STATUS, ADMIN, f"{ADMIN}users/user/", f"{ADMIN}users/user/add/"):
        answers = [browser.get(path) for browser in (site.browser, member, staff)]
        seen = [
            "log in" if answer.status == 302 and to_log_in(answer.location) else str(answer.status)
            for answer in answers
        ]
        expected = ["log in", "403" if path == STATUS else "log in", "200"]
        evidence.line(
            "login",
            subject=path,
            tried="as a visitor, as a user, as staff",
            expected=", ".join(expected),
            seen=", ".join(seen),
        )
        assert seen == expected
