"""The task that prepares a release, and does what only people start."""

from aws_cdk import CfnOutput
from constructs import Construct

from components.application import ApplicationTask
from components.permissions import allow_release
from components.surroundings import Surroundings


class ReleaseTask(Construct):
    """Runs scripts/release and ends, before the new version serves: secrets, roles, keys, tables.

    Rotations and `verify_encryption` are the same task with another command, since only it may
    write secrets and read retired keys. No service runs it and nobody gets into it.
    """

    def __init__(self, scope: Construct, construct_id: str, *, at: Surroundings) -> None:
        super().__init__(scope, construct_id)
        master = at.database.master_secret
        task = ApplicationTask(
            self,
            "Application",
            at=at,
            role="release",
            cpu=512,
            memory=2048,
            database_user="migrator",
            command=["sh", "scripts/release"],
            secrets={
                "DATABASE_MASTER_USER": (master, "username"),
                "DATABASE_MASTER_PASSWORD": (master, "password"),
            },
        )
        allow_release(task.role, at)
        self.role = task.role
        self.task_definition = task.task_definition
        self.log_group = task.log_group
        self.security_group = task.security_group
        # What `deploy` needs to run it.
        subnets = at.network.vpc.select_subnets(subnet_group_name=at.network.app.subnet_group_name)
        for name, value in {
            "TaskDefinition": self.task_definition.task_definition_arn,
            "SecurityGroup": self.security_group.security_group_id,
            "Subnets": ",".join(subnets.subnet_ids),
            "LogGroup": self.log_group.log_group_name,
        }.items():
            CfnOutput(self, name, value=value).override_logical_id(f"Release{name}")
