"""The project passes its own lint, types and tests: rendered, and as the template has it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, TEMPLATE_FOLDER

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def make(project: Path, target: str) -> str:
    """Run a target of the project's Makefile; return its output, or show the end if it fails."""
    ours = {"VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT"}
    theirs = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(
        ["make", "--no-print-directory", target],
        cwd=project,
        env=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    # Reports are cut at their end, where it would say what failed.
    end = "\n".join(done.stdout.splitlines()[-80:])
    assert done.returncode == 0, f"make {target} failed; its last lines:\n{end}"
    return done.stdout


def run_tests(project: Path) -> None:
    """Run the project's tests, which must come to an end on SQLite and on PostgreSQL."""
    output = make(project, "test")
    if "PostgreSQL is not installed" in output:  # where CI=true, `make test` has failed
        return
    assert "settings: tests.settings_postgresql (from option)" in output
    assert len(re.findall(r"^=+ \d+ passed\b.* in ", output, re.MULTILINE)) == 2, output


def test_checks_and_tests_pass_with_and_without_the_sample(own_project: Path) -> None:
    make(own_project, "check")
    run_tests(own_project)
    make(own_project, "test-infra")
    make(own_project, "remove-sample")
    assert not (own_project / "apps" / "notes").exists()
    make(own_project, "check")
    run_tests(own_project)


def test_shell_scripts_pass_shellcheck() -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    files = [ROOT / name for name in listing.stdout.decode().rstrip("\0").split("\0")]
    starts = (b"#!/bin/sh\n", b"#!/usr/bin/env bash\n")
    scripts = [file for file in files if file.is_file() and file.read_bytes().startswith(starts)]
    assert len(scripts) > 10
    done = subprocess.run(["shellcheck", *scripts], stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_checks_pass_on_the_template_folder_itself(template: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(template / TEMPLATE_FOLDER, tmp_path / TEMPLATE_FOLDER)
    make(copy, "check")
