"""What outlives every release: keys, network, images, where logs and alarms go."""

import aws_cdk as cdk
from constructs import Construct

from components.buckets import LogBucket
from components.keys import Keys
from components.network import Network
from components.notifications import Notifications
from components.registry import Registry
from config import Environment, Project


class FoundationStack(cdk.Stack):
    """Keys, network, registry, notifications, access logs."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        project: Project,
        environment: Environment,
        env: cdk.Environment,
    ) -> None:
        self._zones = [f"{project.region}{letter}" for letter in environment.network.zone_letters]
        super().__init__(scope, construct_id, env=env)
        self.keys = Keys(self, "Keys", project=project, environment=environment)
        self.network = Network(
            self,
            "Network",
            environment=environment,
            region=project.region,
            log_key=self.keys.logs,
        )
        self.registry = Registry(self, "Registry", environment=environment, key=self.keys.compute)
        self.notifications = Notifications(
            self, "Notifications", environment=environment, key=self.keys.logs
        )
        self.access_logs = LogBucket(self, "AccessLogs", environment=environment).bucket
        # For `deploy`, which pushes the images.
        for name, repository in {"App": self.registry.app, "Proxy": self.registry.proxy}.items():
            cdk.CfnOutput(self, f"{name}Repository", value=repository.repository_name)

    @property
    def availability_zones(self) -> list[str]:
        """The zones, without asking AWS: a synth needs no credentials."""
        return self._zones
