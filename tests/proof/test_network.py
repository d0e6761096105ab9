"""What the Docker network of a running stack lets through.

The hops themselves are attacked in test_matrix.py, natively: the servers have the same
configuration there. Here is what differs: who can reach whom.
"""

import json
import subprocess

import pytest
from report import Evidence
from stack import DockerStack

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(600)]

REACHABLE = (
    *("aws.internal:4566", "cache.internal:6379"),
    *("postgres.internal:5432", "proxy.internal:8443"),
)


def in_network(stack: DockerStack, service: str, *command: str) -> str:
    """Run a command in one more container of a service's image; return all that it writes."""
    ended = stack.in_network(f"{stack.name}-{service}", *command)
    return ended.stdout + ended.stderr


def test_only_the_proxys_ports_are_published_and_on_loopback(
    docker: DockerStack, evidence: Evidence
) -> None:
    label = f"label=com.docker.compose.project={docker.name}"
    containers = docker.run("docker", "ps", "-q", "--filter", label).split()
    inspected = json.loads(docker.run("docker", "inspect", *containers))
    published = {
        (container["Config"]["Labels"]["com.docker.compose.service"], port, binding["HostIp"])
        for container in inspected
        for port, bindings in (container["NetworkSettings"]["Ports"] or {}).items()
        for binding in bindings or []
    }
    evidence.line(
        "network",
        subject=f"{len(containers)} containers",
        tried="ports that are published on this machine",
        expected="8443/tcp and 8080/tcp of the task, on 127.0.0.1",
        seen=", ".join(f"{service} {port} on {host}" for service, port, host in sorted(published)),
    )
    assert published == {("task", "8443/tcp", "127.0.0.1"), ("task", "8080/tcp", "127.0.0.1")}


def test_nothing_in_the_network_reaches_gunicorn(docker: DockerStack, evidence: Evidence) -> None:
    """The control: from the same container, the servers' TLS ports can be reached."""
    code = (
        "import socket, sys\n"
        "for address in sys.argv[1:]:\n"
        "    host, port = address.split(':')\n"
        "    with socket.socket() as s:\n"
        "        s.settimeout(3)\n"
        "        print(address, s.connect_ex((socket.gethostbyname(host), int(port))) == 0)\n"
    )
    addresses = ("proxy.internal:8000", *REACHABLE)
    said = in_network(docker, "app", "python", "-c", code, *addresses)
    evidence.line(
        "network",
        subject="a container in the stack's network",
        tried="connecting to gunicorn and, as controls, to the servers",
        expected="gunicorn cannot be reached, the others can",
        seen=said.replace("\n", "; "),
    )
    answers = dict(line.split() for line in said.splitlines())
    assert answers == {"proxy.internal:8000": "False"} | dict.fromkeys(REACHABLE, "True")


CA = "/run/credentials/ca.crt"
POSTGRES = "host=postgres.internal dbname=app user=app password=wrong connect_timeout=5"
VALKEY = ("valkey-cli", "-h", "cache.internal", "-t", "5")
CURL = ("curl", "--silent", "--show-error", "--max-time", "5", "--cacert", CA)
HEALTH = "aws.internal:4566/_ministack/health"


@pytest.mark.parametrize(
    ("service", "with_tls", "answer", "plaintext", "refusal"),
    [
        (
            "postgres",
            ("psql", "-c", "SELECT 1", f"{POSTGRES} sslmode=verify-full sslrootcert={CA}"),
            "password authentication failed",
            ("psql", "-c", "SELECT 1", f"{POSTGRES} sslmode=disable"),
            "no encryption",
        ),
        ("cache", (*VALKEY, "--tls", "--cacert", CA, "ping"), "NOAUTH", (*VALKEY, "ping"), "Error"),
        ("proxy", (*CURL, f"https://{HEALTH}"), "edition", (*CURL, f"http://{HEALTH}"), "curl: (5"),
    ],
    ids=["postgres", "cache", "aws"],
)
def test_servers_refuse_plaintext(
    service: str,
    with_tls: tuple[str, ...],
    answer: str,
    plaintext: tuple[str, ...],
    refusal: str,
    docker: DockerStack,
    evidence: Evidence,
) -> None:
    """The control: over verified TLS they answer."""
    said, refused = in_network(docker, service, *with_tls), in_network(docker, service, *plaintext)
    evidence.line(
        "network",
        subject=f"{plaintext[0]} in the stack's network",
        tried="plaintext, and TLS as a control",
        expected=f"TLS: {answer}; plaintext: {refusal}",
        seen=f"TLS: {said.strip()[:80]}; plaintext: {refused.strip()[:80]}",
    )
    assert answer in said
    assert refusal in refused


@pytest.mark.parametrize(
    ("variable", "reason"),
    [
        ("DATABASE_CA_FILE", "encryption.E003"),
        ("CACHE_CA_FILE", "encryption.E007"),
        ("AWS_CA_BUNDLE", "No such file or directory"),
    ],
)
def test_without_its_trust_file_a_process_does_not_start(
    variable: str, reason: str, docker: DockerStack, evidence: Evidence
) -> None:
    check = ("python", "manage.py", "check", "--tag", "encryption", "--database", "default")
    docker.run(*docker.inside("worker"), *check)
    exec_ = ("docker", "compose", "exec", "-T", "-e", f"{variable}=/nowhere/ca.crt", "worker")
    ended = subprocess.run(
        [*exec_, *check],
        cwd=docker.project,
        env=docker.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    found = reason if reason in ended.stderr else ended.stderr[-200:]
    evidence.line(
        "network",
        subject="worker",
        tried=f"{variable} names a file that is not there",
        expected=f"it does not start: {reason}",
        seen=f"exit status {ended.returncode}: {found}",
    )
    assert ended.returncode != 0
    assert reason in ended.stderr
