"""`tests/with_postgresql.py` of a project: a server for one command and for nobody else."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import TEMPLATE_FOLDER
from stack import wait_until

needs_postgresql = pytest.mark.skipif(
    not (shutil.which("postgres") or [*Path("/usr/lib/postgresql").glob("*/bin/postgres")]),
    reason="PostgreSQL is not installed",
)


class Runner:
    """Runs commands with the runner of the project in `root`; `temporary` is its TMPDIR."""

    def __init__(self, root: Path, temporary: Path) -> None:
        self.root = root
        self.temporary = temporary

    def start(self, command: str, **variables: str) -> subprocess.Popen[str]:
        """Start a shell command in a process group of its own."""
        env = {**os.environ, "TMPDIR": str(self.temporary), "PYTHONDONTWRITEBYTECODE": "1"}
        env.pop("CI", None)
        return subprocess.Popen(
            [sys.executable, "-m", "tests.with_postgresql", "sh", "-c", command],
            cwd=self.root,
            env=env | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            # Shells start background commands with SIGINT ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def run(self, command: str, **variables: str) -> tuple[int, str]:
        """Return the status and the output."""
        process = self.start(command, **variables)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output

    def leftovers(self) -> list[str]:
        """Files, and processes that know of them."""
        found = list(map(str, self.temporary.iterdir()))
        for process in Path("/proc").glob("[0-9]*"):
            try:
                command = (process / "cmdline").read_bytes()
            except OSError:  # it has ended
                continue
            if bytes(self.temporary) in command:
                found.append(command.replace(b"\0", b" ").decode())
        return found


@pytest.fixture
def runner(template: Path) -> Iterator[Runner]:
    """The path is short for the socket's sake, and open to PostgreSQL's own user."""
    with tempfile.TemporaryDirectory(prefix="t-") as temporary:
        Path(temporary).chmod(0o755)
        yield Runner(template / TEMPLATE_FOLDER, Path(temporary))


@needs_postgresql
@pytest.mark.parametrize(("command", "status"), [("exit 7", 7), ("kill -KILL $$", 137)])
def test_the_status_is_the_command_s_and_nothing_is_left(
    runner: Runner, command: str, status: int
) -> None:
    assert runner.run(command) == (status, "")
    assert runner.leftovers() == []


@needs_postgresql
def test_nobody_else_can_reach_the_server_and_its_user_is_no_superuser(runner: Runner) -> None:
    settings = "current_setting('listen_addresses'), current_setting('is_superuser')"
    psql = 'psql --host "$TESTS_POSTGRESQL_DIR" --username tests --no-align --tuples-only postgres'
    status, output = runner.run(
        f"""{psql} --command "SELECT 'addresses:', {settings}"; ls -ld "$TESTS_POSTGRESQL_DIR" """
    )
    assert status == 0, output
    answer, directory = output.splitlines()
    assert answer == "addresses:||off"
    assert directory.startswith("drwx------")


@needs_postgresql
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_command_and_the_server(runner: Runner, number: signal.Signals) -> None:
    with runner.start("echo runs; exec sleep 60") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "runs\n"
        assert len(runner.leftovers()) > 1
        if number == signal.SIGINT:  # which a terminal sends to the whole group
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        assert process.wait(30) == 128 + number
    assert runner.leftovers() == []


@needs_postgresql
def test_a_signal_while_the_server_starts_leaves_nothing(runner: Runner) -> None:
    with runner.start("echo runs") as process:
        assert wait_until(runner.leftovers)
        process.terminate()
        output, _ = process.communicate(timeout=30)
        assert (process.returncode, output) == (128 + signal.SIGTERM, "")
    assert wait_until(lambda: not runner.leftovers())


@pytest.mark.parametrize(("ci", "expected"), [("false", 0), ("true", 1)])
def test_without_postgresql_it_says_so_and_fails_only_in_ci(
    runner: Runner, tmp_path: Path, ci: str, expected: int
) -> None:
    runner.root = shutil.copytree(runner.root, tmp_path / "project")
    # Where it looks for servers, none is found.
    (runner.root / "scripts" / "native.py").write_text("find_servers = dict")
    status, output = runner.run("echo runs", CI=ci)
    assert status == expected
    assert output.startswith("with_postgresql: PostgreSQL is not installed, so the tests ran on")
    assert "runs" not in output
    assert output.count("\n") == 1
