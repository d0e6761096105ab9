"""AWS Backup of database and files, besides what RDS and S3 keep themselves."""

import aws_cdk as cdk
from aws_cdk import aws_backup as backup
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from components.retention import removal_policy
from config import Environment

_MONTHLY_DAYS = 365
_MANAGED = (
    "service-role/AWSBackupServiceRolePolicyForBackup",
    "AWSBackupServiceRolePolicyForS3Backup",
)


class Backup(Construct):
    """A vault under our own key, a backup each night and, where protected, each month.

    A protected vault is locked in governance mode: nobody deletes a backup or shortens
    its life before its time, unless they may lift the lock (`backup:DeleteBackupVaultLock
    Configuration`). Compliance mode, which nobody can lift, not even AWS, is a decision
    for people and not for a template. Failures are events: components/events.py.
    https://docs.aws.amazon.com/aws-backup/latest/devguide/vault-lock.html
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        environment: Environment,
        resources: list[backup.BackupResource],
        key: kms.IKey,
    ) -> None:
        super().__init__(scope, construct_id)
        protect, days = environment.protect, environment.database.backup_days
        self.vault = backup.BackupVault(
            self,
            "Vault",
            encryption_key=key,
            block_recovery_point_deletion=protect,
            lock_configuration=(
                backup.LockConfiguration(
                    min_retention=cdk.Duration.days(days),
                    max_retention=cdk.Duration.days(_MONTHLY_DAYS),
                )
                if protect
                else None
            ),
            removal_policy=removal_policy(environment),
        )
        self.plan = backup.BackupPlan(
            self, "Plan", backup_vault=self.vault, backup_plan_rules=_rules(environment)
        )
        role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("backup.amazonaws.com"),
            managed_policies=[iam.ManagedPolicy.from_aws_managed_policy_name(n) for n in _MANAGED],
        )
        self.plan.add_selection("Selection", resources=resources, role=role)


def _rules(environment: Environment) -> list[backup.BackupPlanRule]:
    """Return the schedule, which keeps clear of RDS's own backups and maintenance."""
    daily = _rule("daily", {"hour": "3"}, days=environment.database.backup_days)
    monthly = _rule("monthly", {"day": "1", "hour": "4"}, days=_MONTHLY_DAYS)
    return [daily, monthly] if environment.protect else [daily]


def _rule(name: str, when: dict[str, str], *, days: int) -> backup.BackupPlanRule:
    return backup.BackupPlanRule(
        rule_name=name,
        schedule_expression=events.Schedule.cron(minute="0", **when),
        start_window=cdk.Duration.hours(1),
        completion_window=cdk.Duration.hours(24),
        delete_after=cdk.Duration.days(days),
    )
