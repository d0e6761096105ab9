"""A service: tasks that are kept running, replaced one by one, and scaled."""

from aws_cdk import Duration
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from constructs import Construct

from components.application import ApplicationTask
from config import ServiceConfig

_ON_DEMAND = [ecs.CapacityProviderStrategy(capacity_provider="FARGATE", weight=1)]
# One task that Amazon does not take back; the others cost less and may be interrupted.
_SPOT = [
    ecs.CapacityProviderStrategy(capacity_provider="FARGATE", base=1, weight=0),
    ecs.CapacityProviderStrategy(capacity_provider="FARGATE_SPOT", weight=1),
]


class Service(Construct):
    """`task`, as many times as `size` allows and the CPU asks for.

    A deployment that does not get healthy is taken back by itself, and until the new tasks
    are healthy the old ones stay.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        cluster: ecs.ICluster,
        subnets: ec2.SubnetSelection,
        task: ApplicationTask,
        size: ServiceConfig,
        grace: Duration | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        self.service = ecs.FargateService(
            self,
            "Service",
            cluster=cluster,
            task_definition=task.task_definition,
            vpc_subnets=subnets,
            security_groups=[task.security_group],
            assign_public_ip=False,
            platform_version=ecs.FargatePlatformVersion.LATEST,
            capacity_provider_strategies=_SPOT if size.spot else _ON_DEMAND,
            circuit_breaker=ecs.DeploymentCircuitBreaker(enable=True, rollback=True),
            min_healthy_percent=100,
            max_healthy_percent=200,
            availability_zone_rebalancing=ecs.AvailabilityZoneRebalancing.ENABLED,
            health_check_grace_period=grace,
            enable_execute_command=task.sessions,
            enable_ecs_managed_tags=True,
            propagate_tags=ecs.PropagatedTagSource.SERVICE,
        )
        self.scaling = self.service.auto_scale_task_count(
            min_capacity=size.minimum, max_capacity=size.maximum
        )
        self.scaling.scale_on_cpu_utilization(
            "Cpu",
            target_utilization_percent=60,
            scale_out_cooldown=Duration.minutes(1),
            scale_in_cooldown=Duration.minutes(5),
        )
