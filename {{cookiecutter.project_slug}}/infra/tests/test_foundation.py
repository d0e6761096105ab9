"""Keys, network, registry, notifications, access logs."""

import dataclasses
import json
from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest

from config import Environment, NetworkConfig
from stacks.foundation import FoundationStack
from tests.conftest import (
    Template,
    Templates,
    new_app,
    properties,
    resources,
)
from tests.reading import statements, text
from tests.whole import PROJECT
from tests.whole import environment as environment_of

ACCOUNT = "<AWS::AccountId>"
PURPOSES = ("Secrets", "Data", "Media", "Logs", "Compute")


@pytest.fixture
def foundation(templates: Templates) -> Template:
    return templates["foundation"]


def keys(template: Template) -> dict[str, Template]:
    """The keys by purpose."""
    found = {
        purpose: each
        for name, each in resources(template, "AWS::KMS::Key").items()
        for purpose in PURPOSES
        if name.startswith(f"Keys{purpose}")
    }
    assert len(resources(template, "AWS::KMS::Key")) == len(found) == len(PURPOSES)
    return found


def policy(key: Template) -> list[Any]:
    return list(key["Properties"]["KeyPolicy"]["Statement"])


# Keys -------------------------------------------------------------------------------


def test_keys_rotate_and_go_slowly(environment: Environment, foundation: Template) -> None:
    for key in keys(foundation).values():
        assert key["Properties"]["EnableKeyRotation"] is True
        assert key["Properties"]["PendingWindowInDays"] == 30
        assert key["DeletionPolicy"] == ("Retain" if environment.protect else "Delete")
        assert key["UpdateReplacePolicy"] == key["DeletionPolicy"]


def test_only_the_key_of_secrets_has_an_alias(
    environment: Environment, foundation: Template
) -> None:
    alias = properties(foundation, "AWS::KMS::Alias")

    assert alias["AliasName"] == f"alias/shop-{environment.name}"
    assert text(alias["TargetKeyId"]) == "<KeysSecrets.Arn>"


def test_the_rest_is_left_to_iam_of_this_account(foundation: Template) -> None:
    for key in keys(foundation).values():
        first, grants, *others = policy(key)

        assert text(first["Principal"]["AWS"]) == f"arn:<AWS::Partition>:iam::{ACCOUNT}:root"
        assert first["Action"] == "kms:*"
        assert (grants["Effect"], grants["Principal"]) == ("Deny", {"AWS": "*"})
        assert grants["Action"] == "kms:CreateGrant"
        assert grants["Condition"] == {
            "BoolIfExists": {
                "kms:GrantIsForAWSResource": "false",
                "aws:PrincipalIsAWSService": "false",
            }
        }
        for other in others:
            assert set(other["Principal"]) == {"Service"}
            assert other["Condition"]


@pytest.mark.parametrize("purpose", ["Secrets", "Data", "Media"])
def test_no_service_uses_these_keys_on_its_own(foundation: Template, purpose: str) -> None:
    assert not [
        each for each in policy(keys(foundation)[purpose]) if "Service" in each["Principal"]
    ]


def test_who_uses_the_key_of_logs(environment: Environment, foundation: Template) -> None:
    prefix = f"shop-{environment.name}"
    home = f"eu-central-1:{ACCOUNT}"
    _, _, logs, *publishers = policy(keys(foundation)["Logs"])

    assert logs["Principal"] == {"Service": "logs.eu-central-1.amazonaws.com"}
    assert text(logs["Condition"]["ArnLike"]["kms:EncryptionContext:aws:logs:arn"]) == (
        f"arn:<AWS::Partition>:logs:{home}:log-group:*{prefix}*"
    )
    for each in publishers:
        assert each["Action"] == ["kms:Decrypt", "kms:GenerateDataKey*"]
        assert text(each["Condition"]["ArnLike"]["kms:EncryptionContext:aws:sns:topicArn"]) == (
            f"arn:<AWS::Partition>:sns:{home}:{prefix}-*"
        )
    assert {each["Principal"]["Service"] for each in publishers} == {
        "cloudwatch.amazonaws.com",
        "events.amazonaws.com",
    }


def test_fargate_uses_the_key_of_disks_for_our_clusters_only(
    environment: Environment, foundation: Template
) -> None:
    _, _, generate, grant = policy(keys(foundation)["Compute"])

    assert generate["Action"] == "kms:GenerateDataKeyWithoutPlaintext"
    assert grant["Action"] == "kms:CreateGrant"
    assert grant["Condition"]["ForAllValues:StringEquals"] == {"kms:GrantOperations": ["Decrypt"]}
    for each in (generate, grant):
        assert each["Principal"] == {"Service": "fargate.amazonaws.com"}
        assert each["Condition"]["StringLike"] == {
            "kms:EncryptionContext:aws:ecs:clusterName": f"shop-{environment.name}-*"
        }
        assert each["Condition"]["StringEquals"] == {
            "kms:EncryptionContext:aws:ecs:clusterAccount": {"Ref": "AWS::AccountId"}
        }


# Network ----------------------------------------------------------------------------


def subnets(template: Template, tier: str) -> dict[str, Template]:
    return {
        name: each
        for name, each in resources(template, "AWS::EC2::Subnet").items()
        if name.startswith(f"NetworkVpc{tier}Subnet")
    }


def default_routes(template: Template, tier: str) -> list[Template]:
    return [
        each["Properties"]
        for name, each in resources(template, "AWS::EC2::Route").items()
        if name.startswith(f"NetworkVpc{tier}Subnet")
    ]


def test_three_tiers_in_every_zone(environment: Environment, foundation: Template) -> None:
    wanted = [f"eu-central-1{letter}" for letter in "abc"[: environment.network.zones]]
    for tier in ("edge", "app", "data"):
        found = subnets(foundation, tier).values()
        assert [each["Properties"]["AvailabilityZone"] for each in found] == wanted
    assert len(resources(foundation, "AWS::EC2::Subnet")) == 3 * len(wanted)


def test_nothing_gets_a_public_address_by_itself(foundation: Template) -> None:
    for subnet in resources(foundation, "AWS::EC2::Subnet").values():
        assert subnet["Properties"]["MapPublicIpOnLaunch"] is False


def test_only_the_edge_has_a_route_to_the_internet(
    environment: Environment, foundation: Template
) -> None:
    gateways = len(resources(foundation, "AWS::EC2::NatGateway"))
    app = default_routes(foundation, "app")

    assert all("GatewayId" in route for route in default_routes(foundation, "edge"))
    assert default_routes(foundation, "data") == []
    match environment.network.nat:
        case "none":
            assert (gateways, app) == (0, [])
        case "one":
            assert gateways == 1
        case "per_zone":
            assert gateways == environment.network.zones
    assert all(set(route) >= {"NatGatewayId"} for route in app)
    assert not any("GatewayId" in route for route in app)


def test_default_security_group_is_emptied_and_its_log_is_encrypted(
    foundation: Template,
) -> None:
    (custom,) = resources(foundation, "Custom::VpcRestrictDefaultSG").values()
    function = properties(foundation, "AWS::Lambda::Function")
    group = foundation["Resources"][function["LoggingConfig"]["LogGroup"]["Ref"]]

    assert text(custom["Properties"]["DefaultSecurityGroupId"]) == (
        "<NetworkVpc.DefaultSecurityGroup>"
    )
    assert text(group["Properties"]["KmsKeyId"]) == "<KeysLogs.Arn>"


def test_all_traffic_is_logged_with_its_encryption(foundation: Template) -> None:
    log = properties(foundation, "AWS::EC2::FlowLog")
    group = foundation["Resources"][log["LogGroupName"]["Ref"]]

    assert log["TrafficType"] == "ALL"
    assert log["LogFormat"].endswith("${action} ${log-status} ${encryption-status}")
    assert text(log["ResourceId"]) == "<NetworkVpc>"
    assert text(group["Properties"]["KmsKeyId"]) == "<KeysLogs.Arn>"


def test_encryption_control_watches_the_network(foundation: Template) -> None:
    control = properties(foundation, "AWS::EC2::VPCEncryptionControl")

    assert control == {"Mode": "monitor", "VpcId": control["VpcId"]}
    assert text(control["VpcId"]) == "<NetworkVpc>"


def test_log_groups_end(environment: Environment, foundation: Template) -> None:
    for group in resources(foundation, "AWS::Logs::LogGroup").values():
        assert group["Properties"]["RetentionInDays"] == environment.log_days


def test_endpoints_are_those_that_tasks_use(environment: Environment, foundation: Template) -> None:
    found = {
        text(each["Properties"]["ServiceName"]).replace("<AWS::Region>", PROJECT.region)
        for each in resources(foundation, "AWS::EC2::VPCEndpoint").values()
    }
    usual = {"ecr.api", "ecr.dkr", "kms", "logs", "s3", "secretsmanager", "ssm"}
    wanted = usual | ({"ssmmessages"} if environment.exec else set())

    assert found == {f"com.amazonaws.{PROJECT.region}.{name}" for name in wanted}


def test_endpoints_serve_this_account_only(foundation: Template) -> None:
    own = {"StringEquals": {f"aws:{of}Account": ACCOUNT for of in ("Principal", "Resource")}}
    for name, endpoint in resources(foundation, "AWS::EC2::VPCEndpoint").items():
        first, *others = statements(endpoint)
        assert {
            operator: {key: text(value) for key, value in values.items()}
            for operator, values in first["Condition"].items()
        } == own
        if name.startswith("NetworkVpcS3"):
            (layers,) = others
            assert layers["Action"] == "s3:GetObject"
            assert text(layers["Resource"]) == (
                "arn:<AWS::Partition>:s3:::prod-eu-central-1-starport-layer-bucket/*"
            )
        else:
            assert others == []
            assert endpoint["Properties"]["PrivateDnsEnabled"] is True


def test_endpoints_answer_the_app_subnets_on_443_only(foundation: Template) -> None:
    (group,) = (
        each["Properties"]
        for name, each in resources(foundation, "AWS::EC2::SecurityGroup").items()
        if name.startswith("NetworkEndpoints")
    )
    rules = group["SecurityGroupIngress"]
    app = [each["Properties"]["CidrBlock"] for each in subnets(foundation, "app").values()]

    assert sorted(text(rule["CidrIp"]) for rule in rules) == sorted(app)
    assert {(rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) for rule in rules} == {
        ("tcp", 443, 443)
    }
    for endpoint in resources(foundation, "AWS::EC2::VPCEndpoint").values():
        if endpoint["Properties"]["VpcEndpointType"] == "Interface":
            assert [text(each) for each in endpoint["Properties"]["SecurityGroupIds"]] == [
                "<NetworkEndpoints.GroupId>"
            ]


@pytest.fixture
def network(tmp_path: Path) -> Callable[[NetworkConfig], tuple[FoundationStack, Template]]:
    """Return a function that makes a foundation with such a network."""

    def make(config: NetworkConfig) -> tuple[FoundationStack, Template]:
        environment = dataclasses.replace(
            environment_of("dev-1"), network=config, account="111111111111"
        )
        outdir = tmp_path / repr(config)
        app = new_app(outdir)
        stack = FoundationStack(
            app,
            "foundation",
            project=PROJECT,
            environment=environment,
            env=cdk.Environment(account=environment.account, region=PROJECT.region),
        )
        app.synth()
        assert "missing" not in json.loads((outdir / "manifest.json").read_text())
        return stack, json.loads((outdir / "foundation.template.json").read_text())

    return make


@pytest.mark.parametrize("cidr", ["10.0.0.0/16", "10.1.16.0/20"])
def test_addresses_stay_when_a_zone_is_added(
    network: Callable[[NetworkConfig], tuple[FoundationStack, Template]], cidr: str
) -> None:
    (_, two), (_, three) = (network(NetworkConfig(zones=zones, cidr=cidr)) for zones in (2, 3))
    before, after = (
        {
            name: each["Properties"]["CidrBlock"]
            for name, each in resources(template, "AWS::EC2::Subnet").items()
        }
        for template in (two, three)
    )

    assert before.items() < after.items()
    blocks = [IPv4Network(block) for block in after.values()]
    assert all(block.subnet_of(IPv4Network(cidr)) for block in blocks)
    assert all(block.num_addresses >= 256 for block in blocks)


def test_proxy_is_told_the_addresses_of_the_edge(
    network: Callable[[NetworkConfig], tuple[FoundationStack, Template]],
) -> None:
    stack, template = network(NetworkConfig(letters="acd"))
    edge = subnets(template, "edge").values()

    assert stack.network.edge_cidrs == [each["Properties"]["CidrBlock"] for each in edge]
    assert [each["Properties"]["AvailabilityZone"][-1] for each in edge] == ["a", "c"]


# Registry ---------------------------------------------------------------------------


def test_images_are_immutable_scanned_and_under_our_key(
    environment: Environment, foundation: Template
) -> None:
    found = resources(foundation, "AWS::ECR::Repository")

    assert len(found) == 2
    for repository in found.values():
        values = repository["Properties"]
        assert "RepositoryName" not in values
        assert values["ImageTagMutability"] == "IMMUTABLE"
        assert values["ImageScanningConfiguration"] == {"ScanOnPush": True}
        assert values["EncryptionConfiguration"]["EncryptionType"] == "KMS"
        assert text(values["EncryptionConfiguration"]["KmsKey"]) == "<KeysCompute.Arn>"
        assert "LifecyclePolicy" in values
        assert values.get("EmptyOnDelete", False) is not environment.protect
        assert repository["DeletionPolicy"] == ("Retain" if environment.protect else "Delete")


# Notifications ----------------------------------------------------------------------


def test_topic_is_encrypted_and_published_to_over_tls_only(foundation: Template) -> None:
    topic = properties(foundation, "AWS::SNS::Topic")
    deny = [
        each
        for each in statements(properties(foundation, "AWS::SNS::TopicPolicy"))
        if each["Effect"] == "Deny"
    ]

    assert text(topic["KmsMasterKeyId"]) == "<KeysLogs.Arn>"
    assert "TopicName" not in topic
    assert [(each["Principal"], each["Action"], each["Condition"]) for each in deny] == [
        ("*", "sns:Publish", {"Bool": {"aws:SecureTransport": "false"}})
    ]


def test_only_services_publish(foundation: Template) -> None:
    """Those without a condition are those on which AWS allows none."""
    allowed = [
        each
        for each in statements(properties(foundation, "AWS::SNS::TopicPolicy"))
        if each["Effect"] == "Allow"
    ]
    conditioned, free = (
        {
            service
            for each in allowed
            if bool(each.get("Condition")) is wanted
            for service in (
                each["Principal"]["Service"]
                if isinstance(each["Principal"]["Service"], list)
                else [each["Principal"]["Service"]]
            )
        }
        for wanted in (True, False)
    )

    assert {each["Action"] for each in allowed} == {"sns:Publish"}
    assert conditioned == {"cloudwatch.amazonaws.com"}
    assert free <= {"events.amazonaws.com"}


def test_subscribers(environment: Environment, foundation: Template) -> None:
    found = [
        (each["Properties"]["Protocol"], each["Properties"]["Endpoint"])
        for each in resources(foundation, "AWS::SNS::Subscription").values()
    ]

    assert found == [("email", address) for address in environment.alarm_emails]


# Access logs ------------------------------------------------------------------------


def test_access_logs_are_private_and_end(environment: Environment, foundation: Template) -> None:
    bucket = properties(foundation, "AWS::S3::Bucket")
    (rule,) = bucket["LifecycleConfiguration"]["Rules"]

    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert rule["ExpirationInDays"] == environment.log_days
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 1}
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    # What load balancers can write to.
    (encryption,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption == {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}


def test_s3_writes_its_logs_for_this_account_only(foundation: Template) -> None:
    (s3,) = (
        each
        for each in statements(properties(foundation, "AWS::S3::BucketPolicy"))
        if each["Principal"] == {"Service": "logging.s3.amazonaws.com"}
    )

    assert s3["Action"] == "s3:PutObject"
    assert text(s3["Resource"]) == "<AccessLogsBucket.Arn>/s3/*"
    assert text(s3["Condition"]["StringEquals"]["aws:SourceAccount"]) == ACCOUNT
