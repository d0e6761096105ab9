"""What a capture of a stack shows: the conversations of each hop, and which values can be read."""

import ipaddress
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from canaries import Search
from capture import HOST, Recording
from conversations import Conversation, Said, read
from stack import DockerStack, Stack
from tls_stream import VERSIONS, NotTLSError, judge, judge_postgresql, require_redirects

# Servers: a variable with the native stack's port, the port in containers, and the hops.
SERVERS = (
    ("HTTPS_PORT", 8443, ("edge",)),
    ("GUNICORN_ADDRESS", 8000, ("gunicorn",)),
    ("DATABASE_PORT", 5432, ("database",)),
    ("CACHE_PORT", 6379, ("cache",)),
    ("AWS_PORT", 4566, ("storage", "secrets", "keys")),
)
# The only plaintext that is allowed. It is no hop of encryption.toml, for it carries no data.
REDIRECT = "redirect to HTTPS"
# In containers, where nobody else is, everything has to be TLS, to whatever port.
OTHER = "other servers"
_DOCKER_DNS = "127.0.0.11"


@dataclass
class Hop:
    """The conversations of one hop, or of several that have the same server."""

    name: str
    minimum: str
    conversations: int = 0
    size: int = 0
    handshakes: Counter[tuple[int, str]] = field(default_factory=Counter)
    refused: int = 0  # conversations without data
    asked_for: set[str] = field(default_factory=set)
    faults: Counter[str] = field(default_factory=Counter)
    found: set[str] = field(default_factory=set)

    def judge(self, conversation: Conversation, asked: Said, answered: Said) -> None:
        """Count a conversation; note what is wrong with it."""
        self.conversations += 1
        self.size += len(asked.data) + len(answered.data)
        try:
            if not conversation.begun:
                raise NotTLSError("it began before its capture did")
            if asked.missing or answered.missing:
                raise NotTLSError("a part of it was not captured")
            self._judge(asked.data, answered.data)
        except NotTLSError as fault:
            self.faults[f"{fault} (port {conversation.server.port})"] += 1

    def _judge(self, asked: bytes, answered: bytes) -> None:
        if self.name == REDIRECT:
            require_redirects(answered)
            return
        of_kind = judge_postgresql if self.name == "database" else judge
        if handshake := of_kind(asked, answered, self.minimum):
            self.handshakes[handshake.version, handshake.suite] += 1
            self.asked_for.add(handshake.name)
        else:
            self.refused += 1

    def __str__(self) -> str:
        kinds = [
            f"{count} TLS {VERSIONS[version]} with {suite}"
            for (version, suite), count in self.handshakes.most_common()
        ]
        kinds += [f"{self.refused} ended before a handshake"] if self.refused else []
        kinds += [f"{count} FAULTY: {fault}" for fault, count in self.faults.items()]
        if names := sorted(self.asked_for - {""}):
            kinds.append(f"in plaintext the name {', '.join(names)}")
        said = f"{self.conversations} conversations, {self.size:,} bytes"
        return f"{said}: {'; '.join(kinds)}" if kinds else said


@dataclass
class Wire:
    """What was seen of a stack."""

    values: Mapping[str, bytes]
    hops: list[Hop]
    other: Hop
    packets: int
    size: int
    lost: int  # packets that passed too fast to be captured
    found: set[str]  # values, wherever they were found

    def hop(self, name: str) -> Hop:
        return next(hop for hop in self.hops if hop.name == name)

    @property
    def conversations(self) -> int:
        return sum(hop.conversations for hop in (*self.hops, self.other))


def examine(
    stack: Stack,
    recordings: Iterable[Recording],
    values: Mapping[str, bytes],
    gunicorn: int | None = None,
) -> Wire:
    """Put what was captured together, judge the stack's conversations, search everything.

    `gunicorn` is a further port at which it listens.
    """
    recordings = list(recordings)
    captured = read((each.namespace, each.path) for each in recordings)
    by_port, search = _hops(stack), Search(values)
    if gunicorn:
        by_port[gunicorn] = next(hop for hop in by_port.values() if hop.name == "gunicorn")
    is_ours = _is_ours(stack, by_port)
    other = Hop(OTHER, "1.2")
    found = search(b"\n".join(captured.others))
    for conversation in captured.conversations:
        asked = conversation.said[conversation.client].joined()
        answered = conversation.said[conversation.server].joined()
        here: set[str] = set()
        for said in (asked.data, answered.data, *asked.other, *answered.other):
            here |= search(said)
        found |= here
        if (asked.data or answered.data) and is_ours(conversation):
            hop = by_port.get(conversation.server.port, other)
            hop.judge(conversation, asked, answered)
            hop.found |= here
    return Wire(
        values=values,
        hops=[*{hop.name: hop for hop in by_port.values()}.values()],
        other=other,
        packets=captured.packets,
        size=captured.size,
        lost=sum(each.lost for each in recordings),
        found=found,
    )


def _hops(stack: Stack) -> dict[int, Hop]:
    """Return the hops of encryption.toml by their servers' ports, and the redirecting port."""
    versions = {hop["name"]: hop["min_tls"] for hop in stack.listed if "min_tls" in hop}
    found: dict[int, Hop] = {}

    def add(variable: str, port: int, hop: Hop) -> None:
        own = int(stack.addresses[variable].rpartition(":")[2])
        found.update({own: hop, port: hop} if isinstance(stack, DockerStack) else {own: hop})

    for variable, port, names in SERVERS:
        if minima := {name: versions.pop(name) for name in names if name in versions}:
            add(variable, port, Hop(", ".join(minima), max(minima.values())))
    assert not versions, f"{', '.join(versions)}: SERVERS does not say at which port that is"
    add("HTTP_PORT", 8080, Hop(REDIRECT, ""))
    return found


def _is_ours(stack: Stack, by_port: Mapping[int, Hop]) -> Callable[[Conversation], bool]:
    """Return a function that says whether a conversation is the stack's.

    Natively that is one with a port of the stack, for others use the same interfaces. With
    Docker it is one in its networks, in a container of it, or with a port that it publishes.
    """
    if not isinstance(stack, DockerStack):
        return lambda conversation: conversation.server.port in by_port
    networks = _networks(stack)
    published = [int(stack.addresses[name]) for name in ("HTTPS_PORT", "HTTP_PORT")]

    def is_ours(conversation: Conversation) -> bool:
        server = conversation.server
        if server.namespace == HOST:
            return server.port in published
        if server.namespace:
            return server.host != _DOCKER_DNS
        ends = (ipaddress.ip_address(end.host) for end in conversation.said)
        return any(end in network for end in ends for network in networks)

    return is_ours


def _networks(stack: DockerStack) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    label = f"label=com.docker.compose.project={stack.name}"
    ids = stack.run("docker", "network", "ls", "--quiet", "--filter", label).split()
    described = json.loads(stack.run("docker", "network", "inspect", *ids))
    return [
        ipaddress.ip_network(config["Subnet"])
        for network in described
        for config in network["IPAM"]["Config"]
    ]
