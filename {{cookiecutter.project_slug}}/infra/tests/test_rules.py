"""No finding of the public packs and of our own rules is left, and they do find something."""

import json
import subprocess
import sys
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import aws_cdk as cdk
import pytest
from aws_cdk import aws_s3 as s3

from rules import acknowledgements, add_validation
from rules.acknowledgements import ACKNOWLEDGEMENTS, Acknowledgement, acknowledge
from tests.whole import NAMES, PROJECT, Finding, control_tower, synthesis


def everything() -> list[Finding]:
    """All findings, answered or not."""
    return [*synthesis().findings, *control_tower().findings]


def lies_in(finding: Finding, place: str) -> bool:
    """Whether a finding is about a construct at a place as acknowledgements have it."""
    stack, _, path = finding.where.partition("/")
    return f"{stack.rpartition('-')[2]}/{path}/".startswith(f"{place}/")


def test_nothing_is_left_unanswered() -> None:
    assert [str(each) for each in everything() if not each.reason] == []


def test_every_pack_was_asked() -> None:
    assert {each.pack for each in everything()} >= {
        "AwsSolutions",
        "HIPAA.Security",
        "NIST.800.53.R5",
        "PCI.DSS.321",
        "control-tower",
    }


def test_answers_are_few_and_give_reasons() -> None:
    assert len(ACKNOWLEDGEMENTS) <= 25
    reasons = [each.reason for each in ACKNOWLEDGEMENTS]
    assert len(set(reasons)) == len(reasons)
    assert [each for each in reasons if len(each.split()) < 5] == []


@pytest.mark.parametrize("answer", ACKNOWLEDGEMENTS, ids=lambda it: it.rules[0])
def test_every_answer_is_needed(answer: Acknowledgement) -> None:
    answered = [each for each in everything() if each.reason == answer.reason]
    here = {rule for rule in answer.rules if not rule.startswith("CKV")}  # checkov's: elsewhere
    assert {each.rule for each in answered} == here
    for place in answer.where:
        assert any(lies_in(each, place) for each in answered), place


@pytest.mark.parametrize("name", ["staging-2", "production-1"])
def test_choices_of_cheap_environments_are_not_made_for_others(name: str) -> None:
    answers = [each for each in ACKNOWLEDGEMENTS if {"RDS3", "RDS10"} & set(each.rules)]
    choices = {rule for each in answers for rule in each.rules}
    stacks = f"{PROJECT.slug}-{name}-"
    found = [each for each in everything() if each.where.startswith(stacks)]
    assert [each for each in found if each.rule in choices] == []


def careless_app(folder: Path, answers: Iterable[Acknowledgement] = ()) -> cdk.App:
    """An app with a bucket as CDK makes it."""
    app = cdk.App(outdir=str(folder), context={"control-tower": True})
    stack = cdk.Stack(app, "shop-dev-data")
    s3.Bucket(stack, "Careless")
    acknowledge(stack, answers)
    add_validation(app)
    return app


def test_a_finding_fails_the_synth(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="S3BucketSSLRequestsOnly"):
        careless_app(tmp_path).synth()


def test_an_answer_to_one_guard_rule_answers_no_other(tmp_path: Path) -> None:
    """With the validator as it is, the first one would silence them all."""
    rule = "s3_bucket_versioning_enabled_check"
    answer = Acknowledgement(rules=(rule,), where=("data/Careless",), reason="For this test only.")
    with pytest.raises(RuntimeError):
        careless_app(tmp_path, [answer]).synth()
    reports = json.loads((tmp_path / "validation-report.json").read_text())["pluginReports"]
    (report,) = (each for each in reports if each["pluginName"] == "control-tower")
    assert report["conclusion"] == "failure"
    assert [each["ruleName"] for each in report["suppressedViolations"]] == [rule]
    assert "s3_bucket_level_public_access_prohibited_check" in {
        each["ruleName"] for each in report["violations"]
    }


def test_an_answer_holds_where_it_is_given_only(tmp_path: Path) -> None:
    app = cdk.App(outdir=str(tmp_path))
    stack = cdk.Stack(app, "shop-dev-data")
    for name in ("One", "Other"):
        s3.Bucket(stack, name)
    answer = Acknowledgement(rules=("S1",), where=("data/One",), reason="For this test only.")
    acknowledge(stack, [answer])
    add_validation(app)
    with pytest.raises(RuntimeError):
        app.synth()
    reports = json.loads((tmp_path / "validation-report.json").read_text())["pluginReports"]
    (s1,) = (
        violation
        for report in reports
        for violation in report["violations"]
        if violation["ruleName"] == "S1"
    )
    assert [each["constructPath"] for each in s1["violatingConstructs"]] == [
        "shop-dev-data/Other/Resource"
    ]


def test_packs_of_answers_are_those_that_are_asked() -> None:
    asked = {each.pack.replace(" ", "-") for each in everything()}
    assert set(acknowledgements.PACKS) == asked


# What cfn-lint says that is right as it is.
LINT = {
    "W3005": "CDK orders a role's policy before what uses it by naming the role as well.",
    "W3010": "Answered in acknowledgements.py: a rule of CDK's own validation too.",
    "W3691": "PostgreSQL 17 stands for its newest minor version; cfn-lint knows full ones only.",
    "W6001": "deploy.py reads the subnets where it reads everything for the release task.",
}


def test_cfn_lint_finds_nothing(tmp_path: Path) -> None:
    paths = []
    for name in ("dev-1", "production-1"):
        for stack, template in synthesis().templates[name].items():
            paths.append(tmp_path / f"{name}-{stack}.json")
            paths[-1].write_text(json.dumps(template))
    broken = tmp_path / "broken.json"
    bucket = {"Type": "AWS::S3::Bucket", "Properties": {"BucketNam": "x"}}
    broken.write_text(json.dumps({"Resources": {"B": bucket}}))
    program = str(Path(sys.executable).parent / "cfn-lint")
    command = [program, "--format", "json", "--", *map(str, [broken, *paths])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    seen = [each for each in found if each["Filename"] == str(broken)]
    assert {each["Rule"]["Id"] for each in seen} >= {"E3002"}
    left = {each["Rule"]["Id"]: each["Message"] for each in found if each not in seen}
    assert {rule: text for rule, text in left.items() if rule not in LINT} == {}
    assert left.keys() == LINT.keys()


def test_environments_of_each_profile_meet_control_tower() -> None:
    assert {name.partition("-")[0] for name in control_tower().templates} == {
        name.partition("-")[0] for name in NAMES
    }
    assert list(chain(each for each in control_tower().findings if not each.reason)) == []
