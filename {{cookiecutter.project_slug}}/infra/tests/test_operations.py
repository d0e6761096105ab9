"""Alarms, events, dashboard and budget: who is told of what, and what a message may hold."""

import json
import re
import runpy
from collections.abc import Mapping
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns

from components.operations import make_alarm
from components.watches import Watch, memory_of
from tests.whole import NAMES, PROJECT, ROOT, Templates, environment, synthesis

WATCHED = {
    *("NoHealthyTarget", "UnhealthyTargets", "EdgeErrors", "ApplicationErrors", "Latency"),
    *("RejectedConnections", "TargetTlsErrors", "ClientTlsErrors", "CertificateEnds"),
    *("BlockedRequests", "WebTasksMissing", "WebCPU", "WebMemory", "WorkerTasksMissing"),
    *("WorkerCPU", "WorkerMemory", "DatabaseCPU", "DatabaseStorage", "DatabaseMemory"),
    *("DatabaseConnections", "CacheCPU", "CacheMemory", "CacheEvictions"),
    *("EncryptionFailures", "SecretAge", "DataKeyAge", "OldestTask", "NotStarted"),
}
# What stops reporting is broken itself.
SILENCE_IS_BAD = {
    "NoHealthyTarget",
    *("DatabaseCPU", "DatabaseStorage", "DatabaseMemory", "DatabaseConnections"),
    *("CacheCPU", "CacheMemory", "CacheEvictions"),
    *("EncryptionFailures", "SecretAge", "DataKeyAge", "OldestTask"),
}

each_environment = pytest.mark.parametrize("name", NAMES)


def alarms(templates: Templates) -> dict[str, dict[str, Any]]:
    """The alarms' properties by the names of their watches."""
    found = templates.of_type("AWS::CloudWatch::Alarm")
    return {
        re.sub(r"^app/Operations|[0-9A-F]{8}$", "", name): resource["Properties"]
        for name, resource in found.items()
    }


def metrics(alarm: Mapping[str, Any]) -> set[str]:
    """The names of the metrics that an alarm looks at."""
    if "MetricName" in alarm:
        return {alarm["MetricName"]}
    stats = (item["MetricStat"] for item in alarm["Metrics"] if "MetricStat" in item)
    return {stat["Metric"]["MetricName"] for stat in stats}


@each_environment
def test_everything_that_must_be_watched_is(name: str) -> None:
    assert alarms(synthesis().templates[name]).keys() == WATCHED


@each_environment
def test_every_alarm_tells_the_encrypted_topic_and_says_what_to_do(name: str) -> None:
    templates = synthesis().templates[name]
    (topic,) = templates.of_type("AWS::SNS::Topic").values()
    assert "KmsMasterKeyId" in topic["Properties"]
    for alarm in alarms(templates).values():
        (action,) = alarm["AlarmActions"]
        assert "NotificationsTopic" in json.dumps(action)
        assert alarm["AlarmDescription"].endswith(".")
        assert "AlarmName" not in alarm


@each_environment
def test_silence_is_bad_of_what_must_speak(name: str) -> None:
    found = alarms(synthesis().templates[name])
    bad = {key for key, alarm in found.items() if alarm["TreatMissingData"] == "breaching"}
    assert bad == SILENCE_IS_BAD


@each_environment
def test_the_dashboard_shows_what_the_alarms_watch(name: str) -> None:
    templates = synthesis().templates[name]
    (dashboard,) = templates.of_type("AWS::CloudWatch::Dashboard").values()
    body = json.dumps(dashboard["Properties"]["DashboardBody"])
    for key, alarm in alarms(templates).items():
        assert f"Operations{key}" in body, f"the state of {key} is not shown"
        for metric in metrics(alarm):
            assert metric in body, f"{metric} is not drawn"


# The application's own metrics ------------------------------------------------------


def reported() -> set[str]:
    """The metrics of apps/operations/measures.py."""
    source = (ROOT / "apps" / "operations" / "measures.py").read_text(encoding="utf-8")
    return set(re.findall(r'Measure\(name="(\w+)"', source))


@each_environment
def test_the_application_reports_each_of_its_metrics_that_is_used(name: str) -> None:
    templates = synthesis().templates[name]
    own = [a for a in alarms(templates).values() if a.get("Namespace") == PROJECT.slug]
    used = {alarm["MetricName"] for alarm in own}
    for policy in templates.of_type("AWS::ApplicationAutoScaling::ScalingPolicy").values():
        tracked = policy["Properties"]["TargetTrackingScalingPolicyConfiguration"]
        custom = tracked.get("CustomizedMetricSpecification", {})
        if custom.get("Namespace") == PROJECT.slug:
            used.add(custom["MetricName"])
            own.append(custom)
    assert used == reported()
    for series in own:
        assert series["Dimensions"] == [{"Name": "Environment", "Value": name}]


@each_environment
def test_they_are_reported_more_often_than_the_alarms_look(name: str) -> None:
    templates = synthesis().templates[name]
    schedules = templates.of_type("AWS::Scheduler::Schedule").values()
    (when,) = (
        schedule["Properties"]["ScheduleExpression"]
        for schedule in schedules
        if "report_metrics" in json.dumps(schedule["Properties"])
    )
    assert when == "rate(5 minutes)"
    periods = {
        alarm["Period"]
        for alarm in alarms(templates).values()
        if alarm.get("Namespace") == PROJECT.slug
    }
    assert min(periods) >= 2 * 300, "one run that comes late must raise no alarm"


def test_a_laptop_reports_nothing() -> None:
    schedule = runpy.run_path(str(ROOT / "config" / "schedule.py"))
    assert "report_metrics" not in schedule["COMMANDS"]


# Events ------------------------------------------------------------------------------

# What a message may repeat of an event. Others show overrides, requests, environments.
SHOWN = {
    *("$.detail.group", "$.detail.stoppedReason", "$.detail.taskArn"),
    *("$.resources[0]", "$.detail.reason"),
    *("$.detail.resourceArn", "$.detail.state"),
    *("$.detail.eventName", "$.detail.resources[0].ARN", "$.detail.userIdentity.arn"),
}


def rules(templates: Templates) -> dict[str, dict[str, Any]]:
    """The rules' properties by their names."""
    return {
        re.sub(r"^app/OperationsEvents|[0-9A-F]{8}$", "", name): resource["Properties"]
        for name, resource in templates.of_type("AWS::Events::Rule").items()
        if name.startswith("app/OperationsEvents")
    }


@each_environment
def test_messages_hold_chosen_fields_only(name: str) -> None:
    found = rules(synthesis().templates[name])
    assert found.keys() == {
        *("TaskFailed", "TaskNotStarted", "DeploymentFailed", "BackupFailed", "KeyInDanger")
    }
    for rule in found.values():
        (target,) = rule["Targets"]
        assert "NotificationsTopic" in json.dumps(target["Arn"])
        assert set(target["InputTransformer"]["InputPathsMap"].values()) <= SHOWN


def matches(pattern: Any, event: Any) -> bool:
    """As far as our rules go: values, lists of them in the event, and `anything-but`.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
    """
    if isinstance(event, list):
        return any(matches(pattern, item) for item in event)
    if isinstance(pattern, dict):
        return all(key in event and matches(value, event[key]) for key, value in pattern.items())
    return any(
        event not in wanted["anything-but"] if isinstance(wanted, dict) else event == wanted
        for wanted in pattern
    )


def stopped(code: str, *exits: int | None, status: str = "STOPPED") -> dict[str, Any]:
    """An event of a task of this environment; None: the container was never started."""
    containers = [{"name": "app"} | ({} if n is None else {"exitCode": n}) for n in exits]
    return {
        "source": "aws.ecs",
        "detail-type": "ECS Task State Change",
        "detail": {
            "clusterArn": "ours",
            "lastStatus": status,
            "stopCode": code,
            "containers": containers,
        },
    }


@pytest.mark.parametrize(
    ("event", "told_by"),
    [
        (stopped("EssentialContainerExited", 1), {"TaskFailed"}),
        (stopped("EssentialContainerExited", 0, 137), {"TaskFailed"}),
        (stopped("TaskFailedToStart", None), {"TaskNotStarted"}),
        (stopped("EssentialContainerExited", 0, 0), set()),
        (stopped("ServiceSchedulerInitiated", 143), set()),
        (stopped("SpotInterruption", 143), set()),
        (stopped("UserInitiated", 137), set()),
        (stopped("EssentialContainerExited", 1, status="DEPROVISIONING"), set()),
    ],
)
def test_tasks_that_fail_are_told_and_those_that_end_are_not(
    event: dict[str, Any], told_by: set[str]
) -> None:
    told = set()
    for name, rule in rules(synthesis().templates["dev-1"]).items():
        pattern = rule["EventPattern"]
        if "clusterArn" in pattern["detail"]:
            pattern = pattern | {"detail": pattern["detail"] | {"clusterArn": ["ours"]}}
        if matches(pattern, event):
            told.add(name)
    assert told == told_by


def test_the_key_of_every_store_is_guarded() -> None:
    templates = synthesis().templates["production-1"]
    pattern = rules(templates)["KeyInDanger"]["EventPattern"]
    assert len(pattern["detail"]["resources"]["ARN"]) == len(templates.of_type("AWS::KMS::Key"))


@each_environment
def test_topic_and_key_let_in_who_reports(name: str) -> None:
    templates = synthesis().templates[name]
    (policy,) = templates.of_type("AWS::SNS::TopicPolicy").values()
    keys = json.dumps(list(templates.of_type("AWS::KMS::Key").values()))
    for service in ("cloudwatch.amazonaws.com", "events.amazonaws.com"):
        assert service in json.dumps(policy)
        assert service in keys


# Bounds --------------------------------------------------------------------------------


def _watch(**bounds: float) -> Watch:
    metric = cloudwatch.Metric(namespace="n", metric_name="m")
    return Watch(name="Name", metric=metric, text="Text.", **bounds)  # type: ignore[arg-type]


@pytest.mark.parametrize("bounds", [{}, {"above": 1.0, "below": 2.0}])
def test_a_watch_has_just_one_bound(bounds: dict[str, float]) -> None:
    stack = cdk.Stack()
    tell = actions.SnsAction(sns.Topic(stack, "Topic"))
    with pytest.raises(ValueError, match="Name: give either above or below"):
        make_alarm(stack, _watch(**bounds), tell)


def test_a_bound_of_zero_is_one() -> None:
    stack = cdk.Stack()
    alarm = make_alarm(stack, _watch(above=0), actions.SnsAction(sns.Topic(stack, "Topic")))
    raw = alarm.node.default_child
    assert isinstance(raw, cloudwatch.CfnAlarm)
    assert (raw.threshold, raw.comparison_operator) == (0, "GreaterThanThreshold")


@pytest.mark.parametrize(
    ("instance", "gib"),
    [("t4g.micro", 1), ("t4g.small", 2), ("m7g.large", 8), ("r7g.xlarge", 32), ("m7g.4xlarge", 64)],
)
def test_memory_of_a_class(instance: str, gib: int) -> None:
    assert memory_of(instance) == gib * 2**30


@pytest.mark.parametrize("instance", ["x2g.large", "m7g", "m7g.huge", ""])
def test_an_unknown_class_is_named(instance: str) -> None:
    with pytest.raises(ValueError, match=f"'{instance}'.*not known"):
        memory_of(instance)


@each_environment
def test_bounds_fit_the_size_of_the_database(name: str) -> None:
    found, wanted = alarms(synthesis().templates[name]), environment(name).database
    assert found["DatabaseStorage"]["Threshold"] == wanted.storage * 2**30 / 10
    assert found["DatabaseMemory"]["Threshold"] == memory_of(wanted.instance) / 20
    assert 80 <= found["DatabaseConnections"]["Threshold"] <= 4000


@each_environment
def test_every_node_of_the_cache_is_watched(name: str) -> None:
    alarm = alarms(synthesis().templates[name])["CacheEvictions"]
    nodes = [item for item in alarm["Metrics"] if "MetricStat" in item]
    assert len(nodes) == environment(name).cache.replicas + 1


@each_environment
def test_the_budget_mails_those_who_get_the_alarms(name: str) -> None:
    budgets = synthesis().templates[name].of_type("AWS::Budgets::Budget")
    wanted = environment(name)
    assert len(budgets) == (1 if wanted.alarm_emails else 0)
    for budget in budgets.values():
        told = json.dumps(budget["Properties"]["NotificationsWithSubscribers"])
        assert all(address in told for address in wanted.alarm_emails)
        limit = budget["Properties"]["Budget"]["BudgetLimit"]
        assert limit == {"Amount": wanted.monthly_budget, "Unit": "USD"}
