"""The order of a deployment, and what is left serving when a step fails. No AWS is asked."""

import base64
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from botocore.exceptions import ClientError

from config import Environment, HostedZone, Project
from deploy import DeployError, Deployment

PROJECT = Project(
    name="Shop", slug="shop", domain="example.com", region="eu-central-1", repository="me/shop"
)
HEAD = "1a2b3c4d5e6f"
PASSWORD = "the registry's password"


def _environment(**values: Any) -> Environment:
    zone = HostedZone(id="Z1", name="example.com")
    return Environment(name="dev", domain="dev.example.com", hosted_zone=zone, **values)


class Cloud:
    """An account, as far as `deploy` sees it, and this machine; both write down what happens."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.said: list[str] = []
        self.inputs: list[str | None] = []
        self.account = "123456789012"
        self.images: set[str] = set()
        self.served: str | None = None
        self.exits = {"release": 0, "verify": 0}
        self.failing: tuple[str, ...] = ()
        self.changes = ""
        self._synthesized = ""
        self._task = ""
        self._events = [{"message": "the last line"}]

    # boto3's clients ---------------------------------------------------------------------

    def client(self, _service: str, *, region_name: str) -> "Cloud":
        assert region_name == PROJECT.region
        return self

    def get_caller_identity(self) -> dict[str, str]:
        return {"Account": self.account}

    def describe_stacks(self, *, StackName: str) -> dict[str, Any]:  # noqa: N803
        outputs = {
            "shop-dev-foundation": {"AppRepository": "app", "ProxyRepository": "proxy"},
            "shop-dev-release": {
                "ClusterName": "cluster",
                "ReleaseTaskDefinition": "task:1",
                "ReleaseSubnets": "subnet-1,subnet-2",
                "ReleaseSecurityGroup": "sg-1",
                "ReleaseLogGroup": "logs",
            },
            "shop-dev-data": {},
            "shop-dev-app": {"Tag": self.served} if self.served else None,
        }[StackName]
        if outputs is None:
            error = {"Error": {"Code": "ValidationError", "Message": "it does not exist"}}
            raise ClientError(error, "DescribeStacks")  # type: ignore[arg-type]
        pairs = [{"OutputKey": k, "OutputValue": v} for k, v in outputs.items()]
        return {"Stacks": [{"Outputs": pairs}]}

    def batch_get_image(
        self,
        *,
        repositoryName: str,  # noqa: N803
        imageIds: list[dict[str, str]],  # noqa: N803
    ) -> dict[str, Any]:
        name = f"{repositoryName}:{imageIds[0]['imageTag']}"
        return {"images": [name] if name in self.images else []}

    def describe_repositories(self, *, repositoryNames: list[str]) -> dict[str, Any]:  # noqa: N803
        uri = f"123456789012.dkr.ecr.eu-central-1.amazonaws.com/{repositoryNames[0]}"
        return {"repositories": [{"repositoryUri": uri}]}

    def get_authorization_token(self) -> dict[str, Any]:
        token = base64.b64encode(f"AWS:{PASSWORD}".encode()).decode()
        return {"authorizationData": [{"authorizationToken": token}]}

    def run_task(self, **asked: Any) -> dict[str, Any]:
        network = asked["networkConfiguration"]["awsvpcConfiguration"]
        assert network["assignPublicIp"] == "DISABLED"
        assert network["subnets"] == ["subnet-1", "subnet-2"]
        self._task = "verify" if "overrides" in asked else "release"
        self.done.append(f"task {self._task}")
        return {"failures": [], "tasks": [{"taskArn": "arn:task/cluster/7"}]}

    def describe_tasks(self, **_: Any) -> dict[str, Any]:
        container = {"name": "app", "exitCode": self.exits[self._task]}
        return {"tasks": [{"lastStatus": "STOPPED", "containers": [container]}]}

    def get_log_events(self, *, logStreamName: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        assert logStreamName == "app/app/7"
        return {"events": self._events}

    # Programs of this machine --------------------------------------------------------------

    def run(self, command: Sequence[str], *, stdin: str | None = None, **_: Any) -> str:
        program, *arguments = [
            (part.rpartition("/cdk")[1] and "cdk") or part for part in command[:1]
        ] + [*command[1:]]
        words = " ".join([program, *(a for a in arguments if not a.startswith("-"))])
        if program == "git":
            return self.changes if "status" in arguments else HEAD
        self.inputs.append(stdin)
        if program == "cdk" and "synth" in arguments:
            tags = [part for part in arguments if part.startswith("--context=tag=")]
            self._synthesized = tags[0].rpartition("=")[2]
            return ""
        if program == "cdk":
            self.done.append(f"{words} {self._synthesized}")
            if any(stack in words for stack in self.failing):
                raise DeployError("cdk failed")
            if "shop-dev-app" in arguments:
                self.served = self._synthesized
        if program == "docker" and {"build", "push"} & set(arguments):
            self.done.append("build" if "build" in arguments else "push")
        return ""


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def deploy(cloud: Cloud) -> Callable[..., None]:
    def start(tag: str | None = None, **values: Any) -> None:
        Deployment(
            project=PROJECT,
            environment=_environment(**values),
            client=cloud.client,
            run=cloud.run,
            say=cloud.said.append,
            sleep=lambda _seconds: None,
        ).deploy(tag)

    return start


def test_the_release_task_runs_between_the_images_and_the_application(
    cloud: Cloud, deploy: Callable[..., None]
) -> None:
    deploy()
    assert cloud.done == [
        f"cdk deploy shop-dev-foundation shop-dev-data {HEAD}",
        *("build", "push", "build", "push"),
        f"cdk deploy shop-dev-release {HEAD}",
        "task release",
        f"cdk deploy shop-dev-app {HEAD}",
        "task verify",
    ]


def test_an_image_that_is_there_is_not_built_again(
    cloud: Cloud, deploy: Callable[..., None]
) -> None:
    cloud.images = {f"app:{HEAD}", f"proxy:{HEAD}"}
    deploy()
    assert not {"build", "push"} & set(cloud.done)


def test_a_former_version_is_deployed_from_any_commit(
    cloud: Cloud, deploy: Callable[..., None]
) -> None:
    cloud.images = {"app:former", "proxy:former"}
    cloud.changes = " M manage.py"
    deploy("former")
    assert cloud.served == "former"


def test_a_failed_release_task_leaves_the_application_alone(
    cloud: Cloud, deploy: Callable[..., None]
) -> None:
    cloud.served, cloud.exits["release"] = "former", 1
    with pytest.raises(DeployError, match=r"exit status 1.*Version former goes on serving"):
        deploy()
    assert cloud.served == "former"
    assert not any("shop-dev-app" in step for step in cloud.done)
    assert "    the last line" in cloud.said


def test_a_failed_verification_brings_the_former_version_back(
    cloud: Cloud, deploy: Callable[..., None]
) -> None:
    cloud.served, cloud.exits["verify"] = "former", 1
    with pytest.raises(DeployError, match="Version former serves again"):
        deploy()
    assert cloud.done[-1] == "cdk deploy shop-dev-release shop-dev-app former"


def test_a_failed_first_verification_is_said(cloud: Cloud, deploy: Callable[..., None]) -> None:
    cloud.exits["verify"] = 1
    with pytest.raises(DeployError, match=f"{HEAD} serves, and verify_encryption failed"):
        deploy()


@pytest.mark.parametrize(
    ("stack", "steps"), [("shop-dev-data", 1), ("shop-dev-release", 6), ("shop-dev-app", 8)]
)
def test_nothing_follows_a_stack_that_fails(
    cloud: Cloud, deploy: Callable[..., None], stack: str, steps: int
) -> None:
    cloud.failing = (stack,)
    with pytest.raises(DeployError):
        deploy()
    assert len(cloud.done) == steps


def test_an_application_that_does_not_start_is_said(
    cloud: Cloud, deploy: Callable[..., None]
) -> None:
    cloud.served, cloud.failing = "former", ("shop-dev-app",)
    with pytest.raises(DeployError, match=r"took it back.*Version former goes on serving"):
        deploy()


def test_an_unfinished_commit_has_no_tag(cloud: Cloud, deploy: Callable[..., None]) -> None:
    cloud.changes = " M manage.py"
    with pytest.raises(DeployError, match="Commit them"):
        deploy()
    assert cloud.done == []


def test_an_unknown_tag_cannot_be_built(cloud: Cloud, deploy: Callable[..., None]) -> None:
    with pytest.raises(DeployError, match="There is no image abc"):
        deploy("abc")
    assert cloud.done == []


def test_another_account_is_refused(cloud: Cloud, deploy: Callable[..., None]) -> None:
    with pytest.raises(DeployError, match="210987654321"):
        deploy(account="210987654321")
    assert cloud.done == []


def test_the_registrys_password_goes_through_a_pipe_only(
    cloud: Cloud, deploy: Callable[..., None]
) -> None:
    deploy()
    assert PASSWORD in cloud.inputs
    assert PASSWORD not in " ".join(cloud.done + cloud.said)


class Doomed(Cloud):
    """An environment that is to go: in its vault are backups, which AWS deletes slowly."""

    def __init__(self, *, stays: bool = False) -> None:
        super().__init__()
        self.served = "former"
        self._stays = stays
        self._points = {"arn:1": "COMPLETED", "arn:2": "EXPIRED", "arn:3": "CREATING"}
        self._of = ""

    def get_paginator(self, name: str) -> "Doomed":
        self._of = name
        return self

    def paginate(self, **asked: Any) -> list[dict[str, Any]]:
        if self._of == "list_stack_resources":
            kinds = {
                "shop-dev-data": {"AWS::S3::Bucket": "media", "AWS::Backup::BackupVault": "vault"},
                "shop-dev-foundation": {"AWS::S3::Bucket": "logs"},
            }[asked["StackName"]]
            found = [
                {"ResourceType": kind, "PhysicalResourceId": name} for kind, name in kinds.items()
            ]
            return [{"StackResourceSummaries": found}, {"StackResourceSummaries": []}]
        if self._of == "list_object_versions":
            return [{"Versions": [{"Key": asked["Bucket"], "VersionId": "1"}]}]
        if self._of == "get_parameters_by_path":
            return [{"Parameters": []}]
        assert asked == {"BackupVaultName": "vault"}
        return self._recovery_points()

    def _recovery_points(self) -> list[dict[str, Any]]:
        """List them; by the next time one that is made is there, one that goes is gone."""
        listed = dict(self._points)
        if not self._stays:
            self._points = {
                arn: "COMPLETED" if status == "CREATING" else status
                for arn, status in listed.items()
                if status != "DELETING"
            }
        return [
            {"RecoveryPoints": [{"RecoveryPointArn": arn, "Status": status}]}
            for arn, status in listed.items()
        ]

    def delete_objects(self, *, Bucket: str, **_: Any) -> None:  # noqa: N803
        self.done.append(f"empty {Bucket}")

    def delete_recovery_point(self, *, BackupVaultName: str, RecoveryPointArn: str) -> None:  # noqa: N803
        assert BackupVaultName == "vault"
        assert self._points[RecoveryPointArn] not in {"CREATING", "DELETING"}, "InvalidState"
        self.done.append(f"delete {RecoveryPointArn}")
        self._points[RecoveryPointArn] = "DELETING"


def destroy(cloud: Cloud) -> None:
    Deployment(
        project=PROJECT,
        environment=_environment(protect=False),
        client=cloud.client,
        run=cloud.run,
        say=cloud.said.append,
        sleep=lambda _seconds: None,
    ).destroy()


def test_backups_and_files_go_before_the_stack_that_has_them() -> None:
    cloud = Doomed()
    destroy(cloud)
    assert cloud.done == [
        "cdk destroy shop-dev-app former",
        "cdk destroy shop-dev-release former",
        "empty media",
        *("delete arn:1", "delete arn:2", "delete arn:3"),
        "cdk destroy shop-dev-data former",
        "empty logs",
        "cdk destroy shop-dev-foundation former",
    ]


def test_a_backup_that_stays_is_said_and_its_vault_left_alone() -> None:
    cloud = Doomed(stays=True)
    with pytest.raises(DeployError, match="3 backups are still in the vault vault"):
        destroy(cloud)
    assert not any("shop-dev-data" in step for step in cloud.done)


def test_a_protected_environment_is_not_destroyed(cloud: Cloud) -> None:
    deployment = Deployment(
        project=PROJECT, environment=_environment(protect=True), client=cloud.client, run=cloud.run
    )
    with pytest.raises(DeployError, match="protect = false"):
        deployment.destroy()
    assert cloud.done == []
