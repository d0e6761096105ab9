"""No secret of this machine gets into git or into an image."""

# ruff: noqa: S603, S607 (the tests run git)

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from config.project import BASE_DIR

SECRETS = [".env", ".local/certs/ca.key", ".local/certs/proxy/tls.key", ".local/native/log"]
DOCKERFILES = sorted((BASE_DIR / "services").glob("*/Dockerfile"))


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
@pytest.mark.parametrize("name", SECRETS)
def test_git_ignores_it(name: str, tmp_path: Path) -> None:
    shutil.copy(BASE_DIR / ".gitignore", tmp_path)
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    asked = ["git", "-C", str(tmp_path), "check-ignore", "--quiet"]
    assert subprocess.run([*asked, name], check=False).returncode == 0
    assert subprocess.run([*asked, "manage.py"], check=False).returncode == 1


def test_the_build_context_holds_only_what_is_named() -> None:
    lines = (BASE_DIR / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    named = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    assert not {name for name in named if name.startswith(".") or "*" in name}


def test_every_service_has_its_dockerfile_read() -> None:
    assert len(DOCKERFILES) == 5


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_an_image_runs_as_an_ordinary_user_and_holds_no_key(file: Path) -> None:
    final_stage = re.split(r"^FROM ", file.read_text(), flags=re.M)[-1]
    assert re.findall(r"^USER (.*)", final_stage, re.M)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", re.findall(r"^USER (.*)", final_stage, re.M)[-1])
    for line in re.findall(r"^(?:COPY|ADD|ENV|ARG) .*", file.read_text(), re.M):
        assert not re.search(r"\.env|\.local|\.key|\.crt|PASSWORD|SECRET_KEY|COPY \. ", line), line
