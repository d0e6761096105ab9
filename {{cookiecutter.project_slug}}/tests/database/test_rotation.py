"""A new password reaches what is running, and nothing fails meanwhile."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from operator import lt
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from apps.database.login import PasswordLogin
from apps.database.passwords import rotate
from tests.database.cluster import Cluster
from tests.database.conftest import MASTER, MASTER_PASSWORD, PASSWORDS, Configure
from tests.database.store import VersionedStore
from tests.secrets.parameter_store import Killed

THREADS = 8
ROTATIONS = 5


@contextmanager
def load(connection: Any) -> Iterator[list[BaseException]]:
    """Query in several threads, mostly over new connections; give what has failed."""
    failed: list[BaseException] = []
    done = threading.Event()
    counts = [0] * THREADS

    def work(number: int) -> None:
        mine = connection.handler["default"]
        while not done.is_set():
            try:
                with mine.cursor() as cursor:
                    cursor.execute("SELECT current_user")
                    assert cursor.fetchone() == ("app",)
                counts[number] += 1
            except Exception as error:
                failed.append(error)
            finally:
                mine.close()

    threads = [threading.Thread(target=work, args=[number]) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        while min(counts) < 1 and not failed:
            time.sleep(0.01)
        yield failed
        wanted = [count + 3 for count in counts]
        while any(map(lt, counts, wanted)) and not failed:
            time.sleep(0.01)
    finally:
        done.set()
        for thread in threads:
            thread.join()


def without_pool(connection: Any) -> None:
    del connection.settings_dict["OPTIONS"]["pool"]


def with_short_lives(connection: Any) -> None:
    """A pool that hardly uses a connection twice."""
    pool = connection.settings_dict["OPTIONS"]["pool"]
    pool |= {"max_lifetime": 0.05, "timeout": 20, "reconnect_timeout": 1}


WAYS = pytest.mark.parametrize("way", [with_short_lives, without_pool], ids=["pool", "no pool"])


@WAYS
def test_no_query_fails_while_the_password_rotates(
    as_app: Any, store: VersionedStore, way: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    way(as_app)
    with load(as_app) as failed:
        for _ in range(ROTATIONS):
            call_command("rotate_database_password", "app")
            time.sleep(0.1)
    assert failed == []
    written = [request["Value"] for request in store.writes[2:]]
    assert len(set(written)) == ROTATIONS
    assert all(len(value) == 40 for value in written)
    assert {request["Type"] for request in store.writes[2:]} == {"SecureString"}
    output = capsys.readouterr()
    assert not any(value in output.out + output.err for value in written)


@WAYS
def test_this_test_would_notice_a_password_that_is_kept(
    as_app: Any, way: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PasswordLogin, "passwords", lambda login: iter([login.kept]))
    way(as_app)
    as_app.settings_dict["OPTIONS"].get("pool", {})["timeout"] = 2
    with load(as_app) as failed:
        rotate("app")
    assert failed


def logs_in(server: Cluster, password: str, role: str = "app") -> bool:
    try:
        server.connect(role, password, "app").close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.mark.parametrize("role", PASSWORDS)
def test_the_old_password_is_worthless_then(
    as_app: Any, empty: Cluster, store: VersionedStore, role: str
) -> None:
    assert rotate(role)
    assert not logs_in(empty, PASSWORDS[role], role)
    assert logs_in(empty, store.writes[-1]["Value"], role)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("role", PASSWORDS)
def test_a_rotation_that_died_harms_nobody_and_is_finished_later(
    as_app: Any, empty: Cluster, store: VersionedStore, moment: str, role: str
) -> None:
    store.kill_at = moment
    with pytest.raises(Killed):
        rotate(role)
    store.kill_at = ""
    # What runs, and what starts now and reads the newest.
    for start in (PASSWORDS[role], stored(store, role)):
        assert PASSWORDS[role] in attempts(start, empty, store, role)
    assert rotate(role) is (moment == "before")
    assert logs_in(empty, stored(store, role), role)
    assert not logs_in(empty, PASSWORDS[role], role)
    assert rotate(role)


def stored(store: VersionedStore, role: str) -> str:
    return next(
        versions[-1]
        for name, versions in store.versions.items()
        if ("release" in name) == (role == "migrator")
    )


def attempts(start: str, server: Cluster, store: VersionedStore, role: str) -> list[str]:
    """Return what a process that has `start` tries until it is let in."""
    tried = []
    for password in PasswordLogin(role, start, store.client).passwords():
        tried.append(password)
        if logs_in(server, password, role):
            break
    return tried


def test_a_rotation_that_died_is_finished_by_the_next_release_too(
    as_app: Any, empty: Cluster, store: VersionedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.kill_at = "after"
    with pytest.raises(Killed):
        rotate("app")
    store.kill_at = ""
    monkeypatch.setenv("DATABASE_MASTER_USER", MASTER)
    monkeypatch.setenv("DATABASE_MASTER_PASSWORD", MASTER_PASSWORD)
    call_command("create_roles")
    assert logs_in(empty, stored(store, "app"))
    assert not logs_in(empty, PASSWORDS["app"])


def test_passwords_that_nobody_knows_are_mended_by_create_roles(
    as_app: Any, empty: Cluster, store: VersionedStore
) -> None:
    with empty.superuser() as superuser:
        superuser.execute("ALTER ROLE app PASSWORD 'by-hand'")
    with pytest.raises(CommandError, match="create_roles"):
        call_command("rotate_database_password", "app")
    assert len(store.writes) == 2


def test_two_rotations_at_once_wait_for_each_other(
    as_app: Any, empty: Cluster, store: VersionedStore
) -> None:
    threads = [threading.Thread(target=rotate, args=["app"]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert logs_in(empty, stored(store, "app"))


def test_with_iam_there_is_nothing_to_rotate(configure: Configure) -> None:
    configure(DATABASE_LOGIN="iam", DATABASE_PASSWORD="")
    with pytest.raises(CommandError, match="no password to rotate"):
        call_command("rotate_database_password")


# How often the store is asked ----------------------------------------------------------------


def test_the_store_is_asked_only_after_a_refusal(as_app: Any, store: VersionedStore) -> None:
    without_pool(as_app)
    for _ in range(3):
        as_app.ensure_connection()
        as_app.close()
    assert store.reads == []


def test_a_store_that_fails_does_not_hide_the_refusal(
    as_app: Any, empty: Cluster, store: VersionedStore
) -> None:
    without_pool(as_app)
    store.versions.clear()
    with empty.superuser() as superuser:
        superuser.execute("ALTER ROLE app PASSWORD 'by-hand'")
    with pytest.raises(Exception, match="password authentication failed") as caught:
        as_app.ensure_connection()
    assert caught.value.__cause__
    assert "ParameterNotFound" in "".join(caught.value.__cause__.__notes__)


def test_the_newest_is_tried_again_after_the_former(as_app: Any, store: VersionedStore) -> None:
    """The server may have changed from one to the other between two attempts."""
    rotate("app")
    newest, former = stored(store, "app"), PASSWORDS["app"]
    login = PasswordLogin("app", newest, store.client)
    assert list(login.passwords()) == [newest, former, newest]


def test_another_failure_is_not_taken_for_a_refusal(as_app: Any, store: VersionedStore) -> None:
    without_pool(as_app)
    as_app.settings_dict["PORT"] = "1"
    with pytest.raises(Exception, match="refused"):
        as_app.ensure_connection()
    assert store.reads == []
