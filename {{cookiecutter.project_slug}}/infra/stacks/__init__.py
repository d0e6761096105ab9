"""The stacks of one environment, by lifetime, and what each takes from the one before.

foundation   keys, network, image registry
data         database, cache, buckets, backups
release      cluster and the release task, which runs before new code serves
app          load balancer, services, schedules, alarms
"""

import aws_cdk as cdk
from constructs import Construct

from config import Environment, Project
from stacks.app import AppStack
from stacks.data import DataStack
from stacks.foundation import FoundationStack
from stacks.release import ReleaseStack


def add_stacks(scope: Construct, project: Project, environment: Environment, *, tag: str) -> None:
    """Add the four stacks; `tag` names the images of this release."""
    place = cdk.Environment(account=environment.account, region=project.region)
    prefix = f"{project.slug}-{environment.name}"
    foundation = FoundationStack(
        scope, f"{prefix}-foundation", env=place, project=project, environment=environment
    )
    data = DataStack(
        scope,
        f"{prefix}-data",
        env=place,
        project=project,
        environment=environment,
        foundation=foundation,
    )
    release = ReleaseStack(
        scope,
        f"{prefix}-release",
        env=place,
        project=project,
        environment=environment,
        foundation=foundation,
        data=data,
        tag=tag,
    )
    AppStack(
        scope,
        f"{prefix}-app",
        env=place,
        project=project,
        environment=environment,
        foundation=foundation,
        data=data,
        release=release,
    )
