"""Deploys a version of the application to an environment, or removes the environment.

    python deploy.py staging                    this commit
    python deploy.py staging --tag 1a2b3c4d5e6f a version that was pushed before
    python deploy.py staging --destroy

In this order: foundation and data; images; the release task, which must end well before new
code serves; the application; `verify_encryption`. Whatever fails, the version that serves is
a whole one, and every step can be repeated.
"""

import argparse
import base64
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from config import HERE, ConfigError, Environment, Project, load_environment, load_project
from profiles import PROFILES

ROOT = HERE.parent
ASSEMBLY = ROOT / ".local" / "cdk.out"
CDK = HERE / "node_modules" / ".bin" / "cdk"
# Output of the foundation that names the repository: Dockerfile.
IMAGES = {
    "AppRepository": "services/app/Dockerfile",
    "ProxyRepository": "services/nginx/Dockerfile",
}
# As ARCHITECTURE in components/application.py.
PLATFORM = "linux/amd64"
CONTAINER = "app"
VERIFY = ("python", "manage.py", "verify_encryption")
# A migration of large tables may take long.
PATIENCE = 2 * 60 * 60
POLL = 5
LOG_LINES = 40


class DeployError(Exception):
    """A step failed; the message says what is serving, the cause and the fix."""


def run(
    command: Sequence[str], *, folder: Path = ROOT, stdin: str | None = None, quiet: bool = False
) -> str:
    """Run a program; return what it wrote if `quiet`, else show it.

    Node comes from this environment's own folder. Raises `DeployError` if the program fails.
    """
    own = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{own}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        input=stdin,
        stdout=subprocess.PIPE if quiet else None,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DeployError(f"{Path(command[0]).name} failed: {' '.join(command[1:4])} …")
    return (done.stdout or "").strip()


def say(line: str) -> None:
    """Write a line before what the next program writes."""
    print(line, flush=True)


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """One environment, and the ways to AWS and to this machine's programs."""

    project: Project
    environment: Environment
    client: Callable[..., Any] = boto3.client
    run: Callable[..., str] = run
    say: Callable[[str], None] = say
    sleep: Callable[[float], None] = time.sleep

    # Steps --------------------------------------------------------------------------------

    def deploy(self, tag: str | None) -> None:
        """Deploy the version that `tag` names, or this commit. Raises `DeployError`."""
        self.check_account()
        before = self.outputs("app").get("Tag")
        tag = tag or self._tag_of_commit()
        missing = self._missing_images(tag)
        if missing:
            self._check_build(tag)
        self._synthesize(tag)
        self._cdk("deploy", "foundation", "data")
        for output in missing:
            self._build_and_push(output, tag)
        self._cdk("deploy", "release")
        self._release(before)
        self._application(tag, before)
        self._verify(tag, before)
        self.say(f"deploy: {tag} serves at https://{self.environment.domain}")

    def destroy(self) -> None:
        """Remove the stacks, and say what is left on purpose. Raises `DeployError`."""
        self.check_account()
        if self.environment.protect:
            raise DeployError(
                f"{self.environment.name} is protected. To lose its data, set protect = false "
                "in infra/environments.toml, deploy that, and destroy then."
            )
        tag = self.outputs("app").get("Tag", "none")
        self._synthesize(tag)
        for stack in ("app", "release"):
            self._cdk("destroy", stack)
        for stack in ("data", "foundation"):
            self._empty_stores(stack)
            self._cdk("destroy", stack)
        self._delete_parameters()
        self.say(
            f"destroy: {self.environment.name} is gone. Left on purpose: its KMS keys, which AWS "
            "deletes after a waiting period, and CDKToolkit, which other environments use too."
        )

    # Checks ---------------------------------------------------------------------------------

    def check_account(self) -> None:
        """Raise `DeployError` unless the credentials work, and are the right account's."""
        try:
            account = self.aws("sts").get_caller_identity()["Account"]
        except (BotoCoreError, ClientError) as error:
            raise DeployError(
                f"No AWS credentials that work: {error} Log in, such as: aws sso login"
            ) from error
        if self.environment.account not in {None, account}:
            raise DeployError(
                f"{self.environment.name} belongs to account {self.environment.account}, and these "
                f"credentials to {account}. Set AWS_PROFILE, or account in infra/environments.toml."
            )

    def _tag_of_commit(self) -> str:
        if self.run(["git", "status", "--porcelain"], quiet=True):
            raise DeployError(
                "There are changes that no commit has, so no tag could name them. Commit them, or "
                "name a version that was pushed before: TAG=..."
            )
        return self.run(["git", "rev-parse", "--short=12", "HEAD"], quiet=True)

    def _check_build(self, tag: str) -> None:
        if tag != self._tag_of_commit():
            raise DeployError(
                f"There is no image {tag} in this environment's registry, and this commit is "
                "another. Check out the version to build it, or deploy without TAG."
            )
        try:
            self.run(["docker", "version"], quiet=True)
        except (DeployError, OSError):
            raise DeployError(
                "Images must be built, and no Docker engine answers. Start it."
            ) from None

    # Images ---------------------------------------------------------------------------------

    def _missing_images(self, tag: str) -> list[str]:
        """Return those of `IMAGES` that the registry does not have under the tag."""
        ecr, there = self.aws("ecr"), self.outputs("foundation")
        return [
            output
            for output in IMAGES
            if output not in there
            or not ecr.batch_get_image(repositoryName=there[output], imageIds=[{"imageTag": tag}])[
                "images"
            ]
        ]

    def _build_and_push(self, output: str, tag: str) -> None:
        ecr = self.aws("ecr")
        name = self.outputs("foundation")[output]
        uri = ecr.describe_repositories(repositoryNames=[name])["repositories"][0]["repositoryUri"]
        image = f"{uri}:{tag}"
        self.run(
            [
                "docker",
                "build",
                "--platform",
                PLATFORM,
                "--file",
                IMAGES[output],
                "--tag",
                image,
                ".",
            ]
        )
        token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
        user, _, password = base64.b64decode(token).decode().partition(":")
        # In a folder of its own, so that the password stays in no one's configuration.
        with tempfile.TemporaryDirectory() as folder:
            docker = ["docker", "--config", folder]
            registry = uri.partition("/")[0]
            login = [*docker, "login", "--username", user, "--password-stdin", registry]
            self.run(login, stdin=password, quiet=True)
            self.run([*docker, "push", "--quiet", image], quiet=True)
        self.say(f"deploy: pushed {image}")

    # Tasks ------------------------------------------------------------------------------------

    def _release(self, before: str | None) -> None:
        self.say("deploy: the release task runs: secrets, roles, keys, migrations")
        if problem := self.run_task():
            raise DeployError(
                f"The release task failed: {problem} {_serving(before)} Its log is above; correct "
                "the cause and deploy again."
            )

    def _application(self, tag: str, before: str | None) -> None:
        try:
            self._cdk("deploy", "app")
        except DeployError as error:
            raise DeployError(
                f"{tag} did not become healthy, or its stack could not be changed, and "
                f"CloudFormation took it back: the cause is above. {_serving(before)}"
            ) from error

    def _verify(self, tag: str, before: str | None) -> None:
        self.say("deploy: verify_encryption runs")
        problem = self.run_task(VERIFY)
        if not problem:
            return
        if before in {None, tag}:
            raise DeployError(
                f"{tag} serves, and verify_encryption failed: {problem} See its log above."
            )
        self.say(f"deploy: verify_encryption failed; going back to {before}")
        self._synthesize(before)
        self._cdk("deploy", "release", "app")
        raise DeployError(
            f"verify_encryption failed in {tag}: {problem} See its log above. Version {before} "
            "serves again; migrations stay."
        )

    def run_task(self, command: Sequence[str] = ()) -> str:
        """Run the release task, or another command in it; return why it failed, or nothing.

        The end of its log is shown if it fails.
        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
        """
        ecs, at = self.aws("ecs"), self.outputs("release")
        overrides = {"containerOverrides": [{"name": CONTAINER, "command": list(command)}]}
        answer = ecs.run_task(
            cluster=at["ClusterName"],
            taskDefinition=at["ReleaseTaskDefinition"],
            launchType="FARGATE",
            startedBy="deploy",
            networkConfiguration={
                "awsvpcConfiguration": {
                    "subnets": at["ReleaseSubnets"].split(","),
                    "securityGroups": [at["ReleaseSecurityGroup"]],
                    "assignPublicIp": "DISABLED",
                }
            },
            **({"overrides": overrides} if command else {}),
        )
        if answer["failures"]:
            return f"ECS did not start it: {answer['failures'][0].get('reason')}."
        arn = answer["tasks"][0]["taskArn"]
        for task in self._states(ecs, at["ClusterName"], arn):
            if task["lastStatus"] == "STOPPED":
                break
        else:
            return f"it still runs after {PATIENCE} s, as {arn}."
        container = next(each for each in task["containers"] if each["name"] == CONTAINER)
        if container.get("exitCode") == 0:
            return ""
        self._show_log(at["ReleaseLogGroup"], arn)
        code = container.get("exitCode", "none")
        return f"exit status {code} ({task.get('stoppedReason', 'no reason given')})."

    def _states(self, ecs: Any, cluster: str, arn: str) -> Iterator[dict[str, Any]]:
        for _ in range(PATIENCE // POLL):
            self.sleep(POLL)
            yield from ecs.describe_tasks(cluster=cluster, tasks=[arn])["tasks"]

    def _show_log(self, group: str, task_arn: str) -> None:
        """Show the end. The application redacts what it logs."""
        logs = self.aws("logs")
        stream = f"{CONTAINER}/{CONTAINER}/{task_arn.rpartition('/')[2]}"
        try:
            events = logs.get_log_events(logGroupName=group, logStreamName=stream, limit=LOG_LINES)[
                "events"
            ]
        except ClientError as error:
            self.say(f"deploy: the log {group} {stream} cannot be read: {error}")
            return
        for event in events:
            self.say(f"    {event['message']}")

    # Stacks -----------------------------------------------------------------------------------

    def stack(self, name: str) -> str:
        """Return a stack's whole name."""
        return f"{self.project.slug}-{self.environment.name}-{name}"

    def described(self, stack: str) -> dict[str, Any]:
        """Return what CloudFormation says of a stack; nothing if there is no such stack."""
        try:
            found = self.aws("cloudformation").describe_stacks(StackName=self.stack(stack))
        except ClientError as error:
            if "does not exist" in str(error):
                return {}
            raise
        state: dict[str, Any] = found["Stacks"][0]
        return state

    def outputs(self, stack: str) -> dict[str, str]:
        """Return a stack's outputs; none if there is no such stack."""
        listed = self.described(stack).get("Outputs", [])
        return {each["OutputKey"]: each["OutputValue"] for each in listed}

    def _synthesize(self, tag: str) -> None:
        """Write the templates of all stacks once; every step deploys from these."""
        if not CDK.exists():
            self.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder=HERE)
        context = {"environment": self.environment.name, "tag": tag, "control-tower": "true"}
        options = [f"--context={name}={value}" for name, value in context.items()]
        self.run([str(CDK), "synth", "--quiet", *options], folder=HERE)

    def _cdk(self, verb: str, *stacks: str) -> None:
        sure = {"deploy": "--require-approval=never", "destroy": "--force"}[verb]
        names = [self.stack(stack) for stack in stacks]
        self.say(f"deploy: {verb} {' '.join(names)}")
        self.run([str(CDK), verb, f"--app={ASSEMBLY}", "--exclusively", sure, *names], folder=HERE)

    # What stacks cannot remove ------------------------------------------------------------------

    def _empty_stores(self, stack: str) -> None:
        """Empty the stack's buckets and vaults, which CloudFormation deletes only then."""
        cloudformation = self.aws("cloudformation")
        if not self.described(stack):
            return
        empty = {
            "AWS::S3::Bucket": self._empty_bucket,
            "AWS::Backup::BackupVault": self._empty_vault,
        }
        for page in cloudformation.get_paginator("list_stack_resources").paginate(
            StackName=self.stack(stack)
        ):
            for resource in page["StackResourceSummaries"]:
                if resource["ResourceType"] in empty and resource.get("PhysicalResourceId"):
                    empty[resource["ResourceType"]](resource["PhysicalResourceId"])

    def _empty_vault(self, vault: str) -> None:
        """Delete its backups, which takes its time.

        https://docs.aws.amazon.com/aws-backup/latest/devguide/API_DeleteRecoveryPoint.html
        """
        backup = self.aws("backup")
        listing = backup.get_paginator("list_recovery_points_by_backup_vault")
        for _ in range(PATIENCE // POLL):
            points = [
                point
                for page in listing.paginate(BackupVaultName=vault)
                for point in page["RecoveryPoints"]
            ]
            if not points:
                return
            for point in points:
                if point["Status"] not in {"CREATING", "DELETING"}:
                    backup.delete_recovery_point(
                        BackupVaultName=vault, RecoveryPointArn=point["RecoveryPointArn"]
                    )
            self.sleep(POLL)
        raise DeployError(
            f"{len(points)} backups are still in the vault {vault} after {PATIENCE} s. See them in "
            "AWS Backup, and destroy again when they are gone."
        )

    def _empty_bucket(self, bucket: str) -> None:
        s3 = self.aws("s3")
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            found = [
                {"Key": each["Key"], "VersionId": each["VersionId"]}
                for each in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            ]
            if found:
                s3.delete_objects(Bucket=bucket, Delete={"Objects": found, "Quiet": True})

    def _delete_parameters(self) -> None:
        ssm, path = self.aws("ssm"), f"/{self.project.slug}/{self.environment.name}/"
        for page in ssm.get_paginator("get_parameters_by_path").paginate(Path=path, Recursive=True):
            names = [each["Name"] for each in page["Parameters"]]
            if names:
                ssm.delete_parameters(Names=names)

    def aws(self, service: str) -> Any:
        """Return boto3's client of a service, in the project's region."""
        return self.client(service, region_name=self.project.region)


def _serving(version: str | None) -> str:
    return f"Version {version} goes on serving." if version else "Nothing serves yet."


def deployment_of(name: str) -> Deployment:
    """Return the environment of that name in `environments.toml`. Raises `ConfigError`."""
    project = load_project()
    return Deployment(project=project, environment=load_environment(name, project, PROFILES))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("environment", help="its name in infra/environments.toml")
    parser.add_argument("--tag", help="a version that was pushed before; without it, this commit")
    parser.add_argument(
        "--destroy", action="store_true", help="remove the environment and its data"
    )
    given = parser.parse_args(arguments)
    try:
        deployment = deployment_of(given.environment)
        if given.destroy:
            deployment.destroy()
        else:
            deployment.deploy(given.tag)
    except (ConfigError, DeployError, BotoCoreError, ClientError) as error:
        sys.exit(f"deploy: {error}")


if __name__ == "__main__":
    main()
