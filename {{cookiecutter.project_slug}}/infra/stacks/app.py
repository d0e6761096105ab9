"""What serves: load balancer, services, schedules, alarms."""

import aws_cdk as cdk
from constructs import Construct

from components.edge import Edge
from components.operations import Operations
from components.schedules import Schedules
from components.web import WebService
from components.worker import WorkerService
from config import Environment, Project
from stacks.data import DataStack
from stacks.foundation import FoundationStack
from stacks.release import ReleaseStack


class AppStack(cdk.Stack):
    """Everything that a new version of the application changes."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        project: Project,
        environment: Environment,
        foundation: FoundationStack,
        data: DataStack,
        release: ReleaseStack,
        env: cdk.Environment,
    ) -> None:
        super().__init__(scope, construct_id, env=env)
        at, cluster = release.surroundings, release.cluster.cluster
        self.edge = Edge(
            self,
            "Edge",
            project=project,
            environment=environment,
            network=foundation.network,
            access_logs=foundation.access_logs,
            log_key=foundation.keys.logs,
        )
        self.web = WebService(self, "Web", at=at, cluster=cluster, edge=self.edge)
        self.worker = WorkerService(self, "Worker", at=at, cluster=cluster)
        services = {
            "Web": self.web.service.service,
            "Worker": self.worker.service.service,
        }
        self.schedules = Schedules(
            self,
            "Schedules",
            at=at,
            cluster=cluster,
            services=services,
        )
        self.operations = Operations(
            self,
            "Operations",
            at=at,
            topic=foundation.notifications.topic,
            edge=self.edge,
            services=services,
            dead_letters=self.schedules.dead_letters,
            backup_vault=data.backup.vault.backup_vault_name,
        )
        # What `connect` looks for, and `deploy`, which goes back to the tag if a later one fails.
        cdk.CfnOutput(self, "Tag", value=at.tag)
        for name, service in services.items():
            cdk.CfnOutput(self, f"{name}ServiceName", value=service.service_name)
