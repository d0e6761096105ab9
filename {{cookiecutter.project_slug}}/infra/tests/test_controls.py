"""docs/controls.md answers every control that this project has set out to meet."""

import re
import runpy
import tomllib
from collections.abc import Iterator
from typing import Any

from tests.whole import ROOT

CATALOGUE = """
ELB.1,4,5,6,12,13,16,17,18,21,22 ELB2 CT.ELASTICLOADBALANCING.PR.1,2,3,4,5,6
CKV_AWS_2 CKV_AWS_91 CKV_AWS_103 CKV_AWS_131
ECS.2,3,4,5,8,9,10,12,16,17,18,20 ECS4 CT.ECS.PR.1,2,3,4,5,6,7,8,9,10,11,12
ECR.1,2,3,5 CT.ECR.PR.1,2,3
RDS.2,3,5,6,8,9,10,11,13,14,17,23,25,36,38 RDS11 SMG4 CT.RDS.PR.24,28,30 CKV2_AWS_69
ElastiCache.1,2,3,4,5,6,7 AEC1 AEC3 AEC4 AEC5 AEC6 CT.ELASTICACHE.PR.4,5,8
S3.1,2,3,5,6,7,8,9,12,13,14,15,17,20 S1 S10 CT.S3.PR.8,10
CloudFront.1,3,5,6,7,8,9,10,13 CT.CLOUDFRONT.PR.3,8,9,10
KMS.1,2,3,4,5 SecretsManager.1,2,3,4 SSM.4 CKV_AWS_384 CT.KMS.PR.1,3
EC2.2,6,10,15,18,19,21 VPC7 EC23
CloudWatchLogGroupEncrypted CT.CLOUDWATCH.PR.2,3
IAM.1,21 WAF.10,11,12 IAM5 ALBWAFEnabled
"""
ASVS = ("12.1.1", "12.1.2", "12.2.1", "12.2.2", "12.3.1", "12.3.2", "12.3.3", "12.3.4", "12.3.5")
ANSWERS: list[dict[str, Any]] = tomllib.loads(
    (ROOT / "infra" / "rules" / "controls.toml").read_text(encoding="utf-8")
)["answer"]


def wanted() -> Iterator[str]:
    """The controls of the catalogue, `ELB.1,4` being two."""
    for word in CATALOGUE.split():
        first, *others = word.split(",")
        yield first
        yield from (f"{first.rpartition('.')[0]}.{other}" for other in others)
    yield from ("CIS 3.1.1", "CIS 4.6", "VPC encryption control", "OIDC subject")


def test_every_control_is_answered_once() -> None:
    answered = [control for each in ANSWERS for control in each["controls"]]
    assert sorted(answered) == sorted(wanted())


def test_every_answer_has_a_test_or_an_exception() -> None:
    for answer in ANSWERS:
        assert answer.keys() <= {"component", "controls", "met_by", "test", "exception"}
        assert ("met_by" in answer) == ("test" in answer), answer["controls"]
        assert answer.keys() & {"test", "exception"}, answer["controls"]
        if "test" in answer:
            path, _, name = answer["test"].partition("::")
            source = (ROOT / "infra" / "tests" / path).read_text(encoding="utf-8")
            assert re.search(rf"^def {name}\(", source, re.MULTILINE), answer["test"]
        for path in re.findall(r"\((components/\w+\.py|rules/\w+\.py)\)", answer.get("met_by", "")):
            assert (ROOT / "infra" / path).is_file(), path


def test_every_requirement_on_transport_has_a_hop() -> None:
    listed = tomllib.loads((ROOT / "encryption.toml").read_text(encoding="utf-8"))
    met = {
        control for kind in ("hop", "aws_hop") for it in listed[kind] for control in it["controls"]
    }
    assert {f"ASVS {number}" for number in ASVS} <= met


def test_the_document_is_up_to_date() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "control_table.py"))
    assert script["main"](["--check"]) == 0
