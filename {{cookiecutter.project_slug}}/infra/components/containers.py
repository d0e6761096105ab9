"""Containers of a task, hardened alike.

What compose.yaml has locally (`x-hardened`), as far as Fargate has it: a read-only root, no
capability, memory for /tmp. It has no `no-new-privileges`; without capabilities and with
`nosuid` on what can be written, a setuid program gains nothing.
"""

from collections.abc import Mapping, Sequence

from aws_cdk import Duration, Size
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_logs as logs

# What the agent of ECS Exec writes to: https://github.com/aws/containers-roadmap/issues/1359
_EXEC_PATHS = ("/managed-agents", "/var/lib/amazon/ssm", "/var/log/amazon/ssm")


def add_container(
    task: ecs.FargateTaskDefinition,
    name: str,
    *,
    image: ecs.ContainerImage,
    user: int,
    memory: int,
    tmp: int,
    log_group: logs.ILogGroup,
    sessions: bool,
    stop_timeout: Duration,
    command: Sequence[str] | None = None,
    environment: Mapping[str, str] | None = None,
    secrets: Mapping[str, ecs.Secret] | None = None,
    health_check: ecs.HealthCheck | None = None,
) -> ecs.ContainerDefinition:
    """Add an essential container; `memory` and `tmp`, which is part of it, in MiB.

    /tmp is a tmpfs, which Fargate has since January 2026 and which is as open to every user
    as the directory it covers:
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Tmpfs.html
    With `sessions`, three volumes let the agent of ECS Exec write, which runs as root.
    """
    linux = ecs.LinuxParameters(task, f"{name}-linux", init_process_enabled=True)
    linux.drop_capabilities(ecs.Capability.ALL)
    linux.add_tmpfs(
        ecs.Tmpfs(
            container_path="/tmp",  # noqa: S108
            size=tmp,
            mount_options=[
                ecs.TmpfsMountOption.NOSUID,
                ecs.TmpfsMountOption.NODEV,
                ecs.TmpfsMountOption.NOEXEC,
            ],
        )
    )
    container = task.add_container(
        name,
        container_name=name,
        image=image,
        user=f"{user}:{user}",
        memory_limit_mib=memory,
        readonly_root_filesystem=True,
        essential=True,
        linux_parameters=linux,
        stop_timeout=stop_timeout,
        command=list(command) if command else None,
        environment=dict(environment or {}),
        secrets=dict(secrets or {}),
        health_check=health_check,
        logging=ecs.LogDrivers.aws_logs(
            stream_prefix=name,
            log_group=log_group,
            # Logs that cannot be sent must not stop the application.
            mode=ecs.AwsLogDriverMode.NON_BLOCKING,
            max_buffer_size=Size.mebibytes(25),
        ),
    )
    for path in _EXEC_PATHS if sessions else ():
        volume = f"{name}{path.replace('/', '-')}"
        task.add_volume(name=volume)
        mount(container, volume, path=path)
    return container


def mount(
    container: ecs.ContainerDefinition, volume: str, *, path: str, read_only: bool = False
) -> None:
    """Mount a volume that lives as long as the task, on its encrypted disk, empty at first.

    It belongs to root, unless `path` is a VOLUME of the image of the container that starts
    first: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/bind-mounts.html
    """
    container.add_mount_points(
        ecs.MountPoint(source_volume=volume, container_path=path, read_only=read_only)
    )
