"""What is watched: metrics, and from where on each is worth a message.

Alarms and dashboard are made of the same list, so what raises an alarm can be seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_sqs as sqs

from components.cache import Cache
from components.database import Database
from components.edge import Edge
from config import ConfigError, Environment, Project

MINUTES_5 = Duration.minutes(5)


@dataclass(frozen=True, kw_only=True)
class Watch:
    """A metric that is too high `above` a value, or too low `below` one, `periods` times on end.

    `text` says what that means and what to look at first. `silence` is what it means that
    there are no data: "good" of a count of things that have not happened, "bad" of what
    reports for as long as it lives, "unknown" of what reports seldom.
    """

    name: str
    metric: cloudwatch.Metric | cloudwatch.MathExpression
    text: str
    above: float | None = None
    below: float | None = None
    periods: int = 1
    silence: Literal["good", "bad", "unknown"] = "good"


def edge_watches(edge: Edge, *, region: str) -> list[Watch]:
    """Load balancer, certificate and firewall.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html
    """
    balancer = {"LoadBalancer": edge.load_balancer.load_balancer_full_name}
    both = balancer | {"TargetGroup": edge.target_group.target_group_full_name}

    def metric(name: str, statistic: str, dimensions: Mapping[str, str]) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace="AWS/ApplicationELB",
            metric_name=name,
            statistic=statistic,
            dimensions_map=dict(dimensions),
            period=MINUTES_5,
        )

    return [
        Watch(
            name="NoHealthyTarget",
            metric=metric("HealthyHostCount", "Minimum", both).with_(period=Duration.minutes(1)),
            below=1,
            periods=3,
            silence="bad",
            text="No task answers the health check: the site is down. See the web service's logs.",
        ),
        Watch(
            name="UnhealthyTargets",
            metric=metric("UnHealthyHostCount", "Maximum", both),
            above=0,
            periods=3,
            text="A task fails its health check, and ECS does not mend it.",
        ),
        Watch(
            name="EdgeErrors",
            metric=metric("HTTPCode_ELB_5XX_Count", "Sum", balancer),
            above=10,
            text="The load balancer itself answers with errors: it reaches no task.",
        ),
        Watch(
            name="ApplicationErrors",
            metric=metric("HTTPCode_Target_5XX_Count", "Sum", balancer),
            above=10,
            text="The application answers with errors. See the web service's logs.",
        ),
        Watch(
            name="Latency",
            metric=metric("TargetResponseTime", "p95", balancer),
            above=2,
            periods=3,
            text="One request in twenty takes more than two seconds.",
        ),
        Watch(
            name="RejectedConnections",
            metric=metric("RejectedConnectionCount", "Sum", balancer),
            above=0,
            text="The load balancer has reached its limit of connections.",
        ),
        Watch(
            name="TargetTlsErrors",
            metric=metric("TargetTLSNegotiationErrorCount", "Sum", balancer),
            above=0,
            text="Load balancer and proxy cannot agree on TLS. See services/nginx/nginx.conf.",
        ),
        Watch(
            name="ClientTlsErrors",
            metric=metric("ClientTLSNegotiationErrorCount", "Sum", balancer),
            above=1000,
            text="Many clients fail to agree on TLS: a scanner, or browsers that are too old.",
        ),
        Watch(
            name="CertificateEnds",
            metric=cloudwatch.Metric(
                namespace="AWS/CertificateManager",
                metric_name="DaysToExpiry",
                statistic="Minimum",
                dimensions_map={"CertificateArn": edge.certificate.certificate_arn},
                period=Duration.days(1),
            ),
            below=30,
            silence="unknown",
            text="ACM has not renewed the certificate, as it should 60 days before its end. "
            "Its DNS record for validation may be gone.",
        ),
        Watch(
            name="BlockedRequests",
            metric=cloudwatch.Metric(
                namespace="AWS/WAFV2",
                metric_name="BlockedRequests",
                statistic="Sum",
                dimensions_map={"WebACL": edge.firewall.name, "Region": region, "Rule": "ALL"},
                period=MINUTES_5,
            ),
            above=1000,
            text="The firewall blocks many requests: an attack, or a rule that hits users.",
        ),
    ]


def service_watches(name: str, service: ecs.FargateService) -> list[Watch]:
    """Load of a service, and tasks that it should have.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/available-metrics.html
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Container-Insights-metrics-ECS.html
    """
    dimensions = {
        "ClusterName": service.cluster.cluster_name,
        "ServiceName": service.service_name,
    }

    def metric(namespace: str, metric_name: str) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace=namespace,
            metric_name=metric_name,
            statistic="Average",
            dimensions_map=dimensions,
            period=MINUTES_5,
        )

    return [
        Watch(
            name=f"{name}TasksMissing",
            metric=cloudwatch.MathExpression(
                expression="desired - running",
                using_metrics={
                    "desired": metric("ECS/ContainerInsights", "DesiredTaskCount"),
                    "running": metric("ECS/ContainerInsights", "RunningTaskCount"),
                },
                label=f"{name}: tasks missing",
                period=MINUTES_5,
            ),
            above=0,
            periods=3,
            silence="unknown",
            text=f"Fewer {name.lower()} tasks run than should. See the service's events in ECS.",
        ),
        *(
            Watch(
                name=f"{name}{kind}",
                metric=metric("AWS/ECS", f"{kind}Utilization"),
                above=85,
                periods=3,
                silence="unknown",
                text=f"The {name.lower()} tasks' {kind} is used up and more tasks did not help, "
                "or there are as many as may be.",
            )
            for kind in ("CPU", "Memory")
        ),
    ]


def database_watches(database: Database, environment: Environment) -> list[Watch]:
    """https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-metrics.html"""
    memory = memory_of(environment.database.instance)

    def metric(name: str, statistic: str = "Average") -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace="AWS/RDS",
            metric_name=name,
            statistic=statistic,
            dimensions_map={"DBInstanceIdentifier": database.instance.instance_identifier},
            period=MINUTES_5,
        )

    return [
        Watch(
            name="DatabaseCPU",
            metric=metric("CPUUtilization"),
            above=80,
            periods=3,
            silence="bad",
            text="The database's CPU is used up. See Performance Insights.",
        ),
        Watch(
            name="DatabaseStorage",
            metric=metric("FreeStorageSpace", "Minimum"),
            below=environment.database.storage * 2**30 / 10,
            silence="bad",
            text="The disk is nearly full: it has reached database.max_storage, or grew within "
            "the last six hours and may not yet grow again.",
        ),
        Watch(
            name="DatabaseMemory",
            metric=metric("FreeableMemory", "Minimum"),
            below=memory / 20,
            periods=3,
            silence="bad",
            text="The database's memory is used up. Take a larger database.instance.",
        ),
        Watch(
            name="DatabaseConnections",
            metric=metric("DatabaseConnections", "Maximum"),
            # RDS allows one for so many bytes; a few are its own.
            # https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_Limits.html
            above=round(0.8 * min(5000, memory / 9531392)),
            periods=3,
            silence="bad",
            text="Four fifths of the connections are in use. Lower DATABASE_POOL_SIZE or the "
            "number of tasks, or take a larger database.instance.",
        ),
    ]


def memory_of(instance: str) -> int:
    """Return the bytes of memory of a class such as `t4g.small` or `m7g.large`.

    Each family has a fixed amount for each step of size. Raises `ConfigError` for a family or
    a size that is not known here.
    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Concepts.DBInstanceClass.Summary.html
    """
    family, _, size = instance.partition(".")
    large = {"t": 8, "m": 8, "r": 16}.get(family[:1])
    steps = {"micro": 0.125, "small": 0.25, "medium": 0.5, "large": 1.0, "xlarge": 2.0}
    times = size.removesuffix("xlarge")
    step = steps.get(size) or (2.0 * int(times) if times.isdecimal() else None)
    if large is None or step is None:
        raise ConfigError(
            f"database.instance {instance!r}: how much memory it has is not known. Take one of "
            "the families t, m and r, or add it to memory_of in infra/components/watches.py."
        )
    return int(large * step * 2**30)


def cache_watches(cache: Cache, environment: Environment) -> list[Watch]:
    """The worst of the nodes counts.

    https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/CacheMetrics.Redis.html
    """
    nodes = range(1, environment.cache.replicas + 2)

    def worst(name: str, statistic: str) -> cloudwatch.MathExpression:
        return cloudwatch.MathExpression(
            expression="MAX(METRICS())",
            using_metrics={
                f"node{number}": cloudwatch.Metric(
                    namespace="AWS/ElastiCache",
                    metric_name=name,
                    statistic=statistic,
                    dimensions_map={"CacheClusterId": f"{cache.group_id}-{number:03}"},
                    period=MINUTES_5,
                )
                for number in nodes
            },
            label=f"Cache: {name}",
            period=MINUTES_5,
        )

    return [
        Watch(
            name="CacheCPU",
            metric=worst("EngineCPUUtilization", "Average"),
            above=85,
            periods=3,
            silence="bad",
            text="A node of the cache has its CPU used up. Take a larger cache.node.",
        ),
        Watch(
            name="CacheMemory",
            metric=worst("DatabaseMemoryUsagePercentage", "Maximum"),
            above=80,
            periods=3,
            silence="bad",
            text="The cache is nearly full. Take a larger cache.node before it evicts.",
        ),
        Watch(
            name="CacheEvictions",
            metric=worst("Evictions", "Sum"),
            above=0,
            silence="bad",
            text="The cache drops what has not expired, counters of wrong passwords among it: "
            "the limits are looser than they should be. Take a larger cache.node.",
        ),
    ]


def own_watches(project: Project, environment: Environment) -> list[Watch]:
    """What `manage.py report_metrics` reports every five minutes (apps/operations)."""

    def metric(name: str) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace=project.slug,
            metric_name=name,
            statistic="Maximum",
            dimensions_map={"Environment": environment.name},
            period=Duration.minutes(15),
        )

    return [
        Watch(
            name="EncryptionFailures",
            metric=metric("EncryptionFailures"),
            above=0,
            silence="bad",
            text="A hop or store falls short, or nobody could look. Run verify_encryption.",
        ),
        Watch(
            name="SecretAge",
            metric=metric("SecretAgeDays"),
            above=90,
            silence="bad",
            text="A secret is older than 90 days. Rotate it: docs/deployment.md.",
        ),
        Watch(
            name="DataKeyAge",
            metric=metric("DataKeyAgeDays"),
            above=365,
            silence="bad",
            text="A data key has encrypted for more than a year. Run rotate_keys.",
        ),
        Watch(
            name="OldestTask",
            metric=metric("OldestTaskSeconds"),
            above=900,
            silence="bad",
            text="A background task has been due for a quarter of an hour. See the worker's logs.",
        ),
    ]


def schedule_watches(dead_letters: sqs.IQueue) -> list[Watch]:
    """Commands that could not even be started."""
    return [
        Watch(
            name="NotStarted",
            metric=cloudwatch.Metric(
                namespace="AWS/SQS",
                metric_name="ApproximateNumberOfMessagesVisible",
                statistic="Maximum",
                dimensions_map={"QueueName": dead_letters.queue_name},
                period=MINUTES_5,
            ),
            above=0,
            text="EventBridge Scheduler gave up starting a command. The messages in the queue "
            "name it; purge the queue when it is mended.",
        )
    ]
