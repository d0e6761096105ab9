"""A PostgreSQL server of its own, with the project's configuration and TLS."""

# ruff: noqa: S603 (the tests run the project's own programs)

import contextlib
import os
import runpy
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from config.project import BASE_DIR
from tests.encryption.certificates import Authority
from tests.encryption.processes import free_port

SUPERUSER, PASSWORD = "postgres", "the-superusers-password-of-the-tests"
# As on RDS: every role may come, and a member of rds_iam is asked for a token.
_HBA = "hostssl all +rds_iam all password\nhostssl all all all scram-sha-256\n"
_CONFIGURATION = "\nfsync = off\nlog_statement = 'all'\nlog_min_error_statement = error\n"


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A running server; `ca_file` verifies it."""

    port: int
    ca_file: str
    log: Path

    def connect(self, user: str, password: str, database: str = "postgres") -> Any:
        """Connect as anybody, verified and in autocommit."""
        return psycopg.connect(
            host="localhost",
            port=self.port,
            dbname=database,
            user=user,
            password=password,
            sslmode="verify-full",
            sslrootcert=self.ca_file,
            autocommit=True,
        )

    def superuser(self, database: str = "postgres") -> Any:
        """Connect as who may do everything."""
        return self.connect(SUPERUSER, PASSWORD, database)


def programs() -> tuple[Path, list[str]]:
    """Return the directory of the server's programs, and what runs them as its user."""
    native = runpy.run_path(str(BASE_DIR / "scripts" / "native.py"))
    postgres = native["find_servers"]().get("postgres", "")
    directory = os.environ.get("POSTGRES_BIN") or (postgres and Path(postgres).resolve().parent)
    if not directory:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("PostgreSQL is missing")
    return Path(directory), [str(word) for word in native["as_postgres"]()]


@contextlib.contextmanager
def cluster(authority: Authority) -> Iterator[Cluster]:
    """Serve from a new data directory until the block ends."""
    directory, prefix = programs()
    with tempfile.TemporaryDirectory(prefix="pg-roles-") as name:
        home = Path(name)
        port = free_port()
        services = BASE_DIR / "services" / "postgres"
        configuration = (services / "postgresql.conf").read_text() + _CONFIGURATION
        (home / "postgresql.conf").write_text(configuration)
        (home / "pg_hba.conf").write_text(_HBA + (services / "pg_hba.conf").read_text())
        (home / "password").write_text(PASSWORD)
        for file in ("tls.key", "tls.crt"):
            shutil.copy(authority.of("postgres") / file, home / file)
        (home / "tls.key").chmod(0o600)
        if prefix:
            for path in (home, *home.iterdir()):
                shutil.chown(path, "postgres", "postgres")

        def call(program: str, *arguments: str) -> None:
            command = [*prefix, str(directory / program), *arguments]
            with (home / "made").open("a") as made:
                subprocess.run(command, cwd=home, check=True, stdout=made, stderr=made)

        data = f"--pgdata={home / 'data'}"
        user = (f"--username={SUPERUSER}", f"--pwfile={home / 'password'}")
        call("initdb", "--no-sync", "--auth=scram-sha-256", "--no-locale", "-EUTF8", *user, data)
        options = {
            "port": port,
            "listen_addresses": "localhost",
            "unix_socket_directories": home,
            "config_file": home / "postgresql.conf",
            "hba_file": home / "pg_hba.conf",
            "ssl_cert_file": home / "tls.crt",
            "ssl_key_file": home / "tls.key",
        }
        words = " ".join(f"-c {name}={value}" for name, value in options.items())
        call("pg_ctl", "start", "--wait", f"--log={home / 'log'}", f"--options={words}", data)
        try:
            ca_file = str(authority.certificate)
            yield Cluster(port=port, ca_file=ca_file, log=home / "log")
        finally:
            call("pg_ctl", "stop", "--mode=immediate", data)
