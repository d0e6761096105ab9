"""Database, cache, media, backup."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from config import HERE, ConfigError, Environment
from stacks import add_stacks
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

KEY = re.compile(r"<shop-[a-z0-9-]+-foundation:ExportsOutputFnGetAttKeys(\w+?)[0-9A-F]{8}Arn\w+>")


@pytest.fixture
def data(templates: Templates) -> Template:
    return templates["data"]


def purpose(value: object) -> str:
    """Return which of the foundation's keys a value refers to."""
    found = KEY.fullmatch(text(value))
    assert found, text(value)
    return found[1]


def database(template: Template) -> Template:
    return properties(template, "AWS::RDS::DBInstance")


# Database ---------------------------------------------------------------------------


def test_everything_of_the_database_is_under_our_key(data: Template) -> None:
    values = database(data)

    assert values["StorageEncrypted"] is True
    assert purpose(values["KmsKeyId"]) == "Data"
    assert values["EnablePerformanceInsights"] is True
    assert purpose(values["PerformanceInsightsKMSKeyId"]) == "Data"
    assert purpose(values["MasterUserSecret"]["KmsKeyId"]) == "Data"


def test_a_region_whose_database_could_not_be_verified_is_refused(tmp_path: Path) -> None:
    elsewhere = replace(PROJECT, region="mx-central-1")
    with pytest.raises(ConfigError, match=r"rds-ca\.pem has no CA .*mx-central-1-bundle\.pem"):
        add_stacks(new_app(tmp_path), elsewhere, environment_of("dev-1"), tag="0123456")


def test_rds_makes_and_rotates_the_administrators_password(data: Template) -> None:
    values = database(data)

    assert values["ManageMasterUserPassword"] is True
    assert "MasterUserPassword" not in values
    # Security Hub RDS.25: not a name that everybody guesses first.
    assert values["MasterUsername"] not in {"admin", "postgres", "root"}


def test_database_talks_tls_13_and_scram_or_not_at_all(data: Template) -> None:
    group = properties(data, "AWS::RDS::DBParameterGroup")

    assert group["Family"] == "postgres17"
    assert text(database(data)["DBParameterGroupName"]) == "<DatabaseParameters>"
    wanted = {
        "rds.force_ssl": "1",
        "ssl_min_protocol_version": "TLSv1.3",
        "password_encryption": "scram-sha-256",
        "rds.accepted_password_auth_method": "scram",
    }
    assert group["Parameters"].items() >= wanted.items()
    assert database(data)["CACertificateIdentifier"] == "rds-ca-ecc384-g1"
    assert database(data)["EnableIAMDatabaseAuthentication"] is True


def test_database_logs_connections_and_no_values(data: Template) -> None:
    parameters = properties(data, "AWS::RDS::DBParameterGroup")["Parameters"]

    assert parameters["log_connections"] == parameters["log_disconnections"] == "1"
    assert parameters["log_statement"] == "none"
    assert parameters["log_min_duration_statement"] == "-1"
    assert parameters["log_min_error_statement"] == "panic"
    assert parameters["log_error_verbosity"] == "terse"
    assert not [name for name in parameters if "pgaudit" in name or "auto_explain" in name]


def test_log_groups_of_the_database_are_there_before_it(
    environment: Environment, data: Template
) -> None:
    """RDS would otherwise make them, unencrypted and kept for ever."""
    (instance,) = resources(data, "AWS::RDS::DBInstance").values()
    groups = {
        each["Properties"]["LogGroupName"]: (name, each["Properties"])
        for name, each in resources(data, "AWS::Logs::LogGroup").items()
        if "LogGroupName" in each["Properties"]
    }
    folder = f"/aws/rds/instance/{instance['Properties']['DBInstanceIdentifier']}"

    assert instance["Properties"]["DBInstanceIdentifier"] == f"shop-{environment.name}"
    assert set(groups) == {
        f"{folder}/{log}" for log in instance["Properties"]["EnableCloudwatchLogsExports"]
    }
    for name, group in groups.values():
        assert name in instance["DependsOn"]
        assert purpose(group["KmsKeyId"]) == "Logs"
        assert group["RetentionInDays"] == environment.log_days


def test_database_is_reached_by_nobody_yet(data: Template) -> None:
    assert database(data)["PubliclyAccessible"] is False
    for group in resources(data, "AWS::EC2::SecurityGroup").values():
        assert "SecurityGroupIngress" not in group["Properties"]
        # CDK's way of saying "nothing": an address that nobody has.
        (egress,) = group["Properties"]["SecurityGroupEgress"]
        assert egress["CidrIp"] == "255.255.255.255/32"


@pytest.mark.parametrize("kind", ["AWS::RDS::DBSubnetGroup", "AWS::ElastiCache::SubnetGroup"])
def test_stores_are_in_the_data_subnets(
    environment: Environment, data: Template, kind: str
) -> None:
    found = [text(each) for each in properties(data, kind)["SubnetIds"]]

    assert len(found) == environment.network.zones
    assert all("RefNetworkVpcdataSubnet" in each for each in found)


def test_database_survives_what_it_should(environment: Environment, data: Template) -> None:
    (instance,) = resources(data, "AWS::RDS::DBInstance").values()
    values = instance["Properties"]

    assert values["DeletionProtection"] is environment.protect
    assert values["DeleteAutomatedBackups"] is not environment.protect
    assert instance["DeletionPolicy"] == ("Snapshot" if environment.protect else "Delete")
    assert instance["UpdateReplacePolicy"] == instance["DeletionPolicy"]
    assert values["BackupRetentionPeriod"] == environment.database.backup_days
    assert values["MultiAZ"] is environment.database.multi_az
    assert values["CopyTagsToSnapshot"] is True
    assert values["AutoMinorVersionUpgrade"] is True
    assert values["EngineVersion"] == "17"
    assert values["MonitoringInterval"] == 60
    assert values["StorageType"] == "gp3"
    assert values["AllocatedStorage"] == str(environment.database.storage)
    assert values["MaxAllocatedStorage"] == environment.database.max_storage
    assert values["DBInstanceClass"] == f"db.{environment.database.instance}"


def test_monitoring_writes_to_its_log_group_only(data: Template) -> None:
    (role,) = (
        each
        for name, each in resources(data, "AWS::IAM::Role").items()
        if name.startswith("DatabaseMonitoring")
    )
    (policy,) = resources(data, "AWS::IAM::Policy").values()

    assert "ManagedPolicyArns" not in role["Properties"]
    assert all(":log-group:RDSOSMetrics" in text(each["Resource"]) for each in statements(policy))


# Cache ------------------------------------------------------------------------------


def cache(template: Template) -> Template:
    return properties(template, "AWS::ElastiCache::ReplicationGroup")


def test_cache_is_encrypted_everywhere_and_accepts_no_plaintext(data: Template) -> None:
    values = cache(data)

    assert values["TransitEncryptionEnabled"] is True
    assert values["TransitEncryptionMode"] == "required"
    assert values["AtRestEncryptionEnabled"] is True
    assert purpose(values["KmsKeyId"]) == "Data"
    assert (values["Engine"], values["EngineVersion"]) == ("valkey", "8.1")


def test_cache_knows_one_user(data: Template) -> None:
    users = {
        each["Properties"]["UserName"]: each["Properties"]
        for each in resources(data, "AWS::ElastiCache::User").values()
    }
    group = properties(data, "AWS::ElastiCache::UserGroup")

    assert set(users) == {"app", "default"}
    assert users["default"]["AccessString"] == "off ~* -@all"
    assert {user["AuthenticationMode"]["Type"] for user in users.values()} == {"password"}
    assert {user["Engine"] for user in users.values()} == {group["Engine"]} == {"valkey"}
    assert len(group["UserIds"]) == 2
    assert [text(each) for each in cache(data)["UserGroupIds"]] == ["<CacheUsers>"]
    assert "AuthToken" not in cache(data)


def test_the_password_can_be_rotated(data: Template) -> None:
    (app,) = (
        each["Properties"]
        for each in resources(data, "AWS::ElastiCache::User").values()
        if each["Properties"]["UserName"] == "app"
    )
    (secret,) = resources(data, "AWS::SecretsManager::Secret")
    outputs = {name: each["Value"] for name, each in data["Outputs"].items()}

    assert outputs["CacheUser"] == app["UserId"]
    assert outputs["CachePassword"] == {"Ref": secret}


def test_user_may_do_what_it_may_do_locally(data: Template) -> None:
    install = (HERE.parent / "services/credentials/install").read_text()
    local = re.search(r"^user app on #\S.*\) (?P<rights>~\* .*)$", install, re.MULTILINE)
    (app,) = (
        each["Properties"]["AccessString"]
        for each in resources(data, "AWS::ElastiCache::User").values()
        if each["Properties"]["UserName"] == "app"
    )

    assert local
    assert app == f"on {local['rights']}"


def test_password_is_generated_and_only_referred_to(data: Template) -> None:
    secret = properties(data, "AWS::SecretsManager::Secret")

    assert set(secret) == {"Description", "GenerateSecretString", "KmsKeyId"}
    assert secret["GenerateSecretString"]["PasswordLength"] == 64
    assert purpose(secret["KmsKeyId"]) == "Data"
    for user in resources(data, "AWS::ElastiCache::User").values():
        (password,) = user["Properties"]["AuthenticationMode"]["Passwords"]
        assert text(password) == "{{resolve:secretsmanager:<CachePassword>:SecretString:::}}"


def test_ids_that_elasticache_takes_and_no_other_environment_has(
    templates: Templates, synthesized_ids: set[str]
) -> None:
    data = templates["data"]
    found = [
        *(each["Properties"]["UserId"] for each in _users(data)),
        properties(data, "AWS::ElastiCache::UserGroup")["UserGroupId"],
    ]

    assert all(re.fullmatch(r"[a-z](-?[a-z0-9]+)*", each) for each in found)
    assert all(len(each) <= 40 for each in found)
    assert not synthesized_ids.intersection(found)
    synthesized_ids.update(found)


@pytest.fixture(scope="module")
def synthesized_ids() -> set[str]:
    """The ids seen so far."""
    return set()


def _users(data: Template) -> list[Template]:
    return list(resources(data, "AWS::ElastiCache::User").values())


def test_cache_fails_over_if_it_has_where_to(environment: Environment, data: Template) -> None:
    values, replicas = cache(data), environment.cache.replicas

    assert values["ReplicasPerNodeGroup"] == replicas
    assert values["AutomaticFailoverEnabled"] is (replicas > 0)
    assert values["MultiAZEnabled"] is (replicas > 0)
    assert values["AutoMinorVersionUpgrade"] is True
    assert values["SnapshotRetentionLimit"] == 15


def test_log_of_the_cache_quotes_no_values(data: Template) -> None:
    (delivery,) = cache(data)["LogDeliveryConfigurations"]
    name = delivery["DestinationDetails"]["CloudWatchLogsDetails"]["LogGroup"]["Ref"]

    assert delivery["LogType"] == "engine-log"
    assert purpose(data["Resources"][name]["Properties"]["KmsKeyId"]) == "Logs"


# Media ------------------------------------------------------------------------------


def test_files_are_encrypted_under_our_key(data: Template) -> None:
    bucket = properties(data, "AWS::S3::Bucket")
    (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]

    assert rule["BucketKeyEnabled"] is True
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    assert purpose(rule["ServerSideEncryptionByDefault"]["KMSMasterKeyID"]) == "Media"


def test_files_are_private_versioned_and_watched(environment: Environment, data: Template) -> None:
    (resource,) = resources(data, "AWS::S3::Bucket").values()
    bucket = resource["Properties"]
    (rule,) = bucket["LifecycleConfiguration"]["Rules"]

    assert "BucketName" not in bucket
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert "RefAccessLogsBucket" in text(bucket["LoggingConfiguration"]["DestinationBucketName"])
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}
    assert "ExpirationInDays" not in rule
    assert resource["DeletionPolicy"] == ("Retain" if environment.protect else "Delete")


def test_no_upload_under_another_key(data: Template) -> None:
    header = "s3:x-amz-server-side-encryption"
    refused = [
        each["Condition"]
        for each in statements(properties(data, "AWS::S3::BucketPolicy"))
        if (each["Effect"], each["Action"]) == ("Deny", "s3:PutObject")
        and each["Principal"] == {"AWS": "*"}
        and text(each["Resource"]) == "<MediaBucket.Arn>/*"
    ]
    asked, other_key, customers = refused

    assert asked == {"Null": {header: "false"}, "StringNotEquals": {header: "aws:kms"}}
    # Without the name of a key, `aws:kms` means the account's own: so refused as well.
    assert other_key["Null"] == {header: "false"}
    (wanted,) = other_key["StringNotEquals"].items()
    assert (wanted[0], purpose(wanted[1])) == (f"{header}-aws-kms-key-id", "Media")
    assert customers == {"Null": {f"{header}-customer-algorithm": "false"}}


@pytest.mark.parametrize(("stack", "bucket"), [("data", "Media"), ("foundation", "AccessLogs")])
def test_buckets_answer_tls_only_and_no_old_one(
    templates: Templates, stack: str, bucket: str
) -> None:
    denied = {
        str(each["Condition"])
        for each in statements(properties(templates[stack], "AWS::S3::BucketPolicy"))
        if (each["Effect"], each["Action"], each["Principal"]) == ("Deny", "s3:*", {"AWS": "*"})
        and {text(name) for name in each["Resource"]}
        == {f"<{bucket}Bucket.Arn>", f"<{bucket}Bucket.Arn>/*"}
    }

    assert denied == {
        "{'Bool': {'aws:SecureTransport': 'false'}}",
        "{'NumericLessThan': {'s3:TlsVersion': 1.2}}",
    }


@pytest.mark.parametrize("stack", ["data", "foundation"])
def test_nobody_outside_reads_a_bucket(templates: Templates, stack: str) -> None:
    for each in statements(properties(templates[stack], "AWS::S3::BucketPolicy")):
        if each["Effect"] == "Allow":
            assert "*" not in text(each["Principal"])


# Backup -----------------------------------------------------------------------------


def test_backups_are_under_our_key_and_locked_where_protected(
    environment: Environment, data: Template
) -> None:
    (resource,) = resources(data, "AWS::Backup::BackupVault").values()
    vault = resource["Properties"]

    assert purpose(vault["EncryptionKeyArn"]) == "Data"
    # Of failures AWS Backup tells EventBridge only: components/events.py.
    assert "Notifications" not in vault
    if environment.protect:
        (deny,) = statements(vault)
        assert (deny["Effect"], deny["Principal"]) == ("Deny", {"AWS": "*"})
        assert "backup:DeleteRecoveryPoint" in deny["Action"]
        # Governance mode. With ChangeableForDays nobody could ever lift it.
        assert vault["LockConfiguration"] == {
            "MinRetentionDays": environment.database.backup_days,
            "MaxRetentionDays": 365,
        }
        assert resource["DeletionPolicy"] == "Retain"
    else:
        assert "LockConfiguration" not in vault
        assert resource["DeletionPolicy"] == "Delete"


def test_plan(environment: Environment, data: Template) -> None:
    rules = properties(data, "AWS::Backup::BackupPlan")["BackupPlan"]["BackupPlanRule"]
    kept = {rule["RuleName"]: rule["Lifecycle"]["DeleteAfterDays"] for rule in rules}

    daily = {"daily": environment.database.backup_days}
    assert kept == daily | ({"monthly": 365} if environment.protect else {})
    assert {text(rule["TargetBackupVault"]) for rule in rules} == {"<BackupVault.BackupVaultName>"}


def test_backups_of_database_and_files(data: Template) -> None:
    selection = properties(data, "AWS::Backup::BackupSelection")["BackupSelection"]
    chosen = [text(each) for each in selection["Resources"]]

    assert chosen[0].endswith(":db:<DatabaseInstance>")
    assert chosen[1:] == ["<MediaBucket.Arn>"]
