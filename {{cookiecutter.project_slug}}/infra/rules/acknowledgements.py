"""Findings that stay, each with the reason. A test fails for one that no finding needs."""

from collections.abc import Iterable
from dataclasses import dataclass

import aws_cdk as cdk
from constructs import IConstruct


@dataclass(frozen=True, kw_only=True)
class Acknowledgement:
    """One decision, and the rules it answers, in whichever pack they are.

    Those that begin with CKV are checkov's, which is run on the templates from outside.

    `where` are the ids of constructs, from the stack's last word down: `data/Media/Bucket`.
    It covers what is inside them. A profile may have none of them.
    """

    rules: tuple[str, ...]
    where: tuple[str, ...]
    reason: str


PACKS = (
    "AwsSolutions",
    "HIPAA.Security",
    "NIST.800.53.R5",
    "PCI.DSS.321",
    "CloudFormation-Validate",
    "control-tower",
)

ACKNOWLEDGEMENTS = (
    Acknowledgement(
        rules=("EC23", "CKV_AWS_260"),
        where=("app/Edge/SecurityGroup",),
        reason="The load balancer serves the public: 443, and 80 for the redirect, nothing else.",
    ),
    Acknowledgement(
        rules=("ELBv2ACMCertificateRequired",),
        where=("app/Edge/LoadBalancer/Http",),
        reason="Has no content to protect: it redirects to HTTPS, which a rule of ours checks.",
    ),
    Acknowledgement(
        rules=("VPCNoUnrestrictedRouteToIGW",),
        where=("foundation/Network/Vpc",),
        reason="Only the edge subnets have it, where the load balancer and NAT gateways are.",
    ),
    Acknowledgement(
        rules=("AEC6",),
        where=("data/Cache/Group",),
        reason="Knows Redis AUTH only, one password for all. Here is a user group (RBAC).",
    ),
    Acknowledgement(
        rules=("RDS11", "rds_instance_no_default_ports_check"),
        where=("data/Database/Instance",),
        reason="Another port hides nothing: only tasks of ours get to it, by security group.",
    ),
    Acknowledgement(
        rules=(
            "RDS3",
            "RDSMultiAZSupport",
            "rds_instance_multi_az_support_check",
            "AEC4",
            "CKV_AWS_157",
        ),
        where=("data/Database/Instance", "data/Cache/Group"),
        reason="A choice of environments.toml: profile dev is one zone for the price. Staging "
        "and production stand in several, which tests/test_rules.py checks.",
    ),
    Acknowledgement(
        rules=(
            "RDS10",
            "RDSInstanceDeletionProtectionEnabled",
            "rds_instance_deletion_protection_enabled_check",
            "ELBDeletionProtectionEnabled",
            "elbv2_deletion_protection_enabled_check",
        ),
        where=("data/Database/Instance", "app/Edge/LoadBalancer"),
        reason="Only where protect = false says that it may be destroyed; tests/test_rules.py "
        "checks that staging and production have it.",
    ),
    Acknowledgement(
        rules=("SMG4", "SecretsManagerRotationEnabled"),
        where=("data/Cache/Password",),
        reason="ECS gives it to a task when it starts, so new tasks must come between the new "
        "one and the end of the old one, which a function of Secrets Manager cannot wait for: "
        "rotate_cache_password.py does, and the alarm SecretAge asks for it after 90 days.",
    ),
    Acknowledgement(
        rules=("ECS2",),
        where=("release/Release", "app/Web", "app/Worker", "app/Schedules"),
        reason="The variables are names and addresses; tests/test_properties.py fails for a "
        "secret. Secrets come from Secrets Manager and Parameter Store.",
    ),
    Acknowledgement(
        rules=("IAM4",),
        where=("data/Backup/Role",),
        reason="AWS maintains these two policies for AWS Backup, whose needs change with its "
        "features; only AWS Backup can take the role.",
    ),
    Acknowledgement(
        rules=("IAM5",),
        where=("data", "release", "app"),
        reason="tests/wildcards.py explains each wildcard by action, resource and reason, and "
        "tests/test_properties.py fails for any other.",
    ),
    Acknowledgement(
        rules=("IAMNoInlinePolicy",),
        where=("foundation", "data", "release", "app"),
        reason="CDK's policies belong to one role each and go with it, for which AWS recommends "
        "inline policies; nobody can attach them elsewhere.",
    ),
    Acknowledgement(
        rules=("S1", "S3BucketLoggingEnabled", "s3_bucket_logging_enabled_check", "CKV_AWS_18"),
        where=("foundation/AccessLogs",),
        reason="It holds the access logs: logging into itself would never end.",
    ),
    Acknowledgement(
        rules=("S3DefaultEncryptionKMS", "s3_bucket_default_encryption_kms_check"),
        where=("foundation/AccessLogs",),
        reason="Load balancers can write to buckets with SSE-S3 only (ELB documentation).",
    ),
    Acknowledgement(
        rules=("S3BucketReplicationEnabled",),
        where=("foundation/AccessLogs", "data/Media"),
        reason="S3 keeps objects in three zones; media are versioned and in AWS Backup besides. "
        "A copy in another region is a decision about where data may be.",
    ),
    Acknowledgement(
        rules=("s3_bucket_object_lock_enabled_check",),
        where=("foundation/AccessLogs", "data/Media"),
        reason="People may have their files deleted, and logs expire; what must not be deleted "
        "is in the locked backup vault.",
    ),
    Acknowledgement(
        rules=("s3_event_notifications_enabled_check",),
        where=("foundation/AccessLogs", "data/Media"),
        reason="Nothing acts on such events: the application knows what it writes.",
    ),
    Acknowledgement(
        rules=("SQS3", "sqs_dlq_check"),
        where=("app/Schedules/DeadLetters",),
        reason="It is the dead-letter queue.",
    ),
    Acknowledgement(
        rules=("lambda_inside_vpc_check", "CKV_AWS_115", "CKV_AWS_116", "CKV_AWS_117"),
        where=("foundation/Custom::VpcRestrictDefaultSGCustomResourceProvider",),
        reason="CDK's, runs when the VPC is made, to close its default security group (EC2.2), "
        "and calls EC2's API only: in the VPC it would need a way out. CloudFormation waits for "
        "its answer, so that there is nothing to queue or to limit.",
    ),
    Acknowledgement(
        rules=("W3010",),
        where=("foundation/Network/Vpc",),
        reason="Named zones keep subnets where they are; looking zones up needs AWS's answer "
        "at every synth.",
    ),
)


def acknowledge(stack: cdk.Stack, answers: Iterable[Acknowledgement]) -> None:
    """Note the answers on the constructs of a stack that they are about."""
    for answer in answers:
        ids = [f"{pack}::{rule}" for rule in answer.rules for pack in PACKS]
        for place in answer.where:
            if construct := _find(stack, place):
                cdk.Validations.of(construct).acknowledge(
                    *(cdk.Acknowledgment(id=each, reason=answer.reason) for each in ids)
                )


def _find(stack: cdk.Stack, place: str) -> IConstruct | None:
    kind, *path = place.split("/")
    found: IConstruct | None = stack if stack.node.id.endswith(f"-{kind}") else None
    for name in path:
        found = found and found.node.try_find_child(name)
    return found
