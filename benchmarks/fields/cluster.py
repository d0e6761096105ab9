"""A PostgreSQL server of the benchmark's own, on a UNIX socket, gone afterwards."""

# ruff: noqa: S603 (it runs PostgreSQL's own programs)

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2] / "{{cookiecutter.project_slug}}"
sys.path.append(str(PROJECT / "scripts"))
sys.dont_write_bytecode = True  # generation would copy it

from native import as_postgres, find_servers  # noqa: E402

# Waiting for the disk would be the same for plain and encrypted rows, and so make every
# ratio look better. Tables are vacuumed between the measures, at the same moment each.
CONFIGURATION = """
listen_addresses = ''
unix_socket_directories = '{directory}'
fsync = off
synchronous_commit = off
full_page_writes = off
autovacuum = off
shared_buffers = 1GB
max_wal_size = 16GB
checkpoint_timeout = 1h
"""


@contextlib.contextmanager
def cluster() -> Iterator[dict[str, str]]:
    """Run a server; the variables say where. Exits if PostgreSQL is not installed."""
    server = find_servers().get("postgres")
    if not server:
        sys.exit(
            "bench: PostgreSQL is missing. Install it: sudo apt-get install postgresql, "
            "or brew install postgresql"
        )
    programs = Path(server).resolve().parent
    user = as_postgres()
    directory = Path(tempfile.mkdtemp(prefix="pg-bench-"))
    data = directory / "data"
    if user:
        shutil.chown(directory, "postgres", "postgres")
    control: list[str | Path] = [*user, programs / "pg_ctl", "-D", data, "-w", "-s"]
    try:
        _run(*user, programs / "initdb", "-D", data, "--username=bench", "--auth=trust")
        with (data / "postgresql.conf").open("a") as configuration:
            configuration.write(CONFIGURATION.format(directory=directory))
        _run(*control, "-l", directory / "log", "start")
        try:
            yield {"PGHOST": str(directory), "PGUSER": "bench", "PGDATABASE": "postgres"}
        finally:
            _run(*control, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(directory)


def _run(*command: str | Path) -> None:
    done = subprocess.run(
        command,
        cwd="/",  # PostgreSQL's user may not be allowed here
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"bench: PostgreSQL failed: {' '.join(map(str, command))}\n{done.stdout}")
