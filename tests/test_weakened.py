"""A protection that is weakened is found: the hop is named, or nothing starts.

A copy of a healthy project is edited, and one server of the copy is started beside the healthy
stack, by its own line of the Procfile. The copy's `verify_encryption` sees that server in place
of the healthy one, and everything else as before.
"""

import shutil
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from authority import Authority, Pair, authority_of, make_authority
from stack import NativeStack, Verification, listens, wait_until

pytestmark = [pytest.mark.native, pytest.mark.slow, pytest.mark.timeout(600)]

# Processes of the Procfile, with the variables of their addresses.
ADDRESS = {
    "proxy": "HTTPS_PORT HTTP_PORT",
    "app": "GUNICORN_ADDRESS",
    "postgres": "DATABASE_PORT",
    "cache": "CACHE_PORT",
    "aws": "AWS_PORT",
}


@dataclass(frozen=True)
class Edit:
    """A change of a file; it must apply, or the test would weaken nothing."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Leaf:
    """A server's certificate, other than it should be."""

    name: str = "localhost"
    days: int = 30
    own_ca: bool = True


@dataclass(frozen=True, kw_only=True)
class Weakening:
    """What is weakened, what must be named for it, and which claim is then not true."""

    what: str
    short: Sequence[str]
    claim: str
    process: str = ""
    edits: Sequence[Edit] = ()
    leaf: Leaf | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    code: str = ""


class Copy(NativeStack):
    """The project that gets weakened, and the servers started from it."""

    def __init__(self, healthy: NativeStack, folder: Path, tools: Path) -> None:
        """Copy the project; share what takes long to make; let it make a state of its own."""
        shutil.copytree(healthy.project, folder, ignore=shutil.ignore_patterns(".venv"))
        for venv in (".venv", "services/aws/.venv"):
            (folder / venv).symlink_to(healthy.project / venv)
        super().__init__(folder, tools)
        self.healthy = healthy
        native = (".venv/bin/python", "scripts/native.py")
        self.run(*native, "up")
        runner = Path("/proc") / (self.state / "pid").read_text().strip() / "environ"
        pairs = runner.read_bytes().decode().rstrip("\0").split("\0")
        self.servers_env = dict(pair.split("=", 1) for pair in pairs)
        self.run(*native, "down")
        # The healthy stack's database is read with the keys that encrypted it.
        shutil.rmtree(self.state / "aws")
        shutil.copytree(healthy.state / "aws", self.state / "aws")

    def beside(self, *processes: str, **env: str) -> dict[str, str]:
        """Variables with the healthy stack's addresses, but the copy's for some processes."""
        healthy, own = self.healthy.addresses, self.addresses
        replaced = {name: own[name] for each in processes for name in ADDRESS[each].split()}
        filled = {name: value.format(own=own, healthy=healthy) for name, value in env.items()}
        return healthy | replaced | filled

    def command_of(self, process: str) -> list[str]:
        """The Procfile's command, without what it waits for or prepares first."""
        lines = (self.project / "Procfile").read_text().splitlines()
        [line] = [line for line in lines if line.startswith(f"{process}: ")]
        command = line.removeprefix(f"{process}: ").rpartition(" && ")[2]
        return [*map(str, self.inside("app")), "sh", "-c", command]

    @contextmanager
    def running(self, process: str, **env: str) -> Iterator[None]:
        """Run a server of the copy until the end of the block."""
        log = self.project / f"{process}.log"
        with log.open("w") as output:
            server = subprocess.Popen(
                self.command_of(process),
                cwd=self.project,
                env=self.servers_env | self.beside(process, **env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            port = int(self.addresses[ADDRESS[process].split()[0]].rpartition(":")[2])
            wait_until(lambda: listens(port) or server.poll() is not None)
            assert server.poll() is None, log.read_text()
            yield
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(20)

    @contextmanager
    def edited(self, edits: Sequence[Edit]) -> Iterator[None]:
        """Apply the edits until the end of the block."""
        before = {edit.file: (self.project / edit.file).read_text() for edit in edits}
        try:
            for edit in edits:
                text = (self.project / edit.file).read_text()
                assert edit.old in text, f"{edit.file} has no {edit.old!r}: nothing is weakened"
                (self.project / edit.file).write_text(text.replace(edit.old, edit.new))
            self._install_postgres_files()
            yield
        finally:
            for name, text in before.items():
                (self.project / name).write_text(text)
            self._install_postgres_files()

    def _install_postgres_files(self) -> None:
        for name in ("postgresql.conf", "pg_hba.conf"):
            installed = self.state / "conf-postgres" / name
            installed.write_bytes((self.project / "services" / "postgres" / name).read_bytes())

    @contextmanager
    def showing(self, service: str, pair: Pair | None) -> Iterator[None]:
        """Give a service another certificate until the end of the block."""
        folder = self.state / "credentials" / service
        files = {folder / "tls.key": pair.key, folder / "tls.crt": pair.crt} if pair else {}
        before = {path: path.read_bytes() for path in files}
        try:
            for path, new in files.items():
                path.chmod(0o600)
                path.write_bytes(new.read_bytes())
                path.chmod(0o400)
            yield
        finally:
            for path, content in before.items():
                path.chmod(0o600)
                path.write_bytes(content)
                path.chmod(0o400)

    def python(self, env: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the project's Python as a process of the application."""
        return self._run((*self.inside("app"), "python", *arguments), self.env | dict(env))


@pytest.fixture(scope="module")
def copy(
    native: NativeStack, tools: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Copy]:
    folder = tmp_path_factory.mktemp("copy") / native.project.name
    weak = Copy(native, folder, tools)
    try:
        yield weak
    finally:
        weak.destroy()


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("stranger") / "ca")


# What verify_encryption finds ------------------------------------------------------------

VERIFIES = "The certificate verifies (chain, name, dates)"
LASTS = "The certificate lasts 7 more days"
PLAINTEXT = "Plaintext is refused"
AWS = ("storage", "secrets", "keys")

WEAKENINGS = [
    Weakening(
        what="the proxy accepts TLS 1.1",
        short=["edge"],
        claim="TLS below 1.2 is refused",
        process="proxy",
        edits=[
            Edit("services/nginx/nginx.conf", "ssl_protocols TLSv1.2", "ssl_protocols TLSv1.1"),
            Edit(
                "services/nginx/nginx.conf",
                "ssl_ciphers ECDHE-ECDSA-AES128-GCM",
                "ssl_ciphers @SECLEVEL=0:ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES128-GCM",
            ),
        ],
    ),
    Weakening(
        what="the proxy serves plaintext on its TLS port",
        short=["edge"],
        claim=PLAINTEXT,
        process="proxy",
        edits=[Edit("services/nginx/nginx.conf", "${HTTPS_LISTEN} ssl;", "${HTTPS_LISTEN};")],
    ),
    Weakening(
        what="the proxy's certificate is for another name",
        short=["edge"],
        claim=VERIFIES,
        process="proxy",
        leaf=Leaf(name="other.internal"),
    ),
    Weakening(
        what="the proxy's certificate ends in two days",
        short=["edge"],
        claim=LASTS,
        process="proxy",
        leaf=Leaf(days=2),
    ),
    Weakening(
        what="gunicorn asks for no client certificate",
        short=["gunicorn"],
        claim="A client without a certificate is refused",
        process="app",
        edits=[
            Edit(
                "services/app/gunicorn.conf.py",
                "context.verify_mode = ssl.CERT_REQUIRED",
                "context.verify_mode = ssl.CERT_NONE",
            )
        ],
    ),
    Weakening(
        what="gunicorn accepts TLS 1.2",
        short=["gunicorn"],
        claim="TLS below 1.3 is refused",
        process="app",
        edits=[Edit("services/app/gunicorn.conf.py", "TLSVersion.TLSv1_3", "TLSVersion.TLSv1_2")],
    ),
    Weakening(
        what="gunicorn serves plaintext",
        short=["gunicorn"],
        claim=PLAINTEXT,
        process="app",
        edits=[
            Edit("services/app/gunicorn.conf.py", 'certfile = f"{_credentials}/tls.crt"', ""),
            Edit("services/app/gunicorn.conf.py", 'keyfile = f"{_credentials}/tls.key"', ""),
            Edit("services/app/gunicorn.conf.py", "def ssl_context(", "def _unused("),
        ],
    ),
    Weakening(
        what="PostgreSQL lets plaintext in",
        short=["database"],
        claim=PLAINTEXT,
        process="postgres",
        edits=[Edit("services/postgres/pg_hba.conf", "hostssl", "host   ")],
    ),
    Weakening(
        what="PostgreSQL accepts TLS 1.1",
        short=["database"],
        claim="TLS below 1.2 is refused",
        process="postgres",
        edits=[
            Edit("services/postgres/postgresql.conf", "= 'TLSv1.2'", "= 'TLSv1.1'"),
            Edit("services/postgres/postgresql.conf", "'ECDHE+AESGCM:", "'ALL:@SECLEVEL=0:"),
        ],
    ),
    Weakening(
        what="PostgreSQL's certificate ends in two days",
        short=["database"],
        claim=LASTS,
        process="postgres",
        leaf=Leaf(days=2),
    ),
    Weakening(
        what="the cache serves plaintext on its port",
        short=["cache"],
        claim=PLAINTEXT,
        process="cache",
        edits=[
            Edit("Procfile", "--tls-port $CACHE_PORT", "--port $CACHE_PORT"),
            # Nothing answers a TLS handshake there: let nobody wait for long.
            Edit("apps/encryption/tls.py", "TIMEOUT = 5.0", "TIMEOUT = 0.5"),
            Edit("config/settings.py", '"socket_timeout": 5', '"socket_timeout": 0.5'),
        ],
    ),
    Weakening(
        what="the cache accepts TLS 1.1",
        short=["cache"],
        claim="TLS below 1.2 is refused",
        process="cache",
        edits=[
            Edit("services/cache/cache.conf", '"TLSv1.2 TLSv1.3"', '"TLSv1.1 TLSv1.2"'),
            Edit("services/cache/cache.conf", "ciphers ECDHE+AESGCM:", "ciphers ALL:@SECLEVEL=0:"),
        ],
    ),
    Weakening(
        what="the cache's certificate is for another name",
        short=["cache"],
        claim=VERIFIES,
        process="cache",
        leaf=Leaf(name="other.internal"),
    ),
    Weakening(
        what="AWS accepts TLS 1.1",
        short=AWS,
        claim="TLS below 1.2 is refused",
        process="aws",
        edits=[
            Edit("services/aws/serve.py", "TLSVersion.TLSv1_2", "TLSVersion.TLSv1_1"),
            Edit(
                "services/aws/serve.py", 'CIPHERS = "ECDHE+AESGCM:', 'CIPHERS = "ALL:@SECLEVEL=0:'
            ),
        ],
    ),
    Weakening(
        what="AWS has a certificate that ends in two days",
        short=AWS,
        claim=LASTS,
        process="aws",
        leaf=Leaf(days=2),
    ),
    Weakening(
        what="files go to a server whose certificate is of another CA",
        short=["storage", "media"],
        claim=VERIFIES,
        process="aws",
        leaf=Leaf(own_ca=False),
        env={
            "AWS_PORT": "{healthy[AWS_PORT]}",
            "AWS_ENDPOINT_URL_S3": "https://localhost:{own[AWS_PORT]}",
        },
    ),
    Weakening(
        what="the clients of secret store and keys verify nothing",
        short=["secrets", "keys"],
        claim="The client refuses a wrong CA",
        edits=[Edit("apps/secrets/aws.py", "verify=verify,", "verify=False,")],
    ),
    Weakening(
        what="the secret loader verifies nothing",
        short=["secrets"],
        claim="The client refuses a wrong CA",
        edits=[Edit("apps/secrets/ssm.py", "verify=verify,", "verify=False,")],
    ),
    Weakening(
        what="the client that unwraps keys verifies nothing",
        short=["keys"],
        claim="The client refuses a wrong CA",
        edits=[Edit("apps/keys/kms.py", "verify=verify,", "verify=False,")],
    ),
    Weakening(
        what="the client that unwraps keys verifies only for the probe",
        short=["keys"],
        claim="The client refuses a wrong name",
        edits=[Edit("apps/keys/kms.py", "verify=verify,", "verify=verify or False,")],
    ),
    Weakening(
        what="an encrypted value is not bound to its column",
        short=["columns"],
        claim="A value encrypted now can be read in its own column only",
        edits=[
            Edit(
                "apps/fields/values.py",
                'AESGCM(key.derive(f"field {place}")), place.encode()',
                'AESGCM(key.derive("field")), b""',
            )
        ],
    ),
    Weakening(
        what="the bucket has no default encryption",
        short=["media"],
        claim="A new object is stored with SSE-KMS",
        process="aws",
        code="boto3.client('s3').delete_bucket_encryption(Bucket=f'{slug}-local-media')",
    ),
    Weakening(
        what="a secret is stored as a plain String",
        short=["parameters"],
        claim="Every parameter is a SecureString",
        process="aws",
        code=(
            "boto3.client('ssm').put_parameter("
            "Name=f'/{slug}/local/TOKEN', Value='secret', Type='String')"
        ),
    ),
]


@pytest.fixture
def weakened(
    request: pytest.FixtureRequest, copy: Copy, stranger: Authority, tmp_path: Path
) -> Iterator[tuple[Weakening, Verification]]:
    """What `verify_encryption` says while something is weakened."""
    row: Weakening = request.param
    pair = None
    if row.leaf:
        authority = authority_of(copy.project) if row.leaf.own_ca else stranger
        pair = authority.issue(tmp_path / "leaf", row.leaf.name, days=row.leaf.days)
    kept = tmp_path / "aws"
    shutil.copytree(copy.state / "aws", kept)
    try:
        with ExitStack() as until_then:
            until_then.enter_context(copy.edited(row.edits))
            until_then.enter_context(copy.showing(row.process, pair))
            for process in row.process.split():
                until_then.enter_context(copy.running(process))
            env = copy.beside(*row.process.split(), **row.env)
            if row.code:
                slug = copy.project.name
                os_ = "import os; os.environ['AWS_DEFAULT_REGION'] = 'eu-central-1'"
                done = copy.python(env, "-c", f"{os_}\nimport boto3\nslug = {slug!r}\n{row.code}")
                assert done.returncode == 0, done.stderr
            yield row, copy.verify("app", **env)
    finally:
        shutil.rmtree(copy.state / "aws")
        shutil.move(kept, copy.state / "aws")


@pytest.mark.parametrize("weakened", WEAKENINGS, ids=lambda row: row.what, indirect=True)
def test_verification_names_what_is_weakened(weakened: tuple[Weakening, Verification]) -> None:
    row, verification = weakened
    assert verification.exit_status == 1, verification
    assert sorted(verification.short) == sorted(row.short), verification
    assert row.claim in verification.short[row.short[0]]
    assert all(name in verification.message for name in row.short)


def test_verification_names_nothing_if_nothing_is_weakened(copy: Copy) -> None:
    """The control: the servers of the copy are as good as the healthy stack's."""
    with ExitStack() as until_then:
        for process in ADDRESS:
            until_then.enter_context(copy.running(process))
        verification = copy.verify("app", **copy.beside(*ADDRESS))
    assert verification.exit_status == 0, verification
    assert verification.short == {}


def test_everything_listed_is_weakened_once(copy: Copy) -> None:
    weakened = {name for row in WEAKENINGS for name in row.short}
    assert weakened == {item["name"] for item in copy.listed}


# What stops the start ----------------------------------------------------------------------

SSLMODE = Edit("config/settings.py", '"sslmode": "verify-full"', '"sslmode": "require"')


@pytest.mark.parametrize("process", ["app", "worker", "scheduler"])
def test_no_process_starts_without_verification(process: str, copy: Copy) -> None:
    with copy.edited([SSLMODE]):
        ended = subprocess.run(
            copy.command_of(process),
            cwd=copy.project,
            env=copy.servers_env | copy.beside(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert ended.returncode != 0
    assert "(encryption.E002)" in ended.stderr
    assert not listens(int(copy.addresses["GUNICORN_ADDRESS"].rpartition(":")[2]))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("E004", '"channel_binding": "require"', '"channel_binding": "prefer"'),
        ("E005", 'f"rediss://', 'f"redis://'),
        ("E006", '"ssl_check_hostname": True', '"ssl_check_hostname": False'),
        ("E009", '"verify": None', '"verify": False'),
        ("E010", '"use_ssl": True', '"endpoint_url": "http://localhost:1"'),
    ],
)
def test_no_command_runs_with_weakened_settings(name: str, old: str, new: str, copy: Copy) -> None:
    with copy.edited([Edit("config/settings.py", old, new)]):
        ended = copy.python(copy.beside(), "manage.py", "migrate", "--plan")
    assert ended.returncode != 0
    assert f"(encryption.{name})" in ended.stderr


def test_no_command_runs_with_a_false_server_for_keys(
    copy: Copy, stranger: Authority, tmp_path: Path
) -> None:
    """Its certificate is of another CA: a key that came from there would not be secret."""
    pair = stranger.issue(tmp_path / "leaf", "localhost")
    false = copy.beside(AWS_ENDPOINT_URL_KMS="https://localhost:{own[AWS_PORT]}")
    with copy.showing("aws", pair), copy.running("aws"):
        ended = copy.python(false, "manage.py", "migrate", "--plan")
    assert ended.returncode != 0
    assert "(encryption.E021)" in ended.stderr
    assert "certificate verify failed" in ended.stderr


def test_without_edits_commands_run(copy: Copy) -> None:
    ended = copy.python(copy.beside(), "manage.py", "migrate", "--plan")
    assert ended.returncode == 0, ended.stderr


# The proxy and a false gunicorn --------------------------------------------------------------


@contextmanager
def false_gunicorn(port: int, context: ssl.SSLContext | None) -> Iterator[None]:
    """Answer 200 to every request at the port, over TLS if there is a context."""

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                if context:
                    connection = context.wrap_socket(connection, server_side=True)
                connection.settimeout(5)
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfalse")
            except OSError:
                pass  # refused, as it should be
            finally:
                connection.close()

    with socket.create_server(("127.0.0.1", port)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.fixture(scope="module")
def proxy(copy: Copy) -> Iterator[str]:
    """The address of a proxy that takes what answers at the copy's address for gunicorn."""
    with copy.running("proxy", GUNICORN_ADDRESS="{own[GUNICORN_ADDRESS]}"):
        yield copy.url


@pytest.mark.parametrize(
    ("what", "status"),
    [
        ("as it should be", 200),
        ("another CA", 502),
        ("another name", 502),
        ("TLS 1.2", 502),
        ("plaintext", 502),
    ],
)
def test_the_proxy_trusts_the_right_gunicorn_only(
    what: str, status: int, proxy: str, copy: Copy, stranger: Authority, tmp_path: Path
) -> None:
    authority = stranger if what == "another CA" else authority_of(copy.project)
    name = "other.internal" if what == "another name" else "app.internal"
    pair = authority.issue(tmp_path / "leaf", name)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(copy.ca))
    context.load_cert_chain(pair.crt, pair.key)
    context.verify_mode = ssl.CERT_REQUIRED
    if what == "TLS 1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    port = int(copy.addresses["GUNICORN_ADDRESS"].rpartition(":")[2])
    asked = ("curl", "--noproxy", "*", "-s", "-w", " %{http_code}", "--cacert", str(copy.ca), proxy)
    with false_gunicorn(port, None if what == "plaintext" else context):
        answer = copy.run(*asked)
    assert answer.endswith(f" {status}")
    assert answer.startswith("false") == (status == 200)
