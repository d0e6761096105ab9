"""When commands are due, and that one that fails stops nothing."""

import os
import signal
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.conf import settings as in_force
from django.core.management import call_command, get_commands
from pytest_django import Settings

from apps.scheduler.management.commands import scheduler
from apps.scheduler.plan import Plan

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def test_everything_is_due_at_the_start_and_then_each_in_its_time() -> None:
    plan = Plan({"often": MINUTE, "seldom": HOUR})
    assert plan.due(1000.0) == ["often", "seldom"]
    assert plan.due(1000.0) == []
    assert plan.due(1059.9) == []
    assert plan.due(1060.0) == ["often"]
    assert plan.due(4600.0) == ["often", "seldom"]


def test_missed_runs_are_not_made_up_for() -> None:
    plan = Plan({"often": MINUTE})
    plan.due(0.0)
    assert plan.due(600.0) == ["often"]
    assert plan.due(601.0) == []
    assert plan.due(660.0) == ["often"]


def test_how_long_to_sleep() -> None:
    plan = Plan({"often": MINUTE, "seldom": HOUR})
    assert plan.seconds_to_next(1000.0) == 0.0
    plan.due(1000.0)
    assert plan.seconds_to_next(1000.0) == 60.0
    assert plan.seconds_to_next(1045.0) == 15.0
    assert plan.seconds_to_next(2000.0) == 0.0
    assert Plan({}).seconds_to_next(5.0) == 3600.0
    assert Plan({}).due(5.0) == []


@pytest.mark.parametrize("every", [timedelta(0), -MINUTE])
def test_an_interval_must_be_positive(every: timedelta) -> None:
    with pytest.raises(ValueError, match=r"positive intervals: wrong\.$"):
        Plan({"right": MINUTE, "wrong": every})


def test_the_project_s_schedule_names_commands_that_exist() -> None:
    assert in_force.SCHEDULE.keys() <= get_commands().keys()
    Plan(in_force.SCHEDULE)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> list[str]:
    """Record the commands that run; two of the three fail."""
    names: list[str] = []

    def call(name: str) -> None:
        names.append(name)
        if name == "fails":
            raise RuntimeError("broken on purpose")
        if name == "exits":
            raise SystemExit(1)

    settings.SCHEDULE = {"fails": MINUTE, "exits": MINUTE, "works": HOUR}
    monkeypatch.setattr(scheduler, "call_command", call)
    monkeypatch.setattr(scheduler, "close_old_connections", lambda: None)
    return names


def test_once_runs_what_is_due_and_ends(
    ran: list[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slept(_seconds: float) -> None:
        pytest.fail("it goes on")

    monkeypatch.setattr(scheduler, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=slept))
    call_command("scheduler", "--once")
    assert ran == ["fails", "exits", "works"]
    assert "broken on purpose" in caplog.text
    assert caplog.text.count("scheduled_command_failed") == 2
    assert caplog.text.count("scheduled_command_done") == 1


def test_it_sleeps_until_the_next_and_goes_on_until_it_is_told_to_stop(
    ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    clock = SimpleNamespace(monotonic=lambda: now + sum(slept), sleep=sleep)
    monkeypatch.setattr(scheduler, "time", clock)
    call_command("scheduler")
    assert ran == ["fails", "exits", "works", "fails", "exits", "fails", "exits"]
    assert slept == pytest.approx([60, 60, 60])
