"""Certificates of the tests' own making: of another CA, for another name, soon to end."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc")


@dataclass(frozen=True)
class Pair:
    """A private key and its certificate."""

    key: Path
    crt: Path


@dataclass(frozen=True)
class Authority(Pair):
    """A CA: one of the tests' own, or a project's, whose key lies in .local/certs."""

    def issue(self, folder: Path, name: str, *, usage: str = "serverAuth", days: int = 30) -> Pair:
        """Make a certificate for the DNS name `name`."""
        pair = Pair(folder / "tls.key", folder / "tls.crt")
        folder.mkdir(parents=True)
        _openssl(
            *("-CA", self.crt, "-CAkey", self.key, "-days", days, "-subj", f"/CN={name}"),
            *("-keyout", pair.key, "-out", pair.crt, "-addext", "basicConstraints=CA:FALSE"),
            *("-addext", f"subjectAltName=DNS:{name}", "-addext", f"extendedKeyUsage={usage}"),
        )
        return pair


def make_authority(folder: Path) -> Authority:
    """Make a CA that nobody trusts."""
    authority = Authority(folder / "ca.key", folder / "ca.crt")
    folder.mkdir(parents=True)
    files = ("-keyout", authority.key, "-out", authority.crt)
    _openssl(*files, "-days", 30, "-subj", "/CN=Another CA")
    return authority


def authority_of(project: Path) -> Authority:
    """The development CA of a generated project."""
    certs = project / ".local" / "certs"
    return Authority(certs / "ca.key", certs / "ca.crt")


def _openssl(*arguments: object) -> None:
    command = ["openssl", "req", "-x509", *_EC, *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)
