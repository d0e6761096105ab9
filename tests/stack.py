"""A generated project that runs, with Docker or as native processes, and fixtures of both.

`conftest.py` loads this module as a plugin, so that all test modules share one stack per mode.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pytest
from conftest import Bake, copy_project

NAME = "Note Box"
LOG_LINES = 60

# What a tester's own shell, `uv run` or `make` would pass on and a new user does not have.
_FOREIGN = (
    *("AWS_", "COMPOSE_", "DJANGO_", "MAKE", "MFLAGS", "MODE"),
    *("PYTHON", "UV_PROJECT", "VIRTUAL_ENV"),
)


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def listens(port: int) -> bool:
    """Does anything on this machine accept connections at the port?"""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition: Callable[[], object], seconds: float = 30, every: float = 0.05) -> bool:
    """Ask again and again; return whether the answer was true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True


@dataclass(frozen=True)
class Verification:
    """What `manage.py verify_encryption --json` said."""

    exit_status: int
    message: str
    results: list[dict[str, Any]]

    @property
    def short(self) -> dict[str, list[str]]:
        """Names of hops and stores that fall short, each with the claims that are not true."""
        return {
            result["name"]: [proof["claim"] for proof in result["proofs"] if not proof["holds"]]
            for result in self.results
            if not result["ok"]
        }


class Stack(ABC):
    """One generated project in one mode. The verbs are its Makefile's."""

    mode: ClassVar[str]

    def __init__(self, project: Path, tools: Path) -> None:
        """Choose ports that are free. `tools` is a folder to put first on PATH."""
        self.project = project
        https, http, database, cache, aws, gunicorn = free_ports(6)
        self.addresses = {
            "HTTPS_PORT": str(https),
            "HTTP_PORT": str(http),
            "DATABASE_PORT": str(database),
            "CACHE_PORT": str(cache),
            "AWS_PORT": str(aws),
            "GUNICORN_ADDRESS": f"127.0.0.1:{gunicorn}",
        }
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
        path = f"{tools}{os.pathsep}{os.environ['PATH']}"
        # A rotation of keys waits so many seconds, three times.
        fast = {"KEYRING_MAX_AGE": "3"}
        self.env = inherited | {"PATH": path, "MODE": self.mode, **fast, **self.addresses}

    @property
    def url(self) -> str:
        return f"https://localhost:{self.addresses['HTTPS_PORT']}"

    @property
    def ports(self) -> list[int]:
        """Every port that this stack may listen on."""
        return [int(address.rpartition(":")[2]) for address in self.addresses.values()]

    @property
    def ca(self) -> Path:
        return self.project / ".local" / "certs" / "ca.crt"

    @cached_property
    def slug(self) -> str:
        """The project's own name: its folder may have another."""
        document = tomllib.loads((self.project / "project.toml").read_text())
        return str(document["project"]["slug"])

    @cached_property
    def secrets(self) -> dict[str, str]:
        """What .env says."""
        lines = (self.project / ".env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line and line[0] != "#")

    @cached_property
    def listed(self) -> list[dict[str, Any]]:
        """Hops and stores of `encryption.toml`."""
        document = tomllib.loads((self.project / "encryption.toml").read_text())
        return [*document["hop"], *document["store"]]

    def run(self, *command: object) -> str:
        """Run a command in the project's folder; return what it wrote, or fail with the log."""
        result = self._run(command, self.env)
        if result.returncode != 0:
            said = f"exit status {result.returncode}\n{result.stdout}{result.stderr}"
            pytest.fail(f"{' '.join(map(str, command))}: {said}\n{self.log()}", pytrace=False)
        return result.stdout

    def _run(
        self, command: tuple[object, ...], env: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        words = [str(word) for word in command]
        nothing = subprocess.DEVNULL
        return subprocess.run(
            words, cwd=self.project, env=env, stdin=nothing, capture_output=True, text=True
        )

    def up(self) -> None:
        self.run("make", "up")

    def down(self) -> None:
        self.run("make", "down")

    def restart(self) -> None:
        """Stop everything and start it again; the data stay."""
        self.down()
        self.up()

    def clean(self) -> None:
        self.run("make", "clean")

    def destroy(self) -> None:
        """Remove everything, whatever state the stack is in, and fail if `clean` did not."""
        try:
            self.clean()
            assert self.leftovers() == []
        finally:
            self.remove()

    def manage(self, *arguments: str) -> str:
        """Run a command of manage.py in the running application."""
        return self.run(*self.inside("app"), "python", "manage.py", *arguments)

    def shell(self, code: str, role: str = "app") -> str:
        """Run Python in `manage.py shell`, where all models are imported."""
        command = ("python", "manage.py", "shell", "-v", "0", "-c", code)
        return self.run(*self.inside(role), *command).strip()

    def verify(self, role: str = "app", **env: str) -> Verification:
        """Ask a role's process whether every hop holds; `env` replaces variables."""
        command = (*self.inside(role), "python", "manage.py", "verify_encryption", "--json")
        result = self._run(command, self.env | env)
        results = json.loads(result.stdout) if result.stdout.startswith("[") else []
        return Verification(result.returncode, result.stderr, results)

    @abstractmethod
    def inside(self, role: str) -> tuple[object, ...]:
        """The prefix that runs a command where the role's process runs."""

    @abstractmethod
    def log(self) -> str:
        """The end of the log."""

    @abstractmethod
    def remove(self) -> None:
        """Remove what `make clean` keeps or could not stop."""

    @abstractmethod
    def leftovers(self) -> list[str]:
        """Everything of this stack that is on the machine, apart from the project's folder."""


class DockerStack(Stack):
    mode = "docker"

    @property
    def name(self) -> str:
        """Compose's name of the project."""
        return self.project.name

    def inside(self, role: str) -> tuple[object, ...]:
        if role == "release":  # which has ended
            return ("docker", "compose", "run", "--rm", "--no-deps", "-T", role)
        return ("docker", "compose", "exec", "-T", role)

    def log(self) -> str:
        states = self._run(("docker", "compose", "ps", "--all"), self.env).stdout
        tail = ("docker", "compose", "logs", "--no-color", "--tail", str(LOG_LINES))
        return states + self._run(tail, self.env).stdout

    def leftovers(self) -> list[str]:
        label = f"label=com.docker.compose.project={self.name}"
        found = [f"port {port}" for port in self.ports if listens(port)]
        for kind, of_all in (("container", ["--all"]), ("volume", []), ("network", [])):
            found += self.run("docker", kind, "ls", "-q", *of_all, "--filter", label).split()
        return found

    def remove(self) -> None:
        images = [f"{self.name}-{image}" for image in ("app", "aws", "cache", "postgres", "proxy")]
        self._run(("docker", "image", "rm", "--force", *images), self.env)

    def in_network(self, image: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in one more container of the stack's network, which has the CA."""
        volume = f"{self.name}_credentials-worker:/run/credentials:ro"
        options = ("--rm", "--user", "10001", "--network", f"{self.name}_default", "-v", volume)
        run = ("docker", "run", *options, "--entrypoint", command[0], image, *command[1:])
        return self._run(run, self.env)


class NativeStack(Stack):
    mode = "native"

    @cached_property
    def state(self) -> Path:
        """The folder with the data and keys of the running stack."""
        # With any Python: the project's own may not be there yet.
        command = (sys.executable, "scripts/native.py", "env", "printenv", "STATE_DIR")
        return Path(self.run(*command).strip())

    def inside(self, role: str) -> tuple[object, ...]:
        # As `make verify` does, without the time that uv takes.
        native = (self.project / ".venv/bin/python", "scripts/native.py", "env")
        return ("env", f"ROLE={role}", *native)

    def log(self) -> str:
        if not (self.state / "log").exists():
            return "(no log)"
        return "\n".join((self.state / "log").read_text().splitlines()[-LOG_LINES:])

    def processes(self) -> dict[int, str]:
        """Processes that this stack started: they run in, or know, its folders."""
        signs = [bytes(self.state), bytes(self.project)]
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                command = (process / "cmdline").read_bytes()
                known = bytes((process / "cwd").readlink()) + command
                known += (process / "environ").read_bytes()
            except OSError:  # it has ended
                continue
            if any(sign in known for sign in signs):
                found[int(process.name)] = command.replace(b"\0", b" ").decode()
        return found

    def leftovers(self) -> list[str]:
        found = [f"port {port}" for port in self.ports if listens(port)]
        found += [f"process {number} {command}" for number, command in self.processes().items()]
        return [*found, *([str(self.state)] if self.state.exists() else [])]

    def remove(self) -> None:
        for number in self.processes():
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        shutil.rmtree(self.state, ignore_errors=True)


# Fixtures ----------------------------------------------------------------------------


def require_docker() -> None:
    for command in (["docker", "compose", "version"], ["docker", "info"]):
        if not shutil.which("docker") or subprocess.run(command, capture_output=True).returncode:
            pytest.skip(f"'{' '.join(command)}' fails: no Docker engine answers")


def require_native() -> None:
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", *_postgres_folders()])
    servers = ("postgres", "nginx", "valkey-server redis-server")
    found = [any(shutil.which(name, path=path) for name in server.split()) for server in servers]
    installable = os.geteuid() == 0 and shutil.which("apt-get")
    if not all(found) and not installable:
        pytest.skip(f"not all of {', '.join(servers)} are here, and apt-get cannot be used")


def _postgres_folders() -> list[str]:
    return [str(folder) for folder in Path("/usr/lib/postgresql").glob("*/bin")]


def require_programs(*names: str) -> None:
    for name in names:
        if not shutil.which(name):
            pytest.skip(f"{name} is not installed")


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PATH with the uv that runs the tests, as users have one."""
    folder = tmp_path_factory.mktemp("tools")
    if uv := os.environ.get("UV"):
        (folder / "uv").symlink_to(uv)
    return folder


@pytest.fixture(scope="session")
def new_project(
    bake: Bake, given_project: Path | None, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], Path]:
    """Return a function that generates a project, or copies the one given by --project.

    Its folder has a name that no other stack here has.
    """

    def new() -> Path:
        name = f"note-box-{free_ports(1)[0]}"
        folder = tmp_path_factory.mktemp("stack")
        if given_project:
            copy_project(given_project, folder / name)
            for script in ("scripts/certs", "scripts/env"):  # as the hook does
                subprocess.run(["sh", script], cwd=folder / name, check=True, capture_output=True)
        else:
            result = bake(folder, [f"project_name={NAME}", f"project_slug={name}"])
            assert result.returncode == 0, result.stderr
        return folder / name

    return new


@pytest.fixture(scope="session")
def native(new_project: Callable[[], Path], tools: Path) -> Iterator[NativeStack]:
    """The native stack that tests share; they must leave it as healthy as it was."""
    require_native()
    stack = NativeStack(new_project(), tools)
    try:
        stack.up()
        yield stack
    finally:
        stack.destroy()


@pytest.fixture(scope="session")
def docker(new_project: Callable[[], Path], tools: Path) -> Iterator[DockerStack]:
    """The same with Docker, started by the very command that users type first."""
    require_docker()
    stack = DockerStack(new_project(), tools)
    try:
        stack.run("docker", "compose", "up", "--detach", "--wait")
        yield stack
    finally:
        stack.destroy()


@pytest.fixture(
    scope="session",
    params=[
        pytest.param("docker", marks=pytest.mark.docker),
        pytest.param("native", marks=pytest.mark.native),
    ],
)
def stack(request: pytest.FixtureRequest) -> Stack:
    """One stack after the other."""
    running: Stack = request.getfixturevalue(request.param)
    return running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of the stack's log with a test that failed."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        for value in item.funcargs.values():
            if isinstance(value, Stack):
                report.sections.append((f"log of the {value.mode} stack", value.log()))
    return report
