"""What must not be lost: database, cache, files, backups."""

import aws_cdk as cdk
from aws_cdk import aws_backup as backup
from constructs import Construct

from components.backup import Backup
from components.buckets import MediaBucket
from components.cache import Cache
from components.database import Database
from config import Environment, Project
from stacks.foundation import FoundationStack


class DataStack(cdk.Stack):
    """Database, cache, media, backup. Those who connect add themselves to the groups."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        project: Project,
        environment: Environment,
        foundation: FoundationStack,
        env: cdk.Environment,
    ) -> None:
        super().__init__(scope, construct_id, env=env)
        keys, network = foundation.keys, foundation.network
        self.database = Database(
            self,
            "Database",
            project=project,
            environment=environment,
            vpc=network.vpc,
            subnets=network.data,
            key=keys.data,
            log_key=keys.logs,
        )
        self.cache = Cache(
            self,
            "Cache",
            environment=environment,
            vpc=network.vpc,
            subnets=network.data,
            key=keys.data,
            log_key=keys.logs,
        )
        self.media = MediaBucket(
            self,
            "Media",
            environment=environment,
            key=keys.media,
            access_logs=foundation.access_logs,
        )
        self.backup = Backup(
            self,
            "Backup",
            environment=environment,
            resources=[
                backup.BackupResource.from_rds_database_instance(self.database.instance),
                backup.BackupResource.from_arn(self.media.bucket.bucket_arn),
            ],
            key=keys.data,
        )
        cdk.CfnOutput(self, "CacheHost", value=self.cache.host)
