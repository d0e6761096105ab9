"""Every hop refuses what it must, asked with tools that are not this project's own.

A refusal proves something only next to a control: the same command, with all as it should be,
connects.
"""

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from authority import Authority, make_authority
from stack import DockerStack, NativeStack, require_programs, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Said:
    """How a program ended, and all that it wrote."""

    status: int
    text: str

    def assert_answers(self, text: str) -> None:
        assert self.status == 0, self.text
        assert text in self.text

    def assert_refuses(self, text: str) -> None:
        """`text` is the reason: another one would be an accident."""
        assert self.status != 0, self.text
        assert text in self.text


def run(*command: object, env: Mapping[str, str] | None = None) -> Said:
    words = [str(word) for word in command]
    require_programs(words[0])
    clean = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LC_ALL": "C"}
    result = subprocess.run(
        words,
        env=clean | dict(env or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=30,
        check=False,
    )
    return Said(result.returncode, result.stdout)


def curl(*arguments: object) -> Said:
    # Without a proxy, whatever the machine's settings; --fail makes status 400 and above fail.
    return run("curl", "--noproxy", "*", "--fail", "--silent", "--show-error", *arguments)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA that signed nothing of the stack."""
    return make_authority(tmp_path_factory.mktemp("stranger") / "ca")


# HTTPS: the edge, and object storage, secret store and keys, which are one server locally --

HTTPS = ("edge", "storage", "secrets", "keys")


@pytest.fixture(params=HTTPS)
def https(request: pytest.FixtureRequest, native: NativeStack) -> tuple[int, tuple[str, ...], str]:
    """The port of a hop, the rest of a request there, and what a right answer contains."""
    slug = native.project.name
    if request.param == "edge":
        return int(native.addresses["HTTPS_PORT"]), ("/livez",), "ok"
    aws = int(native.addresses["AWS_PORT"])
    if request.param == "storage":
        return aws, (f"/{slug}-local-media",), "ListBucketResult"
    service, operation, body, answer = {
        "secrets": (
            "ssm",
            "AmazonSSM.GetParametersByPath",
            {"Path": f"/{slug}/local/", "WithDecryption": False},
            f"/{slug}/local/SECRET_KEY",
        ),
        "keys": ("kms", "TrentService.ListAliases", {}, f"alias/{slug}-local"),
    }[request.param]
    signed = ("--aws-sigv4", f"aws:amz:eu-central-1:{service}", "--user", "local:local")
    target = ("--header", f"X-Amz-Target: {operation}")
    return aws, ("/", *signed, *target, "--data", json.dumps(body)), answer


@pytest.mark.native
def test_https_with_the_right_ca_and_name(
    https: tuple[int, tuple[str, ...], str], native: NativeStack
) -> None:
    port, (path, *rest), answer = https
    url = f"https://localhost:{port}{path}"
    curl("--cacert", native.ca, url, *rest).assert_answers(answer)


@pytest.mark.native
def test_https_refuses_plaintext(https: tuple[int, tuple[str, ...], str]) -> None:
    port, (path, *rest), answer = https
    said = curl(f"http://localhost:{port}{path}", *rest)
    assert said.status in {22, 52, 56}, said  # status 400, empty reply, reset
    assert answer not in said.text


@pytest.mark.native
def test_https_client_refuses_another_ca(
    https: tuple[int, tuple[str, ...], str], stranger: Authority
) -> None:
    port, (path, *rest), _ = https
    said = curl("--cacert", stranger.crt, f"https://localhost:{port}{path}", *rest)
    said.assert_refuses("SSL certificate problem")


@pytest.mark.native
def test_https_client_refuses_another_name(
    https: tuple[int, tuple[str, ...], str], native: NativeStack
) -> None:
    port, (path, *rest), _ = https
    there = ("--connect-to", f"other.internal:443:localhost:{port}")
    said = curl("--cacert", native.ca, *there, f"https://other.internal{path}", *rest)
    said.assert_refuses("no alternative certificate subject name matches")


@pytest.mark.native
def test_the_plaintext_port_only_redirects(native: NativeStack) -> None:
    port = native.addresses["HTTP_PORT"]
    said = curl("--include", f"http://localhost:{port}/notes/?page=2")
    said.assert_answers(f"Location: {native.url}/notes/?page=2")
    assert said.text.startswith("HTTP/1.1 308 ")


@pytest.mark.native
def test_the_edge_passes_no_forwarding_header_of_a_client(native: NativeStack) -> None:
    """The application logs the address that it takes for the client's."""
    spoofed = ("--header", "X-Forwarded-For: 192.0.2.1", "--header", "X-Real-IP: 192.0.2.1")
    curl("--cacert", native.ca, f"{native.url}/admin/login/", *spoofed).assert_answers("Log in")
    assert wait_until(lambda: "GET /admin/login/" in native.log())
    assert "ip=127.0.0.1" in native.log()
    assert "192.0.2.1" not in native.log()


@pytest.mark.native
def test_the_application_refuses_another_host(native: NativeStack) -> None:
    host = ("--header", "Host: other.example")
    curl("--cacert", native.ca, native.url, *host).assert_refuses("error: 400")


# gunicorn ------------------------------------------------------------------------------


@pytest.fixture
def ask_gunicorn(native: NativeStack) -> Callable[..., Said]:
    """Return a function that asks gunicorn with a certificate and curl's other options."""

    def ask(certificate: tuple[Path, Path] | None, *options: object) -> Said:
        there = ("--connect-to", f"app.internal:443:{native.addresses['GUNICORN_ADDRESS']}")
        shown = ("--key", certificate[0], "--cert", certificate[1]) if certificate else ()
        trusted = () if "--cacert" in options else ("--cacert", native.ca)
        return curl("https://app.internal/livez", *there, *shown, *trusted, *options)

    return ask


def certificate_of(stack: NativeStack, service: str, name: str) -> tuple[Path, Path]:
    folder = stack.project / ".local" / "certs" / service
    return folder / f"{name}.key", folder / f"{name}.crt"


@pytest.mark.native
def test_gunicorn_answers_the_proxy(native: NativeStack, ask_gunicorn: Callable[..., Said]) -> None:
    ask_gunicorn(certificate_of(native, "proxy", "client")).assert_answers("ok")


@pytest.mark.native
def test_gunicorn_refuses_a_client_without_certificate(ask_gunicorn: Callable[..., Said]) -> None:
    ask_gunicorn(None).assert_refuses("certificate required")


@pytest.mark.native
@pytest.mark.parametrize("service", ["proxy", "app", "postgres", "cache", "aws"])
def test_gunicorn_refuses_the_certificate_of_every_server(
    service: str, native: NativeStack, ask_gunicorn: Callable[..., Said]
) -> None:
    certificate = certificate_of(native, service, "tls")
    ask_gunicorn(certificate).assert_refuses("unsupported certificate")


@pytest.mark.native
def test_gunicorn_refuses_a_client_of_another_ca(
    stranger: Authority, tmp_path: Path, ask_gunicorn: Callable[..., Said]
) -> None:
    pair = stranger.issue(tmp_path / "client", "proxy.internal", usage="clientAuth")
    ask_gunicorn((pair.key, pair.crt)).assert_refuses("unknown ca")


@pytest.mark.native
def test_gunicorn_refuses_tls_1_2(native: NativeStack, ask_gunicorn: Callable[..., Said]) -> None:
    client = certificate_of(native, "proxy", "client")
    ask_gunicorn(client, "--tls-max", "1.2").assert_refuses("alert protocol version")


@pytest.mark.native
def test_gunicorn_refuses_plaintext(native: NativeStack) -> None:
    said = curl(f"http://{native.addresses['GUNICORN_ADDRESS']}/livez")
    assert said.status in {52, 56}, said


@pytest.mark.native
def test_gunicorns_client_refuses_another_ca(
    native: NativeStack, stranger: Authority, ask_gunicorn: Callable[..., Said]
) -> None:
    client = certificate_of(native, "proxy", "client")
    said = ask_gunicorn(client, "--cacert", stranger.crt)
    said.assert_refuses("SSL certificate problem")


@pytest.mark.native
def test_gunicorns_client_refuses_another_name(native: NativeStack) -> None:
    key, crt = certificate_of(native, "proxy", "client")
    url = f"https://{native.addresses['GUNICORN_ADDRESS']}/livez"
    said = curl(url, "--key", key, "--cert", crt, "--cacert", native.ca)
    said.assert_refuses("no alternative certificate subject name matches")


# PostgreSQL ----------------------------------------------------------------------------


def psql(stack: NativeStack, password: str = "", **parameters: object) -> Said:
    """Connect as the application does, with other parameters; ask what the server sees."""
    same = {
        "host": "localhost",
        "port": stack.addresses["DATABASE_PORT"],
        "dbname": "app",
        "user": "app",
        "sslmode": "verify-full",
        "sslrootcert": stack.ca,
        "channel_binding": "require",
    }
    conninfo = " ".join(f"{key}={value}" for key, value in (same | parameters).items())
    question = "SELECT 'TLS ' || version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    env = {"PGPASSWORD": password or stack.secrets["SEED_DATABASE_PASSWORD"]}
    return run("psql", "--no-psqlrc", "-tA", "-c", question, conninfo, env=env)


@pytest.mark.native
def test_database_with_all_as_it_should_be(native: NativeStack) -> None:
    psql(native).assert_answers("TLS TLSv1.3")


@pytest.mark.native
def test_database_refuses_plaintext(native: NativeStack) -> None:
    said = psql(native, sslmode="disable", channel_binding="disable")
    said.assert_refuses("no pg_hba.conf entry")
    assert "no encryption" in said.text


@pytest.mark.native
def test_database_client_refuses_another_ca(native: NativeStack, stranger: Authority) -> None:
    psql(native, sslrootcert=stranger.crt).assert_refuses("certificate verify failed")
    # A client that asks for less would be served: it is the mode that protects.
    psql(native, sslmode="require", sslrootcert="/nonexistent/ca").assert_answers("TLS TLSv1.3")


@pytest.mark.native
def test_database_client_refuses_another_name(native: NativeStack) -> None:
    psql(native, host="127.0.0.1").assert_refuses('does not match host name "127.0.0.1"')
    psql(native, host="127.0.0.1", sslmode="verify-ca").assert_answers("TLS TLSv1.3")


@pytest.mark.native
def test_database_refuses_a_wrong_password(native: NativeStack) -> None:
    psql(native, password="wrong").assert_refuses("password authentication failed")  # noqa: S106


@pytest.mark.native
def test_database_refuses_a_relay(native: NativeStack) -> None:
    """A password that is not bound to the channel would work; the application's is."""
    psql(native, channel_binding="disable").assert_answers("TLS TLSv1.3")
    said = psql(native, channel_binding="require", sslmode="disable")
    said.assert_refuses("no pg_hba.conf entry")


# Cache ---------------------------------------------------------------------------------


def redis_cli(stack: NativeStack, *options: object, password: str = "", user: str = "app") -> Said:
    env = {"REDISCLI_AUTH": password or stack.secrets["SEED_CACHE_PASSWORD"]}
    at = ("-h", "localhost", "-p", stack.addresses["CACHE_PORT"])
    return run("redis-cli", "-e", *at, "--user", user, *options, "ping", env=env)


@pytest.mark.native
def test_cache_with_all_as_it_should_be(native: NativeStack) -> None:
    redis_cli(native, "--tls", "--cacert", native.ca).assert_answers("PONG")


@pytest.mark.native
def test_cache_refuses_plaintext(native: NativeStack) -> None:
    said = redis_cli(native)
    assert said.status != 0
    assert "PONG" not in said.text


@pytest.mark.native
def test_cache_client_refuses_another_ca(native: NativeStack, stranger: Authority) -> None:
    said = redis_cli(native, "--tls", "--cacert", stranger.crt)
    said.assert_refuses("certificate verify failed")


@pytest.mark.native
def test_cache_client_refuses_another_name(native: NativeStack) -> None:
    # redis-cli looks at no name; openssl does.
    at = ("-connect", f"localhost:{native.addresses['CACHE_PORT']}")
    command = ("openssl", "s_client", *at, "-CAfile", native.ca, "-verify_return_error")
    run(*command, "-verify_hostname", "localhost").assert_answers("Verify return code: 0 (ok)")
    said = run(*command, "-verify_hostname", "other.internal")
    said.assert_refuses("hostname mismatch")


@pytest.mark.native
@pytest.mark.parametrize(("user", "password"), [("app", "wrong"), ("default", ""), ("other", "")])
def test_cache_refuses_wrong_credentials(user: str, password: str, native: NativeStack) -> None:
    tls = ("--tls", "--cacert", native.ca)
    said = redis_cli(native, *tls, user=user, password=password)
    assert "WRONGPASS" in said.text
    assert "PONG" not in said.text


@pytest.mark.native
def test_cache_gives_the_application_no_rights_over_the_server(native: NativeStack) -> None:
    tls = ("--tls", "--cacert", native.ca)
    assert "NOPERM" in redis_cli(native, *tls, "config", "get", "port").text


# Docker: what the network of the stack lets through -----------------------------------

REACHABLE = (
    *("aws.internal:4566", "cache.internal:6379"),
    *("postgres.internal:5432", "proxy.internal:8443"),
)


@pytest.mark.docker
def test_docker_publishes_the_proxys_ports_on_loopback_only(docker: DockerStack) -> None:
    label = f"label=com.docker.compose.project={docker.name}"
    containers = docker.run("docker", "ps", "-q", "--filter", label).split()
    assert len(containers) == 8
    inspected = json.loads(docker.run("docker", "inspect", *containers))
    published = {
        (container["Config"]["Labels"]["com.docker.compose.service"], port, binding["HostIp"])
        for container in inspected
        for port, bindings in (container["NetworkSettings"]["Ports"] or {}).items()
        for binding in bindings or []
    }
    assert published == {("task", "8443/tcp", "127.0.0.1"), ("task", "8080/tcp", "127.0.0.1")}


@pytest.mark.docker
def test_docker_network_reaches_no_gunicorn(docker: DockerStack) -> None:
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
    result = docker.in_network(f"{docker.name}-app", "python", "-c", code, *addresses)
    assert result.returncode == 0, result.stderr
    answers = dict(line.split() for line in result.stdout.splitlines())
    assert answers == {"proxy.internal:8000": "False"} | dict.fromkeys(REACHABLE, "True")


@pytest.mark.docker
def test_docker_servers_refuse_plaintext(docker: DockerStack) -> None:
    ca = "/run/credentials/ca.crt"
    postgres = "host=postgres.internal dbname=app user=app password=wrong connect_timeout=5"
    tls, plaintext = (
        f"{postgres} sslmode=verify-full sslrootcert={ca}",
        f"{postgres} sslmode=disable",
    )
    valkey = ("valkey-cli", "-h", "cache.internal", "-t", "5")
    get = ("curl", "--silent", "--show-error", "--max-time", "5", "--cacert", ca)
    health = "aws.internal:4566/_ministack/health"
    name = docker.name
    for image, command, expected in (
        (
            f"{docker.name}-postgres",
            ("psql", "-c", "SELECT 1", tls),
            "password authentication failed",
        ),
        (f"{name}-postgres", ("psql", "-c", "SELECT 1", plaintext), "no encryption"),
        (f"{name}-cache", (*valkey, "--tls", "--cacert", ca, "ping"), "NOAUTH"),
        (f"{name}-cache", (*valkey, "ping"), "Error: "),
        (f"{name}-proxy", (*get, f"https://{health}"), "edition"),
        (f"{name}-proxy", (*get, f"http://{health}"), "curl: (5"),
    ):
        result = docker.in_network(image, *command)
        said = result.stdout + result.stderr
        assert expected in said, (command, said)
