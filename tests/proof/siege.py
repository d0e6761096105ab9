"""Fixtures of tests that attack the edge: whom they must not harm, and who looks on."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from edge import Recorder, SecondProxy, Victim, Watcher, edge_of, new_victim, slowest
from raw_http import Edge
from report import Evidence
from stack import NativeStack, wait_until


@pytest.fixture(scope="session")
def victim(native: NativeStack) -> Victim:
    """Somebody whose data are there before everything else."""
    return new_victim(native)


@pytest.fixture
def edge(native: NativeStack, evidence: Evidence) -> Iterator[Edge]:
    """Where to send to; meanwhile /livez must answer within a second."""
    edge = edge_of(native)
    with Watcher(edge) as watcher:
        yield edge
        wait_until(lambda: watcher.seconds)
    slowest.append(watcher.slowest)
    evidence.line(
        "edge",
        subject="Alive meanwhile",
        tried=f"/livez over {len(watcher.seconds)} new connections",
        expected="200 within 1000 ms",
        seen=f"slowest {watcher.slowest} ms; {', '.join(watcher.failures) or 'all 200'}",
    )
    assert watcher.failures == []
    assert watcher.slowest < 1000, f"load of the machine: {os.getloadavg()[0]:.0f}"


@pytest.fixture
def second(
    native: NativeStack, tmp_path: Path, foreign: bool
) -> Iterator[tuple[SecondProxy, Recorder]]:
    """A proxy of the same project, not running yet, and what it will take for gunicorn."""
    with Recorder(native) as recorder:
        yield SecondProxy(native, tmp_path / "second", recorder.port, foreign=foreign), recorder
