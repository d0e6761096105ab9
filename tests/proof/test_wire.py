"""On the wire, nothing that a user typed or uploaded can be read, and no secret: all is TLS.

A stack starts and is used, with a random value of its own in every input, while all interfaces
of all its network namespaces are captured. The control: the same visitors, the same capture, the
same judgement and the same search, but the application gets plaintext from its proxy.
"""

import http.client
import re
import urllib.error
from contextlib import suppress
from functools import partial

import pytest
from capture import capturing, require_capture, tcpdump_version
from plaintext_hop import plaintext_site
from report import Evidence
from stack import Stack
from visitor import Site, Values, data_keys_of, secrets_of, use
from wire import REDIRECT, Wire, examine

pytestmark = [pytest.mark.proof, pytest.mark.slow, pytest.mark.timeout(600)]

# Values that a visitor sends or gets, which the control must find; and the sample app's.
VISITORS = {
    *("User-Agent", "Accept-Language", "Authorization", "X-Custom", "Referer", "cookie"),
    *("query string", "path", "e-mail", "password", "sign-up, e-mail", "sign-up, password"),
    *("CSRF token", "cookie __Host-session", "cookie __Host-csrf"),
    *("failed log-in, e-mail", "failed log-in, password", "e-mail that staff set"),
}
SAMPLE_APPS = {
    *("title", "body", "changed title", "changed body", "thumbnail"),
    *("text file, name", "text file, content", "picture, name", "picture, content"),
    *("large file, name", "large file, content"),
}

# What users do, and what no page lets them do ------------------------------------------


def use_all(stack: Stack, url: str = "", **needed: str) -> Values:
    """Use the site through HTTPS, and the stack's processes; return every value of its own.

    `url` is where the site is, if not at the stack's own address; `needed` are headers that
    it needs there.
    """
    values = Values()
    names = ("User-Agent", "Accept-Language", "Authorization", "X-Custom")
    headers = {name: values.new(name) for name in names}
    headers["Referer"] = f"{url or stack.url}/{values.new('Referer')}/"
    visit = partial(Site, stack, needed | headers, url)
    Site(stack, needed | {"Cookie": f"other={values.new('cookie')}"}, url).get("/")
    visitor = visit()
    visitor.get(f"/?q={values.new('query string')}")
    with suppress(urllib.error.HTTPError):
        visitor.get(f"/{values.new('path')}/")
    sign_up(visitor, values)
    run_in_processes(stack, values)
    return Values(values | use(stack, visit))


def sign_up(visitor: Site, values: Values) -> None:
    """Make an account; remember what the visitor is given."""
    page = visitor.get("/accounts/signup/").decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    assert token, "/accounts/signup/ has no form"
    values["CSRF token"] = token[1].encode()
    email, password = values.email("e-mail"), values.new("password")
    visitor.post("/accounts/signup/", email=email, password1=password, password2=password)
    for cookie in visitor.cookies:
        values[f"cookie {cookie.name}"] = (cookie.value or "").encode()


def run_in_processes(stack: Stack, values: Values) -> None:
    """Let each kind of process send values to the database and the cache."""
    for role in ("app", "worker", "scheduler"):
        parameter, key, value = (
            values.new(f"{role}: {what}") for what in ("SQL parameter", "cache key", "cache value")
        )
        session = values.new(f"{role}: session")
        code = (
            "from django.contrib.sessions.backends.cached_db import SessionStore\n"
            "from django.core.cache import cache\n"
            "from django.db import connection\n"
            "with connection.cursor() as cursor:\n"
            f"    cursor.execute('SELECT %s::text', ['{parameter}'])\n"
            "    cursor.fetchone()\n"
            f"cache.set('{key}', '{value}', 60)\n"
            f"assert cache.get('{key}')\n"
            "session = SessionStore()\n"
            f"session['value'] = '{session}'\n"
            "session.create()\n"
            "session.delete()"
        )
        stack.run(*stack.inside(role), "python", "manage.py", "shell", "-v", "0", "-c", code)


def schedule(stack: Stack, values: Values) -> None:
    """Let a scheduled command delete a note and its file."""
    visitor = Site(stack)
    email, password = values.email("owner of an expired note"), values.new("owner, password")
    visitor.post("/accounts/signup/", email=email, password1=password, password2=password)
    said = values.new("title of an expired note"), values.new("body of an expired note")
    upload = values.file("file of an expired note", lambda value: value.encode())
    note = visitor.write("/notes/new/", *said, upload)
    number = re.search(r"\d+", note)
    assert number
    stack.shell(
        "from apps.notes.models import Note\nfrom django.utils import timezone\n"
        f"Note.objects.filter(pk={number[0]}).update(expires_at=timezone.now())"
    )
    command = ("python", "manage.py", "scheduler", "--once")
    stack.run(*stack.inside("scheduler"), *command)
    left = f"Note.objects.filter(pk={number[0]}).count()"
    assert stack.shell(f"from apps.notes.models import Note\nprint({left})") == "0"


def ask_in_plaintext(stack: Stack) -> None:
    """Ask the port that only redirects, as a browser does for http://, without any value."""
    connection = http.client.HTTPConnection("127.0.0.1", int(stack.addresses["HTTP_PORT"]))
    connection.request("GET", "/", headers={"Host": "localhost"})
    assert connection.getresponse().status == 308
    connection.close()


# The two captures -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wire(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Wire:
    """Capture from before the first process starts, so that every handshake is there."""
    require_capture(stack)
    stack.down()
    with capturing(stack, tmp_path_factory.mktemp("wire")) as recordings:
        stack.up()
        values = use_all(stack)
        if "title" in values:
            schedule(stack, values)
        ask_in_plaintext(stack)
    long_enough = {name: value for name, value in secrets_of(stack).items() if len(value) >= 24}
    return examine(stack, recordings, values | long_enough | data_keys_of(stack))


@pytest.fixture(scope="module")
def control(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Wire:
    """Capture the same, but with one hop in plaintext."""
    require_capture(stack)
    folder = tmp_path_factory.mktemp("control")
    with plaintext_site(stack) as (url, port), capturing(stack, folder) as recordings:
        values = use_all(stack, url, **{"X-Forwarded-Proto": "https"})
    return examine(stack, recordings, values, gunicorn=port)


class TestWire:
    """The healthy stack."""

    def test_everything_was_captured(self, wire: Wire, stack: Stack, evidence: Evidence) -> None:
        for name, figure in (
            ("packets captured", wire.packets),
            ("bytes captured", wire.size),
            ("conversations", wire.conversations),
        ):
            evidence.figure("wire", f"{stack.mode}: {name}", figure)
        evidence.version("tcpdump", tcpdump_version())
        assert wire.lost == 0
        assert [hop.name for hop in wire.hops if not hop.size] == []

    def test_every_conversation_is_tls(self, wire: Wire, stack: Stack, evidence: Evidence) -> None:
        judged = [*wire.hops, *([wire.other] if wire.other.conversations else [])]
        for hop in judged:
            tls = f"TLS {hop.minimum} or newer, no value readable"
            evidence.line(
                "wire",
                subject=f"{stack.mode}: {hop.name}",
                tried="conversations captured",
                expected="only redirects" if hop.name == REDIRECT else tls,
                seen=f"{hop}; {len(hop.found)} of {len(wire.values)} values",
            )
        assert {hop.name: dict(hop.faults) for hop in judged if hop.faults} == {}
        in_plaintext = [hop.name for hop in wire.hops if not hop.handshakes]
        assert in_plaintext == [REDIRECT]

    def test_no_value_can_be_read(
        self, wire: Wire, stack: Stack, foreign: bool, evidence: Evidence
    ) -> None:
        evidence.figure("wire", f"{stack.mode}: values searched for", len(wire.values))
        evidence.figure("wire", f"{stack.mode}: values found", len(wire.found))
        assert foreign or wire.values.keys() >= VISITORS | SAMPLE_APPS
        assert wire.found == set()


def test_both_alarms_ring_if_one_hop_is_plaintext(
    control: Wire, stack: Stack, evidence: Evidence
) -> None:
    gunicorn = control.hop("gunicorn")
    evidence.figure("wire", f"{stack.mode}: values found in the control", len(control.found))
    evidence.line(
        "wire",
        subject=f"{stack.mode}: control",
        tried="the proxy speaks plaintext to gunicorn",
        expected="inputs are read, and conversations are not TLS",
        seen=f"{gunicorn}; {len(gunicorn.found)} of {len(control.values)} values",
    )
    passed_it = (VISITORS | SAMPLE_APPS) & control.values.keys()
    assert passed_it - gunicorn.found == set()
    assert any("in no TLS record" in fault for fault in gunicorn.faults)
    healthy = [hop for hop in control.hops if hop is not gunicorn]
    assert {hop.name: hop.found for hop in healthy if hop.found} == {}
