"""The clients that are attacked: the project's own, a browser, and a load balancer's likeness.

Each is asked to open a new connection, and says why it could not, or None.
"""

import json
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Protocol

from browser import launch
from on_path import connected, trusting
from playwright.sync_api import Error, sync_playwright
from stack import NativeStack, free_ports, listens, wait_until

AGENT = Path(__file__).parent / "agent.py"


class Victim(Protocol):
    """A client."""

    def open(self, hop: str) -> str | None:
        """Connect and ask something; return the error."""


class Agent:
    """A process of the project, with its own settings, whose servers have other ports."""

    def __init__(
        self, stack: NativeStack, role: str, ports: dict[str, int], trust_file: Path
    ) -> None:
        """Start it. `ports` are those of database, cache and aws."""
        addresses = {f"{name.upper()}_PORT": str(port) for name, port in ports.items()}
        names = ("DATABASE_CA_FILE", "CACHE_CA_FILE", "AWS_CA_BUNDLE")
        trust = [f"{name}={trust_file}" for name in names]
        self.role = role
        self.process = subprocess.Popen(
            [*map(str, stack.inside(role)), "env", *trust, "python", str(AGENT)],
            cwd=stack.project,
            env=stack.env | addresses,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> None:
        """Wait until it has its settings, and so its secrets."""
        assert self._answer() == "ready"

    def open(self, hop: str) -> str | None:
        assert self.process.stdin
        self.process.stdin.write(f"{hop}\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> str | None:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            self.end()
            raise RuntimeError(f"{self.role} has ended")
        answer: str | None = json.loads(line)
        return answer

    def end(self) -> None:
        said, error = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, said + error


class Proxy:
    """An NGINX of the project that takes the attacker for gunicorn."""

    def __init__(self, stack: NativeStack, folder: Path, gunicorn_port: int) -> None:
        """Prepare to run it; what it writes goes into the folder."""
        self.stack = stack
        self.log = folder / "log"
        self.https, http = free_ports(2)
        self.attempts = count()
        self.variables = {
            "CREDENTIALS_DIR": str(stack.state / "credentials" / "proxy"),
            "RUN_DIR": str(folder / "run"),
            "HTTPS_LISTEN": f"127.0.0.1:{self.https}",
            "HTTP_LISTEN": f"127.0.0.1:{http}",
            "GUNICORN_ADDRESS": f"127.0.0.1:{gunicorn_port}",
            "PATH": f"{stack.env['PATH']}:/usr/sbin",
        }

    def start(self, **variables: str) -> subprocess.Popen[bytes]:
        """Run it by the script that the Procfile and the image run."""
        with self.log.open("w") as log:
            return subprocess.Popen(
                ["sh", "services/nginx/start"],
                cwd=self.stack.project,
                env=self.stack.env | self.variables | variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @contextmanager
    def running(self) -> Iterator[None]:
        process = self.start()
        try:
            wait_until(lambda: listens(self.https) or process.poll() is not None)
            assert process.poll() is None, self.log.read_text()
            yield
        finally:
            process.terminate()
            process.wait(20)

    def start_without(self, name: str, folder: Path) -> str | None:
        """Start it with a file of its credentials missing; return why it ended, or None."""
        folder.mkdir()
        for file in Path(self.variables["CREDENTIALS_DIR"]).iterdir():
            if file.name != name:
                (folder / file.name).write_bytes(file.read_bytes())
        process = self.start(CREDENTIALS_DIR=str(folder), RUN_DIR=str(folder / "run"))
        try:
            return self.log.read_text() if process.wait(5) else None
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait(20)
            return None

    def open(self, hop: str) -> str | None:  # noqa: ARG002
        mark = f"attempt={next(self.attempts)}"
        answer = ask(self.https, f"/livez?{mark}")
        if answer.startswith(b"HTTP/1.1 200 "):
            return None
        assert answer.startswith(b"HTTP/1.1 502 "), answer
        assert wait_until(lambda: self._logged(mark)), self.log.read_text()
        return self._logged(mark)

    def _logged(self, mark: str) -> str:
        """Return the lines of the log about one request."""
        lines = self.log.read_text().splitlines(keepends=True)
        return "".join(line for line in lines if f"{mark} HTTP" in line and line.endswith("\n"))


class Chromium:
    """A real browser, which has the development CA."""

    def __init__(self, ca: Path, home: Path, port: int) -> None:
        """Prepare to start it; it will take the site to be at the port."""
        self.ca, self.home, self.url = ca, home, f"https://localhost:{port}/livez"

    @contextmanager
    def running(self) -> Iterator[None]:
        with sync_playwright() as playwright:
            self.browser = launch(playwright, self.ca, self.home)
            yield
            self.browser.close()

    def open(self, hop: str) -> str | None:  # noqa: ARG002
        context = self.browser.new_context()
        try:
            response = context.new_page().goto(self.url)
        except Error as error:
            return error.message
        finally:
            context.close()
        return None if response and response.ok else f"status {response and response.status}"


class LoadBalancer:
    """Verifies nothing, as an ALB does not: a likeness, not the thing itself.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-target-groups.html
    """

    def __init__(self, port: int) -> None:
        self.port = port

    def open(self, hop: str) -> str | None:  # noqa: ARG002
        try:
            answer = ask(self.port)
        except OSError as error:
            return str(error)
        return None if answer.startswith(b"HTTP/1.1 200 ") else f"it answered {answer!r}"


def ask(port: int, path: str = "/livez") -> bytes:
    """Ask for a page over TLS that is not verified; return all that is answered."""
    with connected(port, trusting(), postgres=False) as connection:
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        return everything(connection)


def everything(connection: socket.socket) -> bytes:
    """Read until the other end hangs up."""
    answer = b""
    while some := connection.recv(65536):
        answer += some
    return answer


def all_of(agents: Sequence[Agent]) -> dict[str, Agent]:
    """Wait for agents that start at the same time."""
    for agent in agents:
        agent.wait()
    return {agent.role: agent for agent in agents}
