"""Named weakenings of the templates: each must be caught by the rule or property named with it.

That the templates as they are pass all of these is what the other tests show.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsii
import pytest
from aws_cdk import IPolicyValidationContextBeta1
from aws_cdk import PolicyValidationPluginReport as Report

from rules import own_rules
from tests import properties, test_hops
from tests.reading import at, statements
from tests.whole import Resource, Templates, environment, own_copy, synthesis
from tests.wildcards import EXPLAINED

Weaken = Callable[[Templates], None]
WORLD = "0.0.0.0/0"
BALANCER = "AWS::ElasticLoadBalancingV2"
LEAK = "Xk9vQ2mT7rLp4sWz8nBc3hYd6gFj1aRe"


@dataclass(frozen=True)
class Mutant:
    """A weakening of one environment's templates, and what must see it."""

    name: str
    seen_by: str
    weaken: Weaken
    environment: str = "production-1"


def only(kind: str, start: str = "") -> Callable[[Templates], Resource]:
    """How to find the first resource of a type, whose `stack/LogicalId` begins so."""

    def find(templates: Templates) -> Resource:
        found = templates.of_type(kind).items()
        return next(each for name, each in found if name.startswith(start))

    return find


def setting(find: Callable[[Templates], Resource], path: str, value: Any) -> Weaken:
    """Give a property another value."""

    def weaken(templates: Templates) -> None:
        parent, _, last = path.rpartition(".")
        holder = at(find(templates), parent) if parent else find(templates)["Properties"]
        holder[int(last) if last.isdigit() else last] = value

    return weaken


def without(find: Callable[[Templates], Resource], path: str) -> Weaken:
    """Take a property away."""

    def weaken(templates: Templates) -> None:
        parent, _, last = path.rpartition(".")
        holder = at(find(templates), parent) if parent else find(templates)["Properties"]
        del holder[last]

    return weaken


def adding(stack: str, kind: str, **given: Any) -> Weaken:
    """Add a resource."""

    def weaken(templates: Templates) -> None:
        templates[stack]["Resources"]["Added"] = {"Type": kind, "Properties": given}

    return weaken


def allowing(**statement: Any) -> Weaken:
    """Allow the web task's role something more."""

    def weaken(templates: Templates) -> None:
        policy = only("AWS::IAM::Policy", "app/WebApplicationRole")(templates)
        at(policy, "PolicyDocument.Statement").append({"Effect": "Allow"} | statement)

    return weaken


def fate(kind: str, policy: str) -> Weaken:
    """Decide what becomes of a resource when its stack goes."""

    def weaken(templates: Templates) -> None:
        resource = only(kind)(templates)
        resource["DeletionPolicy"] = resource["UpdateReplacePolicy"] = policy

    return weaken


def open_to_world(templates: Templates) -> None:
    database = at(only("AWS::RDS::DBInstance")(templates), "VPCSecurityGroups.0")
    rule = {"GroupId": database, "IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432}
    adding("data", "AWS::EC2::SecurityGroupIngress", CidrIp=WORLD, **rule)(templates)


def one_more_door(templates: Templates) -> None:
    group = only("AWS::EC2::SecurityGroup", "app/Edge")(templates)
    at(group, "SecurityGroupIngress").append(
        {"CidrIp": WORLD, "IpProtocol": "tcp", "FromPort": 8443, "ToPort": 8443}
    )


def leaking_variable(templates: Templates) -> None:
    task = only(test_hops.TASK, "app/Web")(templates)
    at(task, "ContainerDefinitions.0.Environment").append({"Name": "TOKEN", "Value": "a"})


def leaking_random_value(templates: Templates) -> None:
    task = only(test_hops.TASK, "app/Web")(templates)
    at(task, "ContainerDefinitions.0.Environment").append({"Name": "SALT", "Value": LEAK})


def leaking_output(templates: Templates) -> None:
    secret = {"Fn::Sub": "{{resolve:secretsmanager:${Password}:SecretString}}"}
    templates["data"]["Outputs"]["Handy"] = {"Value": secret}


def secret_parameter(templates: Templates) -> None:
    templates["data"].setdefault("Parameters", {})["MasterPassword"] = {"Type": "String"}


def written_password(templates: Templates) -> None:
    user = only("AWS::ElastiCache::User")(templates)
    user["Properties"]["AuthToken"] = "letmein"  # the point of it


def bucket_policy(change: Callable[[Resource], None]) -> Weaken:
    """Change each denying statement of the media bucket's policy."""

    def weaken(templates: Templates) -> None:
        policy = only("AWS::S3::BucketPolicy", "data/Media")(templates)
        for statement in statements(policy):
            if statement["Effect"] == "Deny" and "s3:*" in statement["Action"]:
                change(statement)

    return weaken


def only_bucket(statement: Resource) -> None:
    statement["Resource"] = statement["Resource"][0]


def any_tls(statement: Resource) -> None:
    if "NumericLessThan" in statement["Condition"]:
        statement["Condition"]["NumericLessThan"]["s3:TlsVersion"] = "1.0"


def decrypt_anything(templates: Templates) -> None:
    policy = only("AWS::IAM::Policy", "app/WebApplicationRole")(templates)
    for statement in statements(policy):
        if "kms:Decrypt" in statement["Action"]:
            statement.pop("Condition", None)


def topic_for_everyone(templates: Templates) -> None:
    policy = only("AWS::SNS::TopicPolicy")(templates)
    for statement in statements(policy):
        if statement["Effect"] == "Allow":
            statement["Principal"] = "*"
            statement.pop("Condition", None)


def default_user_on(templates: Templates) -> None:
    for user in templates.of_type("AWS::ElastiCache::User").values():
        user["Properties"]["AccessString"] = "on ~* +@all"


target_group = only(f"{BALANCER}::TargetGroup")
database = only("AWS::RDS::DBInstance")
parameters = only("AWS::RDS::DBParameterGroup")
cache = only("AWS::ElastiCache::ReplicationGroup")
cluster = only("AWS::ECS::Cluster")
service = only("AWS::ECS::Service")
web_task = only(test_hops.TASK, "app/Web")
bucket = only("AWS::S3::Bucket", "data/")
key = only("AWS::KMS::Key")


def listener(port: int) -> Callable[[Templates], Resource]:
    """How to find the listener on a port."""
    return lambda templates: next(
        each
        for each in templates.of_type(f"{BALANCER}::Listener").values()
        if at(each, "Port") == port
    )


SESSION = "Configuration.ExecuteCommandConfiguration"

GUARD = [
    Mutant(
        "HTTP target group", "target_group_uses_https", setting(target_group, "Protocol", "HTTP")
    ),
    Mutant(
        "HTTP health check",
        "health_check_uses_https",
        setting(target_group, "HealthCheckProtocol", "HTTP"),
    ),
    Mutant(
        "old listener policy",
        "listener_policy_is_allowed",
        setting(listener(443), "SslPolicy", "ELBSecurityPolicy-2016-08"),
    ),
    Mutant(
        "AWS's default policy", "listener_policy_is_allowed", without(listener(443), "SslPolicy")
    ),
    Mutant(
        "plaintext listener that forwards",
        "other_listeners_only_redirect",
        setting(listener(80), "DefaultActions", [{"Type": "forward", "TargetGroupArn": "x"}]),
    ),
    Mutant(
        "redirect to HTTP",
        "other_listeners_only_redirect",
        setting(listener(80), "DefaultActions.0.RedirectConfig.Protocol", "HTTP"),
    ),
    Mutant(
        "HTTPS listener turned plain",
        "other_listeners_only_redirect",
        setting(listener(443), "Protocol", "HTTP"),
    ),
    Mutant(
        "force_ssl 0",
        "database_forces_tls",
        setting(
            parameters, "Parameters", {"rds.force_ssl": "0", "ssl_min_protocol_version": "TLSv1.3"}
        ),
    ),
    Mutant(
        "force_ssl left out",
        "database_forces_tls",
        setting(parameters, "Parameters", {"ssl_min_protocol_version": "TLSv1.3"}),
    ),
    Mutant(
        "TLS 1.1 for the database",
        "database_refuses_old_tls",
        setting(parameters, "Parameters.ssl_min_protocol_version", "TLSv1.1"),
    ),
    Mutant(
        "AWS's parameters for the database",
        "database_has_own_parameters",
        without(database, "DBParameterGroupName"),
    ),
    Mutant(
        "plaintext cache", "cache_requires_tls", setting(cache, "TransitEncryptionEnabled", False)
    ),
    Mutant(
        "cache that prefers TLS",
        "cache_requires_tls",
        setting(cache, "TransitEncryptionMode", "preferred"),
    ),
    Mutant("cache without users", "cache_has_user_group", without(cache, "UserGroupIds")),
    Mutant(
        "sessions without a key",
        "exec_is_encrypted_and_logged",
        without(cluster, f"{SESSION}.KmsKeyId"),
    ),
    Mutant(
        "sessions without a log",
        "exec_is_encrypted_and_logged",
        setting(cluster, f"{SESSION}.Logging", "NONE"),
    ),
]

PROPERTIES = [
    Mutant("cache without a key", "stores_without_key", without(cache, "KmsKeyId")),
    Mutant("database under AWS's key", "stores_without_key", without(database, "KmsKeyId")),
    Mutant(
        "key of somebody else",
        "stores_without_key",
        setting(database, "KmsKeyId", "arn:aws:kms:eu-central-1:111111111111:key/1"),
    ),
    Mutant(
        "log group without a key",
        "stores_without_key",
        without(only("AWS::Logs::LogGroup", "app/Web"), "KmsKeyId"),
    ),
    Mutant(
        "images under AWS's key",
        "stores_without_key",
        without(only("AWS::ECR::Repository"), "EncryptionConfiguration.KmsKey"),
    ),
    Mutant(
        "a store nobody thought of", "stores_without_key", adding("data", "AWS::DynamoDB::Table")
    ),
    Mutant("key that stays", "keys_without_rotation", setting(key, "EnableKeyRotation", False)),
    Mutant("database open to the world", "open_ways_in", open_to_world),
    Mutant("another port at the edge", "open_ways_in", one_more_door),
    Mutant(
        "database with an address", "open_ways_in", setting(database, "PubliclyAccessible", True)
    ),
    Mutant(
        "tasks with public addresses",
        "open_ways_in",
        setting(service, "NetworkConfiguration.AwsvpcConfiguration.AssignPublicIp", "ENABLED"),
    ),
    Mutant("secret in a variable", "secret_values", leaking_variable),
    Mutant("random value in a variable", "secret_values", leaking_random_value),
    Mutant("secret in an output", "secret_values", leaking_output),
    Mutant("secret as a parameter", "secret_values", secret_parameter),
    Mutant("password in a property", "secret_values", written_password),
    Mutant(
        "public bucket",
        "buckets_without_tls",
        setting(bucket, "PublicAccessBlockConfiguration.BlockPublicPolicy", False),
    ),
    Mutant("bucket policy without objects", "buckets_without_tls", bucket_policy(only_bucket)),
    Mutant("bucket that takes TLS 1.0", "buckets_without_tls", bucket_policy(any_tls)),
    Mutant(
        "container with a writable root",
        "weak_containers",
        setting(web_task, "ContainerDefinitions.0.ReadonlyRootFilesystem", False),
    ),
    Mutant(
        "container of root",
        "weak_containers",
        setting(web_task, "ContainerDefinitions.0.User", "0"),
    ),
    Mutant(
        "container with capabilities",
        "weak_containers",
        setting(web_task, "ContainerDefinitions.0.LinuxParameters.Capabilities.Drop", []),
    ),
    Mutant("role that may do all", "wildcards", allowing(Action="s3:*", Resource="*")),
    Mutant(
        "role that may read any secret",
        "wildcards",
        allowing(Action="secretsmanager:GetSecretValue", Resource="*"),
    ),
    Mutant("role of all other actions", "wildcards", allowing(NotAction="iam:*", Resource="x")),
    Mutant(
        "role beyond its prefix",
        "wildcards",
        allowing(
            Action="ssm:GetParametersByPath", Resource="arn:aws:ssm:eu-central-1:1:parameter/*"
        ),
    ),
    Mutant("topic for everyone", "wildcards", topic_for_everyone),
    Mutant(
        "database that may be deleted", "retention", setting(database, "DeletionProtection", False)
    ),
    Mutant("key that goes with its stack", "retention", fate("AWS::KMS::Key", "Delete")),
    Mutant("bucket that outlives dev", "retention", fate("AWS::S3::Bucket", "Retain"), "dev-1"),
    Mutant("bucket with a fixed name", "clashes", setting(bucket, "BucketName", "shop-media")),
]

HOPS = [
    Mutant("role that decrypts anything", "store_parameters", decrypt_anything),
    Mutant("data keys of any purpose", "store_columns", decrypt_anything),
    Mutant("cache's default user on", "hop_cache", default_user_on),
    Mutant(
        "old policy",
        "client_edge",
        setting(listener(443), "SslPolicy", "ELBSecurityPolicy-2016-08"),
    ),
    Mutant("HTTP target group", "edge_to_proxy", setting(target_group, "Protocol", "HTTP")),
    Mutant(
        "no word of encryption in flow logs",
        "edge_to_proxy",
        setting(only("AWS::EC2::FlowLog"), "LogFormat", "${srcaddr}"),
    ),
    Mutant(
        "names that lead to the internet",
        "platform_through_endpoints",
        setting(
            only("AWS::EC2::VPCEndpoint", "foundation/NetworkVpcLogs"), "PrivateDnsEnabled", False
        ),
    ),
    Mutant(
        "TLS 1.2 for people",
        "person_to_database",
        setting(parameters, "Parameters.ssl_min_protocol_version", "TLSv1"),
    ),
    Mutant(
        "plaintext for people",
        "person_to_cache",
        setting(cache, "TransitEncryptionMode", "preferred"),
    ),
    Mutant(
        "sessions without a key", "person_to_container", without(cluster, f"{SESSION}.KmsKeyId")
    ),
    Mutant("unencrypted database", "replication", setting(database, "StorageEncrypted", False)),
    Mutant("unencrypted cache", "cache_at_rest", setting(cache, "AtRestEncryptionEnabled", False)),
    Mutant(
        "tags that move",
        "images_at_rest",
        setting(only("AWS::ECR::Repository"), "ImageTagMutability", "MUTABLE"),
    ),
    Mutant(
        "logs kept for a month",
        "logs_at_rest",
        setting(only("AWS::Logs::LogGroup"), "RetentionInDays", 30),
    ),
    Mutant(
        "media under another key",
        "store_media",
        setting(
            bucket,
            "BucketEncryption.ServerSideEncryptionConfiguration.0.ServerSideEncryptionByDefault",
            {"SSEAlgorithm": "AES256"},
        ),
    ),
]


def weakened(mutant: Mutant) -> Templates:
    templates = own_copy(mutant.environment)
    mutant.weaken(templates)
    assert templates != synthesis().templates[mutant.environment], "nothing was weakened"
    return templates


@jsii.implements(IPolicyValidationContextBeta1)
class Files:
    """Templates in files, as a validation plugin is given them."""

    def __init__(self, paths: list[str]) -> None:
        self._paths = paths

    @property
    def template_paths(self) -> list[str]:
        return self._paths


@pytest.fixture(scope="module")
def broken_rules(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, set[str]]:
    """The rules of ours that each guard mutant breaks; they are all judged at once."""
    folder = tmp_path_factory.mktemp("mutants")
    stems: dict[str, str] = {}
    unchanged = own_copy("production-1")
    for number, mutant in enumerate(GUARD):
        for stack, template in weakened(mutant).items():
            if template != unchanged[stack]:
                stems[f"{number}-{stack}.json"] = mutant.name
                (folder / f"{number}-{stack}.json").write_text(json.dumps(template))
    for stack, template in unchanged.items():
        stems[f"unchanged-{stack}.json"] = "unchanged"
        (folder / f"unchanged-{stack}.json").write_text(json.dumps(template))
    files = Files([str(folder / stem) for stem in stems])
    report: Report = own_rules().validate(files)  # type: ignore[arg-type]  # asks for no more
    broken: dict[str, set[str]] = {name: set() for name in stems.values()}
    for violation in report.violations:
        for resource in violation.violating_resources:
            assert resource.template_path
            broken[stems[Path(resource.template_path).name]].add(violation.rule_name)
    return broken


def test_the_stacks_as_they_are_break_no_rule(broken_rules: Mapping[str, set[str]]) -> None:
    assert broken_rules["unchanged"] == set()


@pytest.mark.parametrize("mutant", GUARD, ids=lambda it: it.name)
def test_rule_catches(mutant: Mutant, broken_rules: Mapping[str, set[str]]) -> None:
    assert mutant.seen_by in broken_rules[mutant.name]


def complaints(mutant: Mutant, templates: Templates) -> list[str]:
    """What the property that the mutant names says of these templates."""
    match mutant.seen_by:
        case "wildcards":
            return properties.wildcards(templates, EXPLAINED)
        case "retention":
            protect = environment(mutant.environment).protect
            return properties.retention(templates, protect=protect)
        case "clashes":
            other = own_copy("dev-1")
            mutant.weaken(other)
            return properties.clashes({mutant.environment: templates, "dev-1": other})
        case name:
            found: list[str] = getattr(properties, name)(templates)
            return found


@pytest.mark.parametrize("mutant", PROPERTIES, ids=lambda it: it.name)
def test_property_catches(mutant: Mutant) -> None:
    assert complaints(mutant, weakened(mutant))


@pytest.mark.parametrize("mutant", HOPS, ids=lambda it: it.name)
def test_assertion_of_hop_catches(mutant: Mutant) -> None:
    check: test_hops.Check = getattr(test_hops, mutant.seen_by)
    (entry,) = (
        entry
        for kind, entry in test_hops.ENTRIES
        if mutant.seen_by in {f"{kind}_{entry['name']}", entry.get("check")}
    )
    templates = weakened(mutant)
    with pytest.raises((AssertionError, KeyError, AttributeError, TypeError)):
        check(templates, entry)
    check(synthesis().templates[mutant.environment], entry)


def test_every_rule_and_property_has_a_mutant() -> None:
    rules = {
        line.split()[1]
        for path in (Path(__file__).parent.parent / "rules" / "own").glob("*.guard")
        for line in path.read_text().splitlines()
        if line.startswith("rule ") and "(" not in line
    }
    assert {each.seen_by for each in GUARD} == rules
    assert {each.seen_by for each in PROPERTIES} == {
        *("stores_without_key", "keys_without_rotation", "open_ways_in", "secret_values"),
        *("buckets_without_tls", "weak_containers", "wildcards", "retention", "clashes"),
    }
