"""Log groups of the application."""

from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from constructs import Construct

from components.retention import removal_policy
from config import Environment


class EncryptedLogGroup(logs.LogGroup):
    """A log group under a customer-managed key that keeps its events `log_days`.

    The key's policy must let CloudWatch Logs of this account use it:
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        environment: Environment,
        key: kms.IKey,
        name: str | None = None,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            log_group_name=name,
            encryption_key=key,
            removal_policy=removal_policy(environment),
        )
        # As a number: the enumeration of CDK cannot be made from one.
        group = self.node.default_child
        assert isinstance(group, logs.CfnLogGroup)  # noqa: S101  # for the types
        group.retention_in_days = environment.log_days
