"""Attacks on the edge, as bytes. What must come back is said where it is not any refusal."""

import gzip
import struct
from collections.abc import Iterator

from edge import BAD_REQUEST, REFUSED, Attack
from raw_http import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    SETTINGS,
    frame,
    headers_frame,
    pseudo,
    request,
)


def hosts() -> list[Attack]:
    def attack(name: str, *parts: bytes, allowed: frozenset[int] = BAD_REQUEST) -> Attack:
        return Attack(name, parts, allowed)

    def host(value: str | bytes) -> bytes:
        return request("/accounts/login/", "Connection: close", host=value)

    both = "Host: localhost"
    return [
        attack("another name", host("evil.example")),
        attack("an address", host("10.0.0.7")),
        attack("an address and a port", host("10.0.0.7:443")),
        attack("IPv6", host("[::1]")),
        attack("IPv6 mapped", host("[::ffff:127.0.0.1]")),
        attack("decimal address", host("2130706433")),
        attack("userinfo before", host("evil@localhost")),
        attack("userinfo behind", host("localhost@evil.example")),
        attack("suffix", host("localhost.evil.example")),
        attack("prefix", host("evil.localhost")),
        attack("two dots", host("localhost..")),
        attack("a path", host("localhost/evil")),
        attack("a backslash", host("localhost\\evil")),
        attack("a query", host("localhost?evil")),
        attack("a space", host("localhost evil")),
        attack("a comma", host("localhost, evil.example")),
        attack("a tab", host("localhost\tevil")),
        attack("CR", host("localhost\rX: y")),
        attack("NUL", host("localhost\0evil")),
        attack("8 bit", host("loc\xe4lhost")),
        attack("full-width letters", host("\uff4cocalhost".encode())),
        attack("a line feed and a header", host("localhost\n evil")),
        attack("empty", host("")),
        attack("5,000 letters", host("a" * 5000)),
        attack("9,000 letters", host("a" * 9000), allowed=frozenset({400, 414, 431})),
        attack("none", request("/", host=None)),
        attack("none, HTTP/1.0", request("/", host=None, version="HTTP/1.0")),
        attack("two", request("/", both)),
        attack("two, the other first", request("/", both, host="evil.example")),
        attack("two, one folded", request("/", " evil.example")),
        attack("a space before the colon", request("/", "Host : localhost", host=None)),
        attack("absolute, no name", request("https:///", host="evil.example")),
        attack("absolute, userinfo", request("https://a@localhost/", host="evil.example")),
    ]


def smuggling() -> list[Attack]:
    """Requests with a second one inside, /smuggled-NUMBER/, if they are read in another way."""
    attacks: list[Attack] = []

    def attack(name: str, *headers: str | bytes, body: bytes, version: str = "HTTP/1.1") -> None:
        inner = request(f"/smuggled-{len(attacks)}/")
        sent = request("/carrier/", *headers, method="POST", version=version)
        attacks.append(Attack(name, [sent + body.replace(b"INNER", inner)], REFUSED))

    chunked = "Transfer-Encoding: chunked"
    end = b"0\r\n\r\nINNER"
    attack("CL.TE", "Content-Length: 200", chunked, body=end)
    attack("TE.CL", chunked, "Content-Length: 4", body=b"5c\r\nINNER\r\n0\r\n\r\n")
    attack("CL 0 and TE", "Content-Length: 0", chunked, body=end)
    obfuscated: list[str | bytes] = [
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
        "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding:\x0bchunked",
        "Transfer-Encoding: \x00chunked",
        "Transfer-Encoding: chunked\x00",
        "Transfer-Encoding: 'chunked'",
        'Transfer-Encoding: "chunked"',
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: chun ked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding: \r\n\tchunked",
        " Transfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "Transfer\x00Encoding: chunked",
        b"Transfer-Encoding: \xffchunked",
        b"Transfer-Encoding: ch\xc5\xafnked",
    ]
    for each in obfuscated:
        attack(f"TE.TE {each!r}", each, "Content-Length: 4", body=b"5c\r\nINNER\r\n0\r\n\r\n")
    for length in (
        "+6",
        " 6 6",
        "0x6",
        "6,6",
        "6, 7",
        "-1",
        "six",
        "6.0",
        "1e1",
        "",
        "9" * 30,
    ):
        attack(f"CL {length!r}", f"Content-Length: {length}", body=b"aaaaaaINNER")
    attack("two CL", "Content-Length: 6", "Content-Length: 200", body=b"aaaaaaINNER")
    attack("two CL alike", "Content-Length: 6", "Content-Length: 6", body=b"aaaaaaINNER")
    attack("CL and CL_", "Content-Length: 6", "Content_Length: 0", body=b"aaaaaa" + b"G" * 9)
    for size in (b"-1", b"+5", b"0x5", b"g", b"\x00", b"f" * 20, b"5\x0b", b"1_0"):
        attack(f"chunk of size {size!r}", chunked, body=size + b"\r\naaaaa\r\n" + end)
    attack("a chunk that is longer", chunked, body=b"5\r\naaaaaaaa\r\n" + end)
    attack("chunked in HTTP/1.0", chunked, body=end, version="HTTP/1.0")
    attack("version 2.0", chunked, body=end, version="HTTP/2.0")
    attack("version as it likes", chunked, body=end, version="HTTP/x.y")
    return attacks


def harmless() -> list[Attack]:
    """Requests that everybody reads in one way: each is one, whatever is inside or behind it."""
    inner = request("/smuggled-in-a-body/")
    chunk = f"{len(inner):x}".encode()

    def post(*headers: str, body: bytes) -> bytes:
        close = "Connection: close"
        return request("/carrier/", *headers, close, method="POST") + body

    chunked, close = "Transfer-Encoding: chunked", "Connection: close"
    ends = b"\r\n" + inner + b"\r\n0\r\n\r\n"
    return [
        Attack("a request as a body", [request("/carrier/", method="GET", body=inner)], REFUSED),
        Attack("as a chunk", [post(chunked, body=chunk + ends)], REFUSED),
        Attack("chunk extension", [post(chunked, body=chunk + b";a=b" + ends)], REFUSED),
        Attack(
            "long extension", [post(chunked, body=chunk + b";a=" + b"b" * 4000 + ends)], REFUSED
        ),
        Attack("leading zeros", [post(chunked, body=b"000" + chunk + ends)], REFUSED),
        Attack("trailer", [post(chunked, body=b"0\r\nX: y\r\nHost: evil\r\n\r\n")], REFUSED),
        Attack(
            "bare LF",
            [_bare(request("/carrier/", chunked, close, method="POST")) + chunk + ends],
            REFUSED,
        ),
        Attack("Expect", [post("Expect: 100-continue", "Content-Length: 3", body=b"abc")]),
        Attack(
            "a space behind a length", [post("Content-Length: 6 ", body=b"aaaaaa" + inner)], REFUSED
        ),
        Attack(
            "a space in a size", [post(chunked, body=b"5 5\r\naaaaa\r\n0\r\n\r\n" + inner)], REFUSED
        ),
        Attack(
            "an underscore",
            [post("Transfer_Encoding: chunked", "Content-Length: 0", body=inner)],
            REFUSED,
        ),
        Attack("upper case", [post("TRANSFER-ENCODING: CHUNKED", body=chunk + ends)], REFUSED),
    ]


def _bare(head: bytes) -> bytes:
    return head.replace(b"\r\n", b"\n")


def http2() -> list[Attack]:
    attacks = []

    def attack(name: str, *parts: bytes, may_wait: bool = False) -> None:
        attacks.append(Attack(name, parts, REFUSED, is_http2=True, may_wait=may_wait))

    def fields(*more: tuple[str, str], **options: str) -> bytes:
        return headers_frame(*pseudo("/carrier2/", **options), *more)

    smuggled = request("/smuggled-by-2/").decode()
    for what, value in {
        "CR LF": "a\r\nX-Injected: y",
        "LF": "a\nX-Injected: y",
        "CR": "a\rX-Injected: y",
        "NUL": "a\0b",
        "a whole request": f"a\r\n\r\n{smuggled}",
    }.items():
        attack(f"{what} in a value", fields(("x-any", value)))
        attack(f"{what} in a name", fields((f"x-any{value}", "a")))
        attack(f"{what} in :path", headers_frame(*pseudo(f"/{value}")))
        attack(f"{what} in :method", headers_frame(*pseudo(method=f"GET{value}")))
        attack(f"{what} in :authority", headers_frame(*pseudo(authority=f"localhost{value}")))
    attack("a colon in a name", fields(("x-any: b\r\nx", "a")))
    attack("upper case", fields(("X-Any", "a")))
    attack("connection", fields(("connection", "close")))
    attack("connection names", fields(("connection", "x-forwarded-for")))
    attack("upgrade", fields(("upgrade", "h2c")))
    attack("keep-alive", fields(("keep-alive", "1")))
    attack("proxy-connection", fields(("proxy-connection", "close")))
    attack("te", fields(("te", "chunked")))
    attack("te trailers", fields(("te", "trailers")))
    chunks = b"0\r\n\r\n" + smuggled.encode()
    for name, value in {
        "transfer-encoding": "chunked",
        "transfer-encoding ": "chunked",
        "content-length": "0",
        "content-length ": "4",
    }.items():
        post = headers_frame(*pseudo("/carrier2/", "POST"), (name, value), end=False)
        attack(f"{name!r} and a body", post, frame(DATA, END_STREAM, 1, chunks))
    both = (("content-length", "3"), ("content-length", str(len(chunks))))
    post = headers_frame(*pseudo("/carrier2/", "POST"), *both, end=False)
    attack("two lengths", post, frame(DATA, END_STREAM, 1, chunks))
    attack("a space in :path", headers_frame(*pseudo("/carrier2/ HTTP/1.1")))
    attack("no slash", headers_frame(*pseudo("carrier2")))
    attack("an absolute :path", headers_frame(*pseudo("https://evil.example/")))
    attack("an empty :path", headers_frame(*pseudo("")))
    attack("a space in :method", headers_frame(*pseudo(method="GET /smuggled-by-2/ HTTP/1.1")))
    attack("CONNECT", headers_frame((":method", "CONNECT"), (":authority", "evil.example:443")))
    attack("another :authority", headers_frame(*pseudo(authority="evil.example")))
    attack("host is another", fields(("host", "evil.example")))
    attack("no name", headers_frame((":method", "GET"), (":scheme", "https"), (":path", "/")))
    for each in pseudo():
        attack(f"{each[0]!s} twice", headers_frame(*pseudo(), each))
        if each[0] != ":scheme":
            without = [other for other in pseudo() if other != each]
            attack(f"without {each[0]!s}", headers_frame(*without))
    attack("a pseudo-header behind others", headers_frame(("x", "y"), *pseudo("/carrier2/")))
    attack("an unknown pseudo-header", headers_frame(*pseudo(), (":any", "a")))
    attack(":status", headers_frame(*pseudo(), (":status", "200")))
    attack("a large header", fields(("x-any", "a" * 16_000)))
    # Frames.
    attack("stream 0", headers_frame(*pseudo(), stream=0))
    attack("an even stream", headers_frame(*pseudo(), stream=2))
    attack("DATA on no stream", frame(DATA, END_STREAM, 5, b"x"), may_wait=True)
    attack("CONTINUATION alone", frame(CONTINUATION, END_HEADERS, 1, b"x"))
    attack("a frame between", frame(HEADERS, 0, 1, b"\x82"), frame(PING, 0, 0, bytes(8)))
    attack("broken HPACK", frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff" * 40))
    attack("HPACK index 0", frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x80"))
    attack("too long a frame", frame(DATA, 0, 1, bytes(70_000)), may_wait=True)
    attack("a short PING", frame(PING, 0, 0, b"x"))
    attack("SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, b"12345"))
    attack("an endless window", frame(8, 0, 0, struct.pack("!I", 2**31 - 1)))
    attack("a window of nothing", frame(8, 0, 0, bytes(4)))
    attack("more padding than frame", frame(HEADERS, 8 | END_HEADERS, 1, b"\xff"))
    return attacks


CHUNKED = request("/", "Transfer-Encoding: chunked", method="POST")


def sizes() -> list[Attack]:
    def attack(name: str, *parts: bytes, only: set[int] | None = None) -> Attack:
        return Attack(name, parts, frozenset(only) if only else REFUSED)

    headers = [f"X-{number}: a" for number in range(9000)]
    cookie = "Cookie: " + "; ".join(f"c{number}=v" for number in range(1200))
    large = bytes(11_000_000)
    post = "/accounts/login/"
    form = "Content-Type: application/x-www-form-urlencoded"
    many = "&".join(f"f{number}=v" for number in range(1500)).encode()
    too_large = b"a=" + b"b" * 2_000_000
    control = "X-Control: \x01"
    return [
        attack("a URL of 9,000", request("/" + "a" * 9000), only={414}),
        attack("a URL of 100,000", request("/" + "a" * 100_000), only={414}),
        attack("a query of 9,000", request("/?" + "a" * 9000), only={414}),
        attack("a header of 9,000", request("/", "X: " + "a" * 9000), only={400, 431}),
        attack("a header of 100,000", request("/", "X: " + "a" * 100_000), only={400, 431}),
        attack("a name of 9,000", request("/", "X" * 9000 + ": a"), only={400, 431}),
        attack("9,000 headers", request("/", *headers), only={400, 431}),
        attack("cookies of 9,000", request("/", cookie), only={400, 431}),
        attack("a method of 9,000", request("/", method="A" * 9000), only={400, 414}),
        attack(
            "13 MB declared", request(post, "Content-Length: 13000000", method="POST"), only={413}
        ),
        attack("13 MB in chunks", *_chunks(13), only={411}),
        attack("chunks of a byte", CHUNKED, b"1\r\na\r\n" * 2_200_000, only={411}),
        attack(
            "1 TB declared", request(post, f"Content-Length: {10**12}", method="POST"), only={413}
        ),
        attack("1,500 fields", request(post, form, method="POST", body=many)),
        attack("a field of 2 MB", request(post, form, method="POST", body=too_large)),
        # Nobody reads these bodies: the answer must arrive all the same.
        attack("11 MB to a page", request("/", method="POST", body=large)),
        attack("11 MB to no page", request("/nothing/", method="POST", body=large)),
        attack("11 MB to a log-in", request(post, method="POST", body=large)),
        attack("11 MB to a file", request("/static/x", method="PUT", body=large)),
        attack("11 MB and a long URL", request("/" + "a" * 8000, method="POST", body=large)),
        attack("11 MB and a control byte", request("/", control, method="POST", body=large)),
        attack("11 MB and 8 bit", request(b"/\xff", method="POST", body=large)),
        attack("11 MB and two types", request("/", form, form, method="POST", body=large)),
        attack("11 MB and a false name", request("/", method="POST", host="evil", body=large)),
    ]


def _chunks(megabytes: int) -> Iterator[bytes]:
    yield CHUNKED
    yield from [b"100000\r\n" + bytes(0x100000) + b"\r\n"] * megabytes


# What a form can hold --------------------------------------------------------------------------

# In a field, a file's name, a query, a cookie.
ODD = {
    "NUL": b"a\0b",
    "control bytes": bytes(range(1, 32)),
    "broken UTF-8": b"\xff\xfe\xc3(",
    "a surrogate": b"\xed\xa0\x80",
    "overlong": b"\xc0\xaf\xc0\xae",
    "from right to left": "\u202egnp.exe".encode(),
    "a byte order mark": "\ufeff".encode(),
    "a traversal": b"../../../../etc/passwd",
    "an absolute path": b"/etc/passwd",
    "Windows": b"..\\..\\windows\\win.ini",
    "a drive": b"C:\\x\\NUL",
    "encoded": b"%2e%2e%2f%00",
    "entities": b"&#0;&#x2f;&#1114112;&#xd800;",
    "a dot": b".",
    "two dots": b"..",
    "a template": b"{{ 7 * 7 }}{% debug %}",
    "SQL": b"' OR 1=1; --",
    "a header": b"a\r\nSet-Cookie: evil=1",
    "long": b"a" * 6000,
}
CHARSETS = (
    *("utf-7", "utf-16", "idna", "punycode", "hex", "base64", "zlib", "rot13", "undefined"),
    *("unicode_escape", "cp037", "mbcs", "nonsense", "../../etc", ""),
)
FORM = "Content-Type: application/x-www-form-urlencoded"
MULTIPART = "Content-Type: multipart/form-data; boundary=limit"


def part(disposition: bytes, content: bytes, *headers: bytes) -> bytes:
    """Return a part of a multipart form."""
    head = b"\r\n".join([b"Content-Disposition: form-data; " + disposition, *headers])
    return b"--limit\r\n" + head + b"\r\n\r\n" + content + b"\r\n"


def forms(path: str, login: str, *fields: str) -> list[Attack]:
    """Forms of these fields sent by somebody logged in; `login` is the headers that show it."""
    attacks: list[Attack] = []
    last = b"--limit--\r\n"

    def attack(name: str, kind: str, body: bytes) -> None:
        # A form that is wrong is shown again (200); one that is taken leads elsewhere (302).
        sent = request(path, login, kind, "Connection: close", method="POST", body=body)
        attacks.append(Attack(f"{name}, {path}", [sent]))

    title = part(b'name="title"', b"The title") + part(b'name="delete_after"', b"never")
    for what, value in ODD.items():
        quoted = "".join(f"%{byte:02x}" for byte in value)
        for field in fields:
            several = part(f'name="{field}"'.encode(), value)
            attack(f"{what} in {field}, parts", MULTIPART, title + several + last)
            attack(f"{what} in {field}", FORM, f"{field}={quoted}".encode())
        attack(f"{what} as a field", FORM, f"{quoted}=a".encode())
        file = part(b'name="upload"; filename="' + value + b'"', b"content")
        attack(f"{what} in a file's name", MULTIPART, title + file + last)
        attack(f"{what} in JSON", "Content-Type: application/json", b'{"a": "' + value + b'"}')
    for charset in CHARSETS:
        attack(f"charset {charset}", f"{FORM}; charset={charset}", b"title=%ff%5cx&next=%ff")
        attack(f"charset {charset}, parts", f"{MULTIPART}; charset={charset}", title + last)
        attack(f"charset*={charset}", f"{FORM}; charset*={charset}''%ff", b"a=b")
        star = b'name="title"; filename*=' + charset.encode() + b"''%ff"
        attack(f"filename*={charset}", MULTIPART, part(star, b"content") + last)
    for kind in ("", "; boundary=", "; boundary=" + "b" * 300, "; boundary=\xff", "; boundary=a b"):
        attack(f"boundary {kind[:20]!r}", f"Content-Type: multipart/form-data{kind}", title)
    for what, body in {
        "no end": title,
        "nothing": b"",
        "no header": b"--limit\r\n\r\na\r\n" + last,
        "no name": part(b"", b"a") + last,
        "cut off": b"--limit\r\nContent-Disposition: form-data; na",
        "a long header": part(b'name="a"', b"a", b"X: " + b"a" * 100_000) + last,
        "base64": part(b'name="f"; filename="f"', b"QUFBQ", b"Content-Transfer-Encoding: base64")
        + last,
        "an empty file": title + part(b'name="upload"; filename="f"', b"") + last,
        "two files": title + part(b'name="upload"; filename="f"', b"a") * 2 + last,
        "a field as file": part(b'name="title"; filename="f"', b"a") + last,
        "200 files": b"".join(part(b'name="%d"; filename="f"' % n, b"a") for n in range(200))
        + last,
        "1,500 fields": part(b'name="a"', b"a") * 1500 + last,
        "a part in a part": part(
            b'name="a"', title, b"Content-Type: multipart/mixed; boundary=limit"
        )
        + last,
    }.items():
        attack(f"parts: {what}", MULTIPART, body)
    packed = gzip.compress(b"title=The title&delete_after=never")
    attack("gzip", f"{FORM}\r\nContent-Encoding: gzip", packed)
    bomb = gzip.compress(bytes(50_000_000))
    attack("a gzip bomb", f"{FORM}\r\nContent-Encoding: gzip", bomb)
    return attacks


def addresses(login: str) -> list[Attack]:
    """Odd paths, queries, cookies and headers."""
    attacks: list[Attack] = []

    def attack(name: str, path: str | bytes, *headers: str | bytes, refused: bool = False) -> None:
        sent = request(path, "Connection: close", *headers)
        attacks.append(Attack(name, [sent], REFUSED if refused else frozenset(range(200, 500))))

    up = (
        "..",
        "%2e%2e",
        ".%2e",
        "..%00",
        "%c0%ae%c0%ae",
        "%252e%252e",
        "..\\",
        "..%5c",
        "..;",
        "....",
    )
    for dots in up:
        for slash in ("/", "%2f", "%5c", "//"):
            path = f"/static/{slash.join([dots] * 5)}{slash}etc{slash}passwd"
            attack(f"traversal {path}", path, login, refused=True)
    attack("traversal, file:", "/static/file:///etc/passwd", login, refused=True)
    attack("source", "/static/../config/settings.py", login, refused=True)
    attack("two slashes", "//etc/passwd", login, refused=True)
    attack("a name and two slashes", "//evil.example/%2e%2e", login, refused=True)
    for what, value in ODD.items():
        quoted = "".join(f"%{byte:02x}" for byte in value)[:7000]
        for place in (
            "/notes/?page=",
            "/accounts/login/?next=",
            "/admin/login/?next=",
            "/?",
            "/notes/",
        ):
            attack(f"{what} in {place}", f"{place}{quoted}", login)
        attack(f"{what} in /static/", f"/static/{quoted}", login, refused=True)
        session = "".join(f"\\{byte:03o}" for byte in value)
        attack(f"{what} as a session", "/notes/", f'Cookie: __Host-session="{session}"')
        attack(f"{what} as a token", "/notes/", f'Cookie: __Host-csrf="{session}"')
        attack(f"{what} as a cookie", "/notes/", b"Cookie: a=" + value.replace(b"\r\n", b""))
        attack(f"{what} as a language", "/", b"Accept-Language: " + value.replace(b"\r\n", b""))
    for number in (
        "0",
        "-1",
        "9" * 19,
        "9" * 30,
        "9" * 4500,
        "1e9",
        "0x1",
        "%D9%A1",
        "1%0a",
        "1%20",
        "+1",
    ):
        for place in ("/notes/{}/", "/notes/files/{}/", "/notes/{}/edit/", "/notes/?page={}"):
            attack(f"{place} of {number[:9]}{len(number)}", place.format(number), login)
    for span in (
        "0-0",
        "9-1",
        "-",
        ",",
        "abc",
        "-9999999999999999",
        "0-1,3-4",
        "99999999999-",
        "\xb2-3",
    ):
        attack(f"range {span}", "/static/favicon.svg", f"Range: bytes={span}")
    for date in (
        "Mon, 99 Foo 0000",
        "Thu, 01 Jan 99999 00:00:00 GMT",
        "Sun, 06 Nov 1994 08:49:37 +9999",
    ):
        attack(f"since {date}", "/", f"If-Modified-Since: {date}", f"If-Range: {date}")
    for kind in (
        "text/plain; charset=hex",
        "a/b; charset*=idna''%ff",
        "a/b; " + "c=d;" * 1000,
        ";",
        "/",
    ):
        attack(f"type {kind[:30]}", "/notes/?page=%ff", login, f"Content-Type: {kind}")
    return attacks
