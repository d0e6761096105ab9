"""What AWS reports as events rather than metrics, and who is told."""

from collections.abc import Mapping, Sequence
from typing import Any

from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from constructs import Construct

_field = events.EventField.from_path


class Events(Construct):
    """Rules that turn an event into a message of chosen fields.

    Never a whole event: those of ECS repeat a task's overrides, of CloudTrail a request.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        topic: sns.ITopic,
        cluster: ecs.ICluster,
        services: Sequence[ecs.FargateService],
        keys: Sequence[kms.IKey],
        backup_vault: str,
    ) -> None:
        super().__init__(scope, construct_id)
        self._topic = topic
        self._tasks(cluster)
        self._rule(
            "DeploymentFailed",
            source="aws.ecs",
            kind="ECS Deployment State Change",
            detail={"eventName": ["SERVICE_DEPLOYMENT_FAILED"]},
            resources=[service.service_arn for service in services],
            message=f"A deployment failed and is taken back: {_field('$.resources[0]')}. "
            f"{_field('$.detail.reason')}",
        )
        self._rule(
            "BackupFailed",
            source="aws.backup",
            kind="Backup Job State Change",
            detail={
                "state": ["ABORTED", "EXPIRED", "FAILED", "PARTIAL"],
                "backupVaultName": [backup_vault],
            },
            message=f"A backup of {_field('$.detail.resourceArn')} ended as "
            f"{_field('$.detail.state')}.",
        )
        # CloudTrail hands these on only if the account has a trail of management events:
        # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-service-event-cloudtrail.html
        self._rule(
            "KeyInDanger",
            source="aws.kms",
            kind="AWS API Call via CloudTrail",
            detail={
                "eventSource": ["kms.amazonaws.com"],
                "eventName": ["DisableKey", "ScheduleKeyDeletion"],
                "resources": {"ARN": [key.key_arn for key in keys]},
            },
            message=f"{_field('$.detail.eventName')} was called for "
            f"{_field('$.detail.resources[0].ARN')} by {_field('$.detail.userIdentity.arn')}. "
            "Without this key its data are lost: aws kms cancel-key-deletion, aws kms enable-key.",
        )

    def _tasks(self, cluster: ecs.ICluster) -> None:
        """Tasks that failed by themselves: services', scheduled ones, and the release task.

        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_task_events.html
        """
        stopped: dict[str, Any] = {"clusterArn": [cluster.cluster_arn], "lastStatus": ["STOPPED"]}
        ways: dict[str, dict[str, Any]] = {
            "TaskFailed": {
                "stopCode": ["EssentialContainerExited"],
                "containers": {"exitCode": [{"anything-but": [0]}]},
            },
            "TaskNotStarted": {"stopCode": ["TaskFailedToStart"]},
        }
        for name, way in ways.items():
            self._rule(
                name,
                source="aws.ecs",
                kind="ECS Task State Change",
                detail=stopped | way,
                message=f"A task of {_field('$.detail.group')} failed: "
                f"{_field('$.detail.stoppedReason')}. Task: {_field('$.detail.taskArn')}",
            )

    def _rule(
        self,
        name: str,
        *,
        source: str,
        kind: str,
        detail: Mapping[str, Any],
        message: str,
        resources: Sequence[str] | None = None,
    ) -> None:
        rule = events.Rule(
            self,
            name,
            event_pattern=events.EventPattern(
                source=[source],
                detail_type=[kind],
                detail=dict(detail),
                resources=list(resources) if resources else None,
            ),
        )
        rule.add_target(
            targets.SnsTopic(self._topic, message=events.RuleTargetInput.from_text(message))
        )
