#!/usr/bin/env python3
"""The local stack as native processes, for machines without a Docker engine.

    scripts/native.py up | down | clean | logs | env COMMAND...

It prepares directories and variables; the Procfile starts the servers.
"""

import contextlib
import fcntl
import hashlib
import os
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
IS_ROOT = os.geteuid() == 0
SERVERS = {
    "postgres": ("postgresql", "postgresql"),
    "valkey-server or redis-server": ("redis-server", "valkey"),
    "nginx": ("nginx", "nginx"),
}
PORTS = ("HTTPS_PORT", "HTTP_PORT", "DATABASE_PORT", "CACHE_PORT", "AWS_PORT", "GUNICORN_ADDRESS")
START_SECONDS = 120
STOP_SECONDS = 30


def fail(message: str) -> NoReturn:
    """End with one line that names the cause and the fix."""
    sys.exit(f"native: {message}")


def state_dir() -> Path:
    """Where data and keys of this stack live.

    PostgreSQL refuses to run as root, and its own user may not reach a project below
    /root, so root's stacks live in /var/lib.
    """
    if not IS_ROOT:
        return ROOT / ".local" / "native"
    return Path("/var/lib") / f"{ROOT.name}-{hashlib.sha256(bytes(ROOT)).hexdigest()[:8]}"


STATE = state_dir()
PID_FILE = STATE / "pid"
LOG_FILE = STATE / "log"


def find_servers() -> dict[str, str]:
    """Return the found programs by name; those missing are left out."""
    homes = [
        *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True),
        *Path("/opt/homebrew/opt").glob("postgresql*/bin"),
        *Path("/usr/local/opt").glob("postgresql*/bin"),
    ]
    path = os.pathsep.join([*map(str, homes), os.environ["PATH"], "/usr/sbin"])
    found = {
        "postgres": shutil.which("postgres", path=path),
        "valkey-server or redis-server": shutil.which("valkey-server", path=path)
        or shutil.which("redis-server", path=path),
        "nginx": shutil.which("nginx", path=path),
    }
    return {name: program for name, program in found.items() if program}


def require_servers() -> dict[str, str]:
    """Find the servers; as root on Debian or Ubuntu, install what is missing."""
    found = find_servers()
    missing = [name for name in SERVERS if name not in found]
    debian = [SERVERS[name][0] for name in missing]
    if missing and IS_ROOT and shutil.which("apt-get"):
        print(f"native: installing {' '.join(debian)}", flush=True)
        install_debian(debian)
        found = find_servers()
        missing = [name for name in SERVERS if name not in found]
    if missing:
        brew = " ".join(SERVERS[name][1] for name in missing)
        fail(
            f"missing {', '.join(missing)}. Install with 'sudo apt-get install "
            f"{' '.join(debian)}' or 'brew install {brew}', or start Docker."
        )
    return found


def require_ports(env: dict[str, str]) -> None:
    """Every port must be free; each can be chosen by its variable."""
    for name in PORTS:
        port = int(env[name].rpartition(":")[2])
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                fail(f"port {port} cannot be used: {error}. Choose another: make up {name}=...")


def install_debian(packages: list[str]) -> None:
    """Install packages without letting them start servers of their own."""
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], env=quiet, check=True)
        subprocess.run(
            ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *packages],
            env=quiet,
            check=True,
            stdout=subprocess.DEVNULL,
        )
    finally:
        if ours:
            policy.unlink()


def environment() -> dict[str, str]:
    """The variables of every process; an address already set in the shell wins."""
    values = {"HTTPS_PORT": "8443", "HTTP_PORT": "8080"}
    if not (ROOT / ".env").is_file():
        fail(".env is missing. Run: make certs")
    for line in (ROOT / ".env").read_text().splitlines():
        name, separator, value = line.partition("=")
        if separator and name in PORTS:  # no secret goes into an environment
            values[name] = value
    ca = str(STATE / "credentials" / "app" / "ca.crt")
    values |= {
        "ENVIRONMENT": "local",
        "ALLOWED_HOSTS": "localhost,127.0.0.1",
        "DATABASE_HOST": "localhost",
        "DATABASE_PORT": "15432",
        "DATABASE_CA_FILE": ca,
        "CACHE_HOST": "localhost",
        "CACHE_PORT": "16379",
        "CACHE_CA_FILE": ca,
        "AWS_PORT": "14566",
        "AWS_CA_BUNDLE": ca,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_EC2_METADATA_DISABLED": "true",
        "GUNICORN_ADDRESS": "127.0.0.1:18000",
        "EDGE_CA_FILE": ca,
        "CREDENTIALS_DIR": str(STATE / "credentials" / "app"),
        "STATIC_ROOT": str(STATE / "static"),
        "STATE_DIR": str(STATE),
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "PYTHONUNBUFFERED": "1",
    }
    values |= {name: os.environ[name] for name in PORTS if name in os.environ}
    values["EDGE_ADDRESS"] = f"localhost:{values['HTTPS_PORT']}"
    values["AWS_ENDPOINT_URL"] = f"https://localhost:{values['AWS_PORT']}"
    values["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    if os.environ.get("ROLE") == "release":
        credentials = STATE / "credentials" / "release"
        values |= {
            "DATABASE_USER": "migrator",
            "DATABASE_PASSWORD_FILE": str(credentials / "migrator-password"),
            "DATABASE_MASTER_USER": "postgres",
            "DATABASE_MASTER_PASSWORD_FILE": str(credentials / "master-password"),
        }
    return {**os.environ, **values}


def as_postgres() -> list[str | Path]:
    """The prefix that runs a command as a user PostgreSQL accepts."""
    if not IS_ROOT:
        return []
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"]


def prepare(env: dict[str, str], postgres_bin: Path) -> None:
    """Lay out the state directory and make the database cluster, once."""
    for name in ("credentials", "cache", "aws", "run-proxy", "conf-postgres"):
        (STATE / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in ("postgresql.conf", "pg_hba.conf", "start"):
        shutil.copyfile(ROOT / "services" / "postgres" / name, STATE / "conf-postgres" / name)
    subprocess.run(
        ["sh", "services/credentials/install", ".local/certs", ".env", STATE / "credentials"],
        cwd=ROOT,
        env={**env, "OWNERS": "keep"},
        check=True,
    )
    if IS_ROOT:
        STATE.chmod(0o711)
        (STATE / "credentials").chmod(0o711)
        for name in ("conf-postgres", "credentials/postgres"):
            for path in (STATE / name, *(STATE / name).iterdir()):
                shutil.chown(path, "postgres", "postgres")
    data = STATE / "postgres"
    if not (data / "PG_VERSION").exists():
        make_cluster(env, postgres_bin, data)


def make_cluster(env: dict[str, str], postgres_bin: Path, data: Path) -> None:
    """Run initdb and init.sh in a directory that gets its name only when complete."""
    new = data.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    if IS_ROOT:
        shutil.chown(new, "postgres", "postgres")
    credentials = STATE / "credentials" / "postgres"
    user = as_postgres()
    # Short on purpose: a socket's path may have at most 103 bytes.
    socket_dir = tempfile.mkdtemp(prefix="pg-")
    if IS_ROOT:
        shutil.chown(socket_dir, "postgres", "postgres")
    auth = ["--auth-local=scram-sha-256", "--auth-host=scram-sha-256"]
    who = ["--username=postgres", f"--pwfile={credentials / 'password'}"]
    quiet: Any = {"cwd": "/", "check": True, "stdout": subprocess.DEVNULL}
    subprocess.run([*user, postgres_bin / "initdb", "-D", new, *auth, *who], **quiet)
    options = f"-c listen_addresses= -c unix_socket_directories={socket_dir}"
    control = [*user, postgres_bin / "pg_ctl", "-D", new, "-w"]
    subprocess.run([*control, "-o", options, "-l", new / "init.log", "start"], **quiet)
    try:
        inner = {
            **env,
            "PGUSER": "postgres",
            "PGHOST": socket_dir,
            "PGPASSWORD": (credentials / "password").read_text(),
            "PATH": f"{postgres_bin}{os.pathsep}{env['PATH']}",
        }
        subprocess.run(["sh", "services/postgres/init.sh"], cwd=ROOT, env=inner, check=True)
    finally:
        subprocess.run([*control, "-m", "fast", "stop"], **quiet)
        shutil.rmtree(socket_dir)
    new.rename(data)


def take_lock() -> int | None:
    """Return a descriptor that holds the stack's lock, or None while a stack runs.

    The runner inherits it, so the lock ends with the runner, however that ends; a
    process id alone could by then belong to somebody else.
    """
    descriptor = os.open(STATE / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_running() -> bool:
    """Is a stack of this project running?"""
    if not STATE.exists():
        return False
    descriptor = take_lock()
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is None


def listens(address: str) -> bool:
    """Does anything accept connections at HOST:PORT?"""
    host, _, port = address.rpartition(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) == 0


def answers(env: dict[str, str]) -> bool:
    """Does the site say, over verified TLS, that it is ready?"""
    if not listens(env["GUNICORN_ADDRESS"]):  # the proxy would log each attempt
        return False
    context = ssl.create_default_context(cafile=str(ROOT / ".local" / "certs" / "ca.crt"))
    url = f"https://localhost:{env['HTTPS_PORT']}/readyz"
    try:
        with urllib.request.urlopen(url, timeout=5, context=context) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def up() -> None:
    """Start the stack in the background and wait until it serves."""
    env = environment()
    STATE.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = take_lock()
    if lock is None:
        fail("the stack is already running. Stop it with: make down")
    require_ports(env)
    servers = require_servers()
    postgres_bin = Path(servers["postgres"]).resolve().parent
    prepare(env, postgres_bin)
    env |= {
        "POSTGRES_BIN": str(postgres_bin),
        "CACHE_SERVER": servers["valkey-server or redis-server"],
        "AS_POSTGRES": " ".join(map(str, as_postgres())),
        "PATH": f"{env['PATH']}{os.pathsep}/usr/sbin",
    }
    subprocess.run(
        [sys.executable, "manage.py", "collectstatic", "--noinput", "-v", "0"],
        cwd=ROOT,
        env={**env, "DJANGO_SETTINGS_MODULE": "config.settings_offline"},
        check=True,
    )
    with LOG_FILE.open("w") as log:
        # A core dump would hold keys and plaintext.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        process = subprocess.Popen(
            # Variables are complete; honcho would let .env win over them.
            [sys.executable, "-m", "honcho", "-e", os.devnull, "start"],
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[lock],
        )
    os.close(lock)
    PID_FILE.write_text(str(process.pid))
    deadline = time.monotonic() + START_SECONDS
    try:
        while not answers(env):
            if process.poll() is not None or time.monotonic() > deadline:
                print("".join(LOG_FILE.read_text().splitlines(keepends=True)[-40:]))
                down()
                fail(f"the stack did not start; the end of {LOG_FILE} is above.")
            time.sleep(0.2)
    except KeyboardInterrupt:
        down()
        raise
    print(f"native: ready at https://localhost:{env['HTTPS_PORT']}")


def all_started() -> bool:
    """Has honcho started every process? A signal before that breaks its handler for good."""
    wanted = sum(line[:1].isalpha() for line in (ROOT / "Procfile").read_text().splitlines())
    return LOG_FILE.read_text().count(" started (pid=") >= wanted


def down() -> None:
    """Stop the stack and wait for the end of every process."""
    if not is_running():
        return
    pid = int(PID_FILE.read_text())
    deadline = time.monotonic() + STOP_SECONDS
    while is_running() and not all_started() and time.monotonic() < deadline:
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    while is_running():
        if time.monotonic() > deadline:
            fail(f"the runner (process {pid}) did not stop; see {LOG_FILE}.")
        time.sleep(0.1)


def main() -> None:
    """Run the command named on the command line."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    match sys.argv[1:]:
        case ["up"]:
            up()
        case ["down"]:
            down()
        case ["clean"]:
            down()
            shutil.rmtree(STATE, ignore_errors=True)
        case ["logs"]:
            os.execvp("tail", ["tail", "-n", "100", "-F", str(LOG_FILE)])
        case ["env", *command] if command:
            env = environment()
            os.execvpe(command[0], command, env)
        case _:
            fail("usage: scripts/native.py up | down | clean | logs | env COMMAND...")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
