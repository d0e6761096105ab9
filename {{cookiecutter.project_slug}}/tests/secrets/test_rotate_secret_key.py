"""SECRET_KEY rotates while processes with the former and the next keys serve together."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import StringIO
from itertools import pairwise

import pytest
from botocore.exceptions import EndpointConnectionError
from django.conf import settings
from django.contrib.auth.tokens import default_token_generator
from django.core import signing
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.test import Client, override_settings
from django.urls import reverse
from django.utils.crypto import get_random_string
from pytest_django import Settings

from apps.secrets.management.commands import rotate_secret_key
from apps.secrets.secret_key import fallback_keys
from apps.secrets.ssm import SSMSecretsRetriever, load_secrets
from apps.users.models import User
from apps.users.sessions import SessionStore
from tests.secrets.parameter_store import Killed, ParameterStore

PREFIX = settings.SECRETS_PREFIX
KEY, FALLBACKS = f"{PREFIX}SECRET_KEY", f"{PREFIX}SECRET_KEY_FALLBACKS"
OLD = get_random_string(64)
STEPS = ("prepare", "switch", "finish")
# The longest that a session, or a link that resets a password, is good for; and a day.
LONGEST = timedelta(weeks=2, days=1)


@dataclass(frozen=True, repr=False)
class Process:
    """A process, which has the keys that were stored when it was started."""

    secret_key: str
    fallbacks: list[str]

    def running(self) -> override_settings:
        """What is done inside is done by this process."""
        return override_settings(SECRET_KEY=self.secret_key, SECRET_KEY_FALLBACKS=self.fallbacks)


class Retriever(SSMSecretsRetriever):
    """Reads the store in memory."""

    def __init__(self, store: ParameterStore) -> None:
        super().__init__(PREFIX)
        self.store = store

    def fetch(self) -> dict[str, str]:
        return {name.removeprefix(PREFIX): text for name, text in self.store.values.items()}


def start(store: ParameterStore) -> Process:
    """A process that starts now, as in `config.settings`."""
    secrets = load_secrets(["SECRET_KEY"], {}, Retriever(store), optional=["SECRET_KEY_FALLBACKS"])
    return Process(secrets["SECRET_KEY"], fallback_keys(secrets))


@pytest.fixture
def store(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Iterator[ParameterStore]:
    """A store as it is before the first rotation. Nobody may print or log what it holds."""
    store = ParameterStore()
    store.values[KEY] = OLD
    store.written_at[KEY] = datetime.now(UTC)
    monkeypatch.setattr(rotate_secret_key, "ssm_client", lambda: store.client)
    yield store
    assert_no_key_in("".join([*capfd.readouterr(), caplog.text]), store)


def rotate(store: ParameterStore, *arguments: str) -> str:
    """Call the command in a process of its own; return what it prints."""
    said = StringIO()
    try:
        with start(store).running():
            call_command("rotate_secret_key", *arguments, stdout=said)
    except CommandError as error:
        assert_no_key_in(str(error), store)
        raise
    assert_no_key_in(said.getvalue(), store)
    return said.getvalue()


def assert_no_key_in(text: str, store: ParameterStore) -> None:
    stored = " ".join([OLD, *store.values.values(), *(write["Value"] for write in store.writes)])
    for key in re.findall(r"\w{64}", stored):
        assert key not in text


def wait(store: ParameterStore, time: timedelta) -> None:
    """Let time pass: what is stored grows older."""
    store.written_at = {name: date - time for name, date in store.written_at.items()}


def advance(store: ParameterStore, *steps: str) -> None:
    for step in steps:
        if step == "finish":
            wait(store, LONGEST)
        rotate(store, step)


@pytest.fixture
def processes(store: ParameterStore) -> list[Process]:
    """One process of each stage: before the rotation, and after each step."""
    started = [start(store)]
    for step in STEPS:
        advance(store, step)
        started.append(start(store))
    return started


# What each step changes ------------------------------------------------------------------


def test_the_keys_of_each_stage(processes: list[Process]) -> None:
    new = processes[-1].secret_key
    assert len(new) == 64
    assert new != OLD
    assert [(process.secret_key, process.fallbacks) for process in processes] == [
        (OLD, []),
        (OLD, [new]),
        (new, [OLD]),
        (new, []),
    ]


def test_each_step_is_one_write_of_a_secure_string(
    store: ParameterStore, processes: list[Process]
) -> None:
    """So a process that reads the two parameters at different moments has either stage."""
    assert [write["Name"] for write in store.writes] == [FALLBACKS, KEY, FALLBACKS]
    for write in store.writes:
        assert write["Type"] == "SecureString"
        assert write["KeyId"] == settings.KMS_KEY == "alias/" + PREFIX.strip("/").replace("/", "-")


def test_the_next_rotation_starts_from_the_last(store: ParameterStore) -> None:
    advance(store, *STEPS)
    second = store.values[KEY]
    advance(store, *STEPS)
    assert len({OLD, second, store.values[KEY]}) == 3


# Processes side by side -------------------------------------------------------------------

NEIGHBOURS = [pair for a, b in pairwise(range(4)) for pair in ((a, b), (b, a))]


@pytest.fixture(params=NEIGHBOURS, ids=lambda pair: "{}-{}".format(*pair))
def neighbours(request: pytest.FixtureRequest, processes: list[Process]) -> tuple[Process, Process]:
    """Two processes that serve together during a restart, in both orders."""
    one, other = request.param
    return processes[one], processes[other]


def test_what_one_signs_the_other_verifies(neighbours: tuple[Process, Process]) -> None:
    one, other = neighbours
    with one.running():
        signed = signing.dumps("value")
    with other.running():
        assert signing.loads(signed) == "value"


@pytest.mark.django_db
def test_a_session_of_one_is_not_empty_in_the_other(neighbours: tuple[Process, Process]) -> None:
    one, other = neighbours
    assert kept(one, other)


def kept(one: Process, other: Process) -> bool:
    """Is what `one` put into a session there for `other`, once the cache has lost it?"""
    with one.running():
        session = SessionStore()
        session["cart"] = "full"
        session.create()
    cache.clear()
    with other.running():
        return SessionStore(session.session_key).get("cart") == "full"


@pytest.mark.django_db
def test_users_stay_logged_in_as_processes_take_turns(
    neighbours: tuple[Process, Process], client: Client, user: User
) -> None:
    with neighbours[0].running():
        client.force_login(user)
    for process in neighbours * 2:
        cache.clear()
        assert logged_in(client, process)


def logged_in(client: Client, process: Process) -> bool:
    """Does `process` show a page that is for users only?"""
    with process.running():
        answer = client.get(reverse("password_change"))
    assert answer.status_code in {200, 302}
    return answer.status_code == 200


@pytest.mark.django_db
def test_a_link_that_resets_a_password_works_in_the_other(
    neighbours: tuple[Process, Process], user: User
) -> None:
    one, other = neighbours
    with one.running():
        token = default_token_generator.make_token(user)
    with other.running():
        assert default_token_generator.check_token(user, token)


@pytest.mark.django_db
def test_without_the_first_step_users_would_be_logged_out(
    processes: list[Process], client: Client, user: User
) -> None:
    before, _, switched, _ = processes
    with switched.running():
        signed = signing.dumps("value")
        client.force_login(user)
    with before.running(), pytest.raises(signing.BadSignature):
        signing.loads(signed)
    assert not kept(switched, before)
    cache.clear()
    assert not logged_in(client, before)


@pytest.mark.django_db
def test_the_old_key_is_worth_nothing_in_the_end(
    processes: list[Process], client: Client, user: User
) -> None:
    *earlier, finished = processes
    for process in earlier[:2]:
        with process.running():
            signed = signing.dumps("value")
        with finished.running(), pytest.raises(signing.BadSignature):
            signing.loads(signed)
        assert not kept(process, finished)


# Repeated, killed, out of order ------------------------------------------------------------


@pytest.mark.parametrize("number", range(3))
def test_a_step_that_is_made_is_not_made_again(store: ParameterStore, number: int) -> None:
    advance(store, *STEPS[: number + 1])
    values = dict(store.values)
    assert rotate(store, STEPS[number]) == rotate(store)
    assert store.values == values
    assert len(store.writes) == number + 1


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", range(3))
def test_a_killed_step_is_repeated(store: ParameterStore, number: int, moment: str) -> None:
    advance(store, *STEPS[:number])
    wait(store, LONGEST)
    earlier = start(store)
    store.kill_at = moment
    with pytest.raises(Killed):
        rotate(store, STEPS[number])
    store.kill_at = ""
    meanwhile = start(store)
    rotate(store, STEPS[number])
    later = start(store)
    assert len(store.writes) == number + 1
    for one, other in ((earlier, meanwhile), (meanwhile, later), (earlier, later)):
        assert one.secret_key in {other.secret_key, *other.fallbacks}
        assert other.secret_key in {one.secret_key, *one.fallbacks}
    advance(store, *STEPS[number + 1 :])
    assert store.values[FALLBACKS] == "[]"


@pytest.mark.parametrize(
    ("made", "step"), [(0, "switch"), (1, "finish"), (2, "prepare"), (3, "switch")]
)
def test_a_step_out_of_order_is_refused(store: ParameterStore, made: int, step: str) -> None:
    advance(store, *STEPS[:made])
    with pytest.raises(CommandError, match=f"'{step}' is not next") as caught:
        rotate(store, step, "--early")
    assert rotate(store).strip() in str(caught.value)
    assert len(store.writes) == made


@pytest.mark.parametrize(
    ("made", "advised"), [(0, "prepare"), (1, "switch"), (2, "finish"), (3, "prepare")]
)
def test_without_a_step_it_only_says_what_is_next(
    store: ParameterStore, made: int, advised: str
) -> None:
    advance(store, *STEPS[:made])
    said = rotate(store)
    assert said.endswith(f"rotate_secret_key {advised}\n")
    assert "estart every process" in said
    assert len(store.writes) == made


# The end waits for what the old key has signed ------------------------------------------------


def test_the_end_is_refused_while_a_session_of_the_old_key_may_live(store: ParameterStore) -> None:
    advance(store, "prepare", "switch")
    wait(store, LONGEST - timedelta(minutes=1))
    with pytest.raises(CommandError, match="Too early"):
        rotate(store, "finish")
    assert len(store.writes) == 2
    wait(store, timedelta(minutes=1))
    rotate(store, "finish")
    assert start(store).fallbacks == []


@pytest.mark.parametrize("name", ["SESSION_COOKIE_AGE", "PASSWORD_RESET_TIMEOUT"])
def test_the_longest_time_counts(store: ParameterStore, settings: Settings, name: str) -> None:
    setattr(settings, name, timedelta(days=30).total_seconds())
    advance(store, "prepare", "switch")
    day = f"{datetime.now(UTC) + timedelta(days=31):%Y-%m-%d}"
    assert day in rotate(store)
    wait(store, LONGEST)
    with pytest.raises(CommandError, match="Too early"):
        rotate(store, "finish")


def test_the_time_counts_from_the_switch(store: ParameterStore) -> None:
    advance(store, "prepare")
    wait(store, LONGEST)
    advance(store, "switch")
    with pytest.raises(CommandError, match="Too early"):
        rotate(store, "finish")


def test_the_end_can_be_told_not_to_wait(store: ParameterStore) -> None:
    advance(store, "prepare", "switch")
    rotate(store, "finish", "--early")
    assert start(store).fallbacks == []


# What stops it ----------------------------------------------------------------------------


def test_keys_that_do_not_come_from_the_store_are_not_rotated_there(store: ParameterStore) -> None:
    injected = Process(get_random_string(64), [])
    with injected.running(), pytest.raises(CommandError, match="another SECRET_KEY") as caught:
        call_command("rotate_secret_key", "prepare")
    assert injected.secret_key not in str(caught.value)
    assert store.writes == []


@pytest.mark.parametrize("number", [1, 2])
def test_a_process_from_before_the_last_step_does_not_make_the_next(
    store: ParameterStore, processes: list[Process], number: int
) -> None:
    """As one on ECS, whose injected secrets are older than the store's."""
    writes = store.writes[:number]
    for write in writes:
        store.values[write["Name"]] = write["Value"]
    store.values[KEY] = [OLD, processes[-1].secret_key][number - 1]
    store.writes.clear()
    with processes[number - 1].running(), pytest.raises(CommandError, match="another SECRET_KEY"):
        call_command("rotate_secret_key", STEPS[number], "--early")
    assert store.writes == []


THIRD, FOURTH = get_random_string(64), get_random_string(64)


@pytest.mark.parametrize("step", [(), *((step,) for step in STEPS)])
@pytest.mark.parametrize(
    ("fallbacks", "reason"),
    [
        ([THIRD], "changed by hand"),
        ([THIRD, FOURTH], "changed by hand"),
        ([OLD], "changed by hand"),
        ([OLD, OLD], "changed by hand"),
        ([OLD, THIRD, FOURTH], "changed by hand"),
        (THIRD, "not a JSON list"),
    ],
)
def test_keys_that_do_not_belong_together_are_left_alone(
    store: ParameterStore, fallbacks: object, reason: str, step: tuple[str, ...]
) -> None:
    store.values[FALLBACKS] = json.dumps(fallbacks)
    store.written_at[FALLBACKS] = datetime.now(UTC)
    with pytest.raises(CommandError, match=reason) as caught:
        call_command("rotate_secret_key", *step)
    for key in (OLD, THIRD, FOURTH):
        assert key not in str(caught.value)
    assert store.writes == []


def test_a_key_that_is_not_in_the_store_is_named(store: ParameterStore) -> None:
    del store.values[KEY]
    with pytest.raises(CommandError, match=f"no parameter {KEY}"):
        call_command("rotate_secret_key", "prepare")


def test_a_store_that_refuses_or_is_away_is_named(
    store: ParameterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(**_request: object) -> tuple[int, dict[str, object]]:
        return 400, {"Error": {"Code": "AccessDeniedException", "Message": "not authorized"}}

    def away(**_request: object) -> None:
        raise EndpointConnectionError(endpoint_url="https://aws.internal:4566")

    failures: list[tuple[Callable[..., object], str]] = [
        (denied, "AccessDeniedException.*ssm:PutParameter"),
        (away, "aws.internal:4566"),
    ]
    for failure, reason in failures:
        monkeypatch.setattr(store, "PutParameter", failure)
        with pytest.raises(CommandError, match=reason):
            rotate(store, "prepare")
    assert FALLBACKS not in store.values


# The setting -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "{", THIRD, f'"{THIRD}"', f'{{"a": "{THIRD}"}}', "[1]", "null"]
)
def test_a_damaged_value_stops_the_start_and_is_not_shown(text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="not a JSON list of strings") as caught:
        fallback_keys({"SECRET_KEY": OLD, "SECRET_KEY_FALLBACKS": text})
    assert THIRD not in str(caught.value)
    assert caught.value.__context__ is None  # where the text would be


def test_no_value_means_no_fallback() -> None:
    assert fallback_keys({"SECRET_KEY": OLD}) == []


@pytest.mark.django_db
def test_requests_sent_at_the_same_time_stay_logged_in(
    neighbours: tuple[Process, Process], client: Client, user: User
) -> None:
    """The answer to the first must not make the session of the second void."""
    one, other = neighbours
    with one.running():
        client.force_login(user)
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    for _ in range(2):
        cache.clear()
        client.cookies[settings.SESSION_COOKIE_NAME] = session
        assert logged_in(client, other)
