"""Public scanners, each at the version that tests/proof/tools/uv.lock names."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

from conftest import ROOT

LOCK = ROOT / "tests" / "proof" / "tools"


def tool(
    group: str, *command: object, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program of a group of tools/pyproject.toml, in an environment of that group alone.

    `env` is added to the tester's own variables. The exit status is the caller's to judge.
    """
    environment = {
        "UV_PROJECT_ENVIRONMENT": str(ROOT / ".local" / "tools" / group),
        "UV_PYTHON": str(Path(sys.executable).resolve()),  # it would look for, and fetch, another
    }
    run = ("sh", ROOT / "scripts" / "uv", "run", "--locked", "--quiet", "--only-group", group)
    words = [*map(str, run), "--project", str(LOCK), *map(str, command)]
    return subprocess.run(
        words,
        cwd=cwd,
        env=os.environ | environment | dict(env or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def version(package: str) -> str:
    """Return the locked version of a package."""
    packages = tomllib.loads((LOCK / "uv.lock").read_text())["package"]
    return next(str(each["version"]) for each in packages if each["name"] == package)
