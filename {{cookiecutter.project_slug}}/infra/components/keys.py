"""Customer-managed keys, one per purpose, and who may use each."""

from collections.abc import Mapping

import aws_cdk as cdk
from aws_cdk import Aws
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from components.retention import removal_policy
from config import Environment, Project


class Keys(Construct):
    """The keys of an environment, each rotated every year by KMS.

    secrets   parameters (SecureString) and the data keys of encrypted fields and files;
              its alias is the application's KMS_KEY
    data      database, cache, their passwords in Secrets Manager, backups
    media     uploaded files
    logs      log groups, notifications, people's sessions in containers
    compute   images, and the disks of running tasks

    Policies let this account's IAM policies decide (`kms:*` for the account's root is
    what KMS calls enabling IAM policies), and let in the services that come with no role:
    each is held to the encryption context that it sends.
    https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, project: Project, environment: Environment
    ) -> None:
        super().__init__(scope, construct_id)
        prefix = f"{project.slug}-{environment.name}"

        def key(name: str, purpose: str, *, alias: str | None = None) -> kms.Key:
            made = kms.Key(
                self,
                name,
                alias=alias,
                description=f"{prefix}: {purpose}",
                enable_key_rotation=True,
                pending_window=cdk.Duration.days(30),
                removal_policy=removal_policy(environment),
            )
            _let_only_services_grant(made)
            return made

        self.secrets = key("Secrets", "parameters and data keys", alias=f"alias/{prefix}")
        self.data = key("Data", "database, cache, passwords, backups")
        self.media = key("Media", "uploaded files")
        self.logs = key("Logs", "logs, notifications, sessions")
        self.compute = key("Compute", "images and disks of tasks")
        _let_logs_in(self.logs, prefix, project.region)
        _let_notifications_in(self.logs, prefix, project.region)
        _let_fargate_in(self.compute, prefix)


def _let_only_services_grant(key: kms.Key) -> None:
    """Nobody lends the key to a principal; AWS's services do so to work with it (CT.KMS.PR.3)."""
    key.add_to_resource_policy(
        iam.PolicyStatement(
            effect=iam.Effect.DENY,
            principals=[iam.AnyPrincipal()],
            actions=["kms:CreateGrant"],
            resources=["*"],  # in a key's policy: this key
            conditions={
                "BoolIfExists": {
                    "kms:GrantIsForAWSResource": "false",
                    "aws:PrincipalIsAWSService": "false",
                }
            },
        )
    )


def _let_logs_in(key: kms.Key, prefix: str, region: str) -> None:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html"""
    groups = f"arn:{Aws.PARTITION}:logs:{region}:{Aws.ACCOUNT_ID}:log-group:*{prefix}*"
    _let_in(
        key,
        f"logs.{region}.amazonaws.com",
        ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*"],
        {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": groups}},
    )


def _let_notifications_in(key: kms.Key, prefix: str, region: str) -> None:
    """Those who publish to the topic, by way of SNS. Who may publish says the topic.

    https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html
    """
    topics = f"arn:{Aws.PARTITION}:sns:{region}:{Aws.ACCOUNT_ID}:{prefix}-*"
    for service in ("cloudwatch", "events"):
        _let_in(
            key,
            f"{service}.amazonaws.com",
            ["kms:Decrypt", "kms:GenerateDataKey*"],
            {"ArnLike": {"kms:EncryptionContext:aws:sns:topicArn": topics}},
        )


def _let_fargate_in(key: kms.Key, prefix: str) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-create-storage-key.html"""
    cluster: dict[str, object] = {
        "StringEquals": {"kms:EncryptionContext:aws:ecs:clusterAccount": Aws.ACCOUNT_ID},
        "StringLike": {"kms:EncryptionContext:aws:ecs:clusterName": f"{prefix}-*"},
    }
    service = "fargate.amazonaws.com"
    _let_in(key, service, ["kms:GenerateDataKeyWithoutPlaintext"], cluster)
    only_decrypt = {"ForAllValues:StringEquals": {"kms:GrantOperations": ["Decrypt"]}}
    _let_in(key, service, ["kms:CreateGrant"], cluster | only_decrypt)


def _let_in(
    key: kms.Key, service: str, actions: list[str], conditions: Mapping[str, object]
) -> None:
    key.add_to_resource_policy(
        iam.PolicyStatement(
            principals=[iam.ServicePrincipal(service)],
            actions=actions,
            resources=["*"],  # in a key's policy: this key
            conditions=conditions,
        )
    )
