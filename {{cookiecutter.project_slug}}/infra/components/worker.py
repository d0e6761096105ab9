"""The worker: `manage.py db_worker`, which takes its tasks from the database."""

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ecs as ecs
from constructs import Construct

from components.application import ApplicationTask
from components.permissions import allow_runtime
from components.service import Service
from components.surroundings import Surroundings

# Workers are added while more tasks than this wait, and go when there are fewer.
WAITING = 20


class WorkerService(Construct):
    """Scaled by CPU, and by the tasks that wait, which `manage.py report_metrics` counts."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        at: Surroundings,
        cluster: ecs.ICluster,
    ) -> None:
        super().__init__(scope, construct_id)
        size = at.environment.worker
        self.application = ApplicationTask(
            self,
            "Application",
            at=at,
            role="worker",
            cpu=size.cpu,
            memory=size.memory,
            sessions=at.environment.exec,
            command=["python", "manage.py", "db_worker"],
            # It ends the task that it has begun: two minutes are the longest that Fargate, and
            # Spot's notice, give.
            stop_timeout=Duration.seconds(120),
            health_check=ecs.HealthCheck(
                # As in services/app/Dockerfile, which ECS does not look at.
                command=[
                    *("CMD", "python", "manage.py", "check"),
                    *("--tag", "encryption", "--database", "default"),
                ],
                interval=Duration.seconds(120),
                timeout=Duration.seconds(60),
                retries=3,
                start_period=Duration.seconds(120),
            ),
        )
        allow_runtime(self.application.role, at)
        self.service = Service(
            self,
            "Service",
            cluster=cluster,
            subnets=at.network.app,
            task=self.application,
            size=size,
        )
        self.service.scaling.scale_to_track_custom_metric(
            "Waiting",
            metric=cloudwatch.Metric(
                namespace=at.project.slug,
                metric_name="TasksWaiting",
                dimensions_map={"Environment": at.environment.name},
                statistic="Average",
                period=Duration.minutes(5),
            ),
            target_value=WAITING,
            scale_out_cooldown=Duration.minutes(5),
            scale_in_cooldown=Duration.minutes(10),
        )
