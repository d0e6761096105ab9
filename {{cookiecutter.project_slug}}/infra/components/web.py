"""The web service: proxy and application in one task, as `task` in compose.yaml."""

from aws_cdk import Duration
from aws_cdk import aws_ecs as ecs
from constructs import Construct

from components.application import ApplicationTask
from components.containers import add_container, mount
from components.edge import TARGET_PORT, Edge
from components.permissions import allow_runtime
from components.service import Service
from components.surroundings import Surroundings
from config import ConfigError

PROXY_USER = 101  # of services/nginx/Dockerfile
# What services/nginx/nginx.conf may keep in memory, and the proxy itself.
PROXY_MEMORY = 512
# Shared by the two containers and nobody else: what gunicorn needs. The proxy's own key and
# the CA's key, while there is one, are in the proxy's memory.
SHARED = "/run/credentials"
OWN = "/tmp/credentials"  # noqa: S108  # a tmpfs of this container
# Two days before the certificate ends the task counts as ill, and ECS makes another.
MIN_SECONDS = 2 * 24 * 60 * 60
_URL = f"https://localhost:{TARGET_PORT}/livez"

# That NGINX answers, whatever gunicorn says, since gunicorn waits for this.
PROXY_IS_WELL = (
    f"curl --silent --show-error --max-time 4 --output /dev/null --cacert {SHARED}/ca.crt {_URL}"
    f" && openssl x509 -in {OWN}/tls.crt -noout -checkend {MIN_SECONDS}"
)
# That the application answers through the proxy.
APP_IS_WELL = (
    "import ssl, urllib.request; "
    f"context = ssl.create_default_context(cafile='{SHARED}/ca.crt'); "
    f"urllib.request.urlopen('{_URL}', timeout=4, context=context)"
)


class WebService(Construct):
    """Serves what `edge` sends. The proxy starts first, since it makes the task's certificates.

    Raises `ConfigError` if the proxy leaves the application no memory.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        at: Surroundings,
        cluster: ecs.ICluster,
        edge: Edge,
    ) -> None:
        super().__init__(scope, construct_id)
        size = at.environment.web
        if size.memory <= PROXY_MEMORY:
            raise ConfigError(
                f"web.memory is {size.memory} MiB, all of which the proxy has. Take 1024 or more."
            )
        self.application = ApplicationTask(
            self,
            "Application",
            at=at,
            role="app",
            cpu=size.cpu,
            memory=size.memory - PROXY_MEMORY,
            task_memory=size.memory,
            sessions=at.environment.exec,
            environment={
                "EDGE_ADDRESS": f"localhost:{TARGET_PORT}",
                "EDGE_CA_FILE": f"{SHARED}/ca.crt",
                "WEB_WORKERS": str(max(2, size.cpu * 2 // 1024)),
            },
            health_check=ecs.HealthCheck(
                command=["CMD", "python", "-c", APP_IS_WELL],
                interval=Duration.seconds(15),
                timeout=Duration.seconds(5),
                retries=3,
                start_period=Duration.seconds(120),
            ),
        )
        allow_runtime(self.application.role, at)
        self._add_proxy(at)
        self.service = Service(
            self,
            "Service",
            cluster=cluster,
            subnets=at.network.app,
            task=self.application,
            size=size,
            grace=Duration.seconds(120),
        )
        edge.target_group.add_target(
            self.service.service.load_balancer_target(
                container_name="proxy", container_port=TARGET_PORT
            )
        )
        self.service.scaling.scale_on_request_count(
            "Requests",
            requests_per_target=1000,  # a minute
            target_group=edge.target_group,
            scale_out_cooldown=Duration.minutes(1),
            scale_in_cooldown=Duration.minutes(5),
        )

    def _add_proxy(self, at: Surroundings) -> None:
        task, app = self.application.task_definition, self.application.container
        proxy = add_container(
            task,
            "proxy",
            image=ecs.ContainerImage.from_ecr_repository(at.registry.proxy, at.tag),
            user=PROXY_USER,
            memory=PROXY_MEMORY,
            tmp=16,
            log_group=self.application.log_group,
            sessions=self.application.sessions,
            stop_timeout=Duration.seconds(90),  # the application, which ends first, has 60
            environment={
                "CREDENTIALS_DIR": OWN,
                "APP_CREDENTIALS_DIR": SHARED,
                "RUN_DIR": "/tmp/nginx",  # noqa: S108
                "HTTPS_PORT": "443",
                "TRUSTED_PROXIES": " ".join(at.network.edge_cidrs),
            },
            health_check=ecs.HealthCheck(
                command=["CMD-SHELL", PROXY_IS_WELL],
                interval=Duration.seconds(5),
                timeout=Duration.seconds(5),
                retries=3,
                start_period=Duration.seconds(60),
            ),
        )
        proxy.add_port_mappings(ecs.PortMapping(container_port=TARGET_PORT))
        task.add_volume(name="credentials")
        mount(proxy, "credentials", path=SHARED)
        mount(app, "credentials", path=SHARED, read_only=True)
        app.add_container_dependencies(
            ecs.ContainerDependency(
                container=proxy, condition=ecs.ContainerDependencyCondition.HEALTHY
            )
        )
