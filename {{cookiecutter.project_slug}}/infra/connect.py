"""People's ways in: the database, a shell in a task, the logs.

    connect.py ENVIRONMENT database
    connect.py ENVIRONMENT cache
    connect.py ENVIRONMENT shell [web|worker]
    connect.py ENVIRONMENT logs [web|worker]

Nothing listens for people: Session Manager carries every session out of a running task, IAM
says who may start one, CloudTrail notes who did. Through a tunnel database and cache are
verified as the application does, by their real names, so the tunnel need not be trusted.
https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-working-with-sessions-start.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-exec.html
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import redis
from botocore.exceptions import BotoCoreError, ClientError

import cache_shell
from config import HERE, ConfigError
from deploy import Deployment, deployment_of

if TYPE_CHECKING:
    from mypy_boto3_ecs.type_defs import ContainerTypeDef, TaskTypeDef

DATABASE_CA_FILE = HERE.parent / "services" / "app" / "rds-ca.pem"
CACHE_CA_FILE = HERE.parent / "services" / "app" / "amazon-ca.pem"
CACHE_PORT = 6379
HELP = {
    "aws": "https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html",
    "session-manager-plugin": "https://docs.aws.amazon.com/systems-manager/latest/userguide/"
    "session-manager-working-with-install-plugin.html",
    "psql": "https://www.postgresql.org/download/",
}


class ConnectError(Exception):
    """There is no way in now; the message names the cause and the fix."""


class Running:
    """What runs of an environment, found by its stacks' outputs."""

    def __init__(self, deployment: Deployment) -> None:
        self._at = deployment
        self.environment = deployment.environment
        self.region = deployment.project.region

    def cluster(self) -> str:
        """Return the cluster's name."""
        return self._output("release", "ClusterName")

    def service(self, name: str) -> str:
        """Return the name of the service `web` or `worker`."""
        return self._output("app", f"{name.capitalize()}ServiceName")

    def _output(self, stack: str, name: str) -> str:
        found = self._at.outputs(stack)
        if name in found:
            return found[name]
        whole, state = self._at.stack(stack), self._at.described(stack)
        if not state:
            raise ConnectError(
                f"There is no stack {whole} in {self.region} in the account of "
                "your credentials. Check AWS_PROFILE, or deploy the environment first."
            )
        raise ConnectError(
            f"The stack {whole} has no output {name}, and is in the state "
            f"{state.get('StackStatus')}. Deploy the environment first."
        )

    def check_open(self) -> None:
        """Raise `ConnectError` if the environment lets nobody into its tasks."""
        if not self.environment.exec:
            raise ConnectError(
                f"{self.environment.name} lets nobody into its tasks. Set exec = true below "
                f"[environments.{self.environment.name}] in infra/environments.toml and deploy; "
                "afterwards set it back and deploy again."
            )

    def task(self, service: str) -> "tuple[TaskTypeDef, ContainerTypeDef]":
        """Return a task of a service that lets people in, and its container `app`."""
        ecs, cluster = self._at.aws("ecs"), self.cluster()
        name = self.service(service)
        arns = ecs.list_tasks(cluster=cluster, serviceName=name, desiredStatus="RUNNING")[
            "taskArns"
        ]
        tasks = ecs.describe_tasks(cluster=cluster, tasks=arns)["tasks"] if arns else []
        for task in tasks:
            for container in task["containers"]:
                agents = {
                    agent["name"]: agent["lastStatus"]
                    for agent in container.get("managedAgents", [])
                }
                ready = agents.get("ExecuteCommandAgent") == "RUNNING"
                if container["name"] == "app" and ready:
                    return task, container
        raise ConnectError(
            f"None of the {len(tasks)} running tasks of {name} has an agent that is ready. Tasks "
            "from before exec was switched on have none, and a new one needs a minute: deploy "
            "again, or wait."
        )

    def log_group(self, service: str) -> str:
        """Return the name of a service's log group."""
        ecs = self._at.aws("ecs")
        found = ecs.describe_services(cluster=self.cluster(), services=[self.service(service)])
        task = ecs.describe_task_definition(taskDefinition=found["services"][0]["taskDefinition"])[
            "taskDefinition"
        ]
        return str(task["containerDefinitions"][0]["logConfiguration"]["options"]["awslogs-group"])

    def database(self) -> dict[str, Any]:
        """Return host, port and the administrator's credentials, which RDS keeps."""
        name = f"{self._at.project.slug}-{self.environment.name}"
        found = self._at.aws("rds").describe_db_instances(DBInstanceIdentifier=name)
        instance = found["DBInstances"][0]
        secret = self._at.aws("secretsmanager").get_secret_value(
            SecretId=instance["MasterUserSecret"]["SecretArn"]
        )
        return {
            "host": instance["Endpoint"]["Address"],
            "port": instance["Endpoint"]["Port"],
            **json.loads(secret["SecretString"]),
        }

    def cache(self) -> tuple[str, str]:
        """Return the cache's host, and the password of the application, its only user."""
        secret = self._at.aws("secretsmanager").get_secret_value(
            SecretId=self._output("data", "CachePassword")
        )
        return self._output("data", "CacheHost"), secret["SecretString"]


def session_target(cluster: str, task: "TaskTypeDef", container: "ContainerTypeDef") -> str:
    """Return Session Manager's name of a container."""
    return f"ecs:{cluster}_{task['taskArn'].rpartition('/')[2]}_{container['runtimeId']}"


def conninfo(host: str, user: str, local_port: int) -> str:
    """Return libpq's parameters: to this end of the tunnel, but verify the real server.

    https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-HOSTADDR
    """
    return (
        f"host={host} hostaddr=127.0.0.1 port={local_port} dbname=app user={user} "
        f"sslmode=verify-full sslrootcert='{DATABASE_CA_FILE}' ssl_min_protocol_version=TLSv1.3 "
        "channel_binding=require gssencmode=disable"
    )


@contextmanager
def tunnel(running: Running, host: str, port: int) -> Iterator[int]:
    """Yield the local port that leads to a host, through a task of the worker."""
    task, container = running.task("worker")
    local = _free_port()
    forwarding = {
        "host": [host],
        "portNumber": [str(port)],
        "localPortNumber": [str(local)],
    }
    session = subprocess.Popen(
        [
            *("aws", "ssm", "start-session", "--region", running.region),
            *("--target", session_target(running.cluster(), task, container)),
            *("--document-name", "AWS-StartPortForwardingSessionToRemoteHost"),
            *("--parameters", json.dumps(forwarding)),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        process_group=0,  # Ctrl-C is for psql
    )
    try:
        _wait_for(local, session)
        print(f"connect: {host} through {task['taskArn']}", file=sys.stderr)
        yield local
    finally:
        with suppress(ProcessLookupError):
            os.killpg(session.pid, signal.SIGTERM)  # aws, and the plugin that it has started
        session.wait()


def to_database(running: Running) -> int:
    """Run psql, as the administrator."""
    _need("psql")
    database = running.database()
    host = database["host"]
    with tunnel(running, host, database["port"]) as local:
        return _foreground(
            ["psql", conninfo(host, database["username"], local)],
            {"PGPASSWORD": database["password"]},
        )


def to_cache(running: Running) -> int:
    """Run commands, as the application, which is the cache's only user."""
    host, password = running.cache()
    with tunnel(running, host, CACHE_PORT) as local:
        try:
            cache_shell.run(
                cache_shell.open_cache(
                    host=host, password=password, tunnel=local, ca_file=CACHE_CA_FILE
                )
            )
        except redis.ConnectionError as error:
            raise ConnectError(f"The cache refused, or is not {host}: {error}") from None
    return 0


def to_shell(running: Running, service: str) -> int:
    """Run a shell in a task of a service. What is typed and shown is logged."""
    task, _ = running.task(service)
    return _foreground(
        [
            *("aws", "ecs", "execute-command", "--region", running.region, "--interactive"),
            *("--cluster", running.cluster(), "--task", task["taskArn"]),
            *("--container", "app", "--command", "sh"),
        ]
    )


def to_logs(running: Running, service: str) -> int:
    """Follow the logs of a service."""
    group = running.log_group(service)
    return _foreground(
        ["aws", "logs", "tail", group, "--region", running.region, "--follow", "--format", "short"]
    )


def _foreground(command: list[str], environment: Mapping[str, str] | None = None) -> int:
    """Run a program that has the terminal, and Ctrl-C with it; return its exit status."""
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        return subprocess.call(command, env={**os.environ, **(environment or {})})
    finally:
        signal.signal(signal.SIGINT, before)


def _need(*programs: str) -> None:
    for program in programs:
        if not shutil.which(program):
            raise ConnectError(f"{program} is not on your PATH. Install it: {HELP[program]}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _wait_for(port: int, session: "subprocess.Popen[bytes]") -> None:
    """Return when the tunnel is open. Raises `ConnectError` if it ends, or takes too long."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and session.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.3)
        else:
            return
    raise ConnectError(
        "The session did not open. If nothing is said above: may your role call "
        "ssm:StartSession on the task and on AWS-StartPortForwardingSessionToRemoteHost?"
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="connect")
    parser.add_argument("environment")
    parser.add_argument("to", choices=["database", "cache", "shell", "logs"])
    parser.add_argument("service", nargs="?", choices=["web", "worker"], default="web")
    given = parser.parse_args(arguments)
    running = Running(deployment_of(given.environment))
    _need("aws")
    if given.to != "logs":
        running.check_open()
        _need("session-manager-plugin")
    match given.to:
        case "database":
            return to_database(running)
        case "cache":
            return to_cache(running)
        case "shell":
            return to_shell(running, given.service)
        case _:
            return to_logs(running, given.service)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (ConfigError, ConnectError) as failure:
        sys.exit(f"connect: {failure}")
    except (BotoCoreError, ClientError) as failure:
        sys.exit(f"connect: AWS refused: {failure} Do you have credentials? Log in: aws sso login")
    except KeyboardInterrupt:
        sys.exit(130)
