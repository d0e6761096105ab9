"""An AWS to deploy to: the emulator of `emulator/`, its network and its certificate authority."""

import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import pytest
from authority import make_authority
from places import ACCOUNT, EDGE, SECRET, TASK_METADATA, Places
from stack import free_ports

HERE = Path(__file__).parent
EMULATOR = HERE / "emulator"
STARTS_WITHIN = 60


def require_all() -> None:
    """Fail with the names of what this machine lacks. Nobody asks for a rehearsal by chance."""
    missing = [
        name
        for name, there in {
            f"root, who may listen at {EDGE}:443": os.geteuid() == 0,
            "a Docker engine that answers to 'docker info'": _succeeds("docker", "info"),
            "docker buildx": _succeeds("docker", "buildx", "version"),
            "git": shutil.which("git"),
            "ip, of iproute2": shutil.which("ip"),
        }.items()
        if not there
    ]
    if missing:
        pytest.fail(f"This machine cannot rehearse. Missing: {', '.join(missing)}.")


class Cloud:
    """One emulated account, empty at first."""

    def __init__(self, folder: Path, region: str) -> None:
        """Make a CA and a Docker network. `folder` is a new one's path."""
        folder.mkdir()
        make_authority(folder / "authority")
        for name in ("ca.key", "ca.crt"):
            (folder / "authority" / name).rename(folder / name)
        self.network = f"rehearsal-{os.getpid()}"
        _docker("network", "create", self.network)
        template = "{{(index .IPAM.Config 0).Gateway}}"
        gateway = _docker("network", "inspect", "--format", template, self.network)
        self.places = Places(folder, self.network, gateway, free_ports(1)[0], region)
        self.log = folder / "emulator.log"

    @property
    def ca(self) -> Path:
        return self.places.authority.crt

    @cached_property
    def environment(self) -> dict[str, str]:
        """Lead the AWS programs of a command to the emulator."""
        bundle = self.places.folder / "bundle.crt"
        public = Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))
        bundle.write_bytes(self.ca.read_bytes() + public.read_bytes())
        return {
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": self.places.region,
            "AWS_REGION": self.places.region,
            "AWS_ENDPOINT_URL": self.places.url,
            "AWS_CA_BUNDLE": str(bundle),
            "AWS_EC2_METADATA_DISABLED": "true",
            "NODE_EXTRA_CA_CERTS": str(bundle),
        }

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            region_name=self.places.region,
            endpoint_url=self.places.url,
            verify=str(self.ca),
            aws_access_key_id=ACCOUNT,
            aws_secret_access_key=SECRET,
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the emulator; afterwards delete every container, volume and the network."""
        _ip("add")
        command = [
            "sh",
            str(HERE.parent.parent / "scripts/uv"),
            "run",
            "--locked",
            "--quiet",
            "--project",
            str(EMULATOR),
            "python",
            str(EMULATOR / "serve.py"),
        ]
        inherited = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("AWS_", "PYTHON", "VIRTUAL_ENV"))
        }
        paths = os.pathsep.join(map(str, (HERE.parent, HERE, EMULATOR)))
        environment = (
            inherited
            | self.places.environment
            | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
        )
        with self.log.open("wb") as log:
            # It ends when this process does, however that ends: its input is then at its end.
            pipe = subprocess.PIPE
            process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=log, stderr=log)
        try:
            self._await(process)
            yield
        finally:
            process.terminate()
            try:
                process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
            self._remove_all()
            _ip("del")

    def _await(self, process: subprocess.Popen[bytes]) -> None:
        context = ssl.create_default_context(cafile=self.ca)
        deadline = time.monotonic() + STARTS_WITHIN
        while True:
            with (
                suppress(OSError),
                urllib.request.urlopen(  # noqa: S310
                    f"{self.places.url}/_ministack/health", timeout=3, context=context
                ),
            ):
                return
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The emulator did not start:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.3)

    def _remove_all(self) -> None:
        label = f"label=fullcrypt.rehearsal={self.network}"
        for kind, listing, removal in (
            ("container", ("ls", "--all", "--quiet"), ("rm", "--force", "--volumes")),
            ("volume", ("ls", "--quiet"), ("rm", "--force")),
        ):
            found = _docker(kind, *listing, "--filter", label).split()
            if found:
                _docker(kind, *removal, *found)
        _docker("network", "rm", self.network)
        reference = f"reference={self.places.registry}/*"
        images = _docker("image", "ls", "--quiet", "--filter", reference).split()
        if images:
            _docker("image", "rm", "--force", *set(images))


@contextmanager
def resolving(domain: str) -> Iterator[None]:
    """Let this process find the load balancers behind the names below a domain."""
    real = socket.getaddrinfo

    def lead(host: Any, *arguments: Any, **options: Any) -> Any:
        return real(EDGE if str(host).endswith(f".{domain}") else host, *arguments, **options)

    socket.getaddrinfo = lead
    try:
        yield
    finally:
        socket.getaddrinfo = real


def _docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"docker {' '.join(arguments)}: {done.stderr}")
    return done.stdout.strip()


def _succeeds(*command: str) -> bool:
    if not shutil.which(command[0]):
        return False
    return not subprocess.run(command, capture_output=True, check=False).returncode


def _ip(verb: str) -> None:
    command: Sequence[str] = ["ip", "address", verb, f"{TASK_METADATA}/32", "dev", "lo"]
    subprocess.run(command, capture_output=True, check=False)


if __name__ == "__main__":  # for a look around: python cloud.py REGION
    import signal
    import tempfile

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cloud = Cloud(Path(tempfile.mkdtemp()) / "cloud", sys.argv[1])
    with cloud.running():
        for name, value in cloud.environment.items():
            sys.stdout.write(f"export {name}={value}\n")
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            time.sleep(36000)
