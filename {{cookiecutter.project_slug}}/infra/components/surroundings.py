"""What all tasks of the application have in common."""

from dataclasses import dataclass

from aws_cdk import Aws

from components.buckets import MediaBucket
from components.cache import Cache
from components.database import Database
from components.keys import Keys
from components.network import Network
from components.registry import Registry
from config import Environment, Project


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Where the application runs and what it talks to; `tag` names its images."""

    project: Project
    environment: Environment
    tag: str
    network: Network
    keys: Keys
    registry: Registry
    database: Database
    cache: Cache
    media: MediaBucket

    def parameter_arn(self, name: str) -> str:
        """Return the ARN of the parameter `/{slug}/{environment}{name}`."""
        return (
            f"arn:{Aws.PARTITION}:ssm:{self.project.region}:{Aws.ACCOUNT_ID}:"
            f"parameter/{self.project.slug}/{self.environment.name}{name}"
        )
