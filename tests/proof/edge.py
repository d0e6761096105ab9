"""What stands beside attacks on the edge: who watches the site, and who looks from behind it."""

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from raw_http import Answer, Edge
from report import Evidence
from stack import NativeStack, free_ports, listens, wait_until
from visitor import Site, Upload

# Attacks of one family that are under way at once.
AT_ONCE = 4


def edge_of(stack: NativeStack) -> Edge:
    return Edge(int(stack.addresses["HTTPS_PORT"]), stack.ca)


# Attacks ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attack:
    """Bytes to send, and what must come back."""

    name: str
    parts: Sequence[bytes]
    # Statuses that may come: none at all is a clean close.
    allowed: frozenset[int] = frozenset(range(100, 500))
    is_http2: bool = False
    # Nothing may come back either, because more is waited for or what came is of no interest.
    may_wait: bool = False

    def on(self, edge: Edge) -> Answer:
        send = edge.frames if self.is_http2 else edge.send
        return send(*self.parts, timeout=2 if self.may_wait else 15)

    def accepts(self, answer: Answer) -> bool:
        """Was it answered as it must be, or was the connection closed?"""
        ended = bool(answer.statuses) or answer.closed or self.may_wait
        return ended and set(answer.statuses) <= self.allowed


# What only a request that is refused gets.
REFUSED = frozenset(range(400, 500))
BAD_REQUEST = frozenset({400})


@dataclass
class Tried:
    """What came back of a family of attacks."""

    answers: dict[str, Answer] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)

    @property
    def counts(self) -> Counter[str]:
        return Counter(answer.word for answer in self.answers.values())

    @property
    def summary(self) -> str:
        """How many attacks got which answer."""
        return ", ".join(f"{word}: {count}" for word, count in self.counts.most_common())

    @property
    def server_errors(self) -> int:
        return sum(status >= 500 for each in self.answers.values() for status in each.statuses)


def try_all(edge: Edge, attacks: Iterable[Attack]) -> Tried:
    """Send every attack over a connection of its own, some of them at once."""
    attacks = list(attacks)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda attack: attack.on(edge), attacks))
    tried = Tried()
    for attack, answer in zip(attacks, answers, strict=True):
        assert attack.name not in tried.answers, f"two attacks are called {attack.name}"
        tried.answers[attack.name] = answer
        if not attack.accepts(answer):
            tried.wrong[attack.name] = answer.word
    return tried


def judge(evidence: Evidence, family: str, tried: Tried, what: str) -> None:
    """Report a family, and fail with the attacks that were not answered as they must be."""
    evidence.line(
        "edge", subject=family, tried=what, expected="4xx or closed, never 5xx", seen=tried.summary
    )
    evidence.figure("edge", "requests sent", len(tried.answers))
    evidence.figure("edge", "5xx answers", tried.server_errors)
    assert tried.wrong == {}


# The site meanwhile ---------------------------------------------------------------------------


# Milliseconds of the slowest /livez of every test so far.
slowest: list[float] = []


class Watcher:
    """Asks /livez ten times a second, each time over a new connection, as a visitor would."""

    def __init__(self, edge: Edge, every: float = 0.1) -> None:
        self.edge, self.every = edge, every
        self.seconds: list[float] = []
        self.failures: list[str] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()

    @property
    def slowest(self) -> float:
        """The slowest answer, in milliseconds."""
        return round(max(self.seconds) * 1000)

    def _watch(self) -> None:
        context = ssl.create_default_context(cafile=self.edge.ca)
        while not self._end.wait(self.every):
            begun = time.monotonic()
            client = http.client.HTTPSConnection(
                "localhost", self.edge.port, timeout=10, context=context
            )
            try:
                client.request("GET", "/livez")
                if (status := client.getresponse().status) != 200:
                    self.failures.append(str(status))
            except OSError as error:
                self.failures.append(type(error).__name__)
            finally:
                client.close()
            self.seconds.append(time.monotonic() - begun)


class Log:
    """What a native stack logs from now on."""

    def __init__(self, stack: NativeStack) -> None:
        self.path = stack.state / "log"
        self.begin = self.path.stat().st_size

    @property
    def text(self) -> str:
        with self.path.open("rb") as file:
            file.seek(self.begin)
            return file.read().decode(errors="replace")

    def lines(self, *words: str) -> list[str]:
        """Lines in which all the words are."""
        return [line for line in self.text.splitlines() if all(word in line for word in words)]


# Somebody's data ------------------------------------------------------------------------------

_ROWS = """
import hashlib, json
from django.apps import apps
from django.core.files.storage import default_storage
left_out = {{"sessions.session", "django_tasks_database.dbtaskresult"}}
found = {{}}
for model in apps.get_models():
    label = model._meta.label_lower
    if label in left_out:
        continue
    rows = model._default_manager.order_by("pk")
    names = {{field.name for field in model._meta.get_fields()}}
    if label == "users.user":
        rows = rows.filter(pk__lte={last})
    if "owner" in names:
        rows = rows.filter(owner__pk__lte={last})
    if "note" in names:
        rows = rows.filter(note__owner__pk__lte={last})
    digest = hashlib.sha256()
    for row in rows.values_list():
        digest.update(repr(row).encode())
    if label == "notes.attachment":
        for row in rows:
            digest.update(default_storage.open(row.file.name).read())
    found[label] = [rows.count(), digest.hexdigest()]
print(json.dumps(found))
"""

PASSWORD = "a pass phrase for the edge"  # noqa: S105


@dataclass
class Victim:
    """A user whose data nobody else may change."""

    stack: NativeStack
    number: int
    before: dict[str, list[int | str]]

    def rows(self) -> dict[str, list[int | str]]:
        """Count and digest of each table's rows, of files too, apart from later users'."""
        found: dict[str, list[int | str]] = json.loads(
            self.stack.shell(_ROWS.format(last=self.number))
        )
        return found

    def changed(self) -> dict[str, str]:
        """Return which tables are not as they were."""
        now = self.rows()
        return {
            table: f"{self.before.get(table)} before, {now.get(table)} now"
            for table in sorted({*self.before, *now})
            if self.before.get(table) != now.get(table)
        }


def sign_up(stack: NativeStack, email: str) -> Site:
    """Return somebody new, logged in."""
    visitor = Site(stack)
    visitor.post("/accounts/signup/", email=email, password1=PASSWORD, password2=PASSWORD)
    return visitor


def new_victim(stack: NativeStack) -> Victim:
    """Make somebody with a note and a file, where there is the sample app."""
    email = f"victim-{time.monotonic_ns()}@example.com"
    visitor = sign_up(stack, email)
    if has_notes(stack):
        upload = Upload("report.bin", bytes(range(256)) * 400)
        visitor.write("/notes/new/", "The title", "The body", upload)
    code = f"print(User.objects.get(email={email!r}).pk)"
    victim = Victim(stack, int(stack.shell(code)), {})
    victim.before = victim.rows()
    return victim


def has_notes(stack: NativeStack) -> bool:
    """Does the project have the sample app?"""
    return (stack.project / "apps" / "notes").is_dir()


def log_in_headers(native: NativeStack) -> str:
    """Sign up; return the headers that show it, with what a form needs."""
    visitor = sign_up(native, f"attacker-{time.monotonic_ns()}@example.com")
    visitor.get("/accounts/password/")
    return _headers(native, visitor)


def stranger_headers(native: NativeStack) -> str:
    """Return what a form needs from somebody who has not logged in."""
    visitor = Site(native)
    visitor.get("/accounts/login/")
    return _headers(native, visitor)


def _headers(native: NativeStack, visitor: Site) -> str:
    cookies = {cookie.name: cookie.value for cookie in visitor.cookies}
    pairs = "; ".join(f"{name}={value}" for name, value in cookies.items())
    lines = (f"Cookie: {pairs}", f"X-CSRFToken: {cookies['__Host-csrf']}")
    return "\r\n".join((*lines, f"Referer: {native.url}/", f"Origin: {native.url}"))


# Behind the proxy -----------------------------------------------------------------------------


class Recorder:
    """A false gunicorn with the right certificate, that keeps what the proxy sends to it."""

    def __init__(self, stack: NativeStack) -> None:
        folder = stack.state / "credentials" / "app"
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "ca.crt"))
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        context.verify_mode = ssl.CERT_REQUIRED
        self.context = context
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.delay = 0.0
        self.answer = b"ok"
        self.answered = 0  # how many answers the proxy has taken as a whole
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def clear(self) -> None:
        self.heads.clear()
        self.bodies.clear()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)  # little waits in the kernel
        with suppress(OSError), self.context.wrap_socket(plain, server_side=True) as connection:
            connection.settimeout(20)
            received = b""
            while some := connection.recv(65536):
                received += some
                while b"\r\n\r\n" in received:
                    head, _, rest = received.partition(b"\r\n\r\n")
                    length = int(header(head, "Content-Length") or 0)
                    if len(rest) < length:
                        break
                    received = rest[length:]
                    self.heads.append(head)
                    self.bodies.append(rest[:length])
                    time.sleep(self.delay)
                    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(self.answer)
                    connection.sendall(head + self.answer)
                    self.answered += 1


def header(head: bytes, name: str) -> str | None:
    """Return a header of a request's head; several of the name are joined."""
    wanted = f"{name}:".lower().encode()
    found = [line for line in head.split(b"\r\n")[1:] if line.lower().startswith(wanted)]
    return ", ".join(line[len(wanted) :].decode().strip() for line in found) if found else None


class SecondProxy:
    """One more NGINX of a native stack's project, before a server of a test's own."""

    def __init__(
        self, stack: NativeStack, folder: Path, upstream: int, *, foreign: bool = False
    ) -> None:
        """Prepare it in a new folder, where its configuration may be edited."""
        self.foreign = foreign
        self.services = folder / "services"
        (folder / "run").mkdir(parents=True)
        shutil.copytree(stack.project / "services" / "nginx", self.services)
        self.stack, self.folder = stack, folder
        https, http = free_ports(2)
        self.edge = Edge(https, stack.ca)
        self.env = {
            "CREDENTIALS_DIR": str(stack.state / "credentials" / "proxy"),
            "RUN_DIR": str(folder / "run"),
            "GUNICORN_ADDRESS": f"127.0.0.1:{upstream}",
            "HTTPS_LISTEN": f"127.0.0.1:{https}",
            "HTTP_LISTEN": f"127.0.0.1:{http}",
            "HTTPS_PORT": str(https),
        }

    def edit(self, old: str, new: str) -> None:
        """Weaken the configuration; the text must be there, or nothing would be weakened."""
        path = self.services / "nginx.conf"
        text = path.read_text()
        if old not in text and self.foreign:
            pytest.skip(f"the project's own nginx.conf has no {old!r} to weaken")
        assert old in text, f"nginx.conf has no {old!r}: nothing is weakened"
        path.write_text(text.replace(old, new))

    def start(self, **env: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("wb") as log:
            return subprocess.Popen(
                ["sh", "services/start"],
                cwd=self.folder,
                env=self.stack.env
                | {"PATH": f"{self.stack.env['PATH']}:/usr/sbin"}
                | self.env
                | env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @contextmanager
    def running(self, **env: str) -> Iterator[Edge]:
        """Run it until the end of the block."""
        process = self.start(**env)
        try:
            wait_until(lambda: listens(self.edge.port) or process.poll() is not None)
            assert process.poll() is None, (self.folder / "log").read_text()
            yield self.edge
        finally:
            process.terminate()
            process.wait(20)
