"""Scanners of CloudFormation and IAM find nothing in the stacks but what they acknowledge.

Each scans the project's stacks together with planted mistakes, in one run: what it says of the
project counts only if it has seen those.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from cloud_scanners import checkov, cloudsplaining, policies, write_templates

pytestmark = [pytest.mark.slow, pytest.mark.proof, pytest.mark.timeout(900)]

PLANTED: dict[str, Any] = {
    "Resources": {
        "Bucket": {"Type": "AWS::S3::Bucket"},
        "Listener": {
            "Type": "AWS::ElasticLoadBalancingV2::Listener",
            "Properties": {"Protocol": "HTTP", "Port": 80, "DefaultActions": [{"Type": "forward"}]},
        },
        "Role": {
            "Type": "AWS::IAM::Policy",
            "Properties": {
                "PolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [
                        {"Effect": "Allow", "Action": ["s3:*", "iam:PassRole"], "Resource": "*"},
                        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"},
                    ],
                }
            },
        },
    }
}


@pytest.fixture(scope="module")
def templates(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of templates of the project and one of mistakes."""
    folder = tmp_path_factory.mktemp("templates")
    write_templates(project, folder)
    (folder / "planted.template.json").write_text(json.dumps(PLANTED))
    return folder


def test_checkov_finds_what_is_acknowledged_and_nothing_else(templates: Path) -> None:
    answers = json.loads((templates / "answers.json").read_text())
    answered = {rule for each in answers for rule in each["rules"] if rule.startswith("CKV")}
    found = list(checkov(templates))
    planted = [each for each in found if each.where.startswith("planted")]
    assert {each.rule for each in planted} >= {"CKV_AWS_2", "CKV_AWS_18", "CKV_AWS_53"}
    own = [each for each in found if each not in planted]
    assert [each for each in own if each.rule not in answered] == []
    assert {each.rule for each in own} == answered


def test_cloudsplaining_finds_nothing_in_the_roles(templates: Path, tmp_path: Path) -> None:
    found = {
        f"{path.name.removesuffix('.template.json')}/{name}": policy
        for path in sorted(templates.glob("*.template.json"))
        for name, policy in policies(json.loads(path.read_text()))
    }
    assert len(found) > 30
    findings = cloudsplaining(found, tmp_path)
    planted = {each.rule for each in findings if each.where.startswith("planted/")}
    assert planted >= {"service_wildcard", "write_actions_without_constraints"}
    left = {each.text for each in findings if not each.where.startswith("planted/")}
    assert left == {"ecr:GetAuthorizationToken"}  # has no resource to name
