"""MDN's HTTP Observatory, run here: https://developer.mozilla.org/en-US/observatory"""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from tools import LOCK, tool

INSTALLED = ROOT / ".local" / "tools" / "observatory"
PACKAGE = "node_modules/@mdn/mdn-http-observatory"
FILES = ("package.json", "package-lock.json", "observatory.mjs")


def version() -> str:
    """Return the locked version."""
    document = json.loads((LOCK / "package-lock.json").read_text())
    return str(document["packages"][PACKAGE]["version"])


def install() -> None:
    """Install what package-lock.json names, unless it is there; no package's script is run."""
    wanted = hashlib.sha256(b"".join((LOCK / name).read_bytes() for name in FILES)).hexdigest()
    stamp = INSTALLED / "stamp"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    shutil.rmtree(INSTALLED, ignore_errors=True)
    INSTALLED.mkdir(parents=True)
    for name in FILES:
        shutil.copy(LOCK / name, INSTALLED)
    quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error")
    done = tool("node", "npm", "ci", *quiet, cwd=INSTALLED)
    if done.returncode:
        pytest.fail(f"npm ci: {done.stderr}", pytrace=False)
    # The browsers' list of preloaded hosts, which its own script would download.
    (INSTALLED / PACKAGE / "conf" / "hsts-preload.json").write_text("{}")
    stamp.write_text(wanted)


@dataclass(frozen=True)
class Observed:
    """A page's score, and each test's result with what it adds or takes away."""

    status: int
    verified: bool
    score: int
    tests: dict[str, tuple[str, bool, int]]


def observe(http: int, https: int, path: str, ca: Path, cookie: str = "") -> Observed:
    """Score a page of localhost. `cookie` is sent with the requests, as "name=value"."""
    page = (http, https, path, cookie)
    said = tool(
        "node",
        *("node", "observatory.mjs", *page),
        cwd=INSTALLED,
        env={"NODE_EXTRA_CA_CERTS": str(ca), "NODE_USE_ENV_PROXY": "0"},
    )
    assert said.returncode == 0, said.stderr
    document: dict[str, Any] = json.loads(said.stdout)
    tests = {
        each["name"]: (each["result"], each["pass"], each["modifier"]) for each in document["tests"]
    }
    return Observed(document["status"], document["verified"], document["score"], tests)
