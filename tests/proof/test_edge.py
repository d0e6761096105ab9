"""Bad input at the edge of the running stack: refused or closed, and nobody else suffers.

Each family has a control, in which the same search finds what must not be there.
"""

import json
import re
import secrets
import socket
import struct
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from attacks import (
    MULTIPART,
    addresses,
    forms,
    harmless,
    hosts,
    http2,
    part,
    sizes,
    smuggling,
)
from edge import (
    REFUSED,
    Attack,
    Log,
    Recorder,
    SecondProxy,
    Tried,
    has_notes,
    header,
    judge,
    log_in_headers,
    stranger_headers,
    try_all,
)
from raw_http import (
    CONTINUATION,
    DATA,
    HEADERS,
    PING,
    RESET,
    SETTINGS,
    Edge,
    frame,
    headers_frame,
    pseudo,
    request,
)
from report import Evidence
from stack import NativeStack, wait_until

pytest_plugins = ["siege"]

pytestmark = [
    pytest.mark.proof,
    pytest.mark.native,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("victim"),  # whose data are there before everything else
]

CANARY = "203.0.113.66"
UNREAD = 800


# Forwarding headers ---------------------------------------------------------------------------

# What servers and frameworks have believed, each with a value that nobody would invent.
SPOOFED = {
    **dict.fromkeys(
        (
            *("X-Forwarded-For", "X_Forwarded_For", "x-forwarded_for", "X-FORWARDED-FOR"),
            *("X-Forwarded", "Forwarded-For", "X-Real-IP", "X_Real_IP", "X-Client-IP"),
            *("X-Cluster-Client-IP", "Client-IP", "True-Client-IP", "CF-Connecting-IP"),
            *("Fastly-Client-IP", "X-Forwarded-Client-IP", "X-Originating-IP", "X-Remote-Addr"),
            *("Remote-Addr", "Remote_Addr", "X-ProxyUser-Ip"),
        ),
        CANARY,
    ),
    **dict.fromkeys(
        (
            *("X-Forwarded-Host", "X_Forwarded_Host", "X-Host", "X-Forwarded-Server"),
            *("X-HTTP-Host-Override", "X-Original-Host"),
        ),
        f"{CANARY}.example",
    ),
    **dict.fromkeys(
        (
            *("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix", "X-Forwarded-Path"),
            *("Script-Name", "SCRIPT_NAME", "PATH_INFO", "X-Forwarded-Uri", "X-Script-Name"),
        ),
        f"/{CANARY}/",
    ),
    "Forwarded": f'for="{CANARY}";host={CANARY}.example;proto=http',
    "Via": f"1.1 {CANARY}",
    "Proxy": f"http://{CANARY}/",
    "X-Request-ID": CANARY,
    "X-Correlation-ID": CANARY,
}
SCHEMES = {
    "X-Forwarded-Proto": "http",
    "X_Forwarded_Proto": "http",
    "X-Forwarded-Protocol": "http",
    "X-Forwarded-Scheme": "http",
    "X-Forwarded-Ssl": "off",
    "X-Forwarded-Port": "80",
    "X-Scheme": "http",
    "X-Url-Scheme": "http",
    "Front-End-Https": "off",
    "X-HTTP-Method-Override": "DELETE",
    "X-HTTP-Method": "DELETE",
    "X-Method-Override": "DELETE",
}
# What somebody may believe of a request. The proxy cannot take off names that it does not
# know; that nobody behind it believes them is shown by the application's own log.
TELLING = {
    *("host", "connection", "forwarded", "via", "proxy", "front-end-https", "client-ip"),
    *(f"x-forwarded-{word}" for word in ["for", "proto", "host", "port", "server", "prefix"]),
    *(f"x-forwarded-{word}" for word in ["protocol", "scheme", "ssl"]),
    *("x-scheme", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip"),
    *("cf-connecting-ip", "x-original-url", "x-rewrite-url", "x-request-id", "x-http-method"),
    *("x-http-method-override", "x-method-override"),
}


def is_telling(name: str) -> bool:
    return name in TELLING or "_" in name


def told(head: bytes) -> dict[str, str]:
    """Return what a request's head, as gunicorn gets it, says of the request itself."""
    names = [line.partition(b":")[0].decode().lower() for line in head.split(b"\r\n")[1:]]
    return {name: header(head, name) or "" for name in names if is_telling(name)}


def spoofed() -> list[str]:
    lines = [f"{name}: {value}" for name, value in (SPOOFED | SCHEMES).items()]
    return [*lines, "X-Forwarded-Proto: http", f"X-Forwarded-For: {CANARY}", "X-Other: passes"]


HOP_BY_HOP = "Connection: close, X-Forwarded-For, X-Forwarded-Proto, X-Request-ID, Host"
OWN_WORDS = {"host", "x-forwarded-for", "x-forwarded-proto", "x-request-id"}


def expect_own_words(head: bytes, address: str = "127.0.0.1") -> None:
    """Only what the proxy itself says of the client is there, once."""
    said = told(head)
    assert set(said) == OWN_WORDS
    assert said["host"].split(":")[0] == "localhost"
    assert said["x-forwarded-for"] == address
    assert said["x-forwarded-proto"] == "https"
    assert re.fullmatch("[0-9a-f]{32}", said["x-request-id"])


@pytest.mark.parametrize("protocol", ["HTTP/1.1", "HTTP/2"])
def test_the_application_gets_no_forwarding_header_of_a_client(
    protocol: str, second: tuple[SecondProxy, Recorder], evidence: Evidence
) -> None:
    proxy, recorder = second
    with proxy.running() as before:
        if protocol == "HTTP/2":
            pairs = [line.split(": ") for line in spoofed()]
            fields = [(name.lower(), value) for name, value in pairs]
            answer = before.frames(headers_frame(*pseudo(), *fields))
        else:
            answer = before.send(request("/", *spoofed(), HOP_BY_HOP))
    [head] = recorder.heads
    count = len(SPOOFED | SCHEMES)
    evidence.line(
        "edge",
        subject="Spoofed headers",
        tried=f"{count} forwarding headers over {protocol}",
        expected="the proxy's own only: " + ", ".join(sorted(OWN_WORDS)),
        seen=", ".join(sorted(told(head))),
    )
    assert answer.statuses == (200,)
    expect_own_words(head)
    assert header(head, "X-Other") == "passes", "the recorder sees headers that may pass"
    assert head.startswith(b"GET / HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("underscores_in_headers off", "underscores_in_headers on"),
        ("X-Forwarded-For $remote_addr", "X-Forwarded-For $proxy_add_x_forwarded_for"),
        ("X-Forwarded-Proto https", "X-Forwarded-Proto $http_x_forwarded_proto"),
        ('proxy_set_header X-Forwarded-Host "";', ""),
        ('proxy_set_header Forwarded "";', ""),
        ('proxy_set_header Proxy "";', ""),
        ("X-Request-ID $request_id", "X-Request-ID $http_x_request_id"),
    ],
    ids=lambda text: re.sub(r"\W+", " ", text) or "nothing",
)
def test_control_a_weakened_proxy_lets_headers_through(
    old: str, new: str, second: tuple[SecondProxy, Recorder]
) -> None:
    proxy, recorder = second
    proxy.edit(old, new)
    with proxy.running() as before:
        before.send(request("/", *spoofed(), HOP_BY_HOP))
    [head] = recorder.heads
    with pytest.raises(AssertionError):
        expect_own_words(head)


def test_the_application_believes_no_header(
    native: NativeStack, edge: Edge, evidence: Evidence
) -> None:
    """Every header by itself: the log has the true address, and the answer is the same."""
    log = Log(native)
    plain = edge.send(request("/notes/4711/", "Connection: close"))
    attacks: list[Attack] = []
    paths: list[str] = []
    for name, value in (SPOOFED | SCHEMES).items():
        paths.append(f"/notes/{len(paths) + 10**6}/")
        attacks.append(Attack(name, [request(paths[-1], f"{name}: {value}", "Connection: close")]))
    tried = try_all(edge, attacks)
    judge(evidence, "Spoofed headers", tried, "each header by itself, to the real application")
    wait_until(lambda: log.lines("request_finished", f"GET {paths[-1]}"))
    for path in paths:
        [started] = log.lines("request_started", f"GET {path}")
        assert "ip=127.0.0.1 " in started
    assert CANARY not in log.text
    assert plain.statuses
    expected = re.sub(rb"Date: [^\r]*|4711", b"", plain.raw)
    for path, answer in zip(paths, tried.answers.values(), strict=True):
        number = path.split("/")[2].encode()
        assert re.sub(rb"Date: [^\r]*|" + number, b"", answer.raw) == expected


@pytest.mark.parametrize(
    ("trusted", "forwarded", "address"),
    [
        ("", f"{CANARY}, 203.0.113.9", "127.0.0.1"),
        ("192.0.2.0/24", f"{CANARY}, 203.0.113.9", "127.0.0.1"),
        ("127.0.0.0/8", f"{CANARY}, 203.0.113.9", "203.0.113.9"),
        ("127.0.0.0/8, 10.0.0.0/8 fd00::/8", f"{CANARY}, 203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ("127.0.0.0/8", f"{CANARY}, 2001:db8::9", "2001:db8::9"),
        ("127.0.0.0/8", "no address", "127.0.0.1"),
    ],
)
def test_a_load_balancer_is_believed_only_if_it_is_named(
    trusted: str,
    forwarded: str,
    address: str,
    second: tuple[SecondProxy, Recorder],
    evidence: Evidence,
) -> None:
    proxy, recorder = second
    with proxy.running(TRUSTED_PROXIES=trusted) as before:
        others = [line for line in spoofed() if not line.lower().startswith("x-forwarded-for")]
        before.send(request("/", f"X-Forwarded-For: {forwarded}", *others))
    [head] = recorder.heads
    evidence.line(
        "edge",
        subject="Load balancer",
        tried=f"TRUSTED_PROXIES={trusted or 'nobody'}, X-Forwarded-For: {forwarded}",
        expected=address,
        seen=str(header(head, "X-Forwarded-For")),
    )
    expect_own_words(head, address)


@pytest.mark.parametrize(
    "networks",
    ["10.0.0.0", "0.0.0.0/0", "::/0", "balancer.example", "10.0.0.0/8; evil", "10.0.0.0/99"],
)
def test_a_nonsensical_list_of_load_balancers_stops_the_proxy(
    networks: str, second: tuple[SecondProxy, Recorder]
) -> None:
    proxy, _ = second
    assert proxy.start(TRUSTED_PROXIES=networks).wait(10) == 1
    log = (proxy.folder / "log").read_text()
    assert "TRUSTED_PROXIES has" in log or "set_real_ip_from" in log


# Names ----------------------------------------------------------------------------------------


def test_names_that_are_not_the_site_s(edge: Edge, evidence: Evidence) -> None:
    tried = try_all(edge, hosts())
    judge(evidence, "Host", tried, "bad, duplicate, absolute, IP, none, too long, control bytes")


def test_control_the_site_s_own_names_are_served(edge: Edge) -> None:
    """So the others are refused for their names; with HTTP/0.9 nobody can name the site."""
    page, close = "/accounts/login/", "Connection: close"
    for good in ("localhost", "localhost:443", "LOCALHOST", "localhost.", "127.0.0.1"):
        assert edge.send(request(page, close, host=good)).statuses == (200,), good
    # The name in the address counts (RFC 9112, 3.2.2), and only it.
    for absolute, host in (("localhost", "localhost"), ("localhost", "evil.example")):
        sent = request(f"https://{absolute}{page}", close, host=host)
        answer = edge.send(sent)
        assert answer.statuses == (200,)
        assert b"evil" not in answer.raw
    old = edge.send(f"GET {page}\r\n".encode())
    assert old.closed
    assert b"400 Bad Request" in old.raw
    assert b"csrf" not in old.raw


# Smuggling ------------------------------------------------------------------------------------


def in_step(edge: Edge, count: int = 40) -> list[str]:
    """Ask for pages whose answers name them, at once; return answers that are another's."""
    numbers = [secrets.randbelow(10**9) + 10**9 for _ in range(count)]

    def ask(number: int) -> str:
        answer = edge.send(request(f"/notes/{number}/", "Connection: close"))
        location = re.search(rb"(?im)^location: (.*?)\r$", answer.raw)
        return location[1].decode() if location else answer.word

    with ThreadPoolExecutor(8) as pool:
        places = list(pool.map(ask, numbers))
    expected = [f"/accounts/login/?next=/notes/{number}/" for number in numbers]
    return [place for place, right in zip(places, expected, strict=True) if place != right]


def test_no_request_is_smuggled(
    native: NativeStack, edge: Edge, evidence: Evidence, foreign: bool
) -> None:
    if foreign and not has_notes(native):
        pytest.skip("without the sample app there is no page whose answer names it")
    log = Log(native)
    tried = try_all(edge, [*smuggling(), *harmless()])
    wrong_order = in_step(edge)
    # A pipelined request is no attack, and the control: it is seen where the others are not.
    edge.send(request("/carrier/") + request("/smuggled-control/", "Connection: close"))
    assert wait_until(lambda: log.lines('"GET /smuggled-control/'))
    found = {line.split('"')[1] for line in log.lines("/smuggled-", "HTTP/1.1")}
    evidence.line(
        "edge",
        subject="Request smuggling",
        tried="CL.TE, TE.CL, TE.TE, lengths, chunks, bare LF: requests inside requests",
        expected="none reaches the application; every answer is that of its request",
        seen=f"{len(found) - 1} reached it; {len(wrong_order)} of 40 answers out of step",
    )
    judge(evidence, "Request smuggling", tried, "the answers to them")
    assert found == {"GET /smuggled-control/ HTTP/1.1"}
    assert wrong_order == []


def test_control_an_answer_of_another_request_is_seen(
    second: tuple[SecondProxy, Recorder],
) -> None:
    """A server that gives everybody the same answer is out of step with nearly all."""
    proxy, _ = second
    with proxy.running() as before:
        assert len(in_step(before, 8)) == 8


def test_one_request_is_one_for_the_application(
    second: tuple[SecondProxy, Recorder], evidence: Evidence
) -> None:
    """What the proxy passes on of them is unambiguous, whoever reads it."""
    proxy, recorder = second
    with proxy.running() as before:
        try_all(before, [*smuggling(), *harmless()])
    requests = [head.split(b"\r\n")[0].decode() for head in recorder.heads]
    evidence.line(
        "edge",
        subject="Request smuggling",
        tried="what passes the proxy of them",
        expected="each with one length, none chunked",
        seen=f"{len(requests)} requests",
    )
    assert requests
    assert not [line for line in requests if "smuggled" in line]
    for head in recorder.heads:
        assert header(head, "Transfer-Encoding") is None
        length = header(head, "Content-Length")
        assert length is None or length.isdigit()


# HTTP/2 ---------------------------------------------------------------------------------------


def test_http2_is_not_made_into_another_request(
    native: NativeStack, edge: Edge, evidence: Evidence
) -> None:
    log = Log(native)
    tried = try_all(edge, http2())
    edge.frames(headers_frame(*pseudo("/smuggled-control-2/")))
    assert wait_until(lambda: log.lines('"GET /smuggled-control-2/'))
    found = {line.split('"')[1] for line in log.lines("/smuggled-", "HTTP/1.1")}
    judge(evidence, "HTTP/2", tried, "injected headers, lengths, pseudo-headers, broken frames")
    assert found == {"GET /smuggled-control-2/ HTTP/1.1"}


def test_http2_is_not_spoken_without_tls_or_by_upgrade(native: NativeStack, edge: Edge) -> None:
    settings = "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", settings)
    answer = edge.send(request("/livez", *upgrade))
    assert answer.statuses == (200,), "no 101"
    plain = Edge(int(native.addresses["HTTP_PORT"]), native.ca)
    for sent, statuses in (
        (request("/", *upgrade), b"308"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0), b"400"),
    ):
        with socket.create_connection(("127.0.0.1", plain.port), 5) as sock:
            sock.sendall(sent)
            assert sock.recv(4096).startswith(b"HTTP/1.1 " + statuses)


def test_floods_of_http2_frames_are_ended(edge: Edge, evidence: Evidence) -> None:
    """Modest numbers: a rapid reset, endless headers, pings and settings that want answers."""
    streams = range(1, 2001, 2)
    flood = {
        "1,000 resets": b"".join(
            headers_frame(*pseudo("/livez"), stream=each)
            + frame(RESET, 0, each, struct.pack("!I", 8))
            for each in streams
        ),
        "2,000 CONTINUATIONs": frame(HEADERS, 0, 1, b"\x82")
        + frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b" * 200) * 2000,
        "20,000 empty CONTINUATIONs": frame(HEADERS, 0, 1, b"\x82")
        + frame(CONTINUATION, 0, 1) * 20_000,
        "20,000 PINGs": frame(PING, 0, 0, bytes(8)) * 20_000,
        "20,000 SETTINGS": frame(SETTINGS, 0, 0) * 20_000,
        "20,000 empty DATA": headers_frame(*pseudo("/livez", "POST"), end=False)
        + frame(DATA, 0, 1) * 20_000,
    }
    attacks = [Attack(name, [sent], is_http2=True) for name, sent in flood.items()]
    tried = Tried()
    for attack in attacks:
        answer = attack.on(edge)
        tried.answers[attack.name] = answer
        if any(status >= 500 for status in answer.statuses):
            tried.wrong[attack.name] = answer.word
    refused = {name for name, each in tried.answers.items() if set(each.statuses) & REFUSED}
    closed = {name for name, each in tried.answers.items() if each.closed}
    seen = {name: "ended" if name in refused | closed else "served" for name in flood}
    evidence.line(
        "edge",
        subject="HTTP/2",
        tried=", ".join(flood),
        expected="never 5xx; endless headers are ended",
        seen=json.dumps(seen),
    )
    evidence.figure("edge", "requests sent", len(streams) + 5)
    assert tried.wrong == {}
    assert seen["2,000 CONTINUATIONs"] == "ended"


# Size -----------------------------------------------------------------------------------------


def test_sizes(native: NativeStack, edge: Edge, evidence: Evidence) -> None:
    log = Log(native)
    tried = try_all(edge, sizes())
    judge(evidence, "Size", tried, "URLs, headers, cookies, bodies, fields")
    assert not log.lines("/client_body/"), "a body was to be written to a file"


def test_control_just_below_the_limits_all_is_served(edge: Edge) -> None:
    """The limits are where they are meant to be, and gunicorn's are not below NGINX's."""
    headers = [f"X-{number}: a" for number in range(900)]
    for sent, statuses in (
        (request("/" + "a" * 8000, "Connection: close"), (404,)),
        (request("/accounts/login/", "X: " + "a" * 8000, "Connection: close"), (200,)),
        (request("/accounts/login/", *headers, "Connection: close"), (200,)),
        (request("/livez", "Connection: close", method="POST", body=bytes(11_000_000)), (200,)),
    ):
        assert edge.send(sent).statuses == statuses


# Content ----------------------------------------------------------------------------------------


def test_contents_of_forms(
    native: NativeStack, edge: Edge, evidence: Evidence, foreign: bool
) -> None:
    login, stranger = log_in_headers(native), stranger_headers(native)
    # Pages that are there, one that is not, and ones that are for others.
    pages = {
        "/accounts/login/": ["username"],
        "/accounts/password/": ["old_password"],
        "/accounts/signup/": ["email"],
        "/nothing/": ["next"],
        "/admin/login/": ["next"],
        "/encryption/": [],
    }
    if has_notes(native) or not foreign:
        pages["/notes/new/"] = ["title", "body", "delete_after", "upload"]
    for path, fields in pages.items():
        who = stranger if path.endswith(("/login/", "/signup/")) else login
        tried = try_all(edge, forms(path, who, *fields))
        judge(evidence, "Forms", tried, f"odd fields, files, names, charsets, parts to {path}")


def test_a_body_that_nobody_reads_costs_nobody_an_answer(edge: Edge, evidence: Evidence) -> None:
    """gunicorn may close a connection after one, which the proxy wants to use again."""
    headers = ("Origin: https://other.example", "Connection: close")  # refused unread
    sent = request("/accounts/login/", *headers, method="POST", body=bytes(300_000))
    with ThreadPoolExecutor(8) as pool:
        words = Counter(answer.word for answer in pool.map(edge.send, [sent] * UNREAD))
    evidence.line(
        "edge",
        subject="Unread bodies",
        tried=f"{UNREAD} bodies of 300 kB, eight at a time",
        expected="403",
        seen=", ".join(f"{number} times {word}" for word, number in words.items()),
    )
    evidence.figure("edge", "requests sent", UNREAD)
    assert words == {"403": UNREAD}


def test_control_a_good_form_is_taken(native: NativeStack, edge: Edge, foreign: bool) -> None:
    """So the odd ones reached the very code that takes it."""
    if foreign and not has_notes(native):
        pytest.skip("there is no form of the sample app")
    body = part(b'name="title"', b"The title") + part(b'name="delete_after"', b"never")
    sent = request(
        *("/notes/new/", log_in_headers(native), MULTIPART, "Connection: close"),
        host=f"localhost:{edge.port}",
        method="POST",
        body=body + part(b'name="upload"; filename="../a/b.txt"', b"content") + b"--limit--\r\n",
    )
    answer = edge.send(sent)
    assert answer.statuses == (302,), answer.raw
    assert b"location: /notes/" in answer.raw.lower()


def test_addresses(native: NativeStack, edge: Edge, evidence: Evidence) -> None:
    tried = try_all(edge, addresses(log_in_headers(native)))
    judge(evidence, "Addresses", tried, "traversal, NUL, numbers, queries, cookies, ranges, dates")
    leaks = [name for name, each in tried.answers.items() if b"root:" in each.raw]
    assert leaks == []


def test_control_a_server_s_error_is_seen(
    second: tuple[SecondProxy, Recorder],
) -> None:
    """Nothing is behind this proxy: it answers 502, and that is judged wrong."""
    proxy, _ = second
    proxy.env["GUNICORN_ADDRESS"] = "127.0.0.1:1"
    with proxy.running() as before:
        tried = try_all(before, [Attack("any", [request("/", "Connection: close")])])
    assert tried.wrong == {"any": "502"}
    assert tried.server_errors == 1
