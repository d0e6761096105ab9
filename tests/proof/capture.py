"""Capture all that a stack says, on every interface of every network namespace that it has.

Needs root, tcpdump and nsenter (Debian: `tcpdump`, `util-linux`).
"""

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from stack import DockerStack, Stack, wait_until

HOST = "host"
# The kernel hands packets over when a block of them is full, at the latest after a second.
_LATEST = 1.5


def require_capture(stack: Stack) -> None:
    """Skip with the reason where this machine lets nobody capture the stack's interfaces."""
    if os.geteuid() != 0:
        pytest.skip("only root may capture")
    for program in ("tcpdump", "nsenter"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    if isinstance(stack, DockerStack) and not all(path.exists() for _, path in namespaces(stack)):
        pytest.skip("the engine's network namespaces are not on this machine")


def tcpdump_version() -> str:
    said = subprocess.run(["tcpdump", "--version"], capture_output=True, text=True)
    found = re.search(r"tcpdump version (\S+)", said.stdout + said.stderr)
    return found[1] if found else "unknown"


def namespaces(stack: DockerStack) -> Iterator[tuple[str, Path]]:
    """Yield the running containers that have a network namespace of their own, with its path."""
    for container in stack.run("docker", "compose", "ps", "--quiet").split():
        yield from _namespace(container)


def _namespace(container: str) -> Iterator[tuple[str, Path]]:
    """Yield a container's service and namespace, if it has a namespace, and if it is there yet."""
    service = '{{index .Config.Labels "com.docker.compose.service"}}'
    wanted = f"{service} {{{{.HostConfig.NetworkMode}}}} {{{{.NetworkSettings.SandboxKey}}}}"
    command = ("docker", "inspect", "--format", wanted, container)
    said = subprocess.run(command, capture_output=True, text=True).stdout.split()
    if len(said) == 3 and said[1] != "none":
        yield said[0], Path(said[2])


@dataclass(frozen=True)
class Recording:
    """What was captured in one network namespace."""

    namespace: str
    path: Path
    lost: int


class _Tcpdump:
    """One tcpdump on all interfaces of a namespace."""

    def __init__(self, namespace: str, path: Path, enter: Path | None = None) -> None:
        """Start it, and wait until it captures. Without `enter`, it stays in the host's."""
        self._namespace, self._path = namespace, path
        self._log = path.with_suffix(".log")
        inside = ("nsenter", f"--net={enter}", "--") if enter else ()
        size = 256 * 1024 if enter is None else 32 * 1024  # in KiB
        # The link type is one that all interfaces have in common.
        options = ("-n", "-s", "0", "-B", str(size), "-y", "LINUX_SLL", "-Z", "root")
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [*inside, "tcpdump", "-i", "any", *options, "-w", str(path)], stderr=log
            )
        wait_until(lambda: self.captures or self._process.poll() is not None)

    @property
    def captures(self) -> bool:
        return "listening on" in self.said

    @property
    def said(self) -> str:
        return self._log.read_text()

    def stop(self) -> Recording:
        """End it; return what it has recorded."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(20)
        lost = re.findall(r"(\d+) packets? dropped by", self.said)
        assert lost, f"tcpdump did not count what it lost:\n{self.said}"
        return Recording(self._namespace, self._path, sum(map(int, lost)))


@contextmanager
def capturing(stack: Stack, folder: Path) -> Iterator[list[Recording]]:
    """Capture until the end of the block, which fills the list.

    The host's namespace from the beginning, and those of the stack's containers as soon as
    they start. `folder` gets the files.
    """
    recordings: list[Recording] = []
    running = [_Tcpdump(HOST, folder / f"{HOST}.pcap")]
    assert running[0].captures, f"tcpdump did not start:\n{running[0].said}"
    try:
        if isinstance(stack, DockerStack):
            with _watching(stack, folder, running):
                yield recordings
        else:
            yield recordings
        time.sleep(_LATEST)
    finally:
        recordings += [each.stop() for each in running]


@contextmanager
def _watching(stack: DockerStack, folder: Path, running: list[_Tcpdump]) -> Iterator[None]:
    """Start to capture in each container that runs, or starts until the end of the block."""
    seen: set[Path] = set()

    def add(containers: Iterable[tuple[str, Path]]) -> None:
        for service, path in containers:
            if path not in seen:
                seen.add(path)
                started = _Tcpdump(service, folder / f"{service}-{path.name}.pcap", path)
                # A container that runs once may have ended; the host has captured it too.
                assert started.captures or not path.exists(), started.said
                running.extend([started] if started.captures else [])

    def watch(ids: Iterable[str]) -> None:
        for line in ids:
            add(_namespace(line.strip()))

    label = f"label=com.docker.compose.project={stack.name}"
    filters = ("--since", str(int(time.time())), "--filter", label, "--filter", "event=start")
    with subprocess.Popen(
        ["docker", "events", *filters, "--format", "{{.ID}}"], stdout=subprocess.PIPE, text=True
    ) as events:
        assert events.stdout
        add(namespaces(stack))
        watcher = threading.Thread(target=watch, args=(events.stdout,))
        watcher.start()
        try:
            yield
            missed = [service for service, path in namespaces(stack) if path not in seen]
            assert not missed, f"not captured: {', '.join(missed)}"
        finally:
            events.terminate()
            watcher.join()
