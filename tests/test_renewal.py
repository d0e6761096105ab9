"""What a stack must survive: new secrets and certificates, and servers that die."""

import os
import shutil
import signal
import ssl
import urllib.request

import pytest
from stack import DockerStack, Stack, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_data_survive_new_secrets(stack: Stack) -> None:
    """As when a folder is deleted and generated again, and the stack's data are still there."""
    before = stack.secrets
    stack.shell("User.objects.create_user('kept@example.com', 'any')")
    stack.down()
    (stack.project / ".env").unlink()
    shutil.rmtree(stack.project / ".local" / "certs")
    stack.up()

    del stack.secrets  # what it has cached
    for name, value in before.items():
        assert "PORT" in name or stack.secrets[name] != value, name
    assert stack.shell("print(User.objects.filter(email='kept@example.com').count())") == "1"
    verification = stack.verify()
    assert verification.exit_status == 0, verification.message


@pytest.mark.docker
def test_the_site_comes_back_by_itself(docker: DockerStack) -> None:
    """A proxy that dies, and a database that was away."""
    ids = docker.run("docker", "compose", "ps", "--quiet", "proxy").strip()
    process = int(docker.run("docker", "inspect", "--format", "{{.State.Pid}}", ids))
    os.kill(process, signal.SIGKILL)
    assert wait_until(lambda: not ready(docker), 10)
    assert wait_until(lambda: ready(docker), 30)

    docker.run("docker", "compose", "stop", "postgres")
    assert not ready(docker)
    docker.run("docker", "compose", "start", "postgres")
    assert wait_until(lambda: ready(docker), 30)


def ready(stack: Stack) -> bool:
    """Does /readyz answer, and say yes?"""
    context = ssl.create_default_context(cafile=stack.ca)
    try:
        urllib.request.urlopen(f"{stack.url}/readyz", timeout=20, context=context).close()  # noqa: S310
    except OSError:
        return False
    return True
