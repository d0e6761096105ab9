"""At rest, nothing that a user typed or uploaded can be read, and no key.

Every input is a random value of its own, given to the real site. Then the stack is stopped,
and every byte that it leaves on the machine is searched for each of them. The control: values
that were put into the same places without encryption, which the same search must find.

Memory is not at rest: what swap or a core dump would hold is not looked at.
"""

import base64
import gzip
import io
import os
import re
import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from canaries import Search, canary
from stack import DockerStack, NativeStack, Stack
from visitor import Site, Values, data_keys_of, secrets_of, use

# What must be found --------------------------------------------------------------------

CONTROLS = {
    "database files": {"column", "long column", "deleted row", "session"},
    "WAL": {"column", "deleted row", "session"},
    "cache dump": {"cache key", "session"},
    "object store": {"object"},
    "logs": {"path"},
    "temporary and other files": {"temporary file"},
}
DOCKER_CONTROLS = {"containers' own files": {"file in a container"}}


def leave_controls(stack: Stack) -> Values:
    """Put values into every place without encryption."""
    values = Values()
    column, long, row = (values.new(name) for name in ("column", "long column", "deleted row"))
    key, session, stored = (values.new(name) for name in ("cache key", "session", "object"))
    code = (
        "import boto3\n"  # noqa: S608
        "from django.contrib.sessions.backends.cached_db import SessionStore\n"
        "from django.core.cache import cache\n"
        "from django.db import connection\n"
        "with connection.cursor() as cursor:\n"
        "    cursor.execute('CREATE TABLE plain (value text)')\n"
        "    insert = 'INSERT INTO plain VALUES (%s)'\n"
        f"    cursor.execute(insert, ['{column}'])\n"
        f"    cursor.execute(insert, ['{long}' + ' the same' * 900])\n"
        f"    cursor.execute(insert, ['{row}'])\n"
        f"    cursor.execute('DELETE FROM plain WHERE value = %s', ['{row}'])\n"
        # What the planner remembers of the columns is in the files too.
        "    cursor.execute('ANALYZE')\n"
        f"cache.set('plain', '{key}', None)\n"
        "session = SessionStore()\n"
        f"session['plain'] = '{session}' + ' the same' * 100\n"
        "session.create()\n"
        f"bucket = boto3.resource('s3').Bucket('{stack.project.name}-local-media')\n"
        f"bucket.put_object(Key='plain', Body=b'{stored}')"
    )
    stack.shell(code, "release")  # whose role may make tables
    with pytest.raises(urllib.error.HTTPError, match="404"):
        Site(stack).get(f"/{values.new('path')}/")
    return values


def remove_controls(stack: Stack) -> None:
    stack.shell(
        "import boto3\n"
        "from django.core.cache import cache\n"
        "from django.db import connection\n"
        "connection.cursor().execute('DROP TABLE plain')\n"
        "cache.delete('plain')\n"
        f"bucket = boto3.resource('s3').Bucket('{stack.project.name}-local-media')\n"
        "bucket.Object('plain').delete()",
        "release",
    )


# Where a stack leaves something ----------------------------------------------------------

# What a path of a stack's state begins with; Docker's volumes have the names of the folders.
_PLACES = (
    ("postgres/pg_wal/", "WAL"),
    ("postgres/", "database files"),
    ("cache/", "cache dump"),
    ("aws/s3", "object store"),
    ("aws/", "secret store"),
    ("log", "logs"),
    ("credentials", "credentials"),
    ("", "temporary and other files"),
)


@dataclass(frozen=True)
class File:
    """A file, or what is like one, and the kind of place it was in."""

    place: str
    name: str
    content: bytes


def of_state(path: str, content: bytes) -> File:
    """Return the file of a path relative to the stack's state."""
    return File(next(place for start, place in _PLACES if path.startswith(start)), path, content)


def temporary() -> set[Path]:
    """Return what is in the folders for temporary files."""
    folders = {tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"}  # noqa: S108
    return {entry for folder in folders for entry in Path(folder).glob("*")}


def files(stack: Stack, known: set[Path], values: Values) -> Iterator[File]:
    """Stop the stack, and yield all that it leaves on the machine.

    `known` is what was in the folders for temporary files before. `values` gets the last
    controls, which are files.
    """
    if isinstance(stack, DockerStack):
        yield from _docker_files(stack, values)
    elif isinstance(stack, NativeStack):
        yield from _native_files(stack, known, values)


def _native_files(stack: NativeStack, known: set[Path], values: Values) -> Iterator[File]:
    left = Path(tempfile.gettempdir(), values.new("temporary file"))
    try:
        left.write_bytes(values["temporary file"])
        stack.down()
        for path in _below(stack.state):
            yield of_state(str(path.relative_to(stack.state)), path.read_bytes())
        for path in (stack.project / ".env", *_below(stack.project / ".local")):
            yield File("credentials", str(path), path.read_bytes())
        for new in temporary() - known:
            for path in _below(new):
                with suppress(OSError):  # other programs' files come and go
                    yield File("temporary and other files", str(path), path.read_bytes())
    finally:
        left.unlink()


def _below(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and of those in it; a file is all that there is of itself."""
    if folder.is_file():
        yield folder
    for parent, _, names in folder.walk():
        yield from (path for name in names if (path := parent / name).is_file())


def _docker_files(stack: DockerStack, values: Values) -> Iterator[File]:
    temporary, inner = values.new("temporary file"), values.new("file in a container")
    stack.run(*stack.inside("app"), "sh", "-c", f"echo {temporary} >/tmp/plain")
    options = ("--detach", "--network", "none", "--entrypoint", "sh", f"{stack.name}-app")
    other = stack.run("docker", "run", *options, "-c", f"echo {inner} >/var/tmp/plain").strip()
    try:
        # In memory, and gone with its container: what there is just before.
        for service in stack.run("docker", "compose", "ps", "--services").split():
            tar = ("tar", "-c", "-C", "/", "--exclude", "run/credentials", "tmp", "run")
            for name, content in _members(stack, *stack.inside(service), *tar):
                yield File("temporary and other files", f"{service}: {name}", content)
        names = "{{.Name}}"
        containers = stack.run("docker", "compose", "ps", "--all", "--format", names).split()
        stack.run("docker", "compose", "stop")
        for container in containers:
            yield File("logs", container, _output(stack, "docker", "logs", container))
        for container in (*containers, other):
            for path in _own_files(stack, container):
                for name, content in _members(stack, "docker", "cp", f"{container}:{path}", "-"):
                    if name == path.rpartition("/")[2]:  # else it is a folder's
                        yield File("containers' own files", f"{container}: {path}", content)
    finally:
        stack.run("docker", "rm", "--force", other)
    stack.down()
    label = f"label=com.docker.compose.project={stack.name}"
    for volume in stack.run("docker", "volume", "ls", "--quiet", "--filter", label).split():
        folder = volume.removeprefix(f"{stack.name}_")
        run = ("docker", "run", "--rm", "--network", "none", "--user", "0", "--entrypoint", "tar")
        mounted = ("--volume", f"{volume}:/volume:ro", f"{stack.name}-postgres")
        for name, content in _members(stack, *run, *mounted, "-c", "-C", "/volume", "."):
            yield of_state(f"{folder}/{name.removeprefix('./')}", content)


def _own_files(stack: DockerStack, container: str) -> set[str]:
    """Return paths that the container has added to its image, apart from what is mounted."""
    changes = stack.run("docker", "diff", container).splitlines()
    mounts = "{{range .Mounts}}{{println .Destination}}{{end}}"
    mounted = stack.run("docker", "inspect", "--format", mounts, container).split()
    return {change[2:] for change in changes if change[0] in "AC"} - set(mounted)


def _output(stack: Stack, *command: object) -> bytes:
    """Return all that a command writes."""
    words = [str(word) for word in command]
    out = subprocess.STDOUT
    return subprocess.run(
        words, cwd=stack.project, env=stack.env, stdout=subprocess.PIPE, stderr=out
    ).stdout


def _members(stack: Stack, *command: object) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of the files in the archive that a command writes."""
    words = [str(word) for word in command]
    result = subprocess.run(words, cwd=stack.project, env=stack.env, capture_output=True)
    # tar ends with 1 if a file changed while it was read.
    assert result.returncode in {0, 1}, result.stderr.decode()
    with tarfile.open(fileobj=io.BytesIO(result.stdout)) as archive:
        for member in archive:
            if member.isfile() and (file := archive.extractfile(member)):
                yield member.name, file.read()


# The search -----------------------------------------------------------------------------


@dataclass
class Place:
    """What was found in files of one kind."""

    files: int = 0
    size: int = 0
    hits: dict[str, list[str]] = field(default_factory=dict)


@dataclass(repr=False)
class Evidence:
    """What was put in, and what was found where."""

    inputs: Values
    controls: Values
    secrets: Values
    data_keys: Values
    places: dict[str, Place]
    spooled: set[str]  # what NGINX did not keep in memory, and says so of

    def hits(self, values: Values) -> dict[str, set[str]]:
        """Return which of these values were found, by place."""
        found = {name: values.keys() & place.hits.keys() for name, place in self.places.items()}
        return {name: names for name, names in found.items() if names}

    def where(self, values: Values) -> str:
        """Say which of these values were found, each with the first file, for a test that fails."""
        return "".join(
            f"\n{name}: {value} (in {place.hits[value][0]})"
            for name, place in self.places.items()
            for value in sorted(place.hits.keys() & values.keys())
        )

    def table(self) -> str:
        """Return how much was searched, and how many values were found."""
        lines = ["place                       files       bytes  inputs  keys  controls"]
        for name, place in sorted(self.places.items()):
            keys = {**self.secrets, **self.data_keys}
            inputs, held, controls = (
                len(place.hits.keys() & values.keys())
                for values in (self.inputs, keys, self.controls)
            )
            lines.append(f"{name:26}{place.files:7}{place.size:12,}{inputs:8}{held:6}{controls:10}")
        return "\n".join(lines)


@pytest.fixture(scope="module")
def evidence(stack: Stack, pytestconfig: pytest.Config) -> Evidence:
    """Use the site, stop the stack, search, and start it again."""
    before = temporary()
    inputs, controls = use(stack), leave_controls(stack)
    known = secrets_of(stack), data_keys_of(stack)
    found = Evidence(inputs, controls, *known, places={}, spooled=set())
    try:
        contents = list(files(stack, before, controls))
    finally:
        stack.up()
        remove_controls(stack)
    search = Search({**inputs, **controls, **known[0], **known[1]})
    for file in contents:
        place = found.places.setdefault(file.place, Place())
        place.files += 1
        place.size += len(file.content)
        if file.place == "logs":
            spooled = re.findall(rb"buffered to a temporary file (\S+?),? ", file.content)
            found.spooled.update(map(bytes.decode, spooled))
        for name in search(file.content):
            place.hits.setdefault(name, []).append(file.name)
    terminal, capture = map(
        pytestconfig.pluginmanager.getplugin, ("terminalreporter", "capturemanager")
    )
    with capture.global_and_fixture_disabled():
        terminal.write_line(f"\n{stack.mode}:\n{found.table()}")
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
class TestAtRest:
    """What a stopped stack has left on the machine."""

    def test_every_control_is_found(self, evidence: Evidence, stack: Stack) -> None:
        expected = CONTROLS | (DOCKER_CONTROLS if stack.mode == "docker" else {})
        found = evidence.hits(evidence.controls)
        missing = {place: names - found.get(place, set()) for place, names in expected.items()}
        assert not any(missing.values()), f"not found: {missing}"
        assert set(evidence.secrets) <= evidence.hits(evidence.secrets)["credentials"]

    def test_no_input_is_found(self, evidence: Evidence) -> None:
        found = evidence.where(evidence.inputs)
        assert not found, found

    def test_secrets_are_only_where_the_stand_in_keeps_them(self, evidence: Evidence) -> None:
        assert set(evidence.hits(evidence.secrets)) == {"credentials", "secret store"}

    def test_uploads_pass_nginx_in_memory(self, evidence: Evidence, stack: Stack) -> None:
        """A file that is deleted at once is on the disk all the same, and no search sees it."""
        in_memory = {"docker": "/run/nginx/", "native": "/dev/shm/"}[stack.mode]  # noqa: S108
        assert [path for path in evidence.spooled if not path.startswith(in_memory)] == []

    def test_no_data_key_is_found(self, evidence: Evidence) -> None:
        assert evidence.data_keys
        found = evidence.where(evidence.data_keys)
        assert not found, found


# The search itself ----------------------------------------------------------------------

VALUE = "k3j9x0q8w7e6r5t4y3u2i1o0p9a8s7d6f5g4h3j2k1l0z9x8"


def pglz(text: bytes) -> bytes:
    """Compress as PostgreSQL does what has no repetition."""
    return b"".join(b"\0" + text[at : at + 8] for at in range(0, len(text), 8))


def lzf(text: bytes) -> bytes:
    """Compress as the cache does what has no repetition."""
    runs = (text[at : at + 32] for at in range(0, len(text), 32))
    return b"".join(bytes([len(run) - 1]) + run for run in runs)


ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "UTF-8": str.encode,
    "UTF-16 LE": lambda text: text.encode("utf-16-le"),
    "UTF-16 BE": lambda text: text.encode("utf-16-be"),
    "hexadecimal": lambda text: text.encode().hex().encode(),
    "hexadecimal, upper case": lambda text: text.encode().hex().upper().encode(),
    "base64": lambda text: base64.b64encode(text.encode()),
    "base64, URL-safe": lambda text: base64.urlsafe_b64encode(text.encode()),
    "percent": lambda text: "".join(f"%{ord(char):02X}" for char in text).encode(),
    "percent, lower case": lambda text: "".join(f"%{ord(char):02x}" for char in text).encode(),
    "JSON": lambda text: "".join(f"\\u{ord(char):04x}" for char in text).encode(),
    "JSON, upper case": lambda text: "".join(f"\\u{ord(char):04X}" for char in text).encode(),
    "PGLZ": lambda text: pglz(text.encode()),
    "LZF": lambda text: lzf(text.encode()),
    "zlib": lambda text: zlib.compress(text.encode()),
    "gzip": lambda text: gzip.compress(text.encode()),
    "zlib in base64": lambda text: base64.urlsafe_b64encode(zlib.compress(text.encode())),
    "gzip in base64": lambda text: base64.b64encode(gzip.compress(text.encode())),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_search_finds_every_encoding(encoding: str) -> None:
    search = Search({"value": VALUE.encode(), "other": canary().encode()})
    for before in range(33):  # this matters to base64 and to the compressions
        text = f"{'-' * before}{VALUE}, and more"
        data = b"\x00\xff" * 99 + ENCODINGS[encoding](text) + b"\xff\x00" * 99
        assert search(data) == {"value"}, before


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_search_finds_nothing_else(encoding: str) -> None:
    data = ENCODINGS[encoding](VALUE[::-1] + canary()) + os.urandom(100_000)
    assert Search({"value": VALUE.encode()})(data) == set()


def test_search_finds_a_part() -> None:
    search = Search({"value": VALUE.encode()})
    assert search(b"a log cuts it off: " + VALUE[:12].encode()) == {"value"}
    assert search(VALUE[-12:].encode()) == {"value"}


def test_search_finds_bytes() -> None:
    value = bytes(range(230, 256)) + bytes(range(20))
    for encode in (base64.b64encode, base64.urlsafe_b64encode, bytes):
        assert Search({"value": value})(b"x" + encode(b"x" + value)) == {"value"}


def test_search_refuses_what_might_be_found_by_chance() -> None:
    with pytest.raises(ValueError, match="value has 9 bytes"):
        Search({"value": b"too short"})
