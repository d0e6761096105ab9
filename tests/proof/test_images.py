"""The images hold no private key, and the containers may do nothing that they need not."""

import io
import json
import re
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest
from stack import DockerStack

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(600)]

SERVERS = ("app", "aws", "cache", "postgres", "proxy", "scheduler", "worker")
ONCE = ("credentials", "release", "seed")
ALL = (*SERVERS, *ONCE, "task")  # which holds a network namespace and serves nothing
# A whole key: libraries mention the first line in their documentation.
PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=\s]{40,}-----END")


def files_of(layer: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of every file in a layer."""
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        for member in archive:
            if member.isfile() and (content := archive.extractfile(member)):
                yield member.name, content.read()


def own_layers(stack: DockerStack, image: str, base: str) -> list[bytes]:
    """The layers of an image that its base image does not have."""
    saved = stack.project / "image.tar"
    stack.run("docker", "save", "--output", saved, image)
    inherited = json.loads(stack.run("docker", "image", "inspect", base))[0]["RootFS"]["Layers"]
    with tarfile.open(saved) as archive:

        def read(name: str) -> bytes:
            content = archive.extractfile(name)
            assert content
            return content.read()

        layers = json.loads(read("manifest.json"))[0]["Layers"]
        own = [read(name) for name in layers[len(inherited) :]]
    saved.unlink()
    return own


@pytest.fixture(scope="module")
def containers(docker: DockerStack) -> dict[str, dict[str, Any]]:
    """What `docker inspect` says, by service."""
    ids = docker.run("docker", "compose", "ps", "--all", "--quiet").split()
    inspected = json.loads(docker.run("docker", "inspect", *ids))
    return {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in inspected}


def test_a_private_key_would_be_found(docker: DockerStack) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(docker.project / ".local/certs/app/tls.key", "etc/tls.key")
    assert [n for n, text in files_of(buffer.getvalue()) if PRIVATE_KEY.search(text)]


@pytest.mark.parametrize("service", ["app", "aws", "cache", "postgres", "proxy"])
def test_no_layer_holds_a_private_key_or_a_secret(docker: DockerStack, service: str) -> None:
    folder = {"proxy": "nginx"}.get(service, service)
    dockerfile = (docker.project / "services" / folder / "Dockerfile").read_text()
    base = re.findall(r"^FROM (\S+)", dockerfile, re.M)[-1]
    secrets = [value.encode() for name, value in docker.secrets.items() if "PORT" not in name]
    layers = own_layers(docker, f"{docker.name}-{service}", base)
    assert layers
    files = [file for layer in layers for file in files_of(layer)]
    assert files
    for name, content in files:
        assert not PRIVATE_KEY.search(content), name
        assert not any(secret in content for secret in secrets), name
        assert not name.endswith((".env", ".key")), name


def test_every_service_is_looked_at(containers: dict[str, dict[str, Any]]) -> None:
    assert set(containers) == set(ALL)


@pytest.mark.parametrize("service", ALL)
def test_container_is_confined(containers: dict[str, dict[str, Any]], service: str) -> None:
    container = containers[service]
    host = container["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert not host["Privileged"]
    user = container["Config"]["User"]
    if service == "credentials":
        # The one exception: it gives each server its files, and has no network.
        assert host["NetworkMode"] == "none"
        assert sorted(host["CapAdd"]) == ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"]
    else:
        assert not host["CapAdd"]
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), user


@pytest.mark.parametrize("service", ALL)
def test_no_secret_is_in_an_environment(
    docker: DockerStack, containers: dict[str, dict[str, Any]], service: str
) -> None:
    shown = json.dumps(containers[service])
    assert docker.secrets["SEED_SECRET_KEY"]
    for name, value in docker.secrets.items():
        assert "PORT" in name or value not in shown, name


@pytest.mark.parametrize("service", SERVERS)
def test_every_server_has_a_health_check(
    containers: dict[str, dict[str, Any]], service: str
) -> None:
    assert containers[service]["State"]["Health"]["Status"] == "healthy"
