"""Certificates for the tests, made by the project's own `scripts/certs`."""

# ruff: noqa: S603, S607 (the tests run the project's own programs)

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

from config.project import BASE_DIR

# `openssl ca` is the one command that signs with any dates, in every version.
_CA_CONFIG = """
[ca]
default_ca = tests
[tests]
database = {home}/index
new_certs_dir = {home}
default_md = sha256
policy = any
unique_subject = no
rand_serial = yes
[any]
commonName = supplied
[leaf]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = {usage}
subjectAltName = {names}
"""


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


class Authority:
    """A CA with one directory of credentials per service."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        subprocess.run(
            ["sh", BASE_DIR / "scripts" / "certs", directory], check=True, capture_output=True
        )
        self.certificate = directory / "ca.crt"

    def of(self, service: str) -> Path:
        """The directory with `tls.key`, `tls.crt` and `ca.crt` of a service."""
        return self.directory / service

    def ending(
        self, in_: timedelta, names: str = "DNS:localhost", usage: str = "serverAuth"
    ) -> Path:
        """Make credentials that end `in_` from now, or ended before."""
        home = self.directory / f"leaf-{len(list(self.directory.iterdir()))}"
        home.mkdir()
        (home / "index").touch()
        config, key, request = home / "ca.cnf", home / "tls.key", home / "tls.csr"
        config.write_text(_CA_CONFIG.format(home=home, usage=usage, names=names))
        ends = datetime.now(UTC) + in_
        dates = [f"{moment:%Y%m%d%H%M%SZ}" for moment in (ends - timedelta(days=60), ends)]
        _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
        _openssl("req", "-new", "-key", key, "-subj", "/CN=leaf", "-out", request)
        _openssl(
            *("ca", "-batch", "-notext", "-config", config, "-extensions", "leaf"),
            *("-cert", self.certificate, "-keyfile", self.directory / "ca.key"),
            *("-startdate", dates[0], "-enddate", dates[1]),
            *("-in", request, "-out", home / "tls.crt"),
        )
        (home / "ca.crt").write_bytes(self.certificate.read_bytes())
        return home
