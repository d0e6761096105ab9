"""Scanners of code and files find nothing, or what acknowledged.toml answers one by one.

Each scans the project together with planted mistakes, in one run: what it says of the project
counts only if it has seen those.
"""

import shutil
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT, copy_project
from findings import Finding, judge
from report import Evidence
from stack import Stack
from static_scanners import PACKAGES, RULES, SCANNERS, function_at
from tools import version

pytestmark = [pytest.mark.proof, pytest.mark.timeout(600)]

EXAMPLES = tomllib.loads((RULES.parent / "examples.toml").read_text())
PLANTED = "planted"
KEY = "PRIVATE KEY"  # apart, so that a search of this repository does not find one

MISTAKES = {
    "Dockerfile": """
        FROM debian:latest
        ADD http://example.com/key /key
        ENV AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYzq7Q7q7Q7q
        RUN apt-get update && apt-get install curl
        """,
    "compose.yaml": """
        services:
          bad:
            image: debian
            privileged: true
            network_mode: host
            security_opt: ["seccomp:unconfined"]
        """,
    "settings.py": """
        import hashlib
        import pickle
        import subprocess

        password = "Tr0ub4dor-and-3"
        aws_secret_access_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzq7Q7q7Q7q"


        def careless(name, cursor):
            subprocess.run(name, shell=True)  # nosec
            cursor.execute("SELECT * FROM notes WHERE name = '%s'" % name)
            return pickle.loads(name), hashlib.md5(name)
        """,
    "key.pem": f"""
        -----BEGIN EC {KEY}-----
        MHcCAQEEIIrYSSNQFaA2Hwf1duRSxKtLYX5CB04fSeQ6tF1aY/PuoAoGCCqGSM49
        -----END EC {KEY}-----
        """,
}
# What each scanner must say of them, or something is wrong with how it is run.
SEEN = {
    "hadolint": {"DL3007", "DL3008"},
    "compose-harden": {
        *("cap_drop", "no_new_privileges", "read_only", "privileged", "unpinned_image"),
        *("root_user", "host_network", "seccomp_disabled"),
    },
    "checkov": {"CKV_DOCKER_2", "CKV_DOCKER_3", "CKV_DOCKER_7", "CKV_SECRET_2"},
    "bandit": {"B105", "B301", "B324", "B602", "B608"},
    "semgrep": set(EXAMPLES),
    "detect-secrets": {"private-key", "secret-keyword", "base64-high-entropy-string"},
}


def unindented(text: str) -> str:
    return "".join(line[8:] + "\n" for line in text.strip("\n").splitlines())


@pytest.fixture(scope="module")
def sources(project: Path, foreign: bool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What git sees of the project, the template's hooks, and planted mistakes."""
    folder = tmp_path_factory.mktemp("sources") / "project"
    copy_project(project, folder)
    if not foreign:
        shutil.copytree(ROOT / "hooks", folder / "hooks")
    (folder / PLANTED).mkdir()
    for name, text in MISTAKES.items():
        (folder / PLANTED / name).write_text(unindented(text))
    for rule, example in EXAMPLES.items():
        for kind in ("bad", "good"):
            lines = [*example["imports"].splitlines(), *example[kind]]
            path = folder / PLANTED / f"{rule}.{kind}.py"
            path.write_text("\n".join(lines) + "\n")
    return folder


def note(evidence: Evidence, tool: str, findings: list[Finding], foreign: bool) -> None:
    """Judge the findings, say in the report what became of each, and assert that none is new."""
    judged = judge(tool, findings)
    for finding in judged.new:
        evidence.line(
            "scanners",
            subject=f"{tool}: {finding.where}",
            tried=finding.rule,
            expected="no finding",
            seen=finding.text,
        )
    for finding, answer in judged.answered:
        evidence.line(
            "scanners",
            subject=f"{tool}: {finding.where}",
            tried=finding.rule,
            expected=f"acknowledged: {answer.reason}",
            seen=finding.text,
        )
    evidence.figure("scanners", f"findings, {tool}", len(judged.found))
    evidence.figure("scanners", f"acknowledged, {tool}", len(judged.answered))
    assert judged.new == []
    assert foreign or judged.stale == []  # a team may have removed what one is about


def assert_rules_are_exact(planted: list[Finding]) -> None:
    """Every bad line of the examples is found by its rule, and no good one."""
    for rule, example in EXAMPLES.items():
        lines = {}
        for kind in ("bad", "good"):
            where = f"{PLANTED}/{rule}.{kind}.py (module)"
            found = [each for each in planted if (each.rule, each.where) == (rule, where)]
            lines[kind] = {int(each.text.split()[1].rstrip(":")) for each in found}
        first = len(example["imports"].splitlines()) + 1
        assert lines["bad"] == set(range(first, first + len(example["bad"]))), rule
        assert lines["good"] == set(), rule


@pytest.mark.slow
@pytest.mark.parametrize("scanner", SCANNERS)
def test_scanner_finds_nothing_else(
    scanner: str, sources: Path, foreign: bool, evidence: Evidence
) -> None:
    evidence.version(scanner, version(PACKAGES[scanner]))
    everything = list(SCANNERS[scanner](sources))
    planted = [finding for finding in everything if finding.where.startswith(f"{PLANTED}/")]
    seen = {finding.rule for finding in planted}
    evidence.line(
        "scanners",
        subject=f"{scanner}: planted mistakes (control)",
        tried=", ".join(sorted(SEEN[scanner])),
        expected="found",
        seen=f"{len(planted)} findings; missed: {', '.join(SEEN[scanner] - seen) or 'none'}",
    )
    assert seen >= SEEN[scanner]
    if scanner == "semgrep":
        assert_rules_are_exact(planted)
    own = [finding for finding in everything if finding not in planted]
    evidence.line(
        "scanners",
        subject=f"{scanner}: the project's files",
        tried="all rules" if scanner != "semgrep" else f"{len(EXAMPLES)} rules of our own",
        expected="nothing that is not acknowledged",
        seen=f"{len(set(own))} findings",
    )
    note(evidence, scanner, own, foreign)


def test_every_semgrep_rule_has_examples() -> None:
    text = RULES.read_text()
    rules = [line.split()[-1] for line in text.splitlines() if line.startswith("  - id: ")]
    assert rules == list(EXAMPLES)
    assert all(example["bad"] and example["good"] for example in EXAMPLES.values())


@pytest.mark.slow
@pytest.mark.docker
@pytest.mark.native
def test_check_deploy_finds_nothing(stack: Stack, evidence: Evidence) -> None:
    """In the running application, with the settings and secrets that serve."""
    said = stack.manage("check", "--deploy", "--fail-level", "WARNING")
    silenced = stack.shell(
        "from django.conf import settings; print(','.join(settings.SILENCED_SYSTEM_CHECKS))"
    )
    django = stack.shell("import django; print(django.get_version())")
    evidence.version("Django", django)
    evidence.line(
        "scanners",
        subject=f"manage.py check --deploy, {stack.mode}",
        tried="all system checks of Django and of the project, --fail-level WARNING",
        expected="no issue; silenced: mail.W001, because no mail is sent",
        seen=f"{said.strip()} Silenced: {silenced or 'none'}",
    )
    assert "no issues" in said
    assert silenced in ("", "mail.W001")


@pytest.mark.slow
@pytest.mark.docker
@pytest.mark.native
def test_check_deploy_would_find_a_weak_setting(stack: Stack) -> None:
    """Its answer depends on the settings: with those of the tests it complains."""
    code = (
        "from django.core import checks; from django.test import override_settings\n"
        "with override_settings(SECURE_HSTS_SECONDS=0, SESSION_COOKIE_SECURE=False):\n"
        "    print(*sorted(e.id for e in checks.run_checks(include_deployment_checks=True)))"
    )
    found = stack.shell(code).split()
    assert {"security.W004", "security.W012"} <= set(found)


def test_function_around_a_line(tmp_path: Path) -> None:
    path = tmp_path / "code.py"
    path.write_text("import os\n\n\nclass A:\n    def b(self):\n        return 1\n\n    c = 2\n")
    names = {line: function_at(path, line) for line in range(1, 9)}
    assert names == {
        **dict.fromkeys((1, 2, 3), "(module)"),
        **dict.fromkeys((4, 7, 8), "A"),
        **dict.fromkeys((5, 6), "A.b"),
    }
