"""Public scanners of templates and policies, from outside of the project that made them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from conftest import ROOT
from findings import Finding
from tools import tool

# Runs in infra/ of a project: writes templates and acknowledgements of three environments.
DUMP = """
import dataclasses, json, sys
from pathlib import Path
from rules.acknowledgements import ACKNOWLEDGEMENTS
from tests.whole import synthesis
folder = Path(sys.argv[1])
for name in ("dev-1", "staging-2", "production-1"):
    for stack, template in synthesis().templates[name].items():
        (folder / f"{name}-{stack}.template.json").write_text(json.dumps(template))
answers = [dataclasses.asdict(each) for each in ACKNOWLEDGEMENTS]
(folder / "answers.json").write_text(json.dumps(answers))
"""

# Runs with cloudsplaining: policies by name on standard input, findings on standard output.
SPLAIN = """
import json, sys
from cloudsplaining.scan.policy_document import PolicyDocument
QUESTIONS = (
    "allows_data_exfiltration_actions",
    "allows_privilege_escalation",
    "credentials_exposure",
    "permissions_management_without_constraints",
    "service_wildcard",
    "write_actions_without_constraints",
)
found = []
for name, policy in json.load(sys.stdin).items():
    document = PolicyDocument(policy)
    for question in QUESTIONS:
        for each in getattr(document, question):
            action = each if isinstance(each, str) else json.dumps(each, sort_keys=True)
            found.append([question, name, action])
print(json.dumps(found))
"""


def write_templates(project: Path, folder: Path) -> None:
    """Synthesize a project's stacks into a folder, with what it acknowledges."""
    environment = os.environ | {
        "UV_PROJECT_ENVIRONMENT": str(ROOT / ".local" / "infra"),
        "UV_PYTHON": str(Path(sys.executable).resolve()),
        "PYTHONPATH": ".",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    uv = ("sh", ROOT / "scripts" / "uv", "run", "--locked", "--quiet")
    subprocess.run(
        [*uv, "python", "-c", DUMP, folder], cwd=project / "infra", env=environment, check=True
    )


def checkov(folder: Path) -> Iterator[Finding]:
    """Every template; `where` is the file and the resource."""
    options = ("--skip-download", "--framework", "cloudformation", "--compact")
    result = tool("checkov", "checkov", *options, "--output", "json", "-d", ".", cwd=folder)
    if result.returncode not in {0, 1}:
        raise RuntimeError(f"checkov ended with status {result.returncode}: {result.stderr}")
    report = json.loads(result.stdout)
    if report["summary"]["parsing_errors"]:
        raise RuntimeError(f"checkov could not read all templates: {report['summary']}")
    for each in report["results"]["failed_checks"]:
        where = f"{Path(each['file_path']).name} {each['resource']}"
        yield Finding("checkov", each["check_id"], where, each["check_name"])


def policies(template: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Documents of policies that roles have, with references as text."""
    for name, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::IAM::Policy":
            yield name, as_text(properties["PolicyDocument"])
        for policy in (
            properties.get("Policies", []) if resource["Type"] == "AWS::IAM::Role" else []
        ):
            yield name, as_text(policy["PolicyDocument"])


def as_text(value: Any) -> Any:
    """A value with a text in place of each reference; what is joined stays joined."""
    match value:
        case {"Fn::Join": [separator, parts]}:
            return separator.join(as_text(part) for part in parts)
        case {"Ref": "AWS::Partition"}:
            return "aws"
        case {"Ref": "AWS::AccountId"}:
            return "111111111111"
        case {"Ref": _} | {"Fn::GetAtt": _} | {"Fn::ImportValue": _} | {"Fn::Select": _}:
            return "arn:aws:service:eu-central-1:111111111111:referred"
        case dict():
            return {key: as_text(inner) for key, inner in value.items()}
        case list():
            return [as_text(inner) for inner in value]
        case _:
            return value


def cloudsplaining(found: dict[str, dict[str, Any]], folder: Path) -> list[Finding]:
    """What policies, by name, allow beyond need."""
    (folder / "splain.py").write_text(SPLAIN)
    (folder / "policies.json").write_text(json.dumps(found))
    command = "python splain.py < policies.json"
    result = tool("cloudsplaining", "sh", "-c", command, cwd=folder)
    if result.returncode:
        raise RuntimeError(f"cloudsplaining ended with status {result.returncode}: {result.stderr}")
    return [
        Finding("cloudsplaining", rule, where, text)
        for rule, where, text in json.loads(result.stdout)
    ]
