"""What runs at certain times: the commands of config/schedule.py, and the weekly roll."""

import runpy
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from aws_cdk import Aws, Duration, Stack
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from components.application import ApplicationTask
from components.permissions import allow_age_of_cache_password, allow_runtime
from components.surroundings import Surroundings
from config import HERE

# Sunday night: tasks get new certificates, and secrets that were rotated.
WEEKLY = "cron(0 3 ? * SUN *)"


def commands() -> Mapping[str, timedelta]:
    """Return what `manage.py scheduler` runs locally, and what only AWS does, with its interval."""
    schedule = runpy.run_path(str(HERE.parent / "config" / "schedule.py"))
    found: Mapping[str, timedelta] = schedule["COMMANDS"] | schedule["ON_AWS"]
    return found


class Schedules(Construct):
    """EventBridge Scheduler runs each command in a task, and replaces all tasks once a week.

    What it cannot start, after trying for an hour, goes to `dead_letters`. A command that
    starts and fails is not its business: it runs again when it is next due.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        at: Surroundings,
        cluster: ecs.ICluster,
        services: Mapping[str, ecs.FargateService],
    ) -> None:
        super().__init__(scope, construct_id)
        self.group = scheduler.CfnScheduleGroup(self, "Group")
        # By its ARN: CDK would otherwise widen the key's policy, which is complete.
        self._key = kms.Key.from_key_arn(self, "Key", at.keys.logs.key_arn)
        self.dead_letters = sqs.Queue(
            self,
            "DeadLetters",
            encryption=sqs.QueueEncryption.KMS,
            encryption_master_key=self._key,
            enforce_ssl=True,
            retention_period=Duration.days(14),
        )
        self.application = ApplicationTask(
            self,
            "Application",
            at=at,
            role="scheduler",
            cpu=256,
            memory=1024,
            environment={"CACHE_LOGIN_ARN": at.cache.password.secret_arn},
        )
        allow_runtime(self.application.role, at)
        allow_age_of_cache_password(self.application.role, at)
        self._add_commands(at, cluster)
        for name, service in services.items():
            self._add_roll(name, service, cluster)

    def _add_commands(self, at: Surroundings, cluster: ecs.ICluster) -> None:
        task = self.application.task_definition
        role = self._role("RunRole")
        _allow(
            role,
            "ecs:RunTask",
            task.task_definition_arn,
            {"ArnEquals": {"ecs:cluster": cluster.cluster_arn}},
        )
        for passed in (task.task_role, task.obtain_execution_role()):
            _allow(
                role,
                "iam:PassRole",
                passed.role_arn,
                {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
            )
        subnets = at.network.vpc.select_subnets(subnet_group_name=at.network.app.subnet_group_name)
        run = scheduler.CfnSchedule.EcsParametersProperty(
            task_definition_arn=task.task_definition_arn,
            launch_type="FARGATE",
            platform_version="LATEST",
            enable_ecs_managed_tags=True,
            network_configuration=scheduler.CfnSchedule.NetworkConfigurationProperty(
                awsvpc_configuration=scheduler.CfnSchedule.AwsVpcConfigurationProperty(
                    subnets=subnets.subnet_ids,
                    security_groups=[self.application.security_group.security_group_id],
                    assign_public_ip="DISABLED",
                )
            ),
        )
        for command, every in commands().items():
            override = {"name": "app", "command": ["python", "manage.py", command]}
            self._add(
                command,
                when=_rate(every),
                target=cluster.cluster_arn,
                role=role,
                payload={"containerOverrides": [override]},
                ecs_parameters=run,
            )

    def _add_roll(self, name: str, service: ecs.FargateService, cluster: ecs.ICluster) -> None:
        role = self._role(f"{name}RollRole")
        _allow(role, "ecs:UpdateService", service.service_arn)
        self._add(
            f"{name}Roll",
            when=WEEKLY,
            # https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-universal.html
            target=f"arn:{Aws.PARTITION}:scheduler:::aws-sdk:ecs:updateService",
            role=role,
            payload={
                "Cluster": cluster.cluster_arn,
                "Service": service.service_arn,
                "ForceNewDeployment": True,
            },
        )

    def _role(self, name: str) -> iam.Role:
        """Return a role for schedules of this group only, which may write to the dead letters."""
        role = iam.Role(
            self,
            name,
            # https://docs.aws.amazon.com/scheduler/latest/UserGuide/cross-service-confused-deputy-prevention.html
            assumed_by=iam.ServicePrincipal(
                "scheduler.amazonaws.com",
                conditions={
                    "StringEquals": {
                        "aws:SourceAccount": Aws.ACCOUNT_ID,
                        "aws:SourceArn": self.group.attr_arn,
                    }
                },
            ),
        )
        _allow(role, "sqs:SendMessage", self.dead_letters.queue_arn)
        for action in ("kms:Decrypt", "kms:GenerateDataKey"):
            _allow(
                role,
                action,
                self._key.key_arn,
                {"StringEquals": {"kms:ViaService": f"sqs.{Stack.of(self).region}.amazonaws.com"}},
            )
        # The schedule itself is stored under the key:
        # https://docs.aws.amazon.com/scheduler/latest/UserGuide/encryption-rest.html
        _allow(
            role,
            "kms:Decrypt",
            self._key.key_arn,
            {
                "ArnLike": {
                    "kms:EncryptionContext:aws:scheduler:schedule:arn": (
                        f"arn:{Aws.PARTITION}:scheduler:{Stack.of(self).region}:{Aws.ACCOUNT_ID}:"
                        f"schedule/{self.group.ref}/*"
                    )
                }
            },
        )
        return role

    def _add(
        self,
        name: str,
        *,
        when: str,
        target: str,
        role: iam.Role,
        payload: Mapping[str, Any],
        ecs_parameters: scheduler.CfnSchedule.EcsParametersProperty | None = None,
    ) -> None:
        schedule = scheduler.CfnSchedule(
            self,
            name,
            group_name=self.group.ref,
            schedule_expression=when,
            flexible_time_window=scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF"),
            kms_key_arn=self._key.key_arn,
            target=scheduler.CfnSchedule.TargetProperty(
                arn=target,
                role_arn=role.role_arn,
                input=Stack.of(self).to_json_string(payload),
                ecs_parameters=ecs_parameters,
                retry_policy=scheduler.CfnSchedule.RetryPolicyProperty(
                    maximum_event_age_in_seconds=3600, maximum_retry_attempts=10
                ),
                dead_letter_config=scheduler.CfnSchedule.DeadLetterConfigProperty(
                    arn=self.dead_letters.queue_arn
                ),
            ),
        )
        # The role alone, which comes first anyway, would not do.
        schedule.node.add_dependency(role.node.find_child("DefaultPolicy"))


def _rate(every: timedelta) -> str:
    """Return Scheduler's expression for a whole number of minutes.

    Raises `ValueError` for any other time: Scheduler knows no seconds.
    """
    minutes, rest = divmod(every, timedelta(minutes=1))
    if rest or minutes < 1:
        raise ValueError(
            f"config/schedule.py has {every}. EventBridge Scheduler counts in whole minutes."
        )
    return f"rate({minutes} minute{'s' if minutes > 1 else ''})"


def _allow(
    role: iam.Role, action: str, resource: str, conditions: Mapping[str, Any] | None = None
) -> None:
    role.add_to_policy(
        iam.PolicyStatement(actions=[action], resources=[resource], conditions=conditions)
    )
