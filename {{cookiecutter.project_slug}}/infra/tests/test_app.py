"""Edge, services and schedules."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from components import schedules
from components.firewall import RULE_GROUPS
from components.web import MIN_SECONDS, PROXY_USER, SHARED
from config import HERE, ConfigError, Environment
from tests.conftest import (
    Template,
    Templates,
    properties,
    resources,
    synthesize,
)
from tests.iam import statements_of
from tests.reading import text
from tests.whole import PROJECT
from tests.whole import environment as environment_of

NGINX = HERE.parent / "services" / "nginx"


def attributes(thing: dict[str, Any], name: str) -> dict[str, str]:
    return {each["Key"]: text(each["Value"]) for each in thing[name]}


def named(template: Template, kind: str, name: str) -> dict[str, Any]:
    """The properties of the only resource of that type whose logical id begins so."""
    (only,) = (each for key, each in resources(template, kind).items() if key.startswith(name))
    found: dict[str, Any] = only["Properties"]
    return found


def container(template: Template, service: str, name: str) -> dict[str, Any]:
    task = named(template, "AWS::ECS::TaskDefinition", service)
    (only,) = (each for each in task["ContainerDefinitions"] if each["Name"] == name)
    return dict(only)


# Edge ---------------------------------------------------------------------------------------


def test_https_is_served_and_http_only_redirects(templates: Templates) -> None:
    listeners = {
        each["Properties"]["Port"]: each["Properties"]
        for each in resources(templates["app"], "AWS::ElasticLoadBalancingV2::Listener").values()
    }
    assert listeners.keys() == {80, 443}
    assert listeners[443]["Protocol"] == "HTTPS"
    assert listeners[443]["SslPolicy"] == "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09"
    (action,) = listeners[80]["DefaultActions"]
    assert action["Type"] == "redirect"
    assert action["RedirectConfig"] == {
        "Protocol": "HTTPS",
        "Port": "443",
        "StatusCode": "HTTP_301",
    }


def test_targets_are_spoken_to_and_probed_over_https(templates: Templates) -> None:
    group = properties(templates["app"], "AWS::ElasticLoadBalancingV2::TargetGroup")
    assert (group["Protocol"], group["Port"]) == ("HTTPS", 8443)
    assert (group["HealthCheckProtocol"], group["HealthCheckPath"]) == ("HTTPS", "/livez")
    assert group["Matcher"] == {"HttpCode": "200"}
    assert "listen ${HTTPS_LISTEN} ssl;" in (NGINX / "nginx.conf").read_text(encoding="utf-8")


def test_the_load_balancer_takes_no_odd_request_and_logs_all(
    environment: Environment, templates: Templates
) -> None:
    found = attributes(
        properties(templates["app"], "AWS::ElasticLoadBalancingV2::LoadBalancer"),
        "LoadBalancerAttributes",
    )
    wanted = {
        "deletion_protection.enabled": str(environment.protect).lower(),
        "routing.http.drop_invalid_header_fields.enabled": "true",
        "routing.http.desync_mitigation_mode": "strictest",
        "routing.http.xff_header_processing.mode": "append",
        "routing.http2.enabled": "true",
        "access_logs.s3.enabled": "true",
        "connection_logs.s3.enabled": "true",
    }
    assert {name: found.get(name) for name in wanted} == wanted
    assert "AccessLogs" in found["access_logs.s3.bucket"]


def test_the_internet_reaches_the_load_balancer_and_it_alone_the_tasks(
    templates: Templates,
) -> None:
    app = templates["app"]
    for name, group in resources(app, "AWS::EC2::SecurityGroup").items():
        inline = group["Properties"].get("SecurityGroupIngress", [])
        ports = {(each["CidrIp"], each["FromPort"], each["ToPort"]) for each in inline}
        edge = {("0.0.0.0/0", 80, 80), ("0.0.0.0/0", 443, 443)}
        assert ports == (edge if name.startswith("Edge") else set()), name
    ingress = resources(app, "AWS::EC2::SecurityGroupIngress").values()
    to_tasks = [each["Properties"] for each in ingress if each["Properties"]["ToPort"] == 8443]
    (rule,) = to_tasks
    assert text(rule["SourceSecurityGroupId"]) == "<EdgeSecurityGroup.GroupId>"
    assert text(rule["GroupId"]) == "<WebApplicationSecurityGroup.GroupId>"
    others = [each["Properties"] for each in ingress if each["Properties"] not in to_tasks]
    assert {each["ToPort"] for each in others} == {5432, 6379}
    assert all("SourceSecurityGroupId" in each for each in others)


def test_the_load_balancer_reaches_the_tasks_only(templates: Templates) -> None:
    group = named(templates["app"], "AWS::EC2::SecurityGroup", "Edge")
    assert "SecurityGroupEgress" not in group
    # A rule of its own takes the place of the one that lets everything out.
    rule = named(templates["app"], "AWS::EC2::SecurityGroupEgress", "Edge")
    assert (rule["FromPort"], rule["ToPort"]) == (8443, 8443)
    assert text(rule["DestinationSecurityGroupId"]) == "<WebApplicationSecurityGroup.GroupId>"


def test_without_a_certificate_the_way_to_one_is_told(tmp_path: Path) -> None:
    nowhere = replace(environment_of("dev-1"), certificate=None)
    with pytest.raises(ConfigError, match=r"hosted_zone = \{.*or certificate, the ARN") as caught:
        synthesize(nowhere, tmp_path)
    assert "no certificate for dev-1.shop.example.com" in str(caught.value)
    assert "[environments.dev-1]" in str(caught.value)


def test_a_zone_gives_certificate_and_name_and_an_arn_gives_neither(
    environment: Environment, templates: Templates
) -> None:
    app = templates["app"]
    made = resources(app, "AWS::CertificateManager::Certificate")
    records = resources(app, "AWS::Route53::RecordSet")
    listener = named(app, "AWS::ElasticLoadBalancingV2::Listener", "EdgeLoadBalancerHttps")
    (used,) = listener["Certificates"]
    if environment.hosted_zone:
        certificate = properties(app, "AWS::CertificateManager::Certificate")
        assert certificate["DomainName"] == environment.domain
        assert certificate["ValidationMethod"] == "DNS"
        assert {each["Properties"]["Type"] for each in records.values()} == {"A"}
        (record,) = records.values()
        assert record["Properties"]["Name"] == f"{environment.domain}."
    else:
        assert not made
        assert not records
        assert used["CertificateArn"] == environment.certificate


# Firewall -----------------------------------------------------------------------------------


def test_the_firewall_stands_before_the_load_balancer(templates: Templates) -> None:
    association = properties(templates["app"], "AWS::WAFv2::WebACLAssociation")
    assert text(association["ResourceArn"]) == "<EdgeLoadBalancer>"


def test_the_firewall_blocks_and_counts_only_large_bodies(templates: Templates) -> None:
    acl = properties(templates["app"], "AWS::WAFv2::WebACL")
    rate, *groups = sorted(acl["Rules"], key=lambda rule: int(rule["Priority"]))
    assert rate["Action"] == {"Block": {}}
    assert "RateBasedStatement" in rate["Statement"]
    found = {}
    for rule in groups:
        assert rule["OverrideAction"] == {"None": {}}, "the whole group would only count"
        group = rule["Statement"]["ManagedRuleGroupStatement"]
        found[group["Name"]] = [each["Name"] for each in group["RuleActionOverrides"]]
    assert found == RULE_GROUPS
    assert sum(found.values(), []) == ["SizeRestrictions_BODY"]  # noqa: RUF017


def test_the_firewall_is_counted_for_its_environment_alone(
    environment: Environment, templates: Templates
) -> None:
    acl = properties(templates["app"], "AWS::WAFv2::WebACL")
    alarm = named(templates["app"], "AWS::CloudWatch::Alarm", "OperationsBlockedRequests")
    watched = {each["Name"]: each["Value"] for each in alarm["Dimensions"]}
    assert acl["Name"] == acl["VisibilityConfig"]["MetricName"] == f"shop-{environment.name}"
    assert watched == {"WebACL": acl["Name"], "Region": PROJECT.region, "Rule": "ALL"}


def test_what_the_firewall_logs_holds_no_credentials(templates: Templates) -> None:
    app = templates["app"]
    logging = properties(app, "AWS::WAFv2::LoggingConfiguration")
    redacted = {each["SingleHeader"]["Name"] for each in logging["RedactedFields"]}
    assert redacted == {"authorization", "cookie"}
    group = named(app, "AWS::Logs::LogGroup", "EdgeFirewall")
    assert text(group["LogGroupName"]).startswith("aws-waf-logs-shop-")
    assert "KeysLogs" in text(group["KmsKeyId"])
    acl = properties(app, "AWS::WAFv2::WebACL")
    for visible in (acl, *acl["Rules"]):
        assert visible["VisibilityConfig"]["SampledRequestsEnabled"] is False


# Web service --------------------------------------------------------------------------------


def test_the_proxy_leaves_the_application_memory(tmp_path: Path) -> None:
    environment = environment_of("dev-1")
    web = replace(environment.web, cpu=256, memory=512)
    with pytest.raises(ConfigError, match="all of which the proxy has"):
        synthesize(replace(environment, web=web), tmp_path)


def test_the_proxy_makes_the_certificates_before_the_application_starts(
    templates: Templates,
) -> None:
    app, proxy = (container(templates["app"], "Web", name) for name in ("app", "proxy"))
    assert app["DependsOn"] == [{"Condition": "HEALTHY", "ContainerName": "proxy"}]
    assert "DependsOn" not in proxy
    command = proxy["HealthCheck"]["Command"][1]
    # With --fail the proxy would wait for the application, which waits for it.
    assert "--fail" not in command
    assert f"--cacert {SHARED}/ca.crt" in command


def test_a_task_counts_as_ill_before_its_certificate_ends(templates: Templates) -> None:
    proxy = container(templates["app"], "Web", "proxy")
    variables = {each["Name"]: each["Value"] for each in proxy["Environment"]}
    own = f"{variables['CREDENTIALS_DIR']}/tls.crt"
    assert f"openssl x509 -in {own} -noout -checkend {MIN_SECONDS}" in str(proxy["HealthCheck"])
    assert MIN_SECONDS == 172800
    assert "LEAF_DAYS=30 " in (NGINX / "start").read_text(encoding="utf-8")


def test_the_proxy_s_own_key_is_in_its_memory_and_the_shared_one_only_read(
    templates: Templates,
) -> None:
    app, proxy = (container(templates["app"], "Web", name) for name in ("app", "proxy"))
    variables = {each["Name"]: each["Value"] for each in proxy["Environment"]}
    for name in ("CREDENTIALS_DIR", "RUN_DIR"):
        assert variables[name].startswith("/tmp/")  # noqa: S108
    assert variables["APP_CREDENTIALS_DIR"] == SHARED
    (shared,) = (each for each in app["MountPoints"] if each["ContainerPath"] == SHARED)
    assert shared["ReadOnly"] is True
    # The volume's owner is the directory's: docs of ECS, "bind mounts".
    dockerfile = (NGINX / "Dockerfile").read_text(encoding="utf-8")
    assert f"\nVOLUME {SHARED}\n" in dockerfile
    assert f"--owner={PROXY_USER} --group={PROXY_USER} --mode=0755 {SHARED}\n" in dockerfile


def test_the_proxy_believes_the_load_balancer_s_subnets(templates: Templates) -> None:
    proxy = container(templates["app"], "Web", "proxy")
    variables = {each["Name"]: each["Value"] for each in proxy["Environment"]}
    subnets = resources(templates["foundation"], "AWS::EC2::Subnet")
    edge = {
        each["Properties"]["CidrBlock"] for name, each in subnets.items() if "edgeSubnet" in name
    }
    assert set(variables["TRUSTED_PROXIES"].split()) == edge
    assert variables["HTTPS_PORT"] == "443"


def test_the_application_believes_its_domain_only(
    environment: Environment, templates: Templates
) -> None:
    for service in ("Web", "Worker", "Schedules"):
        found = container(templates["app"], service, "app")["Environment"]
        variables = {each["Name"]: each["Value"] for each in found}
        assert variables["ALLOWED_HOSTS"] == environment.domain


def test_containers_end_in_time(templates: Templates) -> None:
    app, proxy = (container(templates["app"], "Web", name) for name in ("app", "proxy"))
    assert app["StopTimeout"] < proxy["StopTimeout"] <= 120
    assert container(templates["app"], "Worker", "app")["StopTimeout"] == 120
    group = properties(templates["app"], "AWS::ElasticLoadBalancingV2::TargetGroup")
    delay = attributes(group, "TargetGroupAttributes")["deregistration_delay.timeout_seconds"]
    nginx = (NGINX / "nginx.conf").read_text(encoding="utf-8")
    assert int(delay) > int(re.search(r"proxy_read_timeout (\d+)s;", nginx)[1])  # type: ignore[index]


def test_an_idle_connection_ends_at_the_load_balancer_first(templates: Templates) -> None:
    balancer = properties(templates["app"], "AWS::ElasticLoadBalancingV2::LoadBalancer")
    idle = attributes(balancer, "LoadBalancerAttributes")["idle_timeout.timeout_seconds"]
    nginx = (NGINX / "nginx.conf").read_text(encoding="utf-8")
    assert int(idle) < int(re.search(r"keepalive_timeout (\d+)s;", nginx)[1])  # type: ignore[index]


# Services -----------------------------------------------------------------------------------


def test_a_deployment_that_fails_is_taken_back(
    environment: Environment, templates: Templates
) -> None:
    services = resources(templates["app"], "AWS::ECS::Service")
    assert len(services) == 2
    for name, service in services.items():
        found = service["Properties"]
        deployment = found["DeploymentConfiguration"]
        assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}, name
        assert deployment["MinimumHealthyPercent"] == 100, name
        assert found["PlatformVersion"] == "LATEST", name
        assert found["EnableExecuteCommand"] is environment.exec, name
        network = found["NetworkConfiguration"]["AwsvpcConfiguration"]
        assert network["AssignPublicIp"] == "DISABLED", name
        assert all("appSubnet" in text(subnet) for subnet in network["Subnets"]), name


def test_spot_takes_all_tasks_but_one(environment: Environment, templates: Templates) -> None:
    for name, size in (("Web", environment.web), ("Worker", environment.worker)):
        service = named(templates["app"], "AWS::ECS::Service", f"{name}Service")
        strategy = {each["CapacityProvider"]: each for each in service["CapacityProviderStrategy"]}
        if size.spot:
            assert strategy.keys() == {"FARGATE", "FARGATE_SPOT"}
            assert (strategy["FARGATE"]["Base"], strategy["FARGATE"]["Weight"]) == (1, 0)
        else:
            assert strategy.keys() == {"FARGATE"}


def test_services_grow_with_what_there_is_to_do(
    environment: Environment, templates: Templates
) -> None:
    policies = resources(templates["app"], "AWS::ApplicationAutoScaling::ScalingPolicy")
    found = []
    for policy in policies.values():
        tracked = policy["Properties"]["TargetTrackingScalingPolicyConfiguration"]
        found.append(
            tracked.get("PredefinedMetricSpecification", {}).get("PredefinedMetricType")
            or tracked["CustomizedMetricSpecification"]["MetricName"]
        )
    cpu = "ECSServiceAverageCPUUtilization"
    assert sorted(found) == ["ALBRequestCountPerTarget", cpu, cpu, "TasksWaiting"]
    targets = resources(templates["app"], "AWS::ApplicationAutoScaling::ScalableTarget")
    bounds = {
        (each["Properties"]["MinCapacity"], each["Properties"]["MaxCapacity"])
        for each in targets.values()
    }
    assert bounds == {
        (size.minimum, size.maximum) for size in (environment.web, environment.worker)
    }


def test_the_metric_that_the_worker_follows_is_written() -> None:
    written = HERE.parent / "apps" / "operations"
    sources = "".join(path.read_text(encoding="utf-8") for path in written.rglob("*.py"))
    assert '"TasksWaiting"' in sources
    assert "report_metrics" in schedules.commands()


# Schedules ----------------------------------------------------------------------------------


def scheduled(template: Template) -> dict[str, dict[str, Any]]:
    """Schedules by what they do: the command, or the service that they roll."""
    found = {}
    for each in resources(template, "AWS::Scheduler::Schedule").values():
        target = each["Properties"]["Target"]
        payload = json.loads(text(target["Input"]))
        if "containerOverrides" in payload:
            (override,) = payload["containerOverrides"]
            assert override["name"] == "app"
            assert override["command"][:2] == ["python", "manage.py"]
            (name,) = override["command"][2:]
        else:
            name = payload["Service"]
        found[name] = each["Properties"]
    return found


def test_every_command_of_the_local_scheduler_is_scheduled(templates: Templates) -> None:
    found = scheduled(templates["app"])
    commands = schedules.commands()
    assert {name for name in found if not name.startswith("<")} == set(commands)
    for name, every in commands.items():
        number, unit = re.fullmatch(  # type: ignore[union-attr]
            r"rate\((\d+) (minutes?)\)", found[name]["ScheduleExpression"]
        ).groups()
        assert timedelta(minutes=int(number)) == every
        assert unit == ("minute" if every == timedelta(minutes=1) else "minutes")


@pytest.mark.parametrize("every", [timedelta(seconds=30), timedelta(seconds=90), timedelta()])
def test_what_the_scheduler_cannot_count_is_refused(every: timedelta) -> None:
    with pytest.raises(ValueError, match="whole minutes"):
        schedules._rate(every)


def test_services_are_rolled_every_week(templates: Templates) -> None:
    rolls = {name: each for name, each in scheduled(templates["app"]).items() if "<" in name}
    assert rolls.keys() == {"<WebService>", "<WorkerService>"}
    for name, roll in rolls.items():
        assert roll["ScheduleExpression"] == "cron(0 3 ? * SUN *)"
        target = roll["Target"]
        assert text(target["Arn"]).endswith(":scheduler:::aws-sdk:ecs:updateService")
        assert json.loads(text(target["Input"]))["ForceNewDeployment"] is True
        role = text(target["RoleArn"])[1:].split(".")[0]
        actions = statements_of(templates["app"], role)
        (update,) = (each for each in actions if each["Action"] == "ecs:UpdateService")
        assert text(update["Resource"]) == name


def test_what_cannot_be_started_is_kept_under_our_key(templates: Templates) -> None:
    queue = properties(templates["app"], "AWS::SQS::Queue")
    assert "KeysLogs" in text(queue["KmsMasterKeyId"])
    (deny,) = properties(templates["app"], "AWS::SQS::QueuePolicy")["PolicyDocument"]["Statement"]
    assert deny["Effect"] == "Deny"
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    for name, schedule in scheduled(templates["app"]).items():
        target = schedule["Target"]
        assert text(target["DeadLetterConfig"]["Arn"]) == "<SchedulesDeadLetters.Arn>", name
        assert target["RetryPolicy"]["MaximumEventAgeInSeconds"] == 3600, name
        assert "KeysLogs" in text(schedule["KmsKeyArn"]), name
        assert text(schedule["GroupName"]) == "<SchedulesGroup>", name


def test_a_schedule_runs_its_own_task_in_its_own_cluster_only(
    synthesized: Callable[[str], Templates],
) -> None:
    statements = statements_of(synthesized("production-1")["app"], "SchedulesRunRole")
    (run,) = (each for each in statements if each["Action"] == "ecs:RunTask")
    assert text(run["Resource"]) == "<SchedulesApplicationTask>"
    assert "Cluster" in text(run["Condition"]["ArnEquals"]["ecs:cluster"])
    passed = [each for each in statements if each["Action"] == "iam:PassRole"]
    assert {text(each["Resource"]) for each in passed} == {
        "<SchedulesApplicationRole.Arn>",
        "<SchedulesApplicationExecutionRole.Arn>",
    }
    for each in passed:
        assert each["Condition"] == {
            "StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
        }


def test_scheduled_tasks_are_outside_the_internet_s_reach(templates: Templates) -> None:
    for schedule in scheduled(templates["app"]).values():
        if ecs := schedule["Target"].get("EcsParameters"):
            network = ecs["NetworkConfiguration"]["AwsvpcConfiguration"]
            assert network["AssignPublicIp"] == "DISABLED"
            assert "EnableExecuteCommand" not in ecs
