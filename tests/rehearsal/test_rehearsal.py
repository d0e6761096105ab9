"""A project's whole life on AWS, played to an emulator: one step after the other.

The CDK's command line, CloudFormation templates, images, tasks, PostgreSQL and Valkey are
real; `emulator/` says what is not. Each test takes what the one before left.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cloud import Cloud, resolving
from deployed import Deployed, Rehearsal
from left_out import IN_PART, LEFT_OUT
from stack import require_docker
from visitor import use

pytestmark = [pytest.mark.rehearsal, pytest.mark.docker, pytest.mark.timeout(1800)]

REGION = "eu-central-1"
# Two of different sizes; the second can be destroyed as well.
ENVIRONMENTS = """
[environments.first]
profile = "dev"
hosted_zone = ZONE

[environments.second]
profile = "staging"
hosted_zone = ZONE
protect = false
web = {minimum = 1}
"""
MIGRATION = """from django.db import migrations

class Migration(migrations.Migration):
    dependencies = [("notes", "%s")]
    operations = [migrations.RunSQL("%s")]
"""


@pytest.fixture(scope="module")
def rehearsal(
    new_project: Callable[[], Path],
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
) -> Iterator[Rehearsal]:
    require_docker()
    begin = time.monotonic()
    cloud = Cloud(tmp_path_factory.mktemp("rehearsal") / "cloud", REGION)
    with cloud.running():
        found = Rehearsal(new_project(), cloud)
        with resolving(found.domain):
            yield found
    terminal: Any = pytestconfig.pluginmanager.get_plugin("terminalreporter")
    terminal.section("rehearsal")
    for line in [*found.log, f"all: {(time.monotonic() - begin) / 60:.1f} min"]:
        terminal.write_line(line)


@pytest.fixture
def first(rehearsal: Rehearsal) -> Deployed:
    return Deployed(rehearsal, "first")


@pytest.fixture
def second(rehearsal: Rehearsal) -> Deployed:
    return Deployed(rehearsal, "second")


def _resources(rehearsal: Rehearsal) -> list[str]:
    """Return the type of every resource of the project's stacks."""
    cloudformation = rehearsal.cloud.client("cloudformation")
    kinds = []
    for stack in cloudformation.describe_stacks()["Stacks"]:
        if stack["StackName"].startswith(rehearsal.slug):
            pages = cloudformation.get_paginator("list_stack_resources")
            for page in pages.paginate(StackName=stack["StackName"]):
                kinds += [each["ResourceType"] for each in page["StackResourceSummaries"]]
    return kinds


def _migrate(rehearsal: Rehearsal, number: str, after: str, statement: str) -> Path:
    path = rehearsal.project / f"apps/notes/migrations/{number}.py"
    path.write_text(MIGRATION % (after, statement))
    return path


def test_the_first_environment_is_made_in_an_empty_account(
    rehearsal: Rehearsal, first: Deployed
) -> None:
    rehearsal.prepare(ENVIRONMENTS)
    tag = rehearsal.run("git", "rev-parse", "--short=12", "HEAD").strip()
    status, said = rehearsal.deploy("first")
    assert status == 0, said[-6000:]
    assert first.outputs("app")["Tag"] == tag


def test_what_the_emulator_leaves_out_is_still_in_the_templates(rehearsal: Rehearsal) -> None:
    made = Counter(_resources(rehearsal))
    assert set(made) >= LEFT_OUT | set(IN_PART)
    left_out = {kind: made.pop(kind) for kind in sorted(LEFT_OUT)}
    rehearsal.log.append(f"created: {made.total()} resources of {len(made)} types")
    rehearsal.log += [f"    {number:3} {kind}" for kind, number in sorted(made.items())]
    rehearsal.log.append(f"left out: {sum(left_out.values())} resources of {len(left_out)} types")
    rehearsal.log += [f"    {number:3} {kind}" for kind, number in left_out.items()]
    rehearsal.log += [f"        {kind} where it has {name}" for kind, name in IN_PART.items()]


def test_users_can_use_it(first: Deployed) -> None:
    stack: Any = first
    use(stack)


@pytest.mark.parametrize("service", ["Web", "Worker"])
def test_every_hop_is_verified_from_inside(first: Deployed, service: str) -> None:
    done = first.manage(service, "verify_encryption")
    assert done.returncode == 0, done.stdout + done.stderr


def test_plaintext_is_sent_on_to_https(first: Deployed) -> None:
    plain = Deployed(first._rehearsal, "first")
    plain.url = first.url.replace("https", "http")
    assert b"Log in" in plain.visit().get("/accounts/login/")


def test_a_second_environment_stands_beside_the_first(
    rehearsal: Rehearsal, first: Deployed, second: Deployed
) -> None:
    with first.watched() as wrong:
        status, said = rehearsal.deploy("second")
    assert status == 0, said[-6000:]
    assert wrong == []
    password = "correct horse battery staple"  # noqa: S105
    first.visit().post(
        "/accounts/signup/", email="a@example.com", password1=password, password2=password
    )
    assert "is wrong" in second.visit().log_in("a@example.com", password)
    assert "a@example.com" in first.visit().log_in("a@example.com", password)


def test_an_update_migrates_and_no_request_fails(rehearsal: Rehearsal, first: Deployed) -> None:
    _migrate(rehearsal, "0002_rehearsal", "0001_initial", "CREATE TABLE rehearsal (id int)")
    tag = rehearsal.commit()
    with first.watched() as wrong:
        status, said = rehearsal.deploy("first")
    assert status == 0, said[-6000:]
    assert first.outputs("app")["Tag"] == tag
    code = "from django.db import connection; print(connection.introspection.table_names())"
    assert "rehearsal" in first.shell(code)
    assert wrong == []


def test_a_failing_migration_leaves_the_old_version_serving(
    rehearsal: Rehearsal, first: Deployed
) -> None:
    before = first.outputs("app")["Tag"]
    path = _migrate(rehearsal, "0003_failing", "0002_rehearsal", "SELECT 1/0")
    rehearsal.commit()
    with first.watched() as wrong:
        status, said = rehearsal.deploy("first")
    assert status == 1
    assert f"Version {before} goes on serving." in said
    assert first.outputs("app")["Tag"] == before
    assert wrong == []
    path.unlink()


def test_a_version_that_does_not_start_is_taken_back(rehearsal: Rehearsal, first: Deployed) -> None:
    before = first.outputs("app")["Tag"]
    wsgi = rehearsal.project / "config/wsgi.py"
    text = wsgi.read_text()
    wsgi.write_text("raise SystemExit('this version does not start')\n")
    rehearsal.commit()
    with first.watched() as wrong:
        status, said = rehearsal.deploy("first")
    assert status == 1
    assert "Circuit Breaker" in said
    assert f"Version {before} goes on serving." in said
    assert first.outputs("app")["Tag"] == before
    assert wrong == []
    wsgi.write_text(text)


def test_a_former_version_can_be_deployed_again(rehearsal: Rehearsal, first: Deployed) -> None:
    former = rehearsal.run("git", "rev-list", "--max-parents=0", "HEAD").strip()[:12]
    status, said = rehearsal.deploy("first", "--tag", former)
    assert status == 0, said[-6000:]
    assert first.outputs("app")["Tag"] == former


def test_nothing_is_left_but_keys_that_wait_for_their_deletion(rehearsal: Rehearsal) -> None:
    for name in ("first", "second"):
        status, said = rehearsal.deploy(name, "--destroy")
        assert status == 0, said[-6000:]
    left = _left(rehearsal.cloud)
    keys = left.pop("keys")
    assert {name: found for name, found in left.items() if found} == {}
    assert set(keys) <= {"PendingDeletion"}
    rehearsal.log.append(f"left after destroy: {len(keys)} KMS keys that wait for their deletion")


def _left(cloud: Cloud) -> dict[str, list[str]]:
    """Return what is in the account, less what bootstrap made."""

    def names(service: str, action: str, top: str, name: str) -> list[str]:
        found = getattr(cloud.client(service), action)()[top]
        return [
            each[name]
            for each in found
            if not str(each[name]).startswith(("cdk-", "/cdk-", "CDKToolkit"))
        ]

    kms = cloud.client("kms")
    keys = [each["KeyId"] for each in kms.list_keys()["Keys"]]
    states = [kms.describe_key(KeyId=key)["KeyMetadata"] for key in keys]
    return {
        "stacks": names("cloudformation", "describe_stacks", "Stacks", "StackName"),
        "clusters": cloud.client("ecs").list_clusters()["clusterArns"],
        "databases": names("rds", "describe_db_instances", "DBInstances", "DBInstanceIdentifier"),
        "caches": names(
            "elasticache", "describe_replication_groups", "ReplicationGroups", "ReplicationGroupId"
        ),
        "buckets": names("s3", "list_buckets", "Buckets", "Name"),
        "repositories": names("ecr", "describe_repositories", "repositories", "repositoryName"),
        "parameters": names("ssm", "describe_parameters", "Parameters", "Name"),
        "secrets": names("secretsmanager", "list_secrets", "SecretList", "Name"),
        "logs": names("logs", "describe_log_groups", "logGroups", "logGroupName"),
        "load balancers": names(
            "elbv2", "describe_load_balancers", "LoadBalancers", "LoadBalancerName"
        ),
        "vaults": names("backup", "list_backup_vaults", "BackupVaultList", "BackupVaultName"),
        "keys": [each["KeyState"] for each in states if each.get("KeyManager") == "CUSTOMER"],
    }
