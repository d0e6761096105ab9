"""Each hop and store of encryption.toml, as the templates have it on AWS.

A hop or store of the application is asserted by the function of its kind and name, such as
`hop_database`; one of AWS by the function that it names itself. An entry without its
function fails.
"""

import re
import ssl
import tomllib
from collections.abc import Callable
from typing import Any

import pytest

from cache_shell import ThroughTunnel
from components.database import PARAMETERS
from connect import CACHE_CA_FILE
from tests import properties
from tests.reading import at, listed, statements, target, text
from tests.whole import NAMES, ROOT, Resource, Templates, synthesis

Entry = dict[str, Any]
Check = Callable[[Templates, Entry], None]

LISTED: dict[str, list[Entry]] = tomllib.loads(
    (ROOT / "encryption.toml").read_text(encoding="utf-8")
)
KINDS = "hop", "store", "aws_hop", "aws_store"
ENTRIES = [(kind, entry) for kind in KINDS for entry in LISTED[kind]]

TASK = "AWS::ECS::TaskDefinition"
TLS = ("1.2", "1.3")


def one(templates: Templates, kind: str) -> Resource:
    """The only resource of a type."""
    (resource,) = templates.of_type(kind).values()
    return resource


def containers(templates: Templates, name: str) -> list[Resource]:
    """Containers of that name of all task definitions."""
    found = [
        container
        for task in templates.of_type(TASK).values()
        for container in at(task, "ContainerDefinitions")
        if container["Name"] == name
    ]
    assert found
    return found


def variables(container: Resource) -> dict[str, Any]:
    """The environment of a container."""
    return {each["Name"]: each["Value"] for each in container["Environment"]}


def injected(container: Resource) -> set[str]:
    """The variables of a container that ECS fills from Secrets Manager."""
    return {each["Name"] for each in container.get("Secrets", [])}


def endpoints(templates: Templates) -> dict[str, Resource]:
    """Endpoints in the VPC by the service's name."""
    found = templates.of_type("AWS::EC2::VPCEndpoint").values()
    names = re.compile(r"com\.amazonaws\.(eu-central-1|<AWS::Region>)\.")
    return {names.sub("", text(at(each, "ServiceName"))): each for each in found}


def assert_private(templates: Templates, *services: str) -> None:
    """Names of these services lead to endpoints in the VPC, which speak HTTPS only."""
    found = endpoints(templates)
    for service in services:
        endpoint = found[service]
        assert at(endpoint, "VpcEndpointType") == "Interface"
        assert at(endpoint, "PrivateDnsEnabled") is True
    groups = {
        target(templates, "foundation", group)
        for service in services
        for group in at(found[service], "SecurityGroupIds")
    }
    (group,) = groups
    assert group
    rules = at(templates.of_type("AWS::EC2::SecurityGroup")[group], "SecurityGroupIngress")
    assert {(each["FromPort"], each["ToPort"]) for each in rules} == {(443, 443)}


def assert_key(templates: Templates, kind: str, path: str, key: str) -> None:
    """Every resource of a type is under the key of that purpose."""
    found = templates.of_type(kind)
    assert found
    for name, resource in found.items():
        owner = target(templates, name.partition("/")[0], at(resource, path))
        assert owner, f"{name}: {path}"
        assert owner.startswith(f"foundation/Keys{key}"), f"{name}: {owner}"
        assert at(templates.of_type(properties.KEY)[owner], "EnableKeyRotation") is True


def decrypt_conditions(templates: Templates, task: str) -> list[dict[str, Any]]:
    """Under which conditions a task's role may use the key for secrets."""
    found = []
    for name, policy in templates.of_type("AWS::IAM::Policy").items():
        if not name.partition("/")[2].startswith(f"{task}ApplicationRoleDefaultPolicy"):
            continue
        for statement in statements(policy):
            key = target(templates, name.partition("/")[0], statement["Resource"])
            if "kms:Decrypt" in listed(statement["Action"]) and "KeysSecrets" in str(key):
                found.append(statement.get("Condition", {}))
    assert found
    return found


# The application's hops -----------------------------------------------------------------


def hop_edge(templates: Templates, entry: Entry) -> None:
    """The load balancer takes the browser's place before the proxy: two hops of AWS's."""
    client_edge(templates, entry)
    edge_to_proxy(templates, entry)


def hop_gunicorn(templates: Templates, entry: Entry) -> None:
    """Mutual TLS inside the task: its keys are made there, and the proxy alone has its own."""
    (proxy,) = containers(templates, "proxy")
    (app,) = (each for each in containers(templates, "app") if variables(each)["ROLE"] == "app")
    shared = variables(proxy)["APP_CREDENTIALS_DIR"]
    assert variables(proxy)["CREDENTIALS_DIR"].startswith("/tmp/")  # noqa: S108  # its tmpfs
    mounts = {each["ContainerPath"]: each["ReadOnly"] for each in app["MountPoints"]}
    assert mounts[shared] is True
    assert [each["ContainerPort"] for each in proxy["PortMappings"]] == [8443]
    assert not app.get("PortMappings")


def hop_database(templates: Templates, entry: Entry) -> None:
    (group,) = templates.of_type("AWS::RDS::DBParameterGroup").values()
    parameters = at(group, "Parameters")
    assert parameters["rds.force_ssl"] == "1"
    assert parameters["ssl_min_protocol_version"].removeprefix("TLSv") >= entry["min_tls"]
    database = one(templates, "AWS::RDS::DBInstance")
    name = target(templates, "data", at(database, "DBParameterGroupName"))
    assert name in templates.of_type("AWS::RDS::DBParameterGroup")
    for container in containers(templates, "app"):
        assert variables(container)["DATABASE_CA_FILE"].endswith("rds-ca.pem")
        assert variables(container)["ROLE"] in entry["from"]


def hop_cache(templates: Templates, entry: Entry) -> None:
    cache = one(templates, "AWS::ElastiCache::ReplicationGroup")
    assert at(cache, "TransitEncryptionEnabled") is True
    assert at(cache, "TransitEncryptionMode") == "required"
    assert at(cache, "UserGroupIds")
    users = {
        at(user, "UserName"): at(user, "AccessString")
        for user in templates.of_type("AWS::ElastiCache::User").values()
    }
    assert users.keys() == {"app", "default"}
    assert "-@admin" in users["app"]
    assert users["default"].startswith("off ")
    for container in containers(templates, "app"):
        assert variables(container)["CACHE_CA_FILE"].endswith("amazon-ca.pem")
        assert "CACHE_PASSWORD" in injected(container)


def hop_storage(templates: Templates, entry: Entry) -> None:
    assert properties.buckets_without_tls(templates) == []
    assert at(endpoints(templates)["s3"], "VpcEndpointType") == "Gateway"


def hop_secrets(templates: Templates, entry: Entry) -> None:
    assert_private(templates, "ssm", "secretsmanager")


def hop_keys(templates: Templates, entry: Entry) -> None:
    assert_private(templates, "kms")


# The application's stores ---------------------------------------------------------------


def store_columns(templates: Templates, entry: Entry) -> None:
    """Data keys are unwrapped for this environment and their purpose only."""
    for container in containers(templates, "app"):
        assert variables(container)["KMS_KEY"].startswith("alias/")
    contexts = [
        each["StringEquals"]
        for each in decrypt_conditions(templates, "Web")
        if "kms:EncryptionContext:purpose" in each.get("StringEquals", {})
    ]
    assert contexts
    for context in contexts:
        assert {f"kms:EncryptionContext:{key}" for key in ("project", "environment")} <= set(
            context
        )


def store_media(templates: Templates, entry: Entry) -> None:
    """Under its own key, whatever an upload asks for."""
    ((name, bucket),) = (
        each for each in templates.of_type("AWS::S3::Bucket").items() if each[0].startswith("data/")
    )
    rule = "BucketEncryption.ServerSideEncryptionConfiguration.0"
    key = at(bucket, f"{rule}.ServerSideEncryptionByDefault.KMSMasterKeyID")
    assert str(target(templates, "data", key)).startswith("foundation/KeysMedia")
    assert at(bucket, f"{rule}.BucketKeyEnabled") is True
    policies = templates.of_type("AWS::S3::BucketPolicy").values()
    (policy,) = (each for each in policies if target(templates, "data", at(each, "Bucket")) == name)
    refused = {
        condition
        for statement in statements(policy)
        if statement["Effect"] == "Deny"
        for condition in statement["Condition"].get("StringNotEquals", {})
    }
    assert refused == {
        "s3:x-amz-server-side-encryption",
        "s3:x-amz-server-side-encryption-aws-kms-key-id",
    }


def store_parameters(templates: Templates, entry: Entry) -> None:
    """What serves decrypts its own parameters, named in the encryption context, and no others."""
    for task in ("Web", "Worker", "Schedules", "Release"):
        for condition in decrypt_conditions(templates, task):
            keys = {key for operator in condition.values() for key in operator}
            assert any(key.startswith("kms:EncryptionContext:") for key in keys), task
    context = "kms:EncryptionContext:PARAMETER_ARN"
    for task in ("Web", "Worker", "Schedules"):
        wide = [
            each
            for each in decrypt_conditions(templates, task)
            if context in each.get("StringLike", {})
        ]
        for condition in wide:
            assert text(condition["StringNotLike"][context]).endswith("/*/*"), task


# AWS's hops -----------------------------------------------------------------------------


def client_edge(templates: Templates, entry: Entry) -> None:
    listeners = templates.of_type("AWS::ElasticLoadBalancingV2::Listener").values()
    (https,) = (each for each in listeners if at(each, "Port") == 443)
    (http,) = (each for each in listeners if at(each, "Port") == 80)
    assert len(listeners) == 2
    assert at(https, "Protocol") == "HTTPS"
    policy = at(https, "SslPolicy")
    assert policy.startswith("ELBSecurityPolicy-TLS13-1-")
    assert "PQ" in policy
    assert policy.removeprefix("ELBSecurityPolicy-TLS13-")[:3].replace("-", ".") >= entry["min_tls"]
    assert len(at(https, "Certificates")) == 1
    assert at(http, "DefaultActions.0.RedirectConfig.Protocol") == "HTTPS"
    balancer = one(templates, "AWS::ElasticLoadBalancingV2::LoadBalancer")
    attributes = {each["Key"]: each["Value"] for each in at(balancer, "LoadBalancerAttributes")}
    assert attributes["routing.http.drop_invalid_header_fields.enabled"] == "true"


def edge_to_proxy(templates: Templates, entry: Entry) -> None:
    group = one(templates, "AWS::ElasticLoadBalancingV2::TargetGroup")
    assert at(group, "Protocol") == at(group, "HealthCheckProtocol") == "HTTPS"
    assert at(group, "HealthCheckPath") == "/livez"
    assert at(one(templates, "AWS::EC2::VPCEncryptionControl"), "Mode") in {"monitor", "enforce"}
    assert "${encryption-status}" in at(one(templates, "AWS::EC2::FlowLog"), "LogFormat")


def platform_through_endpoints(templates: Templates, entry: Entry) -> None:
    assert_private(templates, "ecr.api", "ecr.dkr", "logs", "secretsmanager")
    assert "s3" in endpoints(templates)


def person_to_container(templates: Templates, entry: Entry) -> None:
    session = "Configuration.ExecuteCommandConfiguration"
    assert_key(templates, "AWS::ECS::Cluster", f"{session}.KmsKeyId", "Logs")
    cluster = one(templates, "AWS::ECS::Cluster")
    assert at(cluster, f"{session}.Logging") == "OVERRIDE"
    assert at(cluster, f"{session}.LogConfiguration.CloudWatchEncryptionEnabled") is True
    services = templates.of_type("AWS::ECS::Service").values()
    if any(at(each, "EnableExecuteCommand") for each in services):
        assert_private(templates, "ssmmessages")
    # Without ECS Exec nobody, and in the release task nobody ever, gets in.
    for name, policy in templates.of_type("AWS::IAM::Policy").items():
        if "ssmmessages" in str(policy):
            assert name.startswith(("app/Web", "app/Worker"))


def person_to_database(templates: Templates, entry: Entry) -> None:
    hop_database(templates, entry | {"from": ["app", "worker", "scheduler", "release"]})
    assert PARAMETERS["ssl_min_protocol_version"] == f"TLSv{entry['min_tls']}"
    connect = (ROOT / "infra" / "connect.py").read_text(encoding="utf-8")
    assert "verify-full" in connect
    assert "rds-ca.pem" in connect


def person_to_cache(templates: Templates, entry: Entry) -> None:
    """The rest is in test_cache_shell.py, with real servers."""
    hop_cache(templates, entry)
    shell = ThroughTunnel(tunnel=1, ca_file=CACHE_CA_FILE)
    assert shell.context.check_hostname
    assert shell.context.verify_mode is ssl.CERT_REQUIRED
    assert shell.context.minimum_version.name == f"TLSv{entry['min_tls'].replace('.', '_')}"


def replication(templates: Templates, entry: Entry) -> None:
    hop_cache(templates, entry)
    database = one(templates, "AWS::RDS::DBInstance")
    assert at(database, "StorageEncrypted") is True
    assert at(database, "PubliclyAccessible") is False


def alarms(templates: Templates, entry: Entry) -> None:
    (policy,) = templates.of_type("AWS::SNS::TopicPolicy").values()
    refused = [each for each in statements(policy) if each["Effect"] == "Deny"]
    assert {"Bool": {"aws:SecureTransport": "false"}} in [each["Condition"] for each in refused]
    for subscription in templates.of_type("AWS::SNS::Subscription").values():
        assert at(subscription, "Protocol") == "email"


# AWS's stores ---------------------------------------------------------------------------


def database_at_rest(templates: Templates, entry: Entry) -> None:
    kind = "AWS::RDS::DBInstance"
    assert at(one(templates, kind), "StorageEncrypted") is True
    for path in ("KmsKeyId", "MasterUserSecret.KmsKeyId", "PerformanceInsightsKMSKeyId"):
        assert_key(templates, kind, path, "Data")


def cache_at_rest(templates: Templates, entry: Entry) -> None:
    kind = "AWS::ElastiCache::ReplicationGroup"
    assert at(one(templates, kind), "AtRestEncryptionEnabled") is True
    assert_key(templates, kind, "KmsKeyId", "Data")
    assert_key(templates, "AWS::SecretsManager::Secret", "KmsKeyId", "Data")


def backups_at_rest(templates: Templates, entry: Entry) -> None:
    assert_key(templates, "AWS::Backup::BackupVault", "EncryptionKeyArn", "Data")


def images_at_rest(templates: Templates, entry: Entry) -> None:
    assert_key(templates, "AWS::ECR::Repository", "EncryptionConfiguration.KmsKey", "Compute")
    for repository in templates.of_type("AWS::ECR::Repository").values():
        assert at(repository, "ImageTagMutability") == "IMMUTABLE"
        assert at(repository, "ImageScanningConfiguration.ScanOnPush") is True


def disks_at_rest(templates: Templates, entry: Entry) -> None:
    path = "Configuration.ManagedStorageConfiguration.FargateEphemeralStorageKmsKeyId"
    assert_key(templates, "AWS::ECS::Cluster", path, "Compute")


def logs_at_rest(templates: Templates, entry: Entry) -> None:
    assert_key(templates, "AWS::Logs::LogGroup", "KmsKeyId", "Logs")
    for group in templates.of_type("AWS::Logs::LogGroup").values():
        assert at(group, "RetentionInDays") >= 365
    groups = set(templates.of_type("AWS::Logs::LogGroup"))
    for name, task in templates.of_type(TASK).items():
        for container in at(task, "ContainerDefinitions"):
            options = container["LogConfiguration"]["Options"]
            assert target(templates, name.partition("/")[0], options["awslogs-group"]) in groups


def messages_at_rest(templates: Templates, entry: Entry) -> None:
    assert_key(templates, "AWS::SNS::Topic", "KmsMasterKeyId", "Logs")
    assert_key(templates, "AWS::SQS::Queue", "KmsMasterKeyId", "Logs")


def access_logs_at_rest(templates: Templates, entry: Entry) -> None:
    buckets = templates.of_type("AWS::S3::Bucket")
    (bucket,) = (each for name, each in buckets.items() if name.startswith("foundation/"))
    rule = "BucketEncryption.ServerSideEncryptionConfiguration.0.ServerSideEncryptionByDefault"
    assert at(bucket, f"{rule}.SSEAlgorithm") == "AES256"
    assert entry["exception"]


def check_of(kind: str, entry: Entry) -> Check:
    """The function that asserts an entry. Fails if there is none."""
    name = entry["check"] if kind.startswith("aws_") else f"{kind}_{entry['name']}"
    assert name in globals(), f"{kind} {entry['name']} of encryption.toml needs {name}()"
    found: Check = globals()[name]
    return found


@pytest.mark.parametrize(
    ("kind", "entry"), ENTRIES, ids=lambda it: it if it in KINDS else it["name"]
)
@pytest.mark.parametrize("name", NAMES)
def test_entry(kind: str, entry: Entry, name: str) -> None:
    check_of(kind, entry)(synthesis().templates[name], entry)


def test_an_entry_without_its_check_is_seen() -> None:
    with pytest.raises(AssertionError, match=r"hop fax of encryption.toml needs hop_fax\(\)"):
        check_of("hop", {"name": "fax"})


def test_entries_are_complete() -> None:
    wanted = {"name", "title", "enforced_by", "check", "controls"}
    more = {
        "aws_hop": {"from", "to", "protocol", "verifies"},
        "aws_store": {"at_rest"},
    }
    for kind, keys in more.items():
        for entry in LISTED[kind]:
            extra = entry.keys() - wanted - keys - {"exception", "min_tls"}
            assert (wanted | keys) - entry.keys() == extra == set(), entry["name"]
            assert entry.get("min_tls", TLS[0]) in TLS
            for path in entry["enforced_by"].split(", "):
                assert (ROOT / path).is_file(), path
        names = [entry["name"] for entry in LISTED[kind]]
        assert len(set(names)) == len(names)
