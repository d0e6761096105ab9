"""Cluster, the tasks' permissions and containers, and the release task."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest

from components.permissions import PURPOSES
from config import HERE, Environment
from stacks.foundation import FoundationStack
from tests.conftest import Template, Templates, properties, resources
from tests.iam import allows, statements_of
from tests.reading import listed, text
from tests.whole import PROJECT
from tests.whole import environment as environment_of

RUNTIME = ["WebApplicationRole", "WorkerApplicationRole", "SchedulesApplicationRole"]
EXEC_PATHS = {"/managed-agents", "/var/lib/amazon/ssm", "/var/log/amazon/ssm"}


def parameter(path: str, environment: str = "production-1", project: str = "shop") -> str:
    return (
        f"arn:<AWS::Partition>:ssm:eu-central-1:<AWS::AccountId>:"
        f"parameter/{project}/{environment}/{path}"
    )


def key_of(statements: list[dict[str, Any]], name: str) -> str:
    """The key of that name, as the statements write it."""
    found = {text(each["Resource"]) for each in statements if "kms" in str(each["Action"])}
    (key,) = {each for each in found if f"Keys{name}" in each}
    return key


def containers(templates: Templates) -> Iterator[tuple[str, dict[str, Any]]]:
    for stack in ("release", "app"):
        for name, task in resources(templates[stack], "AWS::ECS::TaskDefinition").items():
            for container in task["Properties"]["ContainerDefinitions"]:
                yield f"{name} {container['Name']}", container


# Permissions --------------------------------------------------------------------------------


def test_the_purposes_are_the_application_s() -> None:
    tree = ast.parse((HERE.parent / "apps" / "keys" / "keyring.py").read_text(encoding="utf-8"))
    (purpose,) = (
        node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Purpose"
    )
    values = [ast.literal_eval(node.value) for node in purpose.body if isinstance(node, ast.Assign)]
    assert tuple(values) == PURPOSES


@pytest.mark.parametrize("role", RUNTIME)
@pytest.mark.parametrize(
    ("arn", "readable"),
    [
        (parameter("SECRET_KEY"), True),
        (parameter("DATABASE_PASSWORD"), True),
        (parameter("keys/fields"), True),
        (parameter("keys/files"), True),
        (parameter("keys/other"), False),
        (parameter("keys/fields/retired/1a2b3c4d"), False),
        (parameter("release/DATABASE_PASSWORD"), False),
        (parameter("SECRET_KEY", environment="production-2"), False),
        (parameter("SECRET_KEY", environment="production-1-x"), False),
        (parameter("SECRET_KEY", project="shop2"), False),
    ],
)
def test_what_serves_decrypts_its_own_parameters_only(
    role: str, arn: str, readable: bool, synthesized: Callable[[str], Templates]
) -> None:
    statements = statements_of(synthesized("production-1")["app"], role)
    context = {"kms:EncryptionContext:PARAMETER_ARN": arn}
    key = key_of(statements, "Secrets")
    assert allows(statements, "kms:Decrypt", key, context) == readable
    assert not allows(statements, "kms:Encrypt", key, context)
    assert not allows(statements, "ssm:PutParameter", arn)


@pytest.mark.parametrize("role", RUNTIME)
@pytest.mark.parametrize(
    ("project", "environment", "purpose", "usable"),
    [
        ("shop", "production-1", "fields", True),
        ("shop", "production-1", "index", True),
        ("shop", "production-1", "other", False),
        ("shop", "production-2", "fields", False),
        ("shop2", "production-1", "fields", False),
    ],
)
def test_data_keys_are_of_use_to_their_own_environment_only(
    role: str,
    project: str,
    environment: str,
    purpose: str,
    usable: bool,
    synthesized: Callable[[str], Templates],
) -> None:
    templates = synthesized("production-1")
    context = {
        "kms:EncryptionContext:project": project,
        "kms:EncryptionContext:environment": environment,
        "kms:EncryptionContext:purpose": purpose,
    }
    serving = statements_of(templates["app"], role)
    key = key_of(serving, "Secrets")
    assert allows(serving, "kms:Decrypt", key, context) == usable
    assert not allows(serving, "kms:GenerateDataKey", key, context)
    release = statements_of(templates["release"], "ReleaseApplicationRole")
    assert allows(release, "kms:GenerateDataKey", key, context) == usable


@pytest.mark.parametrize("role", RUNTIME)
def test_no_context_no_key(role: str, synthesized: Callable[[str], Templates]) -> None:
    statements = statements_of(synthesized("production-1")["app"], role)
    for name in ("Secrets", "Media"):
        assert not allows(statements, "kms:Decrypt", key_of(statements, name))


@pytest.mark.parametrize("role", RUNTIME)
@pytest.mark.parametrize(
    ("path", "again"),
    [
        ("DATABASE_PASSWORD", True),
        ("keys/fields", True),
        ("SECRET_KEY", False),  # read with all others when a process starts
        ("release/DATABASE_PASSWORD", False),
    ],
)
def test_what_serves_reads_again_what_is_rotated_while_it_runs(
    role: str, path: str, again: bool, synthesized: Callable[[str], Templates]
) -> None:
    statements = statements_of(synthesized("production-1")["app"], role)
    assert allows(statements, "ssm:GetParameter", parameter(path)) == again


@pytest.mark.parametrize("role", RUNTIME)
def test_retired_keys_are_not_even_listed(
    role: str, synthesized: Callable[[str], Templates]
) -> None:
    templates = synthesized("production-1")
    retired = parameter("keys/fields/retired")
    assert not allows(statements_of(templates["app"], role), "ssm:GetParametersByPath", retired)
    release = statements_of(templates["release"], "ReleaseApplicationRole")
    assert allows(release, "ssm:GetParametersByPath", retired)


@pytest.mark.parametrize(
    ("path", "environment", "allowed"),
    [
        ("SECRET_KEY", "production-1", True),
        ("keys/fields/retired/1a2b3c4d", "production-1", True),
        ("release/DATABASE_PASSWORD", "production-1", True),
        ("SECRET_KEY", "production-2", False),
    ],
)
def test_the_release_task_writes_its_own_environment_s_parameters(
    path: str, environment: str, allowed: bool, synthesized: Callable[[str], Templates]
) -> None:
    release = statements_of(synthesized("production-1")["release"], "ReleaseApplicationRole")
    arn = parameter(path, environment)
    context = {"kms:EncryptionContext:PARAMETER_ARN": arn}
    for action in ("ssm:GetParameter", "ssm:GetParameters", "ssm:PutParameter"):
        assert allows(release, action, arn) == allowed
    for action in ("kms:Encrypt", "kms:Decrypt"):
        assert allows(release, action, key_of(release, "Secrets"), context) == allowed
    assert not allows(release, "ssm:DeleteParameter", arn)


def test_each_logs_in_to_the_database_as_itself(
    synthesized: Callable[[str], Templates],
) -> None:
    def users(template: Template, role: str) -> list[str]:
        return [
            text(resource).rpartition("/")[2]
            for each in statements_of(template, role)
            if each["Action"] == "rds-db:connect"
            for resource in listed(each["Resource"])
        ]

    by_iam, by_password = synthesized("production-1"), synthesized("production-2")
    for role in RUNTIME:
        assert users(by_iam["app"], role) == ["app"]
        assert users(by_password["app"], role) == []
    assert users(by_iam["release"], "ReleaseApplicationRole") == ["migrator", "master"]
    instance = properties(by_iam["data"], "AWS::RDS::DBInstance")
    assert instance["MasterUsername"] == "master"
    assert users(by_password["release"], "ReleaseApplicationRole") == []


@pytest.mark.parametrize("role", RUNTIME)
def test_nobody_but_ecs_itself_reads_injected_secrets_and_no_other(
    role: str, synthesized: Callable[[str], Templates]
) -> None:
    app = synthesized("production-1")["app"]
    assert "GetSecretValue" not in str(statements_of(app, role))
    ecs = statements_of(app, role.replace("Role", "ExecutionRole"))
    read = [text(e["Resource"]) for e in ecs if "GetSecretValue" in str(e["Action"])]
    assert len(read) == 1
    assert "CachePassword" in read[0]
    key, via = key_of(ecs, "Data"), "secretsmanager.eu-central-1.amazonaws.com"
    context = {"kms:ViaService": via, "kms:EncryptionContext:SecretARN": read[0]}
    assert allows(ecs, "kms:Decrypt", key, context)
    master = {"kms:ViaService": via, "kms:EncryptionContext:SecretARN": "the master's"}
    assert not allows(ecs, "kms:Decrypt", key, master)
    assert not allows(ecs, "kms:Decrypt", key, {**context, "kms:ViaService": "ec2"})


def test_only_the_scheduler_learns_how_old_the_cache_password_is(
    synthesized: Callable[[str], Templates],
) -> None:
    app = synthesized("production-1")["app"]
    asked = {role: statements_of(app, role) for role in RUNTIME}
    told = {
        task: [
            text(variable["Value"])
            for container in resource["Properties"]["ContainerDefinitions"]
            for variable in container["Environment"]
            if variable["Name"] == "CACHE_LOGIN_ARN"
        ]
        for task, resource in resources(app, "AWS::ECS::TaskDefinition").items()
    }
    ((task, (arn,)),) = ((task, arns) for task, arns in told.items() if arns)
    assert task.startswith("SchedulesApplication")
    assert "CachePassword" in arn
    for role, statements in asked.items():
        may = role == "SchedulesApplicationRole"
        assert allows(statements, "secretsmanager:ListSecretVersionIds", arn) == may
        assert not allows(statements, "secretsmanager:ListSecretVersionIds", "another")


def test_a_star_stands_only_where_aws_knows_nothing_else(
    environment: Environment, templates: Templates
) -> None:
    known = {"ecr:GetAuthorizationToken"}
    if environment.exec:
        known |= {
            "logs:DescribeLogGroups",
            "ssmmessages:CreateControlChannel",
            "ssmmessages:CreateDataChannel",
            "ssmmessages:OpenControlChannel",
            "ssmmessages:OpenDataChannel",
        }
    for stack in ("release", "app"):
        for statement in statements_of(templates[stack], ""):
            actions = listed(statement["Action"])
            assert not [action for action in actions if "*" in action]
            if "*" in [text(each) for each in listed(statement["Resource"])]:
                assert set(actions) <= known


def test_only_tasks_of_this_account_and_region_take_the_roles(templates: Templates) -> None:
    for stack in ("release", "app"):
        for name, role in resources(templates[stack], "AWS::IAM::Role").items():
            for trust in role["Properties"]["AssumeRolePolicyDocument"]["Statement"]:
                if trust["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}:
                    assert {"StringEquals", "ArnLike"} == trust["Condition"].keys(), name
                elif "scheduler.amazonaws.com" in str(trust["Principal"]):
                    assert "aws:SourceArn" in str(trust["Condition"]), name


# Containers ---------------------------------------------------------------------------------


def test_containers_are_hardened(templates: Templates) -> None:
    found = dict(containers(templates))
    assert len(found) == 5  # release; web and its proxy; worker; schedules
    for name, container in found.items():
        linux = container["LinuxParameters"]
        assert container["ReadonlyRootFilesystem"] is True, name
        assert container["User"] == ("101:101" if name.endswith(" proxy") else "10001:10001")
        assert linux["Capabilities"] == {"Drop": ["ALL"]}, name
        assert linux["InitProcessEnabled"] is True, name
        assert "Privileged" not in container, name
        assert container["Essential"] is True, name
        assert container["LogConfiguration"]["LogDriver"] == "awslogs", name


def test_only_memory_and_the_task_s_own_volumes_can_be_written(
    environment: Environment, templates: Templates
) -> None:
    for name, container in containers(templates):
        (tmp,) = container["LinuxParameters"]["Tmpfs"]
        assert tmp["ContainerPath"] == "/tmp"  # noqa: S108
        assert set(tmp["MountOptions"]) == {"nosuid", "nodev", "noexec"}
        mounts = container.get("MountPoints", [])
        writable = {each["ContainerPath"] for each in mounts if not each["ReadOnly"]}
        wanted = set[str]()
        if environment.exec and not name.startswith(("Release", "Schedules")):
            wanted |= EXEC_PATHS
        if name.endswith(" proxy"):
            wanted |= {"/run/credentials"}
        assert writable == wanted, name
        own = [each["SourceVolume"] for each in mounts if each["ContainerPath"] in EXEC_PATHS]
        kind = name.rpartition(" ")[2]
        assert all(volume.startswith(kind) for volume in own), "the agents' volumes are shared"


def test_no_secret_is_in_a_variable(templates: Templates) -> None:
    for name, container in containers(templates):
        variables = {each["Name"] for each in container["Environment"]}
        assert not {each for each in variables if "PASSWORD" in each or "SECRET" in each}, name
        assert not {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} & variables, name


def test_every_variable_of_the_application_is_one_that_it_reads(templates: Templates) -> None:
    read = {
        node.value
        for path in ("config/settings.py", "services/app/gunicorn.conf.py")
        for node in ast.walk(ast.parse((HERE.parent / path).read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
    }
    for name, container in containers(templates):
        if name.endswith(" app"):
            assert {each["Name"] for each in container["Environment"]} <= read, name


# Cluster and release task -------------------------------------------------------------------


def test_sessions_and_disks_are_under_our_keys(templates: Templates) -> None:
    cluster = properties(templates["release"], "AWS::ECS::Cluster")
    sessions = cluster["Configuration"]["ExecuteCommandConfiguration"]
    assert "KeysLogs" in text(sessions["KmsKeyId"])
    assert sessions["Logging"] == "OVERRIDE"
    assert sessions["LogConfiguration"]["CloudWatchEncryptionEnabled"] is True
    storage = cluster["Configuration"]["ManagedStorageConfiguration"]
    assert "KeysCompute" in str(storage["FargateEphemeralStorageKmsKeyId"])
    groups = resources(templates["release"], "AWS::Logs::LogGroup").values()
    assert all("KeysLogs" in text(each["Properties"]["KmsKeyId"]) for each in groups)
    names = [text(each["Properties"].get("LogGroupName")) for each in groups]
    assert "/aws/ecs/containerinsights/<Cluster>/performance" in names


def test_no_component_widens_the_keys_policies(
    tmp_path: Path, synthesized: Callable[[str], Templates]
) -> None:
    app = cdk.App(outdir=str(tmp_path))
    FoundationStack(
        app,
        "shop-production-3-foundation",
        project=PROJECT,
        environment=environment_of("production-3"),
        env=cdk.Environment(region=PROJECT.region),
    )
    alone = app.synth().get_stack_by_name("shop-production-3-foundation").template
    whole = synthesized("production-3")["foundation"]
    assert resources(whole, "AWS::KMS::Key") == resources(alone, "AWS::KMS::Key")


def test_the_release_task_is_the_one_that_deploy_runs(templates: Templates) -> None:
    template = templates["release"]
    (container,) = properties(template, "AWS::ECS::TaskDefinition")["ContainerDefinitions"]
    assert container["Command"] == ["sh", "scripts/release"]
    assert (HERE.parent / "scripts" / "release").is_file()
    variables = {each["Name"]: each["Value"] for each in container["Environment"]}
    assert variables["ROLE"] == "release"
    assert variables["DATABASE_USER"] == "migrator"
    secrets = {each["Name"]: text(each["ValueFrom"]) for each in container["Secrets"]}
    assert secrets.keys() == {"CACHE_PASSWORD", "DATABASE_MASTER_USER", "DATABASE_MASTER_PASSWORD"}
    assert secrets["DATABASE_MASTER_PASSWORD"].endswith(":password::")
    wanted = {"TaskDefinition", "SecurityGroup", "Subnets", "LogGroup"}
    assert {f"Release{name}" for name in wanted} | {"ClusterName"} <= template["Outputs"].keys()


def test_only_the_release_task_has_the_administrator_s_password(templates: Templates) -> None:
    for name, container in containers(templates):
        injected = {each["Name"] for each in container.get("Secrets", [])}
        if not name.startswith("Release"):
            assert injected <= {"CACHE_PASSWORD"}, name


def test_nobody_reaches_the_release_task_and_it_reaches_its_stores_only(
    templates: Templates,
) -> None:
    group = properties(templates["release"], "AWS::EC2::SecurityGroup")
    assert "SecurityGroupIngress" not in group
    (aws,) = group["SecurityGroupEgress"]
    assert (aws["CidrIp"], aws["FromPort"], aws["ToPort"]) == ("0.0.0.0/0", 443, 443)
    stores = resources(templates["release"], "AWS::EC2::SecurityGroupEgress").values()
    assert {each["Properties"]["ToPort"] for each in stores} == {5432, 6379}
    assert all("DestinationSecurityGroupId" in each["Properties"] for each in stores)
