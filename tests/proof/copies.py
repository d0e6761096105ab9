"""Copies of a project that are edited: one whose servers run, others whose tests run."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from authority import Pair
from mutant import Edit
from stack import NativeStack, listens, wait_until

# Processes of the Procfile, with the variables of their addresses.
ADDRESS = {
    "proxy": "HTTPS_PORT HTTP_PORT",
    "app": "GUNICORN_ADDRESS",
    "postgres": "DATABASE_PORT",
    "cache": "CACHE_PORT",
    "aws": "AWS_PORT",
}
VENVS = (".venv", "services/aws/.venv")
TESTER = Path(__file__).parent / "tester.py"
# Python takes a compiled file for that of a source with the same time, in whole seconds.
_times = count(int(time.time()) + 1)


def copy_of(project: Path, folder: Path) -> None:
    """Copy a project, but share what takes long to make."""
    shutil.copytree(project, folder, ignore=shutil.ignore_patterns(".venv", "__pycache__"))
    for venv in VENVS:
        (folder / venv).symlink_to(project / venv)


@contextmanager
def edited(folder: Path, edits: Sequence[Edit]) -> Iterator[None]:
    """Apply edits that fit (`misfit`) until the end of the block."""
    files = {folder / edit.file for edit in edits}
    before = {file: (file.read_bytes(), file.stat()) for file in files}
    try:
        for edit in edits:
            file = folder / edit.file
            file.write_text(file.read_text().replace(edit.old, edit.new))
            os.utime(file, (moment := next(_times), moment))
        yield
    finally:
        for file, (content, stat) in before.items():
            file.write_bytes(content)
            os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


class TestedCopy:
    """A copy whose tests run in processes that have the libraries loaded already."""

    __test__ = False

    def __init__(self, project: NativeStack, folder: Path) -> None:
        copy_of(project.project, folder)
        self.folder = folder
        ours = {"MODE", "KEYRING_MAX_AGE", *project.addresses}
        self._tester = subprocess.Popen(
            [folder / ".venv/bin/python", TESTER],
            cwd=folder,
            env={name: value for name, value in project.env.items() if name not in ours},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def failing(self, tests: Sequence[str], seconds: int = 120) -> list[str]:
        """Run tests; return the ids of those that fail.

        Raises `RuntimeError` if they cannot be run, or do not end: that is no test that fails.
        """
        log = self.folder / "tests.log"
        order = {"tests": [*tests], "log": str(log), "seconds": seconds}
        assert self._tester.stdin
        assert self._tester.stdout
        self._tester.stdin.write(json.dumps(order) + "\n")
        self._tester.stdin.flush()
        status = self._tester.stdout.readline().strip()
        said = log.read_text() if log.exists() else ""
        if status not in ("0", "1"):
            raise RuntimeError(f"the tests ended with {status or 'nothing'}: {said[-3000:]}")
        lines = (line for line in said.splitlines() if line.startswith("FAILED "))
        found = [line.removeprefix("FAILED ").partition(" - ")[0] for line in lines]
        if bool(found) != (status == "1"):
            raise RuntimeError(f"the tests could not be run: {said[-3000:]}")
        return found

    def close(self) -> None:
        """End the tests' process."""
        self._tester.kill()
        self._tester.communicate()


class ServedCopy(NativeStack):
    """A copy whose servers are started beside the healthy stack's, by their Procfile lines.

    Its `verify_encryption` sees such a server in place of the healthy one, and everything
    else as before.
    """

    def __init__(self, healthy: NativeStack, folder: Path, tools: Path) -> None:
        """Copy the project, and let it make a state of its own."""
        copy_of(healthy.project, folder)
        super().__init__(folder, tools)
        self.healthy = healthy
        native = (".venv/bin/python", "scripts/native.py")
        self.run(*native, "up")
        runner = Path("/proc") / (self.state / "pid").read_text().strip() / "environ"
        pairs = runner.read_bytes().decode().rstrip("\0").split("\0")
        self.servers_env = dict(pair.split("=", 1) for pair in pairs)
        self.run(*native, "down")
        # The healthy stack's database is read with the keys that encrypted it.
        self.put_back_aws()

    def put_back_aws(self) -> None:
        """Give the stand-in for AWS what the healthy stack's holds."""
        shutil.rmtree(self.state / "aws")
        shutil.copytree(self.healthy.state / "aws", self.state / "aws")

    def beside(self, *processes: str, **env: str) -> dict[str, str]:
        """Variables with the healthy stack's addresses, but the copy's for some processes."""
        healthy, own = self.healthy.addresses, self.addresses
        replaced = {name: own[name] for each in processes for name in ADDRESS[each].split()}
        filled = {name: value.format(own=own, healthy=healthy) for name, value in env.items()}
        return healthy | replaced | filled

    def command_of(self, process: str) -> list[str]:
        """The command of the Procfile, without what it waits for or prepares first."""
        lines = (self.project / "Procfile").read_text().splitlines()
        [line] = [line for line in lines if line.startswith(f"{process}: ")]
        command = line.removeprefix(f"{process}: ").rpartition(" && ")[2]
        return [*map(str, self.inside("app")), "sh", "-c", command]

    @contextmanager
    def running(self, process: str, **env: str) -> Iterator[None]:
        """Run a server of the copy until the end of the block."""
        log = self.project / f"{process}.log"
        with log.open("w") as output:
            server = subprocess.Popen(
                self.command_of(process),
                cwd=self.project,
                env=self.servers_env | self.beside(process, **env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            port = int(self.addresses[ADDRESS[process].split()[0]].rpartition(":")[2])
            wait_until(lambda: listens(port) or server.poll() is not None)
            assert server.poll() is None, log.read_text()
            yield
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(20)

    def seed(self, env: Mapping[str, str]) -> None:
        """Fill the stand-in for AWS again, which changes what is there."""
        seed = ("python", "scripts/seed_local.py", ".env")
        done = self._run((*self.inside("app"), *seed), self.env | dict(env))
        assert done.returncode == 0, done.stderr

    def start(self, process: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Start a process that must end by itself; "migrate" is the command, without effect."""
        command: Sequence[object] = self.command_of(process) if process != "migrate" else ()
        command = command or (*self.inside("app"), "python", "manage.py", "migrate", "--plan")
        words = ("timeout", "60", *command)
        return self._run(words, self.servers_env | dict(env))

    @contextmanager
    def mutated(self, edits: Sequence[Edit]) -> Iterator[None]:
        """Apply edits until the end of the block; PostgreSQL reads copies of its files."""
        try:
            with edited(self.project, edits):
                self._install_postgres_files()
                yield
        finally:
            self._install_postgres_files()

    def _install_postgres_files(self) -> None:
        for name in ("postgresql.conf", "pg_hba.conf"):
            installed = self.state / "conf-postgres" / name
            installed.write_bytes((self.project / "services" / "postgres" / name).read_bytes())

    @contextmanager
    def showing(self, service: str, pair: Pair | None) -> Iterator[None]:
        """Give a service another certificate until the end of the block."""
        folder = self.state / "credentials" / service
        files = {folder / "tls.key": pair.key, folder / "tls.crt": pair.crt} if pair else {}
        before = {path: path.read_bytes() for path in files}
        try:
            for path, new in files.items():
                _replace(path, new.read_bytes())
            yield
        finally:
            for path, content in before.items():
                _replace(path, content)


def _replace(path: Path, content: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(content)
    path.chmod(0o400)
