"""Who is told when something is wrong, and where to look."""

from collections.abc import Mapping, Sequence

from aws_cdk import Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from components.budget import Budget
from components.edge import Edge
from components.events import Events
from components.surroundings import Surroundings
from components.watches import (
    Watch,
    cache_watches,
    database_watches,
    edge_watches,
    own_watches,
    schedule_watches,
    service_watches,
)

_SILENCE = {
    "good": cloudwatch.TreatMissingData.NOT_BREACHING,
    "bad": cloudwatch.TreatMissingData.BREACHING,
    "unknown": cloudwatch.TreatMissingData.MISSING,
}


class Operations(Construct):
    """Alarms, a dashboard of the same metrics, rules for events, and a budget.

    Everything goes to `topic`, under its key, except the budget's messages, which AWS
    mails by itself. Alarms with the silence "bad" begin in alarm and end within a quarter
    of an hour, when the first data are there.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        at: Surroundings,
        topic: sns.ITopic,
        edge: Edge,
        services: Mapping[str, ecs.FargateService],
        dead_letters: sqs.IQueue,
        backup_vault: str,
    ) -> None:
        super().__init__(scope, construct_id)
        watches = {
            "Edge": edge_watches(edge, region=Stack.of(self).region),
            **{name: service_watches(name, service) for name, service in services.items()},
            "Database": database_watches(at.database, at.environment),
            "Cache": cache_watches(at.cache, at.environment),
            "Application": own_watches(at.project, at.environment),
            "Schedules": schedule_watches(dead_letters),
        }
        tell = actions.SnsAction(topic)
        alarms = {
            watch.name: make_alarm(self, watch, tell)
            for group in watches.values()
            for watch in group
        }
        self._dashboard(watches, list(alarms.values()))
        cluster = next(iter(services.values())).cluster
        Events(
            self,
            "Events",
            topic=topic,
            cluster=cluster,
            services=list(services.values()),
            keys=[at.keys.secrets, at.keys.data, at.keys.media, at.keys.logs, at.keys.compute],
            backup_vault=backup_vault,
        )
        if at.environment.alarm_emails:
            Budget(self, "Budget", environment=at.environment)

    def _dashboard(
        self, watches: Mapping[str, Sequence[Watch]], alarms: Sequence[cloudwatch.Alarm]
    ) -> None:
        """Show the alarms' states, then a graph of each watched metric with its bound."""
        rows: list[list[cloudwatch.IWidget]] = [
            [cloudwatch.AlarmStatusWidget(title="Alarms", width=24, height=4, alarms=list(alarms))]
        ]
        for title, group in watches.items():
            rows.append([cloudwatch.TextWidget(markdown=f"## {title}", width=24, height=1)])
            rows.append([_graph(watch) for watch in group])
        cloudwatch.Dashboard(self, "Dashboard", widgets=rows)


def make_alarm(scope: Construct, watch: Watch, tell: cloudwatch.IAlarmAction) -> cloudwatch.Alarm:
    """Make the alarm of a watch. Raises `ValueError` unless it has just one bound."""
    if watch.above is not None and watch.below is None:
        operator = cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD
    elif watch.below is not None and watch.above is None:
        operator = cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD
    else:
        raise ValueError(f"{watch.name}: give either above or below.")
    alarm = cloudwatch.Alarm(
        scope,
        watch.name,
        metric=watch.metric,
        threshold=_bound(watch),
        comparison_operator=operator,
        evaluation_periods=watch.periods,
        treat_missing_data=_SILENCE[watch.silence],
        alarm_description=watch.text,
    )
    alarm.add_alarm_action(tell)
    return alarm


def _bound(watch: Watch) -> float:
    (bound,) = (value for value in (watch.above, watch.below) if value is not None)
    return bound


def _graph(watch: Watch) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(
        title=watch.name,
        left=[watch.metric],
        left_annotations=[cloudwatch.HorizontalAnnotation(value=_bound(watch))],
        width=8,
        height=5,
    )
