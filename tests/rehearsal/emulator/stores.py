"""PostgreSQL and Valkey for the databases and caches of stacks, as RDS and ElastiCache run them.

Each is a real server with TLS, a certificate for its endpoint's name from the rehearsal's
CA, and that name on the containers' network.
"""

import io
import json
import secrets
import string
import tarfile
import time
from contextlib import suppress
from typing import Any
from xml.sax.saxutils import escape

import directory
import docker
from ministack.core.responses import get_region
from ministack.services import elasticache, rds, s3, secretsmanager
from ministack.services.cloudformation import provisioners
from places import ENDPOINT, Places
from tasks import LABEL

type Properties = dict[str, Any]

POSTGRES_IMAGE = "postgres:17.9"
VALKEY_IMAGE = "valkey/valkey:8.1.9"
SERVER_UID = 999
READY_WITHIN = 60
# The user with which ElastiCache itself changes others.
OWN_USER = "elasticache"
MOST_PASSWORDS = 2
HBA = "/rehearsal/pg_hba.conf"
# On PostgreSQL 16 and newer the master user is a member of every role that it makes, and so
# of `rds_iam` by way of one that logs in with IAM; RDS then wants a token of it as well. Here it
# is a member from the beginning, since nothing else lets it grant `rds_iam`: so its line comes
# first, and goes as soon as somebody has logged in with IAM.
FIRST_LINE = "# until somebody logs in with IAM"
# Of a parameter group: what a stock server understands. `rds.force_ssl` decides on pg_hba.conf.
PARAMETERS = (
    "log_connections",
    "log_disconnections",
    "password_encryption",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "log_statement",
    "log_min_duration_statement",
    "idle_in_transaction_session_timeout",
)
# The master is no superuser: https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Appendix.PostgreSQL.CommonDBATasks.Roles.html
MASTER = """#!/bin/sh
psql --quiet --set ON_ERROR_STOP=1 --set user="$MASTER_USER" --set password="$MASTER_PASSWORD" \
  --set name="$MASTER_DATABASE" --dbname postgres --username "$POSTGRES_USER" <<'SQL'
CREATE ROLE rds_superuser NOLOGIN;
GRANT pg_monitor, pg_signal_backend TO rds_superuser WITH ADMIN OPTION;
CREATE ROLE rds_iam NOLOGIN;
GRANT rds_iam TO rds_superuser WITH ADMIN OPTION;
CREATE ROLE :"user" LOGIN CREATEROLE CREATEDB PASSWORD :'password';
GRANT rds_superuser TO :"user";
CREATE DATABASE :"name" OWNER :"user";
SQL
"""


class Stores:
    """What the stacks of one rehearsal store data in."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._docker = docker.from_env(timeout=120)
        self._passwords: dict[str, list[str]] = {}
        self._group: Properties = {}
        # Of each cache's container: its users, and the password of ElastiCache's own.
        self._users: dict[str, tuple[list[str], str]] = {}

    def install(self, handlers: dict[str, Any]) -> None:
        """Replace handlers of CloudFormation's, and the function that starts a cache."""
        instance = handlers["AWS::RDS::DBInstance"]
        self._record, self._forget = instance["create"], instance["delete"]
        instance["create"], instance["delete"] = self._create_database, self._delete_database
        instance["update"] = _with_secret(instance["update"])

        user, group = (
            handlers["AWS::ElastiCache::User"],
            handlers["AWS::ElastiCache::ReplicationGroup"],
        )
        self._create_user, user["create"] = user["create"], self._remember_user
        self._create_group, group["create"] = group["create"], self._create_cache
        elasticache._spawn_redis_container = self._start_cache
        self._modify, elasticache._modify_user = elasticache._modify_user, self._modify_user
        shown = elasticache._user_xml
        elasticache._user_xml = lambda user: shown(
            {**user, "AccessString": escape(user.get("AccessString", ""))}
        )
        elasticache._DOCKER_BACKED_ACTIONS |= {"ModifyUser"}

        bucket = handlers["AWS::S3::Bucket"]
        bucket["create"] = _encrypted(bucket["create"])

        secret = handlers["AWS::SecretsManager::Secret"]
        provisioners._sm_secret_string = _generated(provisioners._sm_secret_string)
        secret["create"] = _referred_to_by_arn(secret["create"])
        for verb in ("update", "delete"):
            secret[verb] = _given_name(secret[verb])

    # RDS ---------------------------------------------------------------------------------

    def _create_database(self, logical_id: str, props: Properties, stack: str) -> Any:
        name, attributes = self._record(logical_id, props, stack)
        record = rds._instances[name]
        host = record["Endpoint"]["Address"]
        password = props.get("MasterUserPassword") or secrets.token_urlsafe(24)
        if str(props.get("ManageMasterUserPassword")).lower() == "true":
            arn = _make_secret(
                f"rds!db-{record['DbiResourceId'].lower()}",
                {"username": record["MasterUsername"], "password": password},
                props.get("MasterUserSecret", {}).get("KmsKeyId"),
            )
            record["_secret"] = arn
            attributes["MasterUserSecret.SecretArn"] = arn
        self._start_database(record, host, password, props)
        return name, attributes

    def _start_database(
        self, record: Properties, host: str, password: str, props: Properties
    ) -> None:
        group = rds._param_groups.get(props.get("DBParameterGroupName", ""), {})
        parameters = group.get("Parameters", {})
        values = {name: str(value["ParameterValue"]) for name, value in parameters.items()}
        kind = "hostssl" if values.get("rds.force_ssl", "1") == "1" else "host"
        hba = f"local all all scram-sha-256\n{kind} all all all scram-sha-256\n"
        if str(props.get("EnableIAMDatabaseAuthentication")).lower() == "true":
            master = f"{kind} all {record['MasterUsername']} all scram-sha-256 {FIRST_LINE}\n"
            hba = master + directory.hba_line(record["DbiResourceId"]) + hba
        options = {
            "ssl": "on",
            "ssl_cert_file": "/rehearsal/tls.crt",
            "ssl_key_file": "/rehearsal/tls.key",
            "hba_file": HBA,
            "password_encryption": "scram-sha-256",
            **{name: values[name] for name in PARAMETERS if name in values},
        }
        container = self._docker.containers.create(
            POSTGRES_IMAGE,
            command=[part for name, value in options.items() for part in ("-c", f"{name}={value}")],
            name=f"rehearsal-db-{record['DbiResourceId'].lower()}",
            environment={
                "POSTGRES_USER": "rdsadmin",
                "POSTGRES_PASSWORD": secrets.token_urlsafe(24),
                "POSTGRES_DB": "rdsadmin",
                "MASTER_USER": record["MasterUsername"],
                "MASTER_PASSWORD": password,
                "MASTER_DATABASE": record["DBName"],
                "LDAPTLS_CACERT": "/rehearsal/ca.crt",
            },
            extra_hosts={ENDPOINT: self._places.gateway},
            labels={LABEL: self._places.network, "database": record["DBInstanceIdentifier"]},
            networking_config=self._named(host),
            network=self._places.network,
        )
        files = self._credentials(host) | {
            "rehearsal/pg_hba.conf": (hba, 0o644),
            "docker-entrypoint-initdb.d/master.sh": (MASTER, 0o755),
        }
        self._start(container, files, ["pg_isready", "--quiet", "--host", "127.0.0.1"])

    def iam_is_used(self, resource_id: str) -> None:
        """Ask the master user for a token from now on: see `FIRST_LINE`."""
        container = self._docker.containers.get(f"rehearsal-db-{resource_id.lower()}")
        if container.exec_run(["grep", "-q", FIRST_LINE, HBA]).exit_code == 0:
            # In place: a file of a new owner could not be read.
            container.exec_run(
                ["sh", "-c", f"grep -v '{FIRST_LINE}' {HBA} > /tmp/hba; cat /tmp/hba > {HBA}"]
            )
            container.kill("HUP")

    def _delete_database(self, name: str, props: Properties) -> None:
        record = rds._instances.get(name, {})
        if props.get("DeletionProtection") in (True, "true"):
            raise ValueError(f"{name} has deletion protection.")
        self._remove({"database": name})
        if arn := record.get("_secret"):
            secretsmanager._secrets.pop(arn.rpartition(":secret:")[2].rpartition("-")[0], None)
        self._forget(name, props)

    # ElastiCache ---------------------------------------------------------------------------

    def _remember_user(self, logical_id: str, props: Properties, stack: str) -> Any:
        modes = props.get("AuthenticationMode", {})
        passwords = props.get("Passwords") or modes.get("Passwords") or []
        self._passwords[props["UserId"]] = passwords
        made = self._create_user(logical_id, props, stack)
        if passwords:
            count = {"Type": "password", "PasswordCount": len(passwords)}
            elasticache._users[props["UserId"]]["Authentication"] = count
        return made

    def _create_cache(self, logical_id: str, props: Properties, stack: str) -> Any:
        self._group = props
        return self._create_group(logical_id, props, stack)

    def _start_cache(self, name: str, **options: Any) -> tuple[str, int, str]:
        """Start a server for what the template says of the group. Plaintext is not an option."""
        assert options["transit"], "TransitEncryptionEnabled is not true"
        region = get_region()
        short = options["labels"]["rg_id"][-30:].strip("-")
        host = f"master.{short}.{secrets.token_hex(3)}.{region}.cache.amazonaws.com"
        tls = [
            "--port",
            "0",
            "--tls-port",
            "6379",
            "--tls-auth-clients",
            "no",
            "--tls-cert-file",
            "/rehearsal/tls.crt",
            "--tls-key-file",
            "/rehearsal/tls.key",
            "--tls-ca-cert-file",
            "/rehearsal/ca.crt",
            "--tls-protocols",
            "TLSv1.2 TLSv1.3",
            "--aclfile",
            "/rehearsal/users.acl",
            "--save",
            "",
        ]
        users, own = self._users_of_group(), secrets.token_hex()
        container = self._docker.containers.create(
            VALKEY_IMAGE,
            command=["valkey-server", *tls],
            name=name,
            labels={**options["labels"], LABEL: self._places.network},
            networking_config=self._named(host),
            network=self._places.network,
        )
        self._start(
            container,
            self._credentials(host) | {"rehearsal/users.acl": (self._acl(users, own), 0o600)},
            ["true"],
        )
        self._users[container.id] = users, own
        return host, 6379, str(container.id)

    def _users_of_group(self) -> list[str]:
        groups = self._group.get("UserGroupIds", [])
        return [user for each in groups for user in elasticache._user_groups[each]["UserIds"]]

    def _acl(self, users: list[str], own: str) -> str:
        """The users, in Valkey's own words, and one of ElastiCache's own."""
        lines = {"default": "user default off -@all"}
        for identifier in users:
            user, passwords = elasticache._users[identifier], self._passwords[identifier]
            known = " ".join(f">{password}" for password in passwords) or "nopass"
            lines[user["UserName"]] = f"user {user['UserName']} {known} {user['AccessString']}"
        return "\n".join([*lines.values(), f"user {OWN_USER} on >{own} ~* &* +@all", ""])

    def _modify_user(self, params: Properties) -> Any:
        """Tell the servers a user's passwords, of which there may be two.

        https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference/API_ModifyUser.html
        """
        identifier = elasticache._p(params, "UserId")
        found = [
            value
            for prefix in ("", "AuthenticationMode.")
            for number in range(1, 10)
            if (value := elasticache._p(params, f"{prefix}Passwords.member.{number}"))
        ]
        if len(found) > MOST_PASSWORDS:
            return elasticache._error("InvalidParameterValue", "Too many passwords.", 400)
        answer = self._modify(params)
        if not found or answer[0] != 200:
            return answer
        user = elasticache._users[identifier]
        user["Authentication"] = {"Type": "password", "PasswordCount": len(found)}
        self._passwords[identifier] = found
        for container, (users, own) in self._users.items():
            if identifier in users:
                self._set_passwords(container, own, user["UserName"], found)
        return self._modify({"UserId": identifier})

    def _set_passwords(self, container: str, own: str, name: str, passwords: list[str]) -> None:
        command = ["valkey-cli", "--tls", "--cacert", "/rehearsal/ca.crt", "--user", OWN_USER]
        rules = ["ACL", "SETUSER", name, "resetpass", *(f">{each}" for each in passwords)]
        with suppress(docker.errors.NotFound):  # a cache that was deleted
            done = self._docker.containers.get(container).exec_run(
                [*command, *rules], environment={"REDISCLI_AUTH": own}
            )
            if done.output.strip() != b"OK":
                raise ValueError(f"Valkey did not change {name}: {done.output.decode()}")

    # Both ------------------------------------------------------------------------------------

    def _named(self, host: str) -> dict[str, Any]:
        return {self._places.network: self._docker.api.create_endpoint_config(aliases=[host])}

    def _credentials(self, host: str) -> dict[str, tuple[str, int]]:
        pair = self._places.certificate(host)
        return {
            "rehearsal/tls.crt": (pair.crt.read_text(), 0o644),
            "rehearsal/tls.key": (pair.key.read_text(), 0o600),
            "rehearsal/ca.crt": (self._places.authority.crt.read_text(), 0o644),
        }

    def _start(self, container: Any, files: dict[str, tuple[str, int]], ready: list[str]) -> None:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name, (text, mode) in files.items():
                content = text.encode()
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode, entry.uid, entry.gid = (
                    len(content),
                    mode,
                    SERVER_UID,
                    SERVER_UID,
                )
                archive.addfile(entry, io.BytesIO(content))
        container.put_archive("/", packed.getvalue())
        container.start()
        deadline = time.monotonic() + READY_WITHIN
        while container.exec_run(ready).exit_code:
            container.reload()
            if container.status == "exited" or time.monotonic() > deadline:
                raise ValueError(f"{container.name}: {container.logs(tail=20).decode()}")
            time.sleep(0.3)

    def _remove(self, labels: dict[str, str]) -> None:
        wanted = [f"{name}={value}" for name, value in labels.items()]
        for container in self._docker.containers.list(all=True, filters={"label": wanted}):
            with suppress(docker.errors.NotFound):
                container.remove(force=True, v=True)


def _with_secret(update: Any) -> Any:
    def handle(name: str, *arguments: Any) -> Any:
        found, attributes = update(name, *arguments)
        if arn := rds._instances[found].get("_secret"):
            attributes = {**attributes, "MasterUserSecret.SecretArn": arn}
        return found, attributes

    return handle


def _make_secret(name: str, value: dict[str, str], key: str | None) -> str:
    """Store a secret as RDS does for a master user; return its ARN."""
    request = {"Name": name, "SecretString": json.dumps(value)} | ({"KmsKeyId": key} if key else {})
    status, _, body = secretsmanager._create_secret(request)
    assert status == 200, body
    return str(json.loads(body)["ARN"])


def _generated(make: Any) -> Any:
    """Honour `ExcludePunctuation`, which the emulator overlooks."""

    def generate(props: Properties) -> str:
        asked = dict(props.get("GenerateSecretString") or {})
        if str(asked.get("ExcludePunctuation")).lower() == "true":
            asked["ExcludeCharacters"] = asked.get("ExcludeCharacters", "") + string.punctuation
        return str(make({**props, "GenerateSecretString": asked} if asked else props))

    return generate


def _referred_to_by_arn(create: Any) -> Any:
    """A reference to a secret is its ARN on AWS, and its name in the emulator."""

    def handle(*arguments: Any) -> Any:
        _, attributes = create(*arguments)
        return attributes["Arn"], attributes

    return handle


def _given_name(change: Any) -> Any:
    def handle(arn: str, *arguments: Any) -> Any:
        changed = change(arn.rpartition(":secret:")[2].rpartition("-")[0], *arguments)
        return (arn, changed[1]) if changed else changed

    return handle


def _encrypted(create: Any) -> Any:
    """Set the default encryption of a bucket, which the emulator overlooks in templates."""

    def handle(logical_id: str, props: Properties, stack: str) -> Any:
        made = create(logical_id, props, stack)
        rules = props.get("BucketEncryption", {}).get("ServerSideEncryptionConfiguration", [])
        for rule in rules:
            default = rule["ServerSideEncryptionByDefault"]
            key = default.get("KMSMasterKeyID")
            if not key:  # S3's own, which the emulator does not have
                continue
            algorithm = f"<SSEAlgorithm>{default['SSEAlgorithm']}</SSEAlgorithm>"
            enabled = str(rule.get("BucketKeyEnabled", False)).lower()
            s3._put_bucket_encryption(
                made[0],
                (
                    '<ServerSideEncryptionConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
                    "<Rule><ApplyServerSideEncryptionByDefault>"
                    f"{algorithm}<KMSMasterKeyID>{key}</KMSMasterKeyID></ApplyServerSideEncryptionByDefault>"
                    f"<BucketKeyEnabled>{enabled}</BucketKeyEnabled></Rule>"
                    "</ServerSideEncryptionConfiguration>"
                ).encode(),
            )
        return made

    return handle
