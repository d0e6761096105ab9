"""Cluster and release task: what runs before new code serves."""

import aws_cdk as cdk
from constructs import Construct

from components.cluster import Cluster
from components.release_task import ReleaseTask
from components.surroundings import Surroundings
from config import Environment, Project
from stacks.data import DataStack
from stacks.foundation import FoundationStack


class ReleaseStack(cdk.Stack):
    """Comes before the application's stack, so that a failed release leaves it as it is."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        project: Project,
        environment: Environment,
        foundation: FoundationStack,
        data: DataStack,
        tag: str,
        env: cdk.Environment,
    ) -> None:
        super().__init__(scope, construct_id, env=env)
        self.surroundings = Surroundings(
            project=project,
            environment=environment,
            tag=tag,
            network=foundation.network,
            keys=foundation.keys,
            registry=foundation.registry,
            database=data.database,
            cache=data.cache,
            media=data.media,
        )
        self.cluster = Cluster(
            self,
            "Cluster",
            environment=environment,
            vpc=foundation.network.vpc,
            storage_key=foundation.keys.compute,
            session_key=foundation.keys.logs,
        )
        self.release = ReleaseTask(self, "Release", at=self.surroundings)
        cdk.CfnOutput(self, "ClusterName", value=self.cluster.cluster.cluster_name)
