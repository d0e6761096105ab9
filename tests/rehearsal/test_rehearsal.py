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
from cloud import Cloud, require_all, resolving
from deployed import Deployed, Rehearsal
from left_out import IN_PART, LEFT_OUT
from visitor import use

pytestmark = [pytest.mark.rehearsal, pytest.mark.docker, pytest.mark.timeout(1800)]

DENIED = "AccessDeniedException"
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
database = {login = "iam"}
"""
# As the application makes its tokens, MINUTES ago.
SIGN = """
import datetime, botocore.auth
from apps.secrets.aws import aws_client
now = botocore.auth.get_current_datetime
ago = datetime.timedelta(minutes=MINUTES)
botocore.auth.get_current_datetime = lambda *args, **kwargs: now(*args, **kwargs) - ago
client = aws_client("rds", verify=None, endpoint_url=None)
print(client.generate_db_auth_token(DBHostname="HOST", Port=5432, DBUsername="USER"))
"""
LOG_IN = """
import psycopg
from apps.database.connecting import GivenPassword, connect_as
for user, by, password in ATTEMPTS:
    try:
        with connect_as(user, GivenPassword(password), by=by) as connection:
            print("in as", connection.execute("SELECT current_user").fetchone()[0])
    except psycopg.OperationalError:
        print("refused")
"""
# What a task does with boto3 alone; the answer, or why there is none.
ASK = """
import boto3
from botocore.exceptions import ClientError
for service, action, arguments in CALLS:
    try:
        getattr(boto3.client(service), action)(**arguments)
        print("answered")
    except ClientError as error:
        print(error.response["Error"]["Code"])
"""
PING = """
import os, redis
for password in PASSWORDS:
    cache = redis.Redis(
        host=os.environ["CACHE_HOST"], username="app", password=password,
        ssl=True, ssl_ca_certs=os.environ["CACHE_CA_FILE"],
    )
    try:
        print(cache.ping())
    except redis.AuthenticationError:
        print("refused")
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
    require_all()
    begin = time.monotonic()
    cloud = Cloud(tmp_path_factory.mktemp("rehearsal") / "cloud", REGION)
    with cloud.running():
        found = Rehearsal(new_project(), cloud)
        with resolving(found.domain):
            yield found
    terminal: Any = pytestconfig.pluginmanager.get_plugin("terminalreporter")
    capture: Any = pytestconfig.pluginmanager.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled():
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


def test_users_can_use_one_that_logs_in_to_its_database_with_iam(second: Deployed) -> None:
    stack: Any = second
    use(stack)
    done = second.manage("Web", "verify_encryption")
    assert done.returncode == 0, done.stdout + done.stderr


def _token(deployed: Deployed, host: str, user: str, minutes: int = 0) -> str:
    """Return what a task signs with its role's key."""
    code = SIGN.replace("MINUTES", str(minutes)).replace("HOST", host).replace("USER", user)
    return deployed.shell(code)


def test_the_database_takes_a_token_of_a_role_that_may_and_nothing_else(
    first: Deployed, second: Deployed
) -> None:
    host = second.shell("import os; print(os.environ['DATABASE_HOST'])")
    good, nearly_old = _token(second, host, "app"), _token(second, host, "app", 14)
    forged = good[:-1] + ("0" if good[-1] != "0" else "1")
    password = "a password that the role has"  # noqa: S105
    second.superuser(f"ALTER ROLE app PASSWORD '{password}'")
    attempts = {
        ("app", "iam", good): "in as app",
        ("app", "iam", nearly_old): "in as app",
        ("app", "iam", _token(second, host, "app", 16)): "refused",
        ("app", "iam", forged): "refused",
        ("app", "iam", _token(second, "another.host", "app")): "refused",
        # Whose role may log in as `app` alone.
        ("migrator", "iam", good): "refused",
        ("migrator", "iam", _token(second, host, "migrator")): "refused",
        # Whose role may not log in to this database.
        ("app", "iam", _token(first, host, "app")): "refused",
        ("app", "iam", password): "refused",
        ("app", "password", password): "refused",
    }
    said = second.shell(LOG_IN.replace("ATTEMPTS", repr(list(attempts))))
    assert said.splitlines() == list(attempts.values())


def test_the_release_task_finds_its_way_when_the_master_user_needs_a_token(
    rehearsal: Rehearsal, second: Deployed
) -> None:
    """Which it does since somebody logged in with IAM: see `FIRST_LINE` in the emulator."""
    code = "import deploy; print(deploy.deployment_of('second').run_task() or 'ended well')"
    assert "ended well" in rehearsal.infra("python", "-c", code)
    said = second.shell("import os; print(os.environ.get('DATABASE_MASTER_PASSWORD'))")
    assert said == "None"


def test_a_task_gets_at_what_is_its_own_and_at_nothing_else(
    rehearsal: Rehearsal, first: Deployed
) -> None:
    own, other = (f"/{rehearsal.slug}/{name}" for name in ("first", "second"))
    secrets = {
        each["Name"]: each["ARN"]
        for each in rehearsal.cloud.client("secretsmanager").list_secrets()["SecretList"]
    }
    master = next(arn for name, arn in secrets.items() if name.startswith("rds!"))
    media = rehearsal.cloud.client("s3").list_buckets()["Buckets"]
    others = next(e["Name"] for e in media if "second-data-media" in e["Name"])
    read = {"WithDecryption": True}
    calls: list[tuple[str, str, dict[str, Any], str]] = [
        ("ssm", "get_parameters_by_path", {"Path": own, **read}, "answered"),
        ("ssm", "get_parameter", {"Name": f"{own}/keys/fields", **read}, "answered"),
        # Parameter Store would show what is below; the key does not open it.
        ("ssm", "get_parameters_by_path", {"Path": own, "Recursive": True}, "answered"),
        ("ssm", "get_parameters_by_path", {"Path": own, "Recursive": True, **read}, DENIED),
        ("ssm", "get_parameter", {"Name": f"{own}/release/DATABASE_PASSWORD", **read}, DENIED),
        ("ssm", "get_parameters_by_path", {"Path": other, **read}, DENIED),
        ("ssm", "get_parameter", {"Name": f"{other}/keys/fields", **read}, DENIED),
        ("ssm", "put_parameter", {"Name": f"{own}/A", "Value": "a", "Type": "String"}, DENIED),
        ("secretsmanager", "get_secret_value", {"SecretId": master}, DENIED),
        ("s3", "list_objects_v2", {"Bucket": others}, "AccessDenied"),
        ("kms", "encrypt", {"KeyId": f"alias/{rehearsal.slug}-second", "Plaintext": b"a"}, DENIED),
    ]
    said = first.shell(ASK.replace("CALLS", repr([each[:3] for each in calls])))
    assert said.splitlines() == [each[3] for each in calls]


def test_the_cache_s_password_is_replaced_and_no_request_fails(
    rehearsal: Rehearsal, first: Deployed
) -> None:
    code = "import os; print(os.environ['CACHE_PASSWORD'])"
    before = first.shell(code)
    with first.watched() as wrong:
        status, said = rehearsal.watch("rotate_cache_password.py", "first")
    assert status == 0, said[-6000:]
    after = first.shell(code)
    assert after != before
    assert after not in said
    assert first.shell(PING.replace("PASSWORDS", repr([before, after]))) == "refused\nTrue"
    assert wrong == []


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
