"""TCP conversations out of captures, put together again, and every other packet.

The same packet is captured wherever it passes: a container, its bridge, the host. All copies
belong to one conversation, whose bytes are told apart by their sequence numbers (RFC 9293, 3.4).
"""

import heapq
import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dpkt

_WRAP = 2**32


@dataclass(frozen=True)
class Address:
    """One end of a conversation. A loopback address means another place in each namespace."""

    namespace: str
    host: str
    port: int


@dataclass(frozen=True)
class Said:
    """What one end said, in order."""

    data: bytes
    missing: int  # bytes that were not captured
    other: list[bytes]  # segments that contradict what was captured before


@dataclass
class Direction:
    """The segments of one end, in whatever order and however many copies they came."""

    start: int | None = None  # the sequence number of the first byte, as the SYN says
    segments: dict[int, list[bytes]] = field(default_factory=dict)

    def add(self, sequence: int, data: bytes) -> None:
        """Add a segment; a copy of a known one changes nothing."""
        copies = self.segments.setdefault(sequence, [])
        if data not in copies:
            copies.append(data)

    def joined(self) -> Said:
        """Put the segments together. Where some are missing, the next one follows at once."""
        start = self._first() if self.start is None else self.start
        ordered = sorted(
            ((number - start) % _WRAP, data)
            for number, copies in self.segments.items()
            for data in copies
        )
        whole, other, missing = bytearray(), [], 0
        for at, data in ordered:
            missing += max(0, at - missing - len(whole))
            position = at - missing
            known = len(whole) - position
            if whole[position : position + len(data)] != data[:known]:
                other.append(data)
            whole += data[known:]
        return Said(bytes(whole), missing, other)

    def _first(self) -> int:
        """Return the lowest number; they may have begun again from zero since."""
        some, half = next(iter(self.segments), 0), _WRAP // 2
        return some + min(((n - some + half) % _WRAP - half for n in self.segments), default=0)


@dataclass
class Conversation:
    """A TCP connection."""

    client: Address
    server: Address
    begun: bool  # its first packet was captured
    said: dict[Address, Direction] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.said = {self.client: Direction(), self.server: Direction()}


@dataclass
class Captured:
    """What there is in captures."""

    packets: int = 0
    size: int = 0
    conversations: list[Conversation] = field(default_factory=list)
    others: list[bytes] = field(default_factory=list)  # packets without TCP


def read(captures: Iterable[tuple[str, Path]]) -> Captured:
    """Return what was captured in some namespaces, given with the paths of the files.

    They are of tcpdump, of link type LINUX_SLL. Raises `ValueError` for another.
    """
    found = Captured()
    open_: dict[frozenset[Address], Conversation] = {}
    packets = heapq.merge(*(_packets(*each) for each in captures), key=lambda packet: packet[0])
    others = set()
    for _, namespace, frame in packets:
        found.packets += 1
        found.size += len(frame)
        packet = dpkt.sll.SLL(frame).data
        segment = getattr(packet, "data", None)
        if isinstance(segment, dpkt.tcp.TCP):
            _add(found, open_, namespace, packet)
        else:
            others.add(frame)
    found.others = sorted(others)
    return found


def _packets(namespace: str, path: Path) -> Iterator[tuple[float, str, bytes]]:
    with path.open("rb") as file:
        reader = dpkt.pcap.Reader(file)
        if reader.datalink() != dpkt.pcap.DLT_LINUX_SLL:
            raise ValueError(f"{path} has link type {reader.datalink()}, not LINUX_SLL.")
        for time, frame in reader:
            yield time, namespace, frame


def _add(
    found: Captured, open_: dict[frozenset[Address], Conversation], namespace: str, packet: Any
) -> None:
    segment = packet.data
    source = _address(namespace, packet.src, segment.sport)
    target = _address(namespace, packet.dst, segment.dport)
    ends = frozenset((source, target))
    known = open_.get(ends)
    begins = segment.flags & (dpkt.tcp.TH_SYN | dpkt.tcp.TH_ACK) == dpkt.tcp.TH_SYN
    first = (segment.seq + 1) % _WRAP
    if known is None or (begins and known.said[source].start != first):
        # Whose first packet is missing, of that the lower port is taken for the server's.
        client, server = source, target
        if not begins and source.port < target.port:
            client, server = target, source
        known = open_[ends] = Conversation(client, server, begun=begins)
        found.conversations.append(known)
    if segment.flags & dpkt.tcp.TH_SYN:
        known.said[source].start = first
    if segment.data:
        known.said[source].add(segment.seq, segment.data)


def _address(namespace: str, packed: bytes, port: int) -> Address:
    host = ipaddress.ip_address(packed)
    return Address(namespace if host.is_loopback else "", str(host), port)
