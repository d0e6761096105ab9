"""People's ways in are closed unless opened, and the tunnel changes nothing of the verification."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from botocore.exceptions import ClientError

import cache_shell
import connect
from connect import ConnectError, Running
from deploy import Deployment
from tests.whole import PROJECT
from tests.whole import environment as environment_of

TASK = {
    "taskArn": "arn:aws:ecs:eu-central-1:111111111111:task/cluster/0a1b2c",
    "containers": [
        {"name": "proxy", "runtimeId": "0a1b2c-1"},
        {
            "name": "app",
            "runtimeId": "0a1b2c-2",
            "managedAgents": [{"name": "ExecuteCommandAgent", "lastStatus": "RUNNING"}],
        },
    ],
}


class AWS:
    """Answers as AWS does for an environment whose worker has these tasks."""

    def __init__(self, tasks: list[dict[str, Any]], *, stacks: bool = True) -> None:
        self._tasks, self._stacks = tasks, stacks

    def client(self, _service: str, *, region_name: str) -> "AWS":
        assert region_name == PROJECT.region
        return self

    def describe_stacks(self, *, StackName: str) -> dict[str, Any]:  # noqa: N803
        if not self._stacks:
            error = {
                "Error": {
                    "Code": "ValidationError",
                    "Message": f"Stack with id {StackName} does not exist",
                }
            }
            raise ClientError(error, "DescribeStacks")  # type: ignore[arg-type]
        outputs = {"ClusterName": "cluster", "WorkerServiceName": "worker"}
        listed = [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()]
        return {"Stacks": [{"Outputs": listed}]}

    def list_tasks(self, **_query: str) -> dict[str, Any]:
        return {"taskArns": [task["taskArn"] for task in self._tasks]}

    def describe_tasks(self, **_query: Any) -> dict[str, Any]:
        return {"tasks": self._tasks}


def running(*tasks: dict[str, Any], exec: bool = True, stacks: bool = True) -> Running:  # noqa: A002
    environment = replace(environment_of("staging-1"), exec=exec)
    client = AWS(list(tasks), stacks=stacks).client
    return Running(Deployment(project=PROJECT, environment=environment, client=client))


def test_the_container_of_a_session_is_named_as_session_manager_wants_it() -> None:
    found = running(TASK)
    task, container = found.task("worker")
    target = connect.session_target(found.cluster(), task, container)
    assert target == "ecs:cluster_0a1b2c_0a1b2c-2"


def test_where_nobody_is_let_in_the_fix_is_told() -> None:
    with pytest.raises(ConnectError, match=r"Set exec = true below \[environments.staging-1\]"):
        running(TASK, exec=False).check_open()


@pytest.mark.parametrize(
    "tasks",
    [[], [{**TASK, "containers": [{"name": "app", "runtimeId": "0a1b2c-2"}]}]],
    ids=["none", "without an agent"],
)
def test_without_a_task_that_is_ready_the_fix_is_told(tasks: list[dict[str, Any]]) -> None:
    with pytest.raises(ConnectError, match=f"None of the {len(tasks)} running tasks.*deploy again"):
        running(*tasks).task("worker")


def test_an_environment_that_is_not_there_is_said_to_be_missing() -> None:
    with pytest.raises(ConnectError, match=r"no stack shop-staging-1-release.*AWS_PROFILE"):
        running(TASK, stacks=False).cluster()


def test_a_stack_that_is_not_ready_is_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    half = {"Stacks": [{"StackStatus": "CREATE_IN_PROGRESS"}]}
    monkeypatch.setattr(AWS, "describe_stacks", lambda *_, **__: half)
    with pytest.raises(ConnectError, match=r"no output ClusterName.*CREATE_IN_PROGRESS.*Deploy"):
        running(TASK).cluster()


def test_nothing_is_left_of_a_tunnel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`aws` starts the plugin, which holds the tunnel and would outlive it."""
    plugin = tmp_path / "plugin"
    aws = tmp_path / "aws"
    aws.write_text(
        f"#!/bin/sh\nsleep 60 &\necho $! > {plugin}.new; mv {plugin}.new {plugin}; wait\n"
    )
    aws.chmod(0o755)

    def opened(*_arguments: Any) -> None:
        while not plugin.exists():
            time.sleep(0.01)

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(connect, "_wait_for", opened)
    with connect.tunnel(running(TASK), "db.example", 5432):
        pid = int(plugin.read_text())
        assert os.getpgid(pid) != os.getpgid(0), "Ctrl-C would reach it"
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}/stat").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
        assert time.monotonic() < deadline, "the plugin still runs"
        time.sleep(0.01)


def test_ctrl_c_is_for_the_program_that_has_the_terminal() -> None:
    before = signal.getsignal(signal.SIGINT)
    interrupt = f"trap 'exit 7' INT; kill -INT {os.getpid()}; kill -INT $$"
    assert connect._foreground(["sh", "-c", interrupt]) == 7
    assert signal.getsignal(signal.SIGINT) is before


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "psql" else f"/bin/{name}")
    with pytest.raises(ConnectError, match=r"psql is not on your PATH\. Install it: https://"):
        connect.to_database(running(TASK))


def test_in_the_tunnel_the_real_server_is_verified() -> None:
    parameters = dict(
        each.split("=", 1) for each in connect.conninfo("db.example", "master", 15432).split()
    )
    assert parameters["host"] == "db.example"
    assert parameters["hostaddr"] == "127.0.0.1"
    assert parameters["sslmode"] == "verify-full"
    assert parameters["channel_binding"] == "require"
    assert Path(parameters["sslrootcert"].strip("'")) == connect.DATABASE_CA_FILE


def test_the_password_is_in_no_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    class Tunnel:
        pid = 1

        def __init__(self, arguments: list[str], **_options: Any) -> None:
            seen.append(arguments)

        def wait(self) -> None: ...

    def call(arguments: list[str], *, env: dict[str, str]) -> int:
        seen.append(arguments)
        assert env["PGPASSWORD"] == "the-password"
        return 0

    found = running(TASK)
    database = {"host": "db", "port": 5432, "username": "master", "password": "the-password"}
    monkeypatch.setattr(found, "database", lambda: database)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(os, "killpg", lambda *_: None)
    monkeypatch.setattr(subprocess, "Popen", Tunnel)
    monkeypatch.setattr(subprocess, "call", call)
    monkeypatch.setattr(connect, "_wait_for", lambda *_: None)
    assert connect.to_database(found) == 0
    assert len(seen) == 2
    assert "AWS-StartPortForwardingSessionToRemoteHost" in seen[0]
    assert "the-password" not in str(seen)


def test_the_cache_is_verified_through_the_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: dict[str, Any] = {}

    @contextmanager
    def tunnel(_running: Running, host: str, port: int) -> Iterator[int]:
        assert (host, port) == ("cache.example", 6379)
        yield 15432

    def refuse(**options: Any) -> None:
        opened.update(options)
        raise redis.ConnectionError("certificate verify failed")

    found = running(TASK)
    monkeypatch.setattr(found, "cache", lambda: ("cache.example", "the-password"))
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(connect, "tunnel", tunnel)
    monkeypatch.setattr(cache_shell, "open_cache", refuse)
    with pytest.raises(ConnectError, match=r"is not cache\.example: certificate verify failed"):
        connect.to_cache(found)
    assert opened["host"] == "cache.example"
    assert (opened["tunnel"], opened["ca_file"]) == (15432, connect.CACHE_CA_FILE)
