"""One task definition of the application, whatever it runs."""

from collections.abc import Mapping, Sequence
from typing import Literal

from aws_cdk import Aws, Duration
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from components.containers import add_container
from components.logs import EncryptedLogGroup
from components.surroundings import Surroundings

Role = Literal["app", "worker", "scheduler", "release"]

# A secret whose value ECS puts into a variable when the task starts, and a field of it.
Injected = tuple[secretsmanager.ISecret, str | None]

USER = 10001  # of services/app/Dockerfile
# Where the images are built decides: GitHub's runners and most laptops make these without
# emulation, which would take many times as long. Graviton would cost a fifth less.
ARCHITECTURE = ecs.CpuArchitecture.X86_64


class ApplicationTask(Construct):
    """The application's container, `app`, with its role, network rules and logs.

    What a task is allowed on AWS is up to whoever makes it: see `permissions`. `memory`, in
    MiB, is the container's; `task_memory` the task's, if other containers join it. With
    `sessions` people may get in (ECS Exec).
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        at: Surroundings,
        role: Role,
        cpu: int,
        memory: int,
        task_memory: int | None = None,
        database_user: str = "app",
        sessions: bool = False,
        command: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        secrets: Mapping[str, Injected] | None = None,
        health_check: ecs.HealthCheck | None = None,
        stop_timeout: Duration | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        self.sessions = sessions
        self.log_group = EncryptedLogGroup(
            self, "Logs", environment=at.environment, key=at.keys.logs
        )
        own_tasks = f"arn:{Aws.PARTITION}:ecs:{at.project.region}:{Aws.ACCOUNT_ID}:*"
        tasks = iam.ServicePrincipal(
            "ecs-tasks.amazonaws.com",
            # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
            conditions={
                "StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID},
                "ArnLike": {"aws:SourceArn": own_tasks},
            },
        )
        self.role = iam.Role(self, "Role", assumed_by=tasks)
        injected = {"CACHE_PASSWORD": (at.cache.password, None), **(secrets or {})}
        self.task_definition = ecs.FargateTaskDefinition(
            self,
            "Task",
            cpu=cpu,
            memory_limit_mib=task_memory or memory,
            task_role=self.role,
            execution_role=self._execution_role(at, tasks, [item for item, _ in injected.values()]),
            runtime_platform=ecs.RuntimePlatform(
                cpu_architecture=ARCHITECTURE,
                operating_system_family=ecs.OperatingSystemFamily.LINUX,
            ),
        )
        self.container = add_container(
            self.task_definition,
            "app",
            image=ecs.ContainerImage.from_ecr_repository(at.registry.app, at.tag),
            user=USER,
            memory=memory,
            tmp=64,
            log_group=self.log_group,
            sessions=sessions,
            stop_timeout=stop_timeout or Duration.seconds(60),
            command=command,
            environment=_environment(at, role, database_user) | dict(environment or {}),
            secrets={
                name: ecs.Secret.from_secrets_manager(secret, field)
                for name, (secret, field) in injected.items()
            },
            health_check=health_check,
        )
        self.security_group = self._security_group(at, role)

    def _execution_role(
        self, at: Surroundings, tasks: iam.IPrincipal, secrets: Sequence[secretsmanager.ISecret]
    ) -> iam.Role:
        """Pulls the images, writes the logs and reads what is injected: all but the last
        permission are CDK's, who gives no more than these."""
        role = iam.Role(self, "ExecutionRole", assumed_by=tasks)
        # https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html
        role.add_to_policy(
            iam.PolicyStatement(
                actions=["kms:Decrypt"],
                resources=[at.keys.data.key_arn],
                conditions={
                    "StringEquals": {
                        "kms:ViaService": f"secretsmanager.{at.project.region}.amazonaws.com",
                        "kms:EncryptionContext:SecretARN": list(
                            dict.fromkeys(secret.secret_arn for secret in secrets)
                        ),
                    }
                },
            )
        )
        return role

    def _security_group(self, at: Surroundings, role: Role) -> ec2.SecurityGroup:
        """Let the task out to its stores and to AWS, and let the stores know it."""
        group = ec2.SecurityGroup(
            self,
            "SecurityGroup",
            vpc=at.network.vpc,
            description=f"{at.project.slug} {at.environment.name}: {role}",
            allow_all_outbound=False,
        )
        stores = {
            "Database": (at.database.security_group, at.database.port),
            "Cache": (at.cache.security_group, at.cache.port),
        }
        for name, (store, port) in stores.items():
            group.add_egress_rule(store, ec2.Port.tcp(port), f"{role} to {name.lower()}")
            # Here and not at the store's own group, which is in a stack that comes before.
            ec2.CfnSecurityGroupIngress(
                self,
                f"{name}Ingress",
                group_id=store.security_group_id,
                source_security_group_id=group.security_group_id,
                ip_protocol="tcp",
                from_port=port,
                to_port=port,
                description=f"{role} to {name.lower()}",
            )
        # The endpoints, and S3, whose gateway has public addresses: the number of their prefix
        # list cannot be had without a look-up. Without NAT the route tables lead nowhere else;
        # with NAT, others' HTTPS services are what it is for.
        group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(443), f"{role} to AWS")
        return group


def _environment(at: Surroundings, role: Role, database_user: str) -> dict[str, str]:
    """What config/settings.py reads. No value here is secret."""
    return {
        "ENVIRONMENT": at.environment.name,
        "ROLE": role,
        "ALLOWED_HOSTS": at.environment.domain,
        "AWS_DEFAULT_REGION": at.project.region,
        "DATABASE_HOST": at.database.host,
        "DATABASE_PORT": str(at.database.port),
        "DATABASE_NAME": at.database.name,
        "DATABASE_USER": database_user,
        "DATABASE_LOGIN": at.database.login,
        "DATABASE_CA_FILE": "/app/services/app/rds-ca.pem",
        "CACHE_HOST": at.cache.host,
        "CACHE_PORT": str(at.cache.port),
        "CACHE_USER": at.cache.user,
        "CACHE_CA_FILE": "/app/services/app/amazon-ca.pem",
        "KMS_KEY": f"alias/{at.project.slug}-{at.environment.name}",
        "MEDIA_BUCKET": at.media.bucket.bucket_name,
    }
