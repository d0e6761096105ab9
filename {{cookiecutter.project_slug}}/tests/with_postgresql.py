"""Run a command beside a PostgreSQL server of its own that nobody else can reach.

    python -m tests.with_postgresql pytest --ds=tests.settings_postgresql

The server listens on a UNIX socket only, in a directory that no other user may enter,
which is why it asks for no password. Server, data and directory are gone when the
command has ended or SIGINT, SIGTERM or SIGHUP has ended this.

Exits with the command's status, or 128 and a signal's number. Where PostgreSQL is not
installed the command is not run: a line says so, and it is a failure only with CI=true.
"""

# ruff: noqa: S603, T201 (a program that prints and runs programs)

import contextlib
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

VARIABLE = "TESTS_POSTGRESQL_DIR"  # the directory of the socket
PORT = "5432"  # no more than a part of the socket's name
USER = "tests"  # may make databases but is no superuser, as the application's role is none
# https://www.postgresql.org/docs/current/non-durability.html
CONFIGURATION = """
listen_addresses = ''
unix_socket_directories = '{directory}'
unix_socket_permissions = 0700
port = {port}
fsync = off
synchronous_commit = off
full_page_writes = off
"""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOP_SECONDS = 10
NATIVE = Path(__file__).resolve().parent.parent / "scripts" / "native.py"
MISSING = (
    "with_postgresql: PostgreSQL is not installed, so the tests ran on SQLite only. Install it "
    "with 'sudo apt-get install postgresql' or 'brew install postgresql'."
)


@contextlib.contextmanager
def server(programs: Path, prefix: Sequence[str]) -> Iterator[Path]:
    """Serve from a new cluster and give the directory of its socket.

    `programs` is the directory of PostgreSQL's programs, `prefix` runs them as a user
    that they accept. Raises SystemExit with what a program says that fails.
    """

    def call(name: str, *arguments: str | Path) -> None:
        with (directory / "log").open("w+") as log:
            done = subprocess.run(
                [*prefix, programs / name, *arguments],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            )
            if done.returncode:
                log.seek(0)
                sys.exit(f"with_postgresql: {name} failed.\n{log.read()}")

    # A short path: that of a socket may have at most 103 bytes.
    with tempfile.TemporaryDirectory(prefix="pg-tests-") as name:
        directory = Path(name)
        if prefix:
            shutil.chown(directory, "postgres", "postgres")
        data = directory / "data"
        own = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale"]
        call("initdb", "--no-sync", *own, "--pgdata", data)
        with (data / "postgresql.conf").open("a") as file:
            file.write(CONFIGURATION.format(directory=directory, port=PORT))
        try:
            call("pg_ctl", "start", "--wait", "--silent", "--pgdata", data)
            address = [f"--host={directory}", f"--port={PORT}", "--username=postgres"]
            call("createuser", *address, "--createdb", USER)
            yield directory
        finally:
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            if (data / "postmaster.pid").exists():
                call("pg_ctl", "stop", "--mode=immediate", "--silent", "--pgdata", data)


def run(command: Sequence[str], directory: Path) -> int:
    """Run the command and return its status; it does not outlive this function."""
    process = subprocess.Popen(command, env={**os.environ, VARIABLE: str(directory)})
    try:
        status = process.wait()
    except KeyboardInterrupt:  # which a terminal has sent to the command as well
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        raise
    finally:
        process.terminate()
        process.wait()
    return status if status >= 0 else 128 - status


def stop(number: int, _frame: FrameType | None) -> NoReturn:
    """End as a signal asks, through everything that cleans up."""
    sys.exit(128 + number)


def main(command: Sequence[str]) -> int:
    """Run the command beside a server and return the status to exit with."""
    native = runpy.run_path(str(NATIVE))
    postgres = native["find_servers"]().get("postgres")
    if not postgres:
        print(MISSING, file=sys.stderr)
        return 1 if os.environ.get("CI") == "true" else 0
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    with server(Path(postgres).resolve().parent, native["as_postgres"]()) as directory:
        return run(command, directory)


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit("usage: python -m tests.with_postgresql COMMAND...")
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
