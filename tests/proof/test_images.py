"""The images hold no secret, and the containers may do nothing that they need not."""

import base64
import io
import json
import mmap
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from needles import Needles, aws_keys, of_project, private_keys, spellings
from report import Evidence
from stack import DockerStack
from visitor import data_keys_of

pytestmark = [
    *(pytest.mark.proof, pytest.mark.docker, pytest.mark.slow),
    pytest.mark.timeout(600),
]

IMAGES = ("app", "aws", "cache", "postgres", "proxy")
SERVERS = {*IMAGES, "scheduler", "worker"}
ONCE = {"credentials", "release", "seed"}
NAMESPACE = "task"  # holds a network namespace and serves nothing

# Keys that the makers of a base image left in it. None is used, and none is a secret.
FOREIGN_KEYS = {
    # Made by Debian's package ssl-cert; removed from the file system by our own layer.
    "etc/ssl/private/ssl-cert-snakeoil.key",
    # The library tests itself with them; they are in its source.
    "usr/lib/*/libgnutls.so.*",
}

# Variables whose names sound like secrets, with the values that they may have, and why.
SECRET_NAME = re.compile("AUTH|CREDENTIAL|KEY|PASS|PRIVATE|SECRET|TOKEN")
UNAVOIDABLE = {
    "AWS_ACCESS_KEY_ID": ("local", "boto3 wants a word; the local stand-in takes any"),
    "AWS_SECRET_ACCESS_KEY": ("local", "boto3 wants a word; the local stand-in takes any"),
    "GPG_KEY": (r"[0-9A-F]{40}", "fingerprint of a public key, by the makers of the Python image"),
    "KEYRING_MAX_AGE": (r"\d+", "a number of seconds"),
    "POSTGRES_PASSWORD_FILE": ("/run/credentials/password", "the name of a file"),
    "DATABASE_PASSWORD_FILE": ("/run/credentials/migrator-password", "the name of a file"),
    "DATABASE_MASTER_PASSWORD_FILE": ("/run/credentials/master-password", "the name of a file"),
}

# What a container may write: tmpfs, and volumes on a disk.
IN_MEMORY = {
    "postgres": {"/tmp", "/run/postgresql"},  # noqa: S108
    "proxy": {"/tmp", "/run/nginx"},  # noqa: S108
    NAMESPACE: set[str](),
}
ON_DISK = {
    "aws": {"/var/lib/aws"},
    "cache": {"/data"},
    "postgres": {"/var/lib/postgresql/data"},
}
# Every container has them from the engine, in memory.
ENGINE = re.compile("/(dev|proc|sys)(/.*)?")

# Prints what a process could write on its root file system, other mounts apart.
WRITABLE = r"""find / -xdev \( -type d -o -type f \) -writable 2>/dev/null |
    grep -vxF "$(cut -d ' ' -f 2 /proc/mounts)"; true"""


@dataclass(frozen=True)
class Container:
    """A container of the stack as `docker inspect` shows it."""

    service: str
    inspected: dict[str, Any]

    @property
    def host(self) -> dict[str, Any]:
        config: dict[str, Any] = self.inspected["HostConfig"]
        return config

    @property
    def environment(self) -> list[str]:
        return [*self.inspected["Config"]["Env"]]

    @property
    def runs(self) -> bool:
        return bool(self.inspected["State"]["Running"])

    def run(self, *command: str, user: str | None = None) -> str:
        """Run a command inside, as the container's own user or another; return what it says."""
        who = [] if user is None else ["--user", user]
        words = ["docker", "exec", *who, self.inspected["Id"], *command]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def containers(docker: DockerStack) -> list[Container]:
    """Every container of the stack."""
    ids = docker.run("docker", "compose", "ps", "--all", "--quiet").split()
    found = [
        Container(each["Config"]["Labels"]["com.docker.compose.service"], each)
        for each in json.loads(docker.run("docker", "inspect", *ids))
    ]
    return sorted(found, key=lambda container: container.service)


@pytest.fixture(scope="module")
def running(containers: list[Container]) -> list[Container]:
    return [container for container in containers if container.runs]


@pytest.fixture(scope="module")
def needles(docker: DockerStack) -> Needles:
    """Secrets of .env, private keys, and the data keys that the application uses now."""
    data_keys = {name: spellings(value) for name, value in data_keys_of(docker).items()}
    assert data_keys
    return of_project(docker.project) | Needles(data_keys)


def base_of(docker: DockerStack, image: str) -> str:
    """The name of the image that an image is made from."""
    folder = {"proxy": "nginx"}.get(image, image)
    dockerfile = (docker.project / "services" / folder / "Dockerfile").read_text()
    return str(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)[-1])


# Layers -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """A part of a saved archive of images: a tar file, in which files are uncompressed."""

    data: mmap.mmap
    start: int
    end: int

    def files(self) -> Iterator[tarfile.TarInfo]:
        with tarfile.open(fileobj=io.BytesIO(self.data[self.start : self.end])) as archive:
            yield from archive

    def file_at(self, place: int) -> str:
        """Return the name of the file whose content, or header, is at a place of the archive."""
        inside = place - self.start
        for member in self.files():
            if member.offset <= inside < member.offset_data + member.size:
                return member.name
        return "(between files)"


class Saved:
    """What `docker save` writes of some images, in a file."""

    def __init__(self, path: Path) -> None:
        """Open the file."""
        with path.open("rb") as file:
            self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        with tarfile.open(path) as archive:
            manifest = archive.extractfile("manifest.json")
            assert manifest
            self._images = json.load(manifest)
            self._members = {member.name: member for member in archive}

    def layers(self, image: str) -> list[Layer]:
        """Return the layers of an image, its base's first."""
        tag = f"{image}:latest"
        names = next(each["Layers"] for each in self._images if tag in each["RepoTags"])
        found = []
        for name in names:
            member = self._members[name]
            while member.issym() or member.islnk():
                folder = Path(name).parent if member.issym() else Path()
                target = (Path("/") / folder / member.linkname).resolve()
                member = self._members[str(target)[1:]]
            found.append(Layer(self.data, member.offset_data, member.offset_data + member.size))
        return found


@pytest.fixture(scope="module")
def saved(docker: DockerStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saved]:
    """All images of the stack; layers that they share are there once."""
    path = tmp_path_factory.mktemp("saved") / "images.tar"
    images = [f"{docker.name}-{image}" for image in IMAGES]
    docker.run("docker", "save", "--output", path, *images)
    yield Saved(path)
    path.unlink()


def secrets_in(layer: Layer, needles: Needles) -> list[str]:
    """Return what a layer has and must not have, by file."""
    data, start, end = layer.data, layer.start, layer.end
    places = [(place, name) for name, place in needles.at(data, start, end)]
    places += [(place, "an access key of AWS") for place in aws_keys(data, start, end)]
    places += [(place, "a private key") for place in private_keys(data, start, end)]
    found = {f"{layer.file_at(place)}: {name}" for place, name in places}
    secret = (".env", ".key", ".p12", ".pfx", ".jks")
    for member in layer.files():
        if member.name.endswith(secret) and member.isfile() and member.size:
            found.add(f"{member.name}: a name like that of a secret")
    return sorted(found)


def test_what_is_hidden_in_a_layer_is_found(
    docker: DockerStack, needles: Needles, tmp_path: Path, evidence: Evidence
) -> None:
    authority = docker.project / ".local" / "certs" / "ca.key"
    der = subprocess.run(
        ["openssl", "pkey", "-in", authority, "-outform", "DER"], check=True, capture_output=True
    ).stdout
    database = docker.secrets["SEED_DATABASE_PASSWORD"].encode()
    (name, data_key), *_ = data_keys_of(docker).items()
    planted = {
        "etc/one.txt": (authority.read_bytes(), {"a private key", "ca.key"}),
        "etc/two.bin": (b"\0" * 77 + der, {"ca.key"}),
        "etc/three.txt": (b"password: " + database, {"SEED_DATABASE_PASSWORD"}),
        "etc/four.json": (data_key.hex().encode(), {name}),
        "etc/five": (b"AKIA" + b"Q7" * 8, {"an access key of AWS"}),
        "etc/six.key": (b"?", {"a name like that of a secret"}),
    }
    image, rootfs = f"{docker.name}-planted", io.BytesIO()
    with tarfile.open(fileobj=rootfs, mode="w") as archive:
        for path, (content, _) in planted.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    archived = tmp_path / "planted.tar"
    subprocess.run(
        ["docker", "import", "-", image], input=rootfs.getvalue(), check=True, capture_output=True
    )
    try:
        docker.run("docker", "save", "--output", archived, image)
    finally:
        docker.run("docker", "image", "rm", image)
    (layer,) = Saved(archived).layers(image)
    found = secrets_in(layer, needles)
    expected = sorted(f"{path}: {name}" for path, (_, names) in planted.items() for name in names)
    evidence.line(
        "images",
        subject="control: an image with planted secrets",
        tried="the search of the layers",
        expected=f"all {len(expected)} found",
        seen=f"{len(found)} found: {'; '.join(found)}",
    )
    assert found == expected


@pytest.mark.parametrize("image", IMAGES)
def test_no_layer_holds_a_secret(
    docker: DockerStack, saved: Saved, needles: Needles, image: str, evidence: Evidence
) -> None:
    base = json.loads(docker.run("docker", "image", "inspect", base_of(docker, image)))
    layers = saved.layers(f"{docker.name}-{image}")
    inherited = layers[: len(base[0]["RootFS"]["Layers"])]
    own = layers[len(inherited) :]
    assert own
    assert inherited
    found = [each for layer in own for each in secrets_in(layer, needles)]
    keys = {
        layer.file_at(place)
        for layer in inherited
        for place in private_keys(layer.data, layer.start, layer.end)
    }
    known = {name for name in keys if any(fnmatchcase(name, each) for each in FOREIGN_KEYS)}
    size = sum(layer.end - layer.start for layer in layers)
    evidence.line(
        "images",
        subject=f"image {image}: {len(own)} layers on {len(inherited)} of its base",
        tried=f"search for {len(needles)} secrets and keys of this stack in several spellings, "
        "for anybody's private keys, and for access keys of AWS",
        expected="nothing" + f" but {', '.join(sorted(known))} of the base" * bool(known),
        seen=f"{', '.join(found + sorted(keys - known)) or 'nothing else'} "
        f"in {size // 1_000_000} MB",
    )
    evidence.figure("images", "MB of layers searched", size // 1_000_000)
    assert found == []
    assert keys == known


def test_keys_of_the_base_are_not_in_the_file_system(running: list[Container]) -> None:
    folders = ("etc", "home", "opt", "root", "run/nginx", "srv", "usr/local", "var/lib")
    for container in running:
        command = f"cd /; grep -rlsE 'BEGIN [A-Z ]*PRIVATE KEY-----$' {' '.join(folders)}; true"
        seen = container.run("sh", "-c", command, user="0").split()
        mentions = (".py", ".rst", ".pyc", ".h", ".txt", ".md", ".json", "RECORD", "scripts/certs")
        assert [path for path in seen if not path.endswith(mentions)] == [], container.service


@pytest.mark.parametrize("image", IMAGES)
def test_no_secret_is_in_an_image_s_history_or_labels(
    docker: DockerStack, needles: Needles, image: str, evidence: Evidence
) -> None:
    name = f"{docker.name}-{image}"
    history = docker.run("docker", "history", "--no-trunc", "--format", "{{json .}}", name)
    config = json.loads(docker.run("docker", "image", "inspect", name))[0]
    found = needles.found(history + json.dumps(config))
    steps = [json.loads(line)["CreatedBy"] for line in history.splitlines()]
    files = [step for step in steps if re.search(r"\b(COPY|ADD)\b", step)]
    copied = [step for step in files if re.search(r"\.(env|local|key)\b", step)]
    evidence.line(
        "images",
        subject=f"image {image}: history of {len(steps)} steps, labels, variables",
        tried="search for every secret, and for copies of .env, .local and keys",
        expected="nothing",
        seen=", ".join([*found, *copied]) or "nothing",
    )
    assert files
    assert [*found, *copied] == []


# Builds -------------------------------------------------------------------------------


def build(context: Path, dockerfile: Path, output: str, *options: str) -> str:
    """Build an image that is not kept; return the whole log."""
    command = ("docker", "buildx", "build", "--progress", "plain", "--output", output, *options)
    result = subprocess.run(
        [*command, "--file", dockerfile, context],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return result.stdout


def builds_of(docker: DockerStack) -> dict[str, dict[str, Any]]:
    """What Compose builds, by service."""
    config = json.loads(docker.run("docker", "compose", "config", "--format", "json"))
    services = config["services"].items()
    return {name: service["build"] for name, service in services if "build" in service}


@pytest.fixture
def sent(tmp_path: Path) -> Callable[[Path], Path]:
    """Return a function that gives the files of a folder that an engine gets for a build."""

    def send(context: Path) -> Path:
        everything = tmp_path / "Dockerfile"
        everything.write_text("FROM scratch\nCOPY . /\n")
        received = tmp_path / "received"
        shutil.rmtree(received, ignore_errors=True)
        build(context, everything, f"type=local,dest={received}")
        return received

    return send


def secret_files(folder: Path, needles: Needles) -> list[str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [
        str(path.relative_to(folder))
        for path in files
        if needles.found(path.read_bytes()) or path.name == ".env"
    ]


def test_a_build_is_given_no_secret(
    docker: DockerStack, needles: Needles, sent: Callable[[Path], Path], evidence: Evidence
) -> None:
    builds = builds_of(docker)
    assert set(builds) >= {"seed", *IMAGES} - {"app"}
    contexts = {Path(each["context"]) for each in builds.values()}
    found = {path.name: secret_files(sent(path), needles) for path in contexts}
    # Values that a build would keep in the image's history, or could print.
    given = {name: set(each) & {"args", "secrets", "ssh"} for name, each in builds.items()}
    evidence.line(
        "images",
        subject=f"{len(contexts)} build contexts of {len(builds)} images",
        tried="search of every file that is sent to the engine; arguments and secrets of builds",
        expected="no secret",
        seen=f"{sum(map(len, found.values()))} files with a secret, "
        f"{sum(map(len, given.values()))} arguments and secrets",
    )
    assert (docker.project / ".env").exists()
    assert not any(found.values()), found
    assert not any(given.values()), given


def test_a_secret_beside_the_sources_is_not_sent(
    docker: DockerStack, sent: Callable[[Path], Path], tmp_path: Path
) -> None:
    careless = tmp_path / "careless"
    shutil.copytree(docker.project, careless, ignore=shutil.ignore_patterns(".venv", ".git"))
    planted = ["apps/.env.production", "config/.env", "services/app/tls.key", "apps/planted.py"]
    for name in planted:
        (careless / name).write_text("planted")
    received = sent(careless)
    assert [name for name in planted if (received / name).exists()] == ["apps/planted.py"]


def test_secrets_in_a_build_would_be_found(
    docker: DockerStack, needles: Needles, sent: Callable[[Path], Path], tmp_path: Path
) -> None:
    """Without .dockerignore they are sent."""
    careless = tmp_path / "careless"
    shutil.copytree(docker.project, careless, ignore=shutil.ignore_patterns(".venv", ".git"))
    (careless / ".dockerignore").unlink()
    found = secret_files(sent(careless), needles)
    assert {".env", ".local/certs/ca.key", ".local/certs/app/tls.key"} <= set(found)


def test_no_build_writes_a_secret_to_its_log(
    docker: DockerStack, needles: Needles, tmp_path: Path, evidence: Evidence
) -> None:
    """Of a changed project, so that all runs again that reads the project's own files.

    Steps that read none of them, such as the installation of locked packages, come from the
    engine's cache; they cannot know a secret of this project.
    """
    changed = tmp_path / docker.name
    shutil.copytree(docker.project, changed, ignore=shutil.ignore_patterns(".venv", ".git"))
    with (changed / "manage.py").open("a") as file:
        file.write(f"# {tmp_path}\n")
    logs = {}
    for name, each in builds_of(docker).items():
        context = changed / Path(each["context"]).relative_to(docker.project)
        target = ("--target", "build") if name == "seed" else ()
        logs[name] = build(context, context / each["dockerfile"], "type=cacheonly", *target)
    found = {name: needles.found(log) for name, log in logs.items()}
    evidence.line(
        "images",
        subject=f"logs of {len(logs)} builds",
        tried="search for every secret",
        expected="nothing",
        seen=", ".join(f"{k}: {v}" for k, v in found.items() if v) or "nothing",
    )
    assert "static files copied" in logs["seed"], logs["seed"]
    assert not any(found.values())


def test_a_secret_in_a_build_s_log_would_be_found(
    docker: DockerStack, needles: Needles, tmp_path: Path
) -> None:
    password = docker.secrets["SEED_CACHE_PASSWORD"].encode()
    (tmp_path / "settings").write_bytes(base64.b64encode(password))
    dockerfile = tmp_path / "Dockerfile"
    base = base_of(docker, "proxy")
    dockerfile.write_text(f"FROM {base}\nCOPY settings /\nRUN base64 -d settings\n")
    log = build(tmp_path, dockerfile, "type=cacheonly", "--no-cache")
    assert needles.found(log) == {"SEED_CACHE_PASSWORD"}


# Environments -------------------------------------------------------------------------


def undue(variables: list[str], needles: Needles) -> list[str]:
    """Return the names of variables that hold a secret, or sound as if they did."""
    found = []
    for variable in variables:
        name, _, value = variable.partition("=")
        allowed, _why = UNAVOIDABLE.get(name, (None, ""))
        sounds = SECRET_NAME.search(name) and not (allowed and re.fullmatch(allowed, value))
        if sounds or needles.found(value) or any(aws_keys(value.encode())):
            found.append(name)
    return found


def test_no_secret_is_in_an_environment(
    containers: list[Container], needles: Needles, evidence: Evidence
) -> None:
    found = {}
    for container in containers:
        found[container.service] = undue(container.environment, needles)
        shown = needles.found(json.dumps(container.inspected))
        found[container.service] += sorted(shown)
        names = {variable.partition("=")[0] for variable in container.environment}
        listed = [f"{name} ({UNAVOIDABLE[name][1]})" for name in sorted(names & set(UNAVOIDABLE))]
        evidence.line(
            "images",
            subject=f"container {container.service}: {len(names)} variables",
            tried="docker inspect, searched for secrets and for names that sound like one",
            expected=f"only {'; '.join(listed)}" if listed else "nothing",
            seen=", ".join(found[container.service]) or "nothing else",
        )
    evidence.figure("images", "containers inspected", len(containers))
    assert not any(found.values()), found


def environments(container: Container) -> dict[str, list[str]]:
    """Return the variables of every process inside, by process id."""
    # As the processes' own user: root without capabilities may not look.
    script = r"""for p in /proc/[0-9]*; do
      if v=$(tr '\0' '\n' <"$p/environ"); then echo "process ${p#/proc/}"; echo "$v"
      elif [ -d "$p" ]; then echo "process ${p#/proc/}"; echo "UNREADABLE=1"; fi 2>/dev/null
    done"""
    found: dict[str, list[str]] = {}
    for line in container.run("sh", "-c", script).splitlines():
        if re.fullmatch(r"process \d+", line):
            variables = found.setdefault(line, [])
        elif "=" in line:
            variables.append(line)
    return found


def test_no_secret_is_in_the_environment_of_a_process(
    running: list[Container], needles: Needles, evidence: Evidence
) -> None:
    found = {}
    for container in running:
        processes = environments(container)
        unread = [pid for pid, variables in processes.items() if variables == ["UNREADABLE=1"]]
        here = {name for variables in processes.values() for name in undue(variables, needles)}
        found[container.service] = sorted(here) + unread
        evidence.line(
            "images",
            subject=f"container {container.service}: {len(processes)} processes",
            tried="/proc/*/environ of each, searched for secrets and names that sound like one",
            expected="nothing but what docker inspect shows",
            seen=", ".join(found[container.service]) or "nothing else",
        )
        evidence.figure("images", "environments of processes read", len(processes))
        assert "process 1" in processes
    assert not any(found.values()), found


def test_a_secret_in_an_environment_would_be_found(
    docker: DockerStack, running: list[Container], needles: Needles
) -> None:
    password = docker.secrets["SEED_CACHE_PASSWORD"]
    assert undue([f"HARMLESS={password}"], needles) == ["HARMLESS"]
    assert undue(["API_TOKEN=x", "AWS_SECRET_ACCESS_KEY=other"], needles) == [
        *("API_TOKEN", "AWS_SECRET_ACCESS_KEY"),
    ]
    container = next(each for each in running if each.service == "cache")
    variable = ("--env", f"HARMLESS={password}")
    where = container.inspected["Id"]
    docker.run("docker", "exec", "--detach", *variable, where, "sleep", "20")
    found = [undue(variables, needles) for variables in environments(container).values()]
    assert ["HARMLESS"] in found


# Confinement --------------------------------------------------------------------------


def test_every_service_is_looked_at(containers: list[Container], foreign: bool) -> None:
    services = {container.service for container in containers}
    assert services >= SERVERS | ONCE | {NAMESPACE}
    assert foreign or services == SERVERS | ONCE | {NAMESPACE}


def test_containers_are_confined(containers: list[Container], evidence: Evidence) -> None:
    problems = []
    for container in containers:
        host, user = container.host, container.inspected["Config"]["User"]
        # The one exception gives each server its files, and has no network.
        installer = container.service == "credentials"
        capabilities = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"] if installer else []
        right = {
            "root file system": host["ReadonlyRootfs"] is True,
            "dropped capabilities": host["CapDrop"] == ["ALL"],
            "added capabilities": sorted(host["CapAdd"] or []) == capabilities,
            "no new privileges": host["SecurityOpt"] == ["no-new-privileges:true"],
            "privileged": host["Privileged"] is False,
            "core dumps": {"Name": "core", "Hard": 0, "Soft": 0} in (host["Ulimits"] or []),
            "devices": not host["Devices"],
            "namespaces": not (host["PidMode"] or host["UsernsMode"])
            and host["IpcMode"] == "private",
            "user": bool(re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)) != installer,
            "network": (host["NetworkMode"] == "none") == installer,
        }
        wrong = [name for name, holds in right.items() if not holds]
        problems += [f"{container.service}: {name}" for name in wrong]
        evidence.line(
            "images",
            subject=f"container {container.service}, user {user}",
            tried=f"docker inspect: {', '.join(right)}",
            expected="read-only root, nothing may be gained"
            + ", three capabilities of files and no network" * installer,
            seen=", ".join(f"not so: {name}" for name in wrong) or "as expected",
        )
    assert problems == []


def test_processes_have_no_power(running: list[Container], evidence: Evidence) -> None:
    """As the kernel says it of the first process, whatever the engine was asked for."""
    wanted = {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}
    problems = []
    for container in running:
        lines = container.run("cat", "/proc/1/status").splitlines()
        status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        powers = {name for name in wanted if int(status[name], 16)}
        root = "0" in (status["Uid"] + "\t" + status["Gid"]).split()
        free = status["NoNewPrivs"] != "1"
        unfiltered = status["Seccomp"] != "2"
        problems += [container.service] * bool(powers or root or free or unfiltered)
        evidence.line(
            "images",
            subject=f"container {container.service}, process 1",
            tried="/proc/1/status: capabilities, NoNewPrivs, Uid, Gid, Seccomp",
            expected="no capability, no new privileges, not root, calls filtered",
            seen=f"capabilities {', '.join(sorted(powers)) or 'none'}, "
            f"NoNewPrivs {status['NoNewPrivs']}, Uid {status['Uid'].split()[1]}, "
            f"Seccomp {status['Seccomp']}",
        )
    assert problems == []


def test_containers_run_on_a_disk_that_they_cannot_write(
    running: list[Container], evidence: Evidence
) -> None:
    """Also root cannot, which has no capability here but owns the files: EROFS."""
    problems = []
    for container in running:
        in_memory, on_disk, odd = set[str](), set[str](), set[str]()
        for line in container.run("cat", "/proc/mounts").splitlines():
            _, place, kind, options, *_ = line.split()
            if "rw" not in options.split(",") or (ENGINE.fullmatch(place) and kind != "ext4"):
                continue
            (in_memory if kind == "tmpfs" else on_disk).add(place)
        service = container.service
        if in_memory - IN_MEMORY.get(service, {"/tmp"}):  # noqa: S108
            odd.add(f"tmpfs {in_memory}")
        if on_disk != ON_DISK.get(service, set()):
            odd.add(f"disk {on_disk}")
        writable = container.run("sh", "-c", WRITABLE, user="0").splitlines()
        own = container.run("sh", "-c", WRITABLE).splitlines()
        odd |= {*writable, *own}
        touched = container.run("sh", "-c", "touch /usr/probe 2>&1; true", user="0")
        if "Read-only file system" not in touched:
            odd.add(f"touch /usr/probe: {touched}")
        problems += [f"{service}: {each}" for each in sorted(odd)]
        evidence.line(
            "images",
            subject=f"container {service}",
            tried="writable mounts; every file and folder of the root file system, as the "
            "container's user and as root",
            expected=f"tmpfs {', '.join(sorted(in_memory)) or 'none'}; "
            f"volumes {', '.join(sorted(ON_DISK.get(service, []))) or 'none'}; no other",
            seen=", ".join(sorted(odd)) or "no other can be written",
        )
    assert problems == []


def test_a_writable_disk_would_be_seen(docker: DockerStack) -> None:
    image = f"{docker.name}-cache"
    run = ("docker", "run", "--rm", "--user", "0", "--cap-drop", "ALL", "--entrypoint", "sh")
    assert "/usr/bin" in docker.run(*run, image, "-c", WRITABLE).split()
    assert docker.run(*run, "--read-only", image, "-c", WRITABLE).split() == []


def test_every_server_has_a_health_check(containers: list[Container]) -> None:
    health = {
        container.service: container.inspected["State"].get("Health", {}).get("Status")
        for container in containers
    }
    assert {name for name, status in health.items() if status == "healthy"} >= SERVERS
    assert {health[name] for name in ONCE} == {None}
