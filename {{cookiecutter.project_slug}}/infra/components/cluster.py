"""The ECS cluster: where tasks run, and what people's sessions in them leave behind."""

from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_kms as kms
from constructs import Construct

from components.logs import EncryptedLogGroup
from config import Environment


class Cluster(Construct):
    """Fargate and Fargate Spot, with disks, sessions and session logs under our own keys.

    The keys' policies must let Fargate, ECS Exec and CloudWatch Logs use them:
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-create-storage-key.html
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-exec.html#ecs-exec-logging
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        environment: Environment,
        vpc: ec2.IVpc,
        storage_key: kms.IKey,
        session_key: kms.IKey,
    ) -> None:
        super().__init__(scope, construct_id)
        sessions = EncryptedLogGroup(self, "Sessions", environment=environment, key=session_key)
        # Keys by their ARN: CDK would otherwise widen their policies, which are complete.
        storage = kms.Key.from_key_arn(self, "StorageKey", storage_key.key_arn)
        session = kms.Key.from_key_arn(self, "SessionKey", session_key.key_arn)
        self.cluster = ecs.Cluster(
            self,
            "Cluster",
            vpc=vpc,
            container_insights_v2=ecs.ContainerInsights.ENABLED,
            enable_fargate_capacity_providers=True,
            managed_storage_configuration=ecs.ManagedStorageConfiguration(
                fargate_ephemeral_storage_kms_key=storage
            ),
            # Set even where no service lets anyone in: who turns it on gets this.
            execute_command_configuration=ecs.ExecuteCommandConfiguration(
                kms_key=session,
                logging=ecs.ExecuteCommandLogging.OVERRIDE,
                log_configuration=ecs.ExecuteCommandLogConfiguration(
                    cloud_watch_log_group=sessions, cloud_watch_encryption_enabled=True
                ),
            ),
        )
        # Container Insights makes this group itself, under no key of ours, if it is not there.
        EncryptedLogGroup(
            self,
            "Insights",
            environment=environment,
            key=session_key,
            name=f"/aws/ecs/containerinsights/{self.cluster.cluster_name}/performance",
        )
