"""The image's NGINX, which is newer than most machines' own, refuses the same input."""

import pytest
from attacks import harmless, hosts, http2, sizes, smuggling
from edge import judge, try_all
from raw_http import Edge, headers_frame, pseudo, request
from report import Evidence
from stack import DockerStack

pytestmark = [pytest.mark.proof, pytest.mark.docker, pytest.mark.timeout(600)]


def test_bad_input_with_docker(docker: DockerStack, evidence: Evidence) -> None:
    edge = Edge(int(docker.addresses["HTTPS_PORT"]), docker.ca)
    for what, attacks in {
        "Host": hosts(),
        "Request smuggling": [*smuggling(), *harmless()],
        "HTTP/2": http2(),
        "Size": sizes(),
    }.items():
        judge(evidence, what, try_all(edge, attacks), "the same with Docker")
    # The control, over either protocol: what is good is served.
    assert edge.send(request("/accounts/login/", "Connection: close")).statuses == (200,)
    assert edge.frames(headers_frame(*pseudo("/accounts/login/"))).statuses == (200,)
    reached = docker.run("docker", "compose", "logs", "--no-color", "app")
    assert '"GET /accounts/login/ ' in reached
    assert "/smuggled-" not in reached
