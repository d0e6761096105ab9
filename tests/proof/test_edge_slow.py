"""Clients that are slow, many or speak no TLS: they wait or are cut off, and others are served."""

import os
import re
import secrets
import socket
import ssl
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from edge import Log, Recorder, SecondProxy, has_notes, sign_up
from raw_http import Edge, request
from report import Evidence
from stack import NativeStack, wait_until
from visitor import Upload

pytest_plugins = ["siege"]

pytestmark = [
    pytest.mark.proof,
    pytest.mark.native,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("victim"),  # whose data are there before everything else
]


# Slow clients -----------------------------------------------------------------------------------

CROWD = 200


def crowd(
    edge: Edge, until: ExitStack, count: int = CROWD, window: int | None = None
) -> list[ssl.SSLSocket]:
    """Open many connections at once, whose clients take in no more than the window."""
    with ThreadPoolExecutor(16) as pool:
        sockets = list(pool.map(lambda _: edge.connect(timeout=20, window=window), range(count)))
    for each in sockets:
        until.callback(each.close)
    return sockets


def memory_of(stack: NativeStack, word: str) -> int:
    """Return the memory of the stack's own processes of a program, in MB."""
    total = 0
    for number, command in stack.processes().items():
        with suppress(OSError):
            if word in command:
                status = Path(f"/proc/{number}/smaps_rollup").read_text()
                total += int(re.search(r"Pss: +(\d+)", status)[1])  # type: ignore[index]
    return total // 1024


def test_slow_headers(edge: Edge, evidence: Evidence) -> None:
    """200 clients that send a header now and then; NGINX gives them ten seconds in all."""
    with ExitStack() as until:
        sockets = crowd(edge, until)
        for each in sockets:
            each.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        begun = time.monotonic()
        ended = 0
        while time.monotonic() < begun + 13 and ended < CROWD:
            ended = 0
            for number, each in enumerate(sockets):
                try:
                    each.sendall(f"X-{number}: a\r\n".encode())
                except OSError:
                    ended += 1
            time.sleep(1)
    evidence.line(
        "edge",
        subject="Slow clients",
        tried=f"{CROWD} connections, a header each second",
        expected="all closed after 10 s",
        seen=f"{ended} closed after {time.monotonic() - begun:.0f} s",
    )
    evidence.figure("edge", "requests sent", CROWD)
    assert ended == CROWD


def stopped_uploads(edge: Edge, until: ExitStack) -> list[bytes]:
    """Begin uploads of 11 MB and send one; return what is answered already."""
    head = request("/notes/new/", "Content-Length: 11000000", method="POST")

    def upload(sock: ssl.SSLSocket) -> bytes:
        sock.settimeout(1)
        try:
            sock.sendall(head)
            for _ in range(10):
                sock.sendall(bytes(100_000))
            return sock.recv(15)
        except OSError:
            return b""

    sockets = crowd(edge, until)
    with ThreadPoolExecutor(32) as pool:
        return list(pool.map(upload, sockets))


def test_slow_bodies(native: NativeStack, edge: Edge, evidence: Evidence) -> None:
    """200 uploads of 11 MB that stop before the end: a few may wait, the others are refused."""
    before = memory_of(native, "nginx")
    with ExitStack() as until:
        answered = stopped_uploads(edge, until)
        grown = memory_of(native, "nginx") - before
        page = edge.send(request("/accounts/login/", "Connection: close"))
    refused = sum(answer.startswith(b"HTTP/1.1 429") for answer in answered)
    evidence.line(
        "edge",
        subject="Slow clients",
        tried=f"{CROWD} uploads of 11 MB that stop",
        expected="at most 32 are waited for; NGINX grows by less than 400 MB",
        seen=f"{refused} refused with 429, {CROWD - refused} waited for; {grown} MB more",
    )
    evidence.figure("edge", "requests sent", CROWD)
    assert page.statuses == (200,), "others are served"
    assert CROWD - refused <= 40
    assert grown < 400


def test_control_slow_bodies_of_a_proxy_without_their_limit(
    second: tuple[SecondProxy, Recorder],
) -> None:
    """It waits for every one of them."""
    proxy, _ = second
    proxy.edit("limit_conn large_bodies 32", "limit_conn large_bodies 1000")
    with proxy.running() as before, ExitStack() as until:
        assert not any(stopped_uploads(before, until))


READERS = 18  # gunicorn has 16 threads


def page_meanwhile(native: NativeStack, edge: Edge) -> str:
    """Let many download 6 MB without reading; return what another visitor gets."""
    visitor = sign_up(native, f"reader-{time.monotonic_ns()}@example.com")
    upload = Upload("large.bin", os.urandom(6_000_000))
    note = visitor.write("/notes/new/", "Large", "", upload)
    file = visitor.link(note, r"/notes/files/\d+/")
    cookies = "; ".join(f"{each.name}={each.value}" for each in visitor.cookies)
    with ExitStack() as until:
        for sock in crowd(edge, until, READERS, window=4096):
            sock.sendall(request(file, f"Cookie: {cookies}"))
            time.sleep(0.1)
        time.sleep(2)
        return edge.send(request("/accounts/login/", "Connection: close"), timeout=5).word


@pytest.fixture
def with_a_large_file(native: NativeStack, foreign: bool) -> None:
    if foreign and not has_notes(native):
        pytest.skip("only the sample app has anything large to read")


@pytest.mark.usefixtures("with_a_large_file")
def test_slow_readers(native: NativeStack, edge: Edge, evidence: Evidence) -> None:
    word = page_meanwhile(native, edge)
    evidence.line(
        "edge",
        subject="Slow clients",
        tried=f"{READERS} downloads that nobody reads, for 16 threads of gunicorn",
        expected="other pages are served",
        seen=word,
    )
    evidence.figure("edge", "requests sent", READERS)
    assert word == "200"


@pytest.mark.parametrize(("buffers", "taken"), [("168 64k", 5), ("4 64k", 0)])
def test_control_the_buffers_are_what_keeps_slow_readers_from_gunicorn(
    buffers: str, taken: int, second: tuple[SecondProxy, Recorder]
) -> None:
    proxy, recorder = second
    proxy.edit("proxy_buffers 168 64k", f"proxy_buffers {buffers}")
    proxy.edit("listen ${HTTPS_LISTEN} ssl", "listen ${HTTPS_LISTEN} ssl sndbuf=16k")
    recorder.answer = bytes(10_000_000)
    with proxy.running() as before, ExitStack() as until:
        for sock in crowd(before, until, 5, window=4096):
            sock.sendall(request("/"))
        wait_until(lambda: recorder.answered == 5, seconds=4)
        assert recorder.answered == taken


def test_one_client_cannot_take_all(
    second: tuple[SecondProxy, Recorder], evidence: Evidence
) -> None:
    """64 requests of one address at once; a private one may be a load balancer's, so it may."""
    proxy, recorder = second
    recorder.delay = 2
    seen = {}
    with proxy.running(TRUSTED_PROXIES="127.0.0.0/8") as before:
        for address in ("203.0.113.9", "10.1.2.3"):
            line = f"X-Forwarded-For: {address}"
            with ThreadPoolExecutor(90) as pool:
                sent = request("/", line, "Connection: close")
                answers = list(pool.map(lambda _, sent=sent: before.send(sent), range(90)))
            seen[address] = sum(answer.statuses == (429,) for answer in answers)
    evidence.line(
        "edge",
        subject="Slow clients",
        tried="90 requests at once of one client",
        expected="64 served for a public address; all for a private one without TRUSTED_PROXIES",
        seen=f"refused with 429: {seen}",
    )
    assert seen["203.0.113.9"] == 26
    assert seen["10.1.2.3"] == 0


# TLS --------------------------------------------------------------------------------------------

HELLO = bytes.fromhex("16030100050100000100")  # a ClientHello that ends before it begins
GARBAGE = {
    "a plain request": request("/"),
    "random bytes": secrets.token_bytes(3000),
    "zeros": bytes(3000),
    "a cut ClientHello": HELLO,
    "a huge record": b"\x16\x03\x01\xff\xff" + secrets.token_bytes(4000),
    "an alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "application data": b"\x17\x03\x03\x00\x20" + bytes(32),
    "SSL 2": bytes.fromhex("802e0100020015000000100100800700c0030080"),
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "the PROXY protocol": b"PROXY TCP4 203.0.113.66 127.0.0.1 1 443\r\n" + request("/"),
}


def test_garbage_instead_of_tls(native: NativeStack, edge: Edge, evidence: Evidence) -> None:
    log = Log(native)
    wrong = {}
    for name, sent in GARBAGE.items():
        with socket.create_connection(("127.0.0.1", edge.port), 5) as sock:
            sock.sendall(sent)
            sock.shutdown(socket.SHUT_WR)
            answer = b""
            with suppress(OSError):
                while some := sock.recv(4096):
                    answer += some
            if answer and not answer.startswith((b"\x15", b"HTTP/1.1 400 ")):
                wrong[name] = answer[:40]
    evidence.line(
        "edge",
        subject="TLS",
        tried=", ".join(GARBAGE),
        expected="closed, a TLS alert, or 400",
        seen=str(wrong or "as expected"),
    )
    assert wrong == {}
    assert not log.lines("203.0.113.66")


def test_half_open_handshakes(edge: Edge, evidence: Evidence) -> None:
    """200 connections that never send a whole ClientHello."""
    with ExitStack() as until:
        for _ in range(CROWD):
            sock = socket.create_connection(("127.0.0.1", edge.port), 5)
            until.callback(sock.close)
            sock.sendall(HELLO[:6])
        page = edge.send(request("/accounts/login/", "Connection: close"))
    evidence.line(
        "edge",
        subject="TLS",
        tried=f"{CROWD} half-open handshakes",
        expected="others are served",
        seen=page.word,
    )
    assert page.statuses == (200,)


def test_a_client_cannot_renegotiate(edge: Edge, evidence: Evidence) -> None:
    """TLS 1.2, with openssl: `R` asks for another handshake (TLS 1.3 has none)."""
    asked = subprocess.run(
        [
            *("openssl", "s_client", "-tls1_2", "-servername", "localhost"),
            *("-connect", f"localhost:{edge.port}", "-CAfile", str(edge.ca)),
        ],
        input="R\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    said = re.search(r"no renegotiation|unexpected eof|wrong version|alert [\w ]+", asked.stderr)
    evidence.line(
        "edge",
        subject="TLS",
        tried="client renegotiation",
        expected="refused",
        seen=said[0] if said else "nothing was said",
    )
    assert "CONNECTED" in asked.stdout
    assert "RENEGOTIATING" in asked.stdout + asked.stderr
    assert asked.returncode != 0
    assert said
