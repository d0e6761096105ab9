"""What holds for every resource of every environment. Each function returns complaints."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import ip_network
from typing import Any

from tests.reading import at, constant, listed, statements, strings, target, text
from tests.whole import Resource, Templates

Property = Callable[[Templates], list[str]]

KEY = "AWS::KMS::Key"

# Where each type that stores data names its key.
STORES: dict[str, tuple[str, ...]] = {
    "AWS::Backup::BackupVault": ("EncryptionKeyArn",),
    "AWS::ECR::Repository": ("EncryptionConfiguration.KmsKey",),
    "AWS::ECS::Cluster": (
        "Configuration.ManagedStorageConfiguration.FargateEphemeralStorageKmsKeyId",
        "Configuration.ExecuteCommandConfiguration.KmsKeyId",
    ),
    "AWS::ElastiCache::ReplicationGroup": ("KmsKeyId",),
    "AWS::Logs::LogGroup": ("KmsKeyId",),
    "AWS::RDS::DBInstance": (
        "KmsKeyId",
        "MasterUserSecret.KmsKeyId",
        "PerformanceInsightsKMSKeyId",
    ),
    "AWS::S3::Bucket": (
        "BucketEncryption.ServerSideEncryptionConfiguration.0"
        ".ServerSideEncryptionByDefault.KMSMasterKeyID",
    ),
    "AWS::SNS::Topic": ("KmsMasterKeyId",),
    "AWS::SQS::Queue": ("KmsMasterKeyId",),
    "AWS::SecretsManager::Secret": ("KmsKeyId",),
}
# Stores that cannot have a key of ours.
WITHOUT_KEY = {
    "foundation/AccessLogs*Bucket*": "Load balancers write logs to SSE-S3 buckets only.",
}
# Types that keep no data of the application. One that is in neither list is a complaint.
STATELESS = {
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::ApplicationAutoScaling::ScalingPolicy",
    "AWS::Backup::BackupPlan",
    "AWS::Backup::BackupSelection",
    "AWS::Budgets::Budget",
    "AWS::CDK::Metadata",
    "AWS::CertificateManager::Certificate",
    "AWS::CloudWatch::Alarm",
    "AWS::CloudWatch::CompositeAlarm",
    "AWS::CloudWatch::Dashboard",
    "AWS::EC2::EIP",
    "AWS::EC2::FlowLog",
    "AWS::EC2::InternetGateway",
    "AWS::EC2::NatGateway",
    "AWS::EC2::Route",
    "AWS::EC2::RouteTable",
    "AWS::EC2::SecurityGroup",
    "AWS::EC2::SecurityGroupEgress",
    "AWS::EC2::SecurityGroupIngress",
    "AWS::EC2::Subnet",
    "AWS::EC2::SubnetRouteTableAssociation",
    "AWS::EC2::VPC",
    "AWS::EC2::VPCEncryptionControl",
    "AWS::EC2::VPCEndpoint",
    "AWS::EC2::VPCGatewayAttachment",
    "AWS::ECS::ClusterCapacityProviderAssociations",
    "AWS::ECS::Service",
    "AWS::ECS::TaskDefinition",
    "AWS::ElastiCache::ParameterGroup",
    "AWS::ElastiCache::SubnetGroup",
    "AWS::ElastiCache::User",
    "AWS::ElastiCache::UserGroup",
    "AWS::ElasticLoadBalancingV2::Listener",
    "AWS::ElasticLoadBalancingV2::ListenerRule",
    "AWS::ElasticLoadBalancingV2::LoadBalancer",
    "AWS::ElasticLoadBalancingV2::TargetGroup",
    "AWS::Events::Rule",
    "AWS::IAM::Policy",
    "AWS::IAM::Role",
    "AWS::KMS::Alias",
    "AWS::KMS::Key",
    "AWS::Lambda::Function",  # of CDK, runs while stacks are made; its log group is a store
    "AWS::Logs::MetricFilter",
    "AWS::RDS::DBParameterGroup",
    "AWS::RDS::DBSubnetGroup",
    "AWS::Route53::RecordSet",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::Subscription",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::QueuePolicy",
    "AWS::Scheduler::Schedule",
    "AWS::Scheduler::ScheduleGroup",
    "AWS::SecretsManager::ResourcePolicy",
    "AWS::SecretsManager::RotationSchedule",
    "AWS::WAFv2::LoggingConfiguration",
    "AWS::WAFv2::WebACL",
    "AWS::WAFv2::WebACLAssociation",
    "Custom::VpcRestrictDefaultSG",
}


def stores_without_key(templates: Templates) -> list[str]:
    """Stores that are not under a key of ours, and types that nobody has classified."""
    found = []
    for name, resource in templates.resources():
        kind = resource["Type"]
        if kind not in STORES and kind not in STATELESS:
            found.append(f"{name}: {kind} is neither in STORES nor in STATELESS")
        if any(fnmatchcase(name, pattern) for pattern in WITHOUT_KEY):
            continue
        for path in STORES.get(kind, ()):
            if not own_key(templates, name, at(resource, path)):
                found.append(f"{name}: {kind} {path} is no key of ours")
    return found


def own_key(templates: Templates, name: str, value: Any) -> bool:
    """Whether `value`, a property of the resource `name`, is a key of these templates."""
    key = target(templates, name.partition("/")[0], value)
    return key in templates.of_type(KEY)


def keys_without_rotation(templates: Templates) -> list[str]:
    """Keys that stay the same for ever."""
    return [
        f"{name}: the key does not rotate"
        for name, key in templates.of_type(KEY).items()
        if at(key, "EnableKeyRotation") is not True
    ]


def open_ways_in(templates: Templates) -> list[str]:
    """Ingress from beyond the VPC other than to the load balancer's 443 and 80, and public IPs."""
    found = [
        f"{name}: lets {source} in on {ports}"
        for name, group, source, ports in _ingress(templates)
        if not (ports in {(443, 443), (80, 80)} and group in _edge_groups(templates))
    ]
    public = {
        "AWS::RDS::DBInstance": "PubliclyAccessible",
        "AWS::EC2::Subnet": "MapPublicIpOnLaunch",
    }
    for kind, path in public.items():
        for name, resource in templates.of_type(kind).items():
            if at(resource, path) not in {None, False}:
                found.append(f"{name}: {path}")
    for name, service in templates.of_type("AWS::ECS::Service").items():
        if at(service, "NetworkConfiguration.AwsvpcConfiguration.AssignPublicIp") != "DISABLED":
            found.append(f"{name}: AssignPublicIp")
    return found


def _edge_groups(templates: Templates) -> set[str | None]:
    return {
        target(templates, name.partition("/")[0], group)
        for name, balancer in templates.of_type("AWS::ElasticLoadBalancingV2::LoadBalancer").items()
        for group in listed(at(balancer, "SecurityGroups"))
    }


def _ingress(templates: Templates) -> Iterator[tuple[str, str | None, str, tuple[Any, Any]]]:
    """Rules that let somebody in by address: resource, group, address, ports."""
    rules = [
        (name, name, rule)
        for name, group in templates.of_type("AWS::EC2::SecurityGroup").items()
        for rule in listed(at(group, "SecurityGroupIngress"))
    ]
    for name, resource in templates.of_type("AWS::EC2::SecurityGroupIngress").items():
        group = target(templates, name.partition("/")[0], at(resource, "GroupId"))
        rules.append((name, group or "", resource["Properties"]))
    networks = [
        ip_network(at(vpc, "CidrBlock")) for vpc in templates.of_type("AWS::EC2::VPC").values()
    ]
    for name, group, rule in rules:
        for kind in ("CidrIp", "CidrIpv6", "SourcePrefixListId"):
            if kind in rule and not _inside(rule[kind], networks):
                yield name, group, text(rule[kind]), (rule.get("FromPort"), rule.get("ToPort"))


def _inside(source: Any, networks: Iterable[Any]) -> bool:
    try:
        inner = ip_network(source)
    except ValueError:
        return False
    return any(inner.version == each.version and inner.subnet_of(each) for each in networks)


@dataclass(frozen=True, kw_only=True)
class Wildcard:
    """A `*` that has to be. Actions and the resource are patterns of what the statement says."""

    actions: tuple[str, ...]
    resource: str
    reason: str
    kind: str = "AWS::IAM::*"

    def explains(self, kind: str, action: str, resource: str) -> bool:
        """Whether it is about this action on this resource."""
        return (
            fnmatchcase(kind, self.kind)
            and action in self.actions
            and fnmatchcase(resource, self.resource)
        )


def wildcards(
    templates: Templates, explained: Iterable[Wildcard], used: set[Wildcard] | None = None
) -> list[str]:
    """Every `*` in what is allowed, to whom, and on what, that `explained` does not explain.

    Those of `explained` that were needed are added to `used`.
    """
    explained = list(explained)
    found = []
    for name, resource in templates.resources():
        for statement in statements(resource.get("Properties", {})):
            if statement["Effect"] != "Allow":
                continue
            found += [
                f"{name}: allows {key}"
                for key in ("NotAction", "NotResource", "NotPrincipal")
                if key in statement
            ]
            for action, place in _pairs(statement):
                if "*" not in action + place:
                    continue
                why = [each for each in explained if each.explains(resource["Type"], action, place)]
                if used is not None:
                    used.update(why)
                if not why:
                    found.append(f"{name}: {resource['Type']} allows {action} on {place}")
    return found


def _pairs(statement: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Each action on each resource; as the action `*`, if everyone may, whatever the action."""
    bound = "aws:PrincipalAccount" in statement.get("Condition", {}).get("StringEquals", {})
    everyone = "*" in map(text, _principals(statement)) and not bound
    for place in map(text, listed(statement.get("Resource", ""))):
        if everyone:
            yield "everyone: *", place
        for action in map(text, listed(statement.get("Action"))):
            yield action, place


def _principals(statement: dict[str, Any]) -> list[Any]:
    principal = statement.get("Principal")
    if isinstance(principal, dict):
        return [each for value in principal.values() for each in listed(value)]
    return listed(principal)


# Properties and variables that hold a secret, or its place.
_SECRET_NAME = re.compile(
    r"passw|secret|token|credential|api_?key|private_?key|auth", re.IGNORECASE
)
_SECRET_VALUE = {
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "an access key": re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a password in a URL": re.compile(r"://[^/\s:@]+:[^/\s@]+@"),
    "a GitHub token": re.compile(r"\bgh[pousr]_[A-Za-z0-9]{36}\b|\bgithub_pat_\w{22,}"),
    "a random string": re.compile(r"(?=\w*[a-z])(?=\w*[A-Z])(?=\w*\d)(?<!\w)\w{32,}(?!\w)"),
}
# Ids that CDK makes of the names of constructs and a hash look random, and are not.
_PLACE = re.compile(r"Name$|\.Family$|\.Fn::ImportValue$|\.ManagedPolicyArns\.")
# Where CloudFormation puts a secret in by itself, and shows it nowhere.
_DYNAMIC = {("AWS::ElastiCache::User", "AuthenticationMode")}
# Names that only look secret: places and switches.
_NOT_SECRET = {
    "APP_CREDENTIALS_DIR",
    "CREDENTIALS_DIR",
    "EnableIAMDatabaseAuthentication",
    "ManageMasterUserPassword",
    "SecretArn",
    "SecretId",
    "ServiceToken",
    "password_encryption",
    "rds.accepted_password_auth_method",
}


def secret_values(templates: Templates) -> list[str]:
    """Secrets, or what looks like one, anywhere in a template: values, parameters, outputs."""
    found = []
    ids = {name.partition("/")[2] for name, _ in templates.resources()}
    for stack, template in templates.items():
        for path, value in strings(template):
            if value in ids or _PLACE.search(path):
                continue
            found += [
                f"{stack}: {path} holds {what}"
                for what, pattern in _SECRET_VALUE.items()
                if pattern.search(value)
            ]
            if "{{resolve:" in value and not path.startswith("Resources."):
                found.append(f"{stack}: {path} shows a secret")
        for name, parameter in template.get("Parameters", {}).items():
            if _SECRET_NAME.search(name) or parameter.get("NoEcho"):
                found.append(f"{stack}: the parameter {name} takes a secret")
    for name, resource in templates.resources():
        kind, properties = resource["Type"], resource.get("Properties", {})
        for path, value in strings(properties):
            if "{{resolve:" in value and (kind, path.partition(".")[0]) not in _DYNAMIC:
                found.append(f"{name}: {path} shows a secret")
        for container in listed(properties.get("ContainerDefinitions")):
            for variable in listed(container.get("Environment")):
                if _named_secret(variable["Name"]):
                    found.append(f"{name}: the variable {variable['Name']} is plain")
        found += [f"{name}: {path} is plain" for path in _plain_secrets(kind, properties)]
    return found


def _named_secret(name: str) -> bool:
    return name not in _NOT_SECRET and bool(_SECRET_NAME.search(name))


def _plain_secrets(kind: str, value: Any, path: str = "") -> Iterator[str]:
    """Properties with a secret's name that hold a text and not the place of a secret."""
    match value:
        case dict():
            for key, inner in value.items():
                here = f"{path}.{key}" if path else key
                if isinstance(inner, str) and _named_secret(key) and not key.startswith("aws:"):
                    yield here
                else:
                    yield from _plain_secrets(kind, inner, here)
        case list():
            for index, inner in enumerate(value):
                yield from _plain_secrets(kind, inner, f"{path}.{index}")


# Properties that give a resource its name; not those inside it, or of things of AWS.
_NAME = re.compile(r"Name$|Identifier$|^(ReplicationGroup|User|UserGroup)Id$")
_NO_NAME_OF_OURS = {
    ("AWS::CloudWatch::Alarm", "MetricName"),
    ("AWS::EC2::VPCEndpoint", "ServiceName"),
    ("AWS::ElastiCache::User", "UserName"),  # several may share it: the id is the name
    ("AWS::IAM::Policy", "PolicyName"),  # within its role
    ("AWS::RDS::DBInstance", "CACertificateIdentifier"),
    ("AWS::RDS::DBInstance", "DBName"),  # within the instance
    ("AWS::Scheduler::Schedule", "GroupName"),  # of its group
}


def names(templates: Templates) -> Iterator[tuple[str, str]]:
    """Physical names, with the type of what they name; those of exports included."""
    for template in templates.values():
        for output in template.get("Outputs", {}).values():
            if name := output.get("Export", {}).get("Name"):
                yield "export", text(name)
    for _, resource in templates.resources():
        kind = resource["Type"]
        named = dict(resource.get("Properties", {}))
        named |= named.get("Budget", {})
        for key, value in named.items():
            given = _NAME.search(key) and (kind, key) not in _NO_NAME_OF_OURS
            if given and constant(value):
                yield kind, text(value)


def clashes(environments: Mapping[str, Templates]) -> list[str]:
    """Physical names that two of the environments have in common."""
    owner: dict[tuple[str, str], str] = {}
    found = []
    for environment, templates in environments.items():
        for kind, name in set(names(templates)):
            if other := owner.get((kind, name)):
                found.append(f"{environment} and {other}: {kind} {name}")
            owner[kind, name] = environment
    return found


# What a protected environment keeps when its stacks go, and the switch against deletion.
KEPT = (
    "AWS::Backup::BackupVault",
    "AWS::ECR::Repository",
    "AWS::KMS::Key",
    "AWS::Logs::LogGroup",
    "AWS::RDS::DBInstance",
    "AWS::S3::Bucket",
)
LOCKED: dict[str, Callable[[Resource], Any]] = {
    "AWS::RDS::DBInstance": lambda it: at(it, "DeletionProtection"),
    "AWS::ElasticLoadBalancingV2::LoadBalancer": lambda it: {
        each["Key"]: each["Value"] == "true" for each in at(it, "LoadBalancerAttributes")
    }.get("deletion_protection.enabled"),
}


def retention(templates: Templates, *, protect: bool) -> list[str]:
    """Resources whose fate at deletion is not what `protect` says."""
    found = []
    for name, resource in templates.resources():
        kind = resource["Type"]
        if kind in KEPT:
            policies = {resource.get("DeletionPolicy"), resource.get("UpdateReplacePolicy")}
            good = policies <= ({"Retain", "Snapshot"} if protect else {"Delete"})
            if not good:
                found.append(f"{name}: {kind} has {policies}")
        if kind in LOCKED and bool(LOCKED[kind](resource)) is not protect:
            found.append(f"{name}: {kind} deletion protection is {not protect}")
    return found


def buckets_without_tls(templates: Templates) -> list[str]:
    """Buckets that do not refuse plaintext and TLS before 1.2 on themselves and their objects."""
    found = []
    for name, bucket in templates.of_type("AWS::S3::Bucket").items():
        denied = list(_denials(templates, name))
        for what, condition in {
            "plaintext": {"Bool": {"aws:SecureTransport": "false"}},
            "TLS before 1.2": {"NumericLessThan": {"s3:TlsVersion": "1.2"}},
        }.items():
            for place in ("", "/*"):
                if (str(condition), place) not in denied:
                    found.append(f"{name}: does not refuse {what} on the bucket{place}")
        block = at(bucket, "PublicAccessBlockConfiguration") or {}
        if len(block) != 4 or not all(value is True for value in block.values()):
            found.append(f"{name}: may be public")
    return found


def _denials(templates: Templates, bucket: str) -> Iterator[tuple[str, str]]:
    """Conditions under which a bucket's policy denies everyone everything, and on what of it."""
    stack = bucket.partition("/")[0]
    for policy in templates.of_type("AWS::S3::BucketPolicy").values():
        if target(templates, stack, at(policy, "Bucket")) != bucket:
            continue
        for statement in statements(policy):
            everyone = "*" in map(text, _principals(statement))
            if statement["Effect"] != "Deny" or listed(statement["Action"]) != ["s3:*"]:
                continue
            for resource in listed(statement["Resource"]) if everyone else ():
                ending = "/*" if text(resource).endswith(">/*") else ""
                yield str(_plain(statement.get("Condition"))), ending


def _plain(condition: Any) -> Any:
    """A condition with its values as strings."""
    if isinstance(condition, dict):
        return {key: _plain(value) for key, value in condition.items()}
    return str(condition)


def weak_containers(templates: Templates) -> list[str]:
    """Containers that can write to their root, run as root, or hold capabilities."""
    found = []
    for name, task in templates.of_type("AWS::ECS::TaskDefinition").items():
        for container in at(task, "ContainerDefinitions"):
            user = str(container.get("User", "0")).partition(":")[0]
            dropped = at({"Properties": container}, "LinuxParameters.Capabilities.Drop")
            if container.get("ReadonlyRootFilesystem") is not True:
                found.append(f"{name}: {container['Name']} can write to its root")
            if user in {"0", "root", ""} or container.get("Privileged"):
                found.append(f"{name}: {container['Name']} runs as root")
            if dropped != ["ALL"]:
                found.append(f"{name}: {container['Name']} keeps capabilities")
    return found
