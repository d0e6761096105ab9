"""ECS tasks as Fargate runs them, which the emulator does in part only.

Containers of a task share one network namespace, so that one may listen on another's
loopback; named volumes, read-only roots, users, health checks and the order of start
are honoured; credentials are those of the task's role. A deployment is done when the
containers and their load balancer say that they are healthy, and its stack waits for it.
"""

import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import balancer
import docker
from docker.types import Healthcheck, Mount, Ulimit
from ministack.core.concurrency import resource_lock
from ministack.services import ecs, sts
from ministack.services.cloudformation import provisioners
from places import ACCOUNT, ENDPOINT, TASK_METADATA, Places

type Definition = dict[str, Any]

# Files of images with the CAs of AWS's servers; here the emulator's CA is in their place.
CA_FILES = ("DATABASE_CA_FILE", "CACHE_CA_FILE")
PAUSE_IMAGE = "nginx:1.30.6"  # it can sleep
HEALTHY_WITHIN = 240
STEADY_WITHIN = 600
DRAINS_FOR = 3
LABEL = "fullcrypt.rehearsal"
# docker-py says nanoseconds.
SECOND = 1_000_000_000

_roles: dict[str, str] = {}


def credentials(path: str) -> dict[str, str] | None:
    """Return what a task gets of `http://169.254.170.2/v2/credentials/ID`, a new session."""
    role = _roles.get(path.rpartition("/")[2])
    if role is None:
        return None
    key, secret, token = (
        f"ASIA{secrets.token_hex(8).upper()}",
        secrets.token_hex(20),
        secrets.token_hex(64),
    )
    name = role.rpartition("/")[2]
    expires = time.time() + 3600
    sts.register_session(
        key,
        {
            "Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/task",
            "UserId": f"{sts._role_id(role)}:task",
            "SecretAccessKey": secret,
            "SessionToken": token,
            "Expiration": expires,
            "AccountId": ACCOUNT,
            "PrincipalType": "AssumedRole",
        },
    )
    return {
        "RoleArn": role,
        "AccessKeyId": key,
        "SecretAccessKey": secret,
        "Token": token,
        "Expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires)),
    }


class Tasks:
    """The emulator's ECS, with the functions replaced that start containers and judge them."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._docker = docker.from_env(timeout=120)

    def install(self, handlers: dict[str, Any]) -> None:
        """Replace functions of the emulator's."""
        ecs._build_run_kwargs = self._run_arguments
        ecs._run_docker_container = self._run
        ecs._deployment_needs_first_task = lambda *_args, **_kwargs: False
        ecs._prepare_service_images = lambda *_args: None
        ecs._make_deployment = _begun(ecs._make_deployment)
        ecs._container_ip = self._address
        self._healthy, ecs._record_service_task_healthy = (
            ecs._record_service_task_healthy,
            self._judge,
        )
        self._clean_up, ecs._cleanup_task_resources = ecs._cleanup_task_resources, self._remove

        definition, service = handlers["AWS::ECS::TaskDefinition"], handlers["AWS::ECS::Service"]
        for verb in ("create", "update"):
            definition[verb] = _prepared(definition[verb])
            service[verb] = _awaited(service[verb])

    # Starting -------------------------------------------------------------------------

    def _run_arguments(
        self, container: Definition, task: Definition, env: dict[str, str], *others: Any
    ) -> Definition:
        *_, task_id, task_arn, _address, cluster_arn = others
        short = task_id[:8]
        image = self._image(container["image"])
        linux = container.get("linuxParameters", {})
        drop = linux.get("capabilities", {}).get("drop", [])
        arguments = {
            "detach": True,
            "name": f"ministack-ecs-{short}-{container['name']}",
            "labels": {
                LABEL: self._places.network,
                "task": task_arn,
                "cluster": cluster_arn,
                "container": container["name"],
            },
            "network_mode": f"container:{self._pause(short)}",
            "environment": self._environment(env, task),
            "command": container.get("command"),
            "entrypoint": container.get("entryPoint"),
            "user": container.get("user"),
            "working_dir": container.get("workingDirectory"),
            "read_only": container.get("readonlyRootFilesystem", False),
            "init": linux.get("initProcessEnabled") or None,
            "cap_drop": drop,
            "mounts": self._mounts(container, task, short, image, env),
            "healthcheck": _health_check(container.get("healthCheck")),
            "tmpfs": {
                mount["containerPath"]: ",".join([f"size={mount['size']}m", *mount["mountOptions"]])
                for mount in linux.get("tmpfs", [])
            },
            "ulimits": [
                Ulimit(name=each["name"], soft=each["softLimit"], hard=each["hardLimit"])
                for each in container.get("ulimits", [])
            ],
        }
        return {name: value for name, value in arguments.items() if value is not None}

    def _pause(self, short: str) -> str:
        """Return the container that holds the task's network namespace; start it once."""
        name = f"rehearsal-pause-{short}"
        with suppress(docker.errors.NotFound):
            return str(self._docker.containers.get(name).id)
        return str(
            self._docker.containers.run(
                PAUSE_IMAGE,
                entrypoint=["sleep", "infinity"],
                init=True,
                name=name,
                detach=True,
                network=self._places.network,
                extra_hosts={ENDPOINT: self._places.gateway},
                labels={LABEL: self._places.network},
            ).id
        )

    def _image(self, name: str) -> Any:
        """Pull from the emulator's registry, under whose AWS name no program can reach it."""
        host, _, rest = name.partition("/")
        if not host.endswith(".amazonaws.com"):
            return self._docker.images.get(name)
        repository, _, tag = rest.rpartition(":")
        return self._docker.images.pull(f"{self._places.registry}/{repository}", tag=tag)

    def _environment(self, env: dict[str, str], task: Definition) -> dict[str, str]:
        """Lead boto3 to the emulator; the project itself has no option for that."""
        identifier = secrets.token_hex(16)
        _roles[identifier] = task.get("taskRoleArn", "")
        metadata = env["ECS_CONTAINER_METADATA_URI_V4"].partition("/v4/")[2]
        added = {
            "AWS_ENDPOINT_URL": self._places.task_url,
            "AWS_CA_BUNDLE": "/rehearsal/ca.crt",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": f"/v2/credentials/{identifier}",
            "ECS_CONTAINER_METADATA_URI_V4": f"http://{TASK_METADATA}/v4/{metadata}",
        }
        unwanted = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN")
        return {k: v for k, v in env.items() if k not in unwanted} | added

    def _mounts(
        self, container: Definition, task: Definition, short: str, image: Any, env: dict[str, str]
    ) -> list[Mount]:
        ca = str(self._places.authority.crt)
        trusted = ["/rehearsal/ca.crt", *(env[name] for name in CA_FILES if name in env)]
        mounts = [Mount(path, ca, type="bind", read_only=True) for path in dict.fromkeys(trusted)]
        # A volume is root's, unless the image declares its path as a volume:
        # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/bind-mounts.html
        declared = image.attrs["Config"].get("Volumes") or {}
        names = [volume["name"] for volume in task.get("volumes", [])]
        for point in container.get("mountPoints", []):
            assert point["sourceVolume"] in names, f"no volume {point['sourceVolume']}"
            mounts.append(
                Mount(
                    point["containerPath"],
                    f"rehearsal-{short}-{point['sourceVolume']}",
                    read_only=point.get("readOnly", False),
                    no_copy=point["containerPath"] not in declared,
                    labels={LABEL: self._places.network},
                )
            )
        return mounts

    def _run(self, _client: Any, container: Definition, arguments: Definition, **_: Any) -> Any:
        prefix = arguments["name"].removesuffix(container["name"])
        for dependency in container.get("dependsOn", []):
            self._wait_for(prefix + dependency["containerName"], dependency["condition"])
        return self._docker.containers.run(self._image(container["image"]), **arguments)

    def _wait_for(self, name: str, condition: str) -> None:
        deadline = time.monotonic() + HEALTHY_WITHIN
        while time.monotonic() < deadline:
            state = self._docker.containers.get(name).attrs["State"]
            done = state["Status"] == "exited"
            if condition == "START" and (state["Running"] or done):
                return
            if condition == "HEALTHY" and state.get("Health", {}).get("Status") == "healthy":
                return
            if condition == "COMPLETE" and done:
                return
            if condition == "SUCCESS" and done and state["ExitCode"] == 0:
                return
            if done:
                raise RuntimeError(
                    f"{name} exited with {state['ExitCode']}; {condition} is awaited"
                )
            time.sleep(0.3)
        raise RuntimeError(f"{name} was not {condition} within {HEALTHY_WITHIN} s")

    def _address(self, container: Any, _network: str) -> str | None:
        mode = container.attrs["HostConfig"]["NetworkMode"]
        holder = self._docker.containers.get(mode.removeprefix("container:"))
        networks = holder.attrs["NetworkSettings"]["Networks"]
        address = str(networks[self._places.network]["IPAddress"])
        balancer.forget(address)
        return address

    # Judging and stopping ----------------------------------------------------------------

    def _judge(self, service_key: str, task: Definition) -> None:
        """Count a task as healthy when its containers and its load balancer do."""
        deadline = time.monotonic() + HEALTHY_WITHIN
        arn, ill = task["taskArn"], "not healthy in time"
        while ecs._task_is_active(arn, task) and task.get("lastStatus") == "RUNNING":
            health = self._health(task)
            if health == "healthy" and balancer.healthy(service_key, ecs._task_ip(task)):
                task["healthStatus"] = "HEALTHY"
                self._healthy(service_key, task)
                return
            if health == "unhealthy" or time.monotonic() > deadline:
                ill = f"container health: {health}"
                break
            time.sleep(0.5)
        if ecs._mark_task_stopped(
            arn, task, f"Task failed health checks ({ill})", "EssentialContainerExited"
        ):
            ecs._cleanup_task_resources(task, self._docker)

    def _health(self, task: Definition) -> str:
        found = []
        for number in list(task.get("_docker_ids") or []):
            with suppress(docker.errors.NotFound):
                state = self._docker.containers.get(number).attrs["State"]
                found.append(state.get("Health", {}).get("Status", "healthy"))
        if "unhealthy" in found:
            return "unhealthy"
        return "starting" if not found or "starting" in found else "healthy"

    def _remove(self, task: Definition, client: Any, *others: Any) -> None:
        if task.get("group", "").startswith("service:"):
            time.sleep(DRAINS_FOR)  # it is no target any more: let requests under way end
        self._clean_up(task, client or self._docker, *others)
        short = task["taskArn"].rpartition("/")[2][:8]
        with suppress(docker.errors.NotFound):
            self._docker.containers.get(f"rehearsal-pause-{short}").remove(force=True)
        for volume in self._docker.volumes.list(filters={"name": f"rehearsal-{short}-"}):
            with suppress(docker.errors.APIError):
                volume.remove()


def _health_check(check: Definition | None) -> Healthcheck:
    """ECS runs the task definition's health check, and never the image's own."""
    if not check:
        return Healthcheck(test=["NONE"])
    return Healthcheck(
        test=check["command"],
        interval=min(check.get("interval", 30), 3) * SECOND,  # the rehearsal is in a hurry
        timeout=check.get("timeout", 5) * SECOND,
        retries=check.get("retries", 3),
        start_period=max(check.get("startPeriod", 0), 60) * SECOND,
    )


def _begun(make: Any) -> Any:
    """A first deployment is no more done than a later one before its tasks are healthy."""

    def make_deployment(task_definition: str, desired: int, *others: Any) -> Definition:
        deployment: Definition = make(task_definition, desired, *others)
        if desired:
            deployment |= {"rolloutState": "IN_PROGRESS", "rolloutStateReason": ""}
        return deployment

    return make_deployment


def _prepared(make: Any) -> Any:
    """A handler of task definitions that understands every level and starts in order."""

    def handle(*arguments: Any) -> Any:
        made = make(*arguments)
        definition = ecs._task_defs[ecs._resolve_td_key(made[0])]
        definition["volumes"] = provisioners._pascal_to_camel(definition["volumes"])
        containers = provisioners._pascal_to_camel(definition["containerDefinitions"])
        definition["containerDefinitions"] = list(_in_order(containers))
        return made

    return handle


def _in_order(containers: list[Definition]) -> Iterator[Definition]:
    left, started = list(containers), set[str]()
    while left:
        ready = next(
            each
            for each in left
            if all(d["containerName"] in started for d in each.get("dependsOn", []))
        )
        left.remove(ready)
        started.add(ready["name"])
        yield ready


def _awaited(change: Any) -> Any:
    """A handler of services that waits for the deployment, as CloudFormation does."""

    def handle(*arguments: Any) -> Any:
        changed = change(*arguments)
        service = ecs._services[_key_of(changed[0])]
        deadline = time.monotonic() + STEADY_WITHIN
        identifier = ecs._primary_deployment(service)["id"]
        while time.monotonic() < deadline:
            with resource_lock("ecs-service", _key_of(changed[0])):
                wanted = [each for each in service["deployments"] if each["id"] == identifier]
                state = wanted[0]["rolloutState"] if wanted else "FAILED"
            if state == "COMPLETED":
                return changed
            if state == "FAILED":
                raise ValueError(
                    f"{service['serviceName']}: ECS Deployment Circuit Breaker was triggered"
                )
            time.sleep(0.5)
        raise ValueError(f"{service['serviceName']} is not steady after {STEADY_WITHIN} s")

    return handle


def _key_of(service_arn: str) -> str:
    cluster, name = service_arn.split(":service/", 1)[1].rsplit("/", 1)
    return f"{cluster.rpartition('/')[2]}/{name}"
