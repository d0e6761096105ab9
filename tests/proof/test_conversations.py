"""Conversations are put together again from whatever packets tell of them."""

import socket
from collections.abc import Callable, Sequence
from functools import partial
from itertools import permutations
from pathlib import Path

import dpkt
import pytest
from canaries import Search
from conversations import Captured, Conversation, read

type Frame = bytes
type Read = Callable[..., Captured]

CLIENT, SERVER = ("10.0.0.2", 50000), ("10.0.0.3", 443)
SYN, SYN_ACK, ACK = dpkt.tcp.TH_SYN, dpkt.tcp.TH_SYN | dpkt.tcp.TH_ACK, dpkt.tcp.TH_ACK
START = 2**32 - 8  # so that the numbers begin again soon


def frame(ip: dpkt.ip.IP) -> Frame:
    """Wrap a packet as tcpdump writes it."""
    sll = dpkt.sll.SLL(type=0, hrd=1, hlen=6, hdr=bytes(8), ethtype=dpkt.ethernet.ETH_TYPE_IP)
    return bytes(sll) + bytes(ip)


def segment(
    at: int,
    data: bytes = b"",
    flags: int = ACK,
    source: tuple[str, int] = CLIENT,
    target: tuple[str, int] = SERVER,
) -> Frame:
    """Make a segment whose data begin at a position; a SYN comes just before position 0."""
    number = (START + at + (0 if flags & SYN else 1)) % 2**32
    tcp = dpkt.tcp.TCP(sport=source[1], dport=target[1], seq=number, flags=flags, data=data)
    return _of(source, target, dpkt.ip.IP_PROTO_TCP, tcp)


def _of(
    source: tuple[str, int], target: tuple[str, int], protocol: int, inner: dpkt.Packet
) -> Frame:
    ends = {"src": socket.inet_aton(source[0]), "dst": socket.inet_aton(target[0])}
    ip = dpkt.ip.IP(**ends, p=protocol, data=inner)
    ip.len = len(ip)
    return frame(ip)


@pytest.fixture
def of(tmp_path: Path) -> Read:
    """Return a function that reads what was captured in some namespaces."""

    def of(**captures: Sequence[Frame]) -> Captured:
        for name, frames in captures.items():
            with (tmp_path / name).open("wb") as file:
                writer = dpkt.pcap.Writer(file, linktype=dpkt.pcap.DLT_LINUX_SLL)
                for number, each in enumerate(frames):
                    writer.writepkt(each, ts=number)
        return read((name, tmp_path / name) for name in captures)

    return of


def only(captured: Captured) -> Conversation:
    [conversation] = captured.conversations
    return conversation


def said(conversation: Conversation) -> tuple[bytes, bytes]:
    ends = conversation.client, conversation.server
    joined = [conversation.said[end].joined() for end in ends]
    assert [(each.missing, each.other) for each in joined] == [(0, [])] * 2
    return joined[0].data, joined[1].data


HANDS = (segment(0, flags=SYN), segment(0, flags=SYN_ACK, source=SERVER, target=CLIENT))
PARTS = (segment(0, b"first "), segment(6, b"second "), segment(13, b"third"))
WHOLE = b"first second third"


def test_both_ends_are_told_apart(of: Read) -> None:
    answer = segment(0, b"answer", source=SERVER, target=CLIENT)
    conversation = only(of(host=[*HANDS, PARTS[0], answer]))
    assert conversation.begun
    assert (conversation.client.host, conversation.server.port) == ("10.0.0.2", 443)
    assert said(conversation) == (b"first ", b"answer")


@pytest.mark.parametrize("order", list(permutations(PARTS)))
def test_segments_come_in_any_order(of: Read, order: tuple[Frame, ...]) -> None:
    assert said(only(of(host=[*HANDS, *order])))[0] == WHOLE


def test_segments_come_again(of: Read) -> None:
    others = segment(0, WHOLE[:10]), segment(4, WHOLE[4:15]), segment(0, WHOLE)
    assert said(only(of(host=[*HANDS, *PARTS, *others, *PARTS])))[0] == WHOLE
    assert said(only(of(host=[*HANDS, *others, *PARTS])))[0] == WHOLE


def test_a_packet_is_captured_in_several_places(of: Read) -> None:
    captured = of(host=[*HANDS, *PARTS], app=[*HANDS, PARTS[2]], proxy=[*HANDS, *PARTS])
    assert said(only(captured))[0] == WHOLE
    assert captured.packets == 13


def test_loopback_is_another_place_in_each_namespace(of: Read) -> None:
    local = partial(segment, 0, source=("127.0.0.1", 50000), target=("127.0.0.1", 443))
    captured = of(
        app=[local(flags=SYN), local(data=b"of app")], aws=[local(flags=SYN), local(data=b"of aws")]
    )
    found = {each.server.namespace: said(each)[0] for each in captured.conversations}
    assert found == {"app": b"of app", "aws": b"of aws"}


def test_ports_are_used_again(of: Read) -> None:
    later = dpkt.tcp.TCP(sport=50000, dport=443, seq=77, flags=SYN)
    again = dpkt.tcp.TCP(sport=50000, dport=443, seq=78, flags=ACK, data=b"again")
    frames = [_of(CLIENT, SERVER, dpkt.ip.IP_PROTO_TCP, each) for each in (later, again)]
    captured = of(host=[*HANDS, *PARTS, *frames])
    assert [said(each)[0] for each in captured.conversations] == [WHOLE, b"again"]


def test_a_gap_is_found(of: Read) -> None:
    joined = only(of(host=[*HANDS, PARTS[0], PARTS[2]]))
    whole = joined.said[joined.client].joined()
    assert (whole.data, whole.missing) == (b"first third", 7)
    missing_first = only(of(host=[*HANDS, PARTS[1]]))
    assert missing_first.said[missing_first.client].joined().missing == 6


def test_a_contradiction_is_found(of: Read) -> None:
    joined = only(of(host=[*HANDS, *PARTS, segment(6, b"SECOND "), segment(9, b"XXX!")]))
    whole = joined.said[joined.client].joined()
    assert sorted([whole.data[6:13], *whole.other]) == [b"SECOND ", b"XXX!", b"second "]


def test_a_conversation_that_began_before_is_known(of: Read) -> None:
    conversation = only(of(host=[segment(0, b"answer", source=SERVER, target=CLIENT), *PARTS]))
    assert not conversation.begun
    assert (conversation.client.port, conversation.server.port) == (50000, 443)
    assert said(conversation)[1] == b"answer"


def test_every_other_packet_is_kept(of: Read) -> None:
    question = dpkt.udp.UDP(sport=50000, dport=53, data=b"a name", ulen=14)
    udp = _of(CLIENT, SERVER, dpkt.ip.IP_PROTO_UDP, question)
    echo = dpkt.icmp.ICMP(type=8, data=dpkt.icmp.ICMP.Echo(data=b"an echo"))
    icmp = _of(CLIENT, SERVER, dpkt.ip.IP_PROTO_ICMP, echo)
    unknown = bytes(14) + b"\x88\xb5" + b"something else"
    captured = of(host=[udp, icmp, unknown, udp])
    assert captured.others == sorted([udp, icmp, unknown])
    assert captured.conversations == []


def test_a_value_is_found_across_packets(of: Read) -> None:
    value = b"k3j9x0q8w7e6r5t4y3u2i1o0p9a8s7d6f5g4h3j2k1l0z9x8"
    frames = [segment(at, value[at : at + 5]) for at in range(0, len(value), 5)]
    search = Search({"value": value})
    assert not any(search(each) for each in frames)
    assert search(said(only(of(host=[*HANDS, *frames])))[0]) == {"value"}


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "ethernet").open("wb") as file:
        dpkt.pcap.Writer(file).writepkt(bytes(64), ts=0)
    with pytest.raises(ValueError, match="link type 1, not LINUX_SLL"):
        read([("host", tmp_path / "ethernet")])
