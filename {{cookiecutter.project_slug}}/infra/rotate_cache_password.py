"""Replaces the cache's password while everything goes on.

    python rotate_cache_password.py staging

A user of ElastiCache may have two passwords. The new one is stored as pending and let in
beside the old one; then it is the current one, new tasks get it, and `verify_encryption` proves
in a task that it works. Only then the old one is taken away, so that no request fails.

A run that was interrupted, or failed, is finished by the next. It sees a password that is still
pending, or that the user has two: then new tasks, the proof or the end are missing.

CloudFormation gives the user whatever is current, but only if a deployment changes the user.
Do not deploy such a change before a rotation is finished: the old tasks would be cut off.
https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/User-Secrets-Manager.html
https://docs.aws.amazon.com/secretsmanager/latest/userguide/whats-in-a-secret.html#term_version
"""

import argparse
import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from config import ConfigError
from deploy import PATIENCE, POLL, VERIFY, DeployError, Deployment, deployment_of

LENGTH = 64
SERVICES = ("WebServiceName", "WorkerServiceName")
# How many tasks ECS describes at once.
PAGE = 100


@dataclass(frozen=True, kw_only=True)
class Password:
    """A version of the secret."""

    version: str
    value: str

    def __repr__(self) -> str:
        return f"Password(version={self.version!r})"


class Rotation:
    """The cache's user of one environment, its password, and the tasks that log in with it."""

    def __init__(self, deployment: Deployment) -> None:
        self._at = deployment

    def rotate(self) -> None:
        """Replace the password, or finish what an earlier run began. Raises `DeployError`."""
        self._at.check_account()
        self._check_stacks()
        passwords = self._await_user()["Authentication"]["PasswordCount"]
        pending = self._pending()
        if pending or passwords < 2:
            self._begin(pending or self._new_password())
        else:
            self._say("an earlier run made a new password; going on from there")
        try:
            self._replace_tasks()
            self._verify()
        except (DeployError, BotoCoreError, ClientError) as error:
            raise DeployError(
                f"{error} Both passwords of the cache stay valid, the old one and the new one. "
                "Correct the cause and run this again: it goes on from here."
            ) from error
        self._set_passwords(self._current())
        self._say("the cache has a new password; the old one is not valid any more")

    def _begin(self, new: Password) -> None:
        old = self._current()
        self._say("the cache takes a new password besides the old one")
        self._set_passwords(old, new)
        # Secrets Manager labels the old one AWSPREVIOUS by itself.
        self._secrets.update_secret_version_stage(
            SecretId=self._secret,
            VersionStage="AWSCURRENT",
            MoveToVersionId=new.version,
            RemoveFromVersionId=old.version,
        )

    def _check_stacks(self) -> None:
        missing = {"CacheUser", "CachePassword", "ClusterName", *SERVICES} - self._outputs.keys()
        if missing:
            raise DeployError(
                f"{self._at.environment.name} is not deployed, or by an earlier version: its "
                f"stacks have no output {', '.join(sorted(missing))}. Deploy it first."
            )

    # The password ---------------------------------------------------------------------------

    def _current(self) -> Password:
        return self._read(VersionStage="AWSCURRENT")

    def _pending(self) -> Password | None:
        """Return the version that is pending. The label alone may stay on the current one."""
        versions = self._secrets.describe_secret(SecretId=self._secret)["VersionIdsToStages"]
        for version, stages in versions.items():
            if "AWSPENDING" in stages and "AWSCURRENT" not in stages:
                return self._read(VersionId=version)
        return None

    def _read(self, **which: str) -> Password:
        found = self._secrets.get_secret_value(SecretId=self._secret, **which)
        return Password(version=found["VersionId"], value=found["SecretString"])

    def _new_password(self) -> Password:
        value = self._secrets.get_random_password(PasswordLength=LENGTH, ExcludePunctuation=True)[
            "RandomPassword"
        ]
        stored = self._secrets.put_secret_value(
            SecretId=self._secret, SecretString=value, VersionStages=["AWSPENDING"]
        )
        return Password(version=stored["VersionId"], value=value)

    # The user -------------------------------------------------------------------------------

    def _set_passwords(self, *passwords: Password) -> None:
        self._at.aws("elasticache").modify_user(
            UserId=self._outputs["CacheUser"], Passwords=[each.value for each in passwords]
        )
        self._at.sleep(POLL)
        self._await_user()

    def _await_user(self) -> dict[str, Any]:
        """Return the user as soon as every node knows it as it is."""
        elasticache, user = self._at.aws("elasticache"), self._outputs["CacheUser"]
        found: dict[str, Any] = {}

        def active() -> bool:
            found.update(elasticache.describe_users(UserId=user)["Users"][0])
            return bool(found["Status"] == "active")

        self._wait(active, f"The cache's user {user} is not active")
        return found

    # The tasks ------------------------------------------------------------------------------

    def _replace_tasks(self) -> None:
        """Return when no task runs that was started with the old password."""
        ecs, cluster = self._at.aws("ecs"), self._outputs["ClusterName"]
        self._say("web and worker get new tasks")
        # Those of schedules among them, which end by themselves.
        pages = ecs.get_paginator("list_tasks").paginate(cluster=cluster)
        old = [arn for page in pages for arn in page["taskArns"]]
        begun = {}
        for output in SERVICES:
            service = self._outputs[output]
            answer = ecs.update_service(cluster=cluster, service=service, forceNewDeployment=True)
            begun[service] = _primary(answer["service"])["id"]

        def replaced() -> bool:
            found = ecs.describe_services(cluster=cluster, services=list(begun))["services"]
            # Every one is asked, since one that failed is not to wait for the others.
            ready = [_is_completed(each, begun[each["serviceName"]]) for each in found]
            return all(ready)

        def ended() -> bool:
            # A task that ended an hour ago is not described any more.
            return all(
                task["lastStatus"] == "STOPPED"
                for arns in itertools.batched(old, PAGE, strict=False)
                for task in ecs.describe_tasks(cluster=cluster, tasks=list(arns))["tasks"]
            )

        self._wait(replaced, "The new tasks of web and worker are not healthy")
        self._wait(ended, "Tasks from before the rotation are still running")

    def _verify(self) -> None:
        self._say("verify_encryption runs")
        if problem := self._at.run_task(VERIFY):
            raise DeployError(f"verify_encryption failed: {problem} See its log above.")

    def _wait(self, done: Callable[[], bool], otherwise: str) -> None:
        for _ in range(PATIENCE // POLL):
            if done():
                return
            self._at.sleep(POLL)
        raise DeployError(f"{otherwise} after {PATIENCE} s.")

    # Where --------------------------------------------------------------------------------------

    @cached_property
    def _outputs(self) -> dict[str, str]:
        stacks = ("data", "release", "app")
        return {name: value for each in stacks for name, value in self._at.outputs(each).items()}

    @property
    def _secrets(self) -> Any:
        return self._at.aws("secretsmanager")

    @property
    def _secret(self) -> str:
        return self._outputs["CachePassword"]

    def _say(self, line: str) -> None:
        self._at.say(f"rotate: {line}")


def _primary(service: dict[str, Any]) -> dict[str, Any]:
    return next(each for each in service["deployments"] if each["status"] == "PRIMARY")


def _is_completed(service: dict[str, Any], deployment: str) -> bool:
    """Raises `DeployError` if ECS has taken the deployment back, or began another one.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Deployment.html
    """
    primary = _primary(service)
    if primary["id"] != deployment or primary["rolloutState"] == "FAILED":
        raise DeployError(
            f"ECS took the new tasks of {service['serviceName']} back, or replaced them by "
            "others. Its events and the logs of its tasks say why."
        )
    return bool(primary["rolloutState"] == "COMPLETED")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("environment", help="its name in infra/environments.toml")
    given = parser.parse_args(arguments)
    try:
        Rotation(deployment_of(given.environment)).rotate()
    except (ConfigError, DeployError, BotoCoreError, ClientError) as error:
        sys.exit(f"rotate: {error}")


if __name__ == "__main__":
    main()
