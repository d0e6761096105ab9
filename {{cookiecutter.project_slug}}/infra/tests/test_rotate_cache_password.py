"""At no moment of a rotation has a task a password that the cache refuses. No AWS is asked."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

import rotate_cache_password
from config import Environment, HostedZone, Project
from deploy import DeployError, Deployment
from rotate_cache_password import Rotation

PROJECT = Project(
    name="Shop", slug="shop", domain="example.com", region="eu-central-1", repository="me/shop"
)
ENVIRONMENT = Environment(
    name="dev", domain="dev.example.com", hosted_zone=HostedZone(id="Z1", name="example.com")
)
OUTPUTS = {
    "shop-dev-data": {"CacheUser": "shop-dev-app", "CachePassword": "arn:secret"},
    "shop-dev-release": {
        "ClusterName": "cluster",
        "ReleaseTaskDefinition": "task:1",
        "ReleaseSubnets": "subnet-1",
        "ReleaseSecurityGroup": "sg-1",
        "ReleaseLogGroup": "logs",
    },
    "shop-dev-app": {"WebServiceName": "web", "WorkerServiceName": "worker"},
}
SERVICES = ("web", "worker")
STEPS = [
    "put_secret_value",
    "modify_user 2",
    "update_secret_version_stage",
    "update_service web",
    "update_service worker",
    "run_task",
    "modify_user 1",
]
POLLS = 2  # how often one has to ask until something has happened


class Killed(BaseException):
    """The process ends here, as with Ctrl-C."""


def denied(operation: str) -> ClientError:
    return ClientError({"Error": {"Code": "AccessDenied", "Message": "denied"}}, operation)


class Cloud:
    """Secret, user and tasks. Each call that changes something is written down.

    A task, and the gate, get the password that is current when they start. `kill` names the
    step after which the process ends, `deny` one that AWS refuses.
    """

    def __init__(self) -> None:
        self.outputs = {name: dict(values) for name, values in OUTPUTS.items()}
        self.done: list[str] = []
        self.said: list[str] = []
        self.kill = self.deny = ""
        self.gate = 0
        self.taken_back = False
        self.versions = {"v1": "old"}
        self.stages = {"AWSCURRENT": "v1"}
        self.valid = ["old"]
        # Task: the password that it has; those of a schedule belong to no service.
        self.tasks = {"web-0": "old", "worker-0": "old", "scheduled": "old"}
        self.deployments = dict.fromkeys(SERVICES, 0)
        self._modifying = 0
        self._rolling: dict[str, int] = {}
        self._scheduled_ends = 2 * POLLS

    def client(self, _service: str, *, region_name: str) -> "Cloud":
        assert region_name == PROJECT.region
        return self

    def run(self, command: list[str], **_: Any) -> str:
        raise AssertionError(f"no program is needed, and {command[0]} could show a password")

    def check(self) -> None:
        """What the whole thing is for."""
        refused = {task for task, password in self.tasks.items() if password not in self.valid}
        assert not refused

    def _change(self, step: str) -> Callable[[], None]:
        if step == self.deny:
            raise denied(step)
        self.done.append(step)

        def end() -> None:
            self.check()
            if step == self.kill:
                self.kill = ""
                raise Killed

        return end

    def current(self) -> str:
        return self.versions[self.stages["AWSCURRENT"]]

    # boto3's clients ------------------------------------------------------------------------

    def get_caller_identity(self) -> dict[str, str]:
        return {"Account": "123456789012"}

    def describe_stacks(self, *, StackName: str) -> dict[str, Any]:  # noqa: N803
        pairs = [{"OutputKey": k, "OutputValue": v} for k, v in self.outputs[StackName].items()]
        return {"Stacks": [{"Outputs": pairs}]}

    def describe_secret(self, *, SecretId: str) -> dict[str, Any]:  # noqa: N803
        assert SecretId == "arn:secret"
        stages: dict[str, list[str]] = {}
        for stage, version in self.stages.items():
            stages.setdefault(version, []).append(stage)
        return {"VersionIdsToStages": stages}

    def get_secret_value(
        self,
        *,
        SecretId: str,  # noqa: N803
        VersionId: str = "",  # noqa: N803
        VersionStage: str = "",  # noqa: N803
    ) -> dict[str, str]:
        assert SecretId == "arn:secret"
        version = VersionId or self.stages[VersionStage]
        return {"VersionId": version, "SecretString": self.versions[version]}

    def get_random_password(self, **asked: Any) -> dict[str, str]:
        assert asked == {"PasswordLength": 64, "ExcludePunctuation": True}
        return {"RandomPassword": f"new{len(self.versions)}"}

    def put_secret_value(
        self,
        *,
        SecretId: str,  # noqa: N803
        SecretString: str,  # noqa: N803
        VersionStages: list[str],  # noqa: N803
    ) -> dict[str, str]:
        assert (SecretId, VersionStages) == ("arn:secret", ["AWSPENDING"])
        end = self._change("put_secret_value")
        version = f"v{len(self.versions) + 1}"
        self.versions[version] = SecretString
        self.stages["AWSPENDING"] = version
        end()
        return {"VersionId": version}

    def update_secret_version_stage(self, **asked: str) -> None:
        end = self._change("update_secret_version_stage")
        assert asked["VersionStage"] == "AWSCURRENT"
        assert asked["RemoveFromVersionId"] == self.stages["AWSCURRENT"]
        self.stages["AWSPREVIOUS"] = self.stages["AWSCURRENT"]
        self.stages["AWSCURRENT"] = asked["MoveToVersionId"]
        assert not self._modifying, "a new task could be refused by a node"
        assert self.current() in self.valid
        end()

    def describe_users(self, *, UserId: str) -> dict[str, Any]:  # noqa: N803
        assert UserId == "shop-dev-app"
        self._modifying = max(0, self._modifying - 1)
        status = "modifying" if self._modifying else "active"
        authentication = {"Type": "password", "PasswordCount": len(self.valid)}
        return {"Users": [{"Status": status, "Authentication": authentication}]}

    def modify_user(self, *, UserId: str, Passwords: list[str]) -> None:  # noqa: N803
        assert UserId == "shop-dev-app"
        assert not self._modifying, "InvalidUserState"
        end = self._change(f"modify_user {len(Passwords)}")
        assert len(set(Passwords)) == len(Passwords) <= 2
        self.valid, self._modifying = list(Passwords), POLLS
        end()

    def get_paginator(self, name: str) -> "Cloud":
        assert name == "list_tasks"
        return self

    def paginate(self, *, cluster: str) -> list[dict[str, Any]]:
        assert cluster == "cluster"
        return [{"taskArns": [task]} for task in self.tasks]

    def update_service(self, *, cluster: str, service: str, forceNewDeployment: bool) -> Any:  # noqa: N803
        assert cluster == "cluster"
        assert forceNewDeployment
        end = self._change(f"update_service {service}")
        self.deployments[service] += 1
        self._rolling[service] = POLLS
        self.tasks[f"{service}-{self.deployments[service]}"] = self.current()
        end()
        return {"service": self._service(service)}

    def describe_services(self, *, cluster: str, services: list[str]) -> dict[str, Any]:
        assert cluster == "cluster"
        for service in services:
            self._rolling[service] = max(0, self._rolling.get(service, 0) - 1)
        return {"services": [self._service(service) for service in services]}

    def _service(self, service: str) -> dict[str, Any]:
        state = "IN_PROGRESS" if self._rolling.get(service) else "COMPLETED"
        if self.taken_back and service == "worker":
            state = "FAILED"
        primary = {"id": str(self.deployments[service]), "status": "PRIMARY", "rolloutState": state}
        former = {"id": "former", "status": "ACTIVE", "rolloutState": "COMPLETED"}
        return {"serviceName": service, "deployments": [former, primary]}

    def describe_tasks(self, *, cluster: str, tasks: list[str]) -> dict[str, Any]:
        assert cluster == "cluster"
        if tasks == ["gate"]:
            container = {"name": "app", "exitCode": self.gate}
            return {"tasks": [{"lastStatus": "STOPPED", "containers": [container]}]}
        newest = {f"{service}-{number}" for service, number in self.deployments.items()}
        self._scheduled_ends -= 1
        if self._scheduled_ends > 0:
            newest.add("scheduled")
        for task in set(tasks) - newest:
            self.tasks.pop(task, None)
        found = [("RUNNING" if task in self.tasks else "STOPPED") for task in tasks]
        return {"tasks": [{"lastStatus": status} for status in found], "failures": []}

    def run_task(self, **asked: Any) -> dict[str, Any]:
        (override,) = asked["overrides"]["containerOverrides"]
        assert override["command"] == ["python", "manage.py", "verify_encryption"]
        end = self._change("run_task")
        assert self.current() in self.valid
        end()
        return {"failures": [], "tasks": [{"taskArn": "gate"}]}

    def get_log_events(self, **_: Any) -> dict[str, Any]:
        return {"events": [{"message": "what the gate logged"}]}


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def rotate(cloud: Cloud) -> Callable[[], None]:
    def start() -> None:
        Rotation(
            Deployment(
                project=PROJECT,
                environment=ENVIRONMENT,
                client=cloud.client,
                run=cloud.run,
                say=cloud.said.append,
                sleep=lambda _seconds: cloud.check(),
            )
        ).rotate()

    return start


def finished(cloud: Cloud) -> bool:
    """Whether one password is left, which is the new one, and all tasks have it."""
    cloud.check()
    password = cloud.current()
    return password != "old" and cloud.valid == [password] == [*set(cloud.tasks.values())]


def test_the_new_password_is_let_in_before_anything_has_it(
    cloud: Cloud, rotate: Callable[[], None]
) -> None:
    rotate()
    assert cloud.done == STEPS
    assert finished(cloud)


def test_the_next_rotation_makes_another_password(cloud: Cloud, rotate: Callable[[], None]) -> None:
    rotate()
    first = cloud.current()
    assert cloud.stages["AWSPENDING"] == cloud.stages["AWSCURRENT"], "the label stays"
    rotate()
    assert cloud.done == STEPS * 2
    assert finished(cloud)
    assert cloud.current() != first


@pytest.mark.parametrize("step", STEPS)
def test_a_run_that_was_killed_is_finished_by_the_next(
    cloud: Cloud, rotate: Callable[[], None], step: str
) -> None:
    cloud.kill = step
    with pytest.raises(Killed):
        rotate()
    assert finished(cloud) == (step == STEPS[-1])
    rotate()
    assert finished(cloud)
    if step != STEPS[-1]:
        assert cloud.done.count("put_secret_value") == 1, "the next run takes what there is"


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_aws_refuses_is_said_and_repeated(
    cloud: Cloud, rotate: Callable[[], None], step: str
) -> None:
    cloud.deny = step
    with pytest.raises((ClientError, DeployError), match="denied"):
        rotate()
    assert cloud.done == STEPS[: STEPS.index(step)]
    cloud.deny = ""
    rotate()
    assert finished(cloud)


def test_a_failing_gate_leaves_both_passwords(cloud: Cloud, rotate: Callable[[], None]) -> None:
    cloud.gate = 1
    with pytest.raises(DeployError, match=r"verify_encryption failed.*Both passwords.*again"):
        rotate()
    assert cloud.valid == ["old", "new1"]
    assert "    what the gate logged" in cloud.said
    cloud.gate = 0
    rotate()
    assert cloud.done == [*STEPS[:-1], *STEPS[3:]], "with the same password"
    assert finished(cloud)


def test_tasks_that_do_not_get_healthy_leave_both_passwords(
    cloud: Cloud, rotate: Callable[[], None]
) -> None:
    cloud.taken_back = True
    with pytest.raises(DeployError, match=r"new tasks of worker back.*Both passwords.*again"):
        rotate()
    assert cloud.valid == ["old", "new1"]
    assert "run_task" not in cloud.done


def test_a_task_of_a_schedule_may_end_first(cloud: Cloud, rotate: Callable[[], None]) -> None:
    cloud.deny = "run_task"
    with pytest.raises(DeployError):
        rotate()
    assert "scheduled" not in cloud.tasks


def test_a_user_that_stays_in_change_ends_it_before_anything_is_made(
    cloud: Cloud, rotate: Callable[[], None]
) -> None:
    cloud._modifying = 10**6
    with pytest.raises(DeployError, match="shop-dev-app is not active"):
        rotate()
    assert cloud.done == []


def test_an_environment_without_the_outputs_is_deployed_first(
    cloud: Cloud, rotate: Callable[[], None]
) -> None:
    del cloud.outputs["shop-dev-data"]["CacheUser"]
    with pytest.raises(DeployError, match=r"no output CacheUser\. Deploy it first"):
        rotate()
    assert cloud.done == []


@pytest.mark.parametrize("gate", [0, 1])
def test_no_password_is_shown(
    cloud: Cloud, rotate: Callable[[], None], gate: int, capfd: pytest.CaptureFixture[str]
) -> None:
    cloud.versions["v1"], cloud.valid = "the-old-one", ["the-old-one"]
    cloud.tasks = dict.fromkeys(cloud.tasks, "the-old-one")
    cloud.gate = gate
    error = ""
    try:
        rotate()
    except DeployError as failure:
        error = str(failure)
    shown = "".join([*cloud.said, error, *capfd.readouterr()])
    assert "the-old-one" not in shown
    assert "new1" not in shown
    assert "new1" not in repr(rotate_cache_password.Password(version="v", value="new1"))
