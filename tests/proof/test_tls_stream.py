"""The judgement of a conversation, on real handshakes and on bytes that are none."""

import ssl
import warnings
from collections.abc import Callable
from contextlib import suppress

import pytest
from authority import Pair, self_signed
from tls_stream import Handshake, NotTLSError, judge, judge_postgresql, require_redirects

type Talk = Callable[..., tuple[bytes, bytes]]

SSL_REQUEST = bytes.fromhex("0000000804d2162f")
STARTUP = bytes.fromhex("0000001900030000") + b"user\0app\0\0"
TLS_1_2, TLS_1_3 = 0x0303, 0x0304
ECDHE = "ECDHE-ECDSA-AES256-GCM-SHA384"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return self_signed(tmp_path_factory.mktemp("pair") / "server", "localhost")


@pytest.fixture(scope="module")
def talk(pair: Pair) -> Talk:
    """Return a function that has a conversation, and returns what each end said."""

    def talk(version: int = TLS_1_3, ciphers: str = ECDHE) -> tuple[bytes, bytes]:
        server, client = (
            ssl.SSLContext(side) for side in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT)
        )
        server.load_cert_chain(pair.crt, pair.key)
        client.load_verify_locations(pair.crt)
        for context in (server, client):
            with warnings.catch_warnings(action="ignore"):  # old versions are deprecated
                context.minimum_version = ssl.TLSVersion(version)
                context.maximum_version = ssl.TLSVersion(version)
            context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
        return _converse(server, client)

    return talk


def _converse(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[bytes, bytes]:
    asks, hears, answers, reads = (ssl.MemoryBIO() for _ in range(4))
    asking = client.wrap_bio(reads, asks, server_hostname="localhost")
    serving = server.wrap_bio(hears, answers, server_side=True)
    asked, answered = b"", b""
    steps: list[Callable[[], object]] = [asking.do_handshake, serving.do_handshake] * 3
    steps += [lambda: asking.write(b"question"), lambda: serving.write(b"answer")]
    for step in steps:
        with suppress(ssl.SSLWantReadError):
            step()
        asked += (question := asks.read())
        answered += (answer := answers.read())
        hears.write(question)
        reads.write(answer)
    return asked, answered


def records(said: bytes) -> list[bytes]:
    """Split at the borders of records."""
    found = []
    while said:
        length = 5 + int.from_bytes(said[3:5])
        found.append(said[:length])
        said = said[length:]
    return found


# What is good --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "suite"), [(TLS_1_3, "TLS_AES_256_GCM_SHA384"), (TLS_1_2, ECDHE)]
)
def test_tls_is_recognised(talk: Talk, version: int, suite: str) -> None:
    assert judge(*talk(version), "1.2") == Handshake(version, suite, "localhost")


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
def test_a_connection_may_be_cut_off(talk: Talk, version: int) -> None:
    asked, answered = talk(version)
    hellos = len(records(asked)[0]), len(records(answered)[0])
    for end in range(hellos[0], len(asked)):
        assert judge(asked[:end], answered, "1.2")
    for end in range(hellos[1], len(answered)):
        assert judge(asked, answered[:end], "1.2")


def test_a_hello_may_be_all(talk: Talk) -> None:
    hello = records(talk()[0])[0]
    for answer in (b"", bytes.fromhex("15030300020228")):
        assert judge(hello, answer, "1.2") is None


def test_a_hello_may_be_longer_than_a_record(talk: Talk) -> None:
    asked, answered = talk()
    hello, *others = records(answered)
    parts = hello[5:30], hello[30:]
    split = b"".join(hello[:3] + len(part).to_bytes(2) + part for part in parts)
    assert judge(asked, split + b"".join(others), "1.2")


# What is not ---------------------------------------------------------------------------


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
@pytest.mark.parametrize(
    "plaintext", [b"P", b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\x08", b"\x18\x03\x03\0\x01x"]
)
def test_plaintext_is_found_wherever_it_is(talk: Talk, version: int, plaintext: bytes) -> None:
    asked, answered = map(records, talk(version))
    for at in range(len(asked) + 1):
        with pytest.raises(NotTLSError, match="what the client said is in no TLS record"):
            judge(b"".join([*asked[:at], plaintext, *asked[at:]]), b"".join(answered), "1.2")
    for at in range(len(answered) + 1):
        with pytest.raises(NotTLSError, match="what the server said is in no TLS record"):
            judge(b"".join(asked), b"".join([*answered[:at], plaintext, *answered[at:]]), "1.2")


def test_plaintext_within_a_record_is_found(talk: Talk) -> None:
    asked, answered = talk()
    with pytest.raises(NotTLSError, match="in no TLS record"):
        judge(asked[:40] + b"plaintext" + asked[40:], answered, "1.2")


@pytest.mark.parametrize(
    "record",
    [
        b"\x17\x09\x03\x00\x04data",
        b"\x17\x03\x09\x00\x04data",
        b"\x17\x03\x03\x00\x00",
        b"\x17\x03\x03\x48\x01" + bytes(0x4801),
    ],
    ids=["version", "subversion", "empty", "too long"],
)
def test_what_only_resembles_a_record_is_found(talk: Talk, record: bytes) -> None:
    asked, answered = talk()
    with pytest.raises(NotTLSError, match="in no TLS record"):
        judge(asked + record, answered, "1.2")


@pytest.mark.parametrize("version", [0x0301, 0x0302])
def test_an_old_version_is_found(talk: Talk, version: int) -> None:
    conversation = talk(version, "ECDHE-ECDSA-AES256-SHA")
    name = {0x0301: "1.0", 0x0302: "1.1"}[version]
    with pytest.raises(NotTLSError, match=f"the version is {name}, not at least 1.2"):
        judge(*conversation, "1.2")


def test_a_downgrade_is_found(talk: Talk) -> None:
    with pytest.raises(NotTLSError, match=r"the version is 1\.2, not at least 1\.3"):
        judge(*talk(TLS_1_2), "1.3")


def test_a_version_of_the_future_is_not_judged(talk: Talk) -> None:
    asked, answered = talk()
    chosen = b"\x00\x2b\x00\x02\x03"
    assert answered.count(chosen) == 1
    with pytest.raises(NotTLSError, match="0x0305, which is unknown"):
        judge(asked, answered.replace(chosen + b"\x04", chosen + b"\x05"), "1.2")


def test_compression_is_found(talk: Talk) -> None:
    asked, answered = talk(TLS_1_2)
    with pytest.raises(NotTLSError, match="compression is on"):
        judge(asked, answered.replace(b"\xc0\x2c\x00", b"\xc0\x2c\x01"), "1.2")


@pytest.mark.parametrize("suite", ["ECDHE-ECDSA-AES256-SHA384", "ECDHE-ECDSA-NULL-SHA"])
def test_a_weak_suite_is_found(talk: Talk, suite: str) -> None:
    with pytest.raises(NotTLSError, match=f"the cipher suite is {suite}"):
        judge(*talk(TLS_1_2, suite), "1.2")


def test_a_suite_without_forward_secrecy_is_found(talk: Talk) -> None:
    asked, answered = talk(TLS_1_2)
    assert answered.count(b"\xc0\x2c") == 1
    with pytest.raises(NotTLSError, match="the cipher suite is AES128-GCM-SHA256"):
        judge(asked, answered.replace(b"\xc0\x2c", b"\x00\x9c"), "1.2")


def test_a_session_without_a_new_key_exchange_is_found(talk: Talk) -> None:
    asked, answered = talk()
    share = b"\x00\x33\x00\x24"  # extension 51, 36 bytes
    assert answered.count(share) == 1
    with pytest.raises(NotTLSError, match="resumed without a new key exchange"):
        judge(asked, answered.replace(share, b"\x00\x34\x00\x24"), "1.2")


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
def test_data_before_the_keys_are_found(talk: Talk, version: int) -> None:
    asked, answered = talk(version)
    hello, *others = records(asked)
    data = b"\x17\x03\x03\x00\x04data"
    with pytest.raises(NotTLSError, match="more than a hello"):
        judge(hello + data, b"", "1.2")
    if version == TLS_1_2:
        with pytest.raises(NotTLSError, match="the client sends data before there are keys"):
            judge(b"".join([hello, data, *others]), answered, "1.2")


def test_a_handshake_that_says_no_hello_is_found(talk: Talk) -> None:
    asked, answered = talk()
    with pytest.raises(NotTLSError, match="does not begin with a hello"):
        judge(asked, asked, "1.2")
    with pytest.raises(NotTLSError, match="the server says no hello"):
        judge(records(asked)[0], b"\x17\x03\x03\x00\x04data", "1.2")
    with pytest.raises(NotTLSError, match="does not begin with a hello"):
        judge(asked, answered[:50], "1.2")
    with pytest.raises(NotTLSError, match="a hello is cut off"):
        judge(asked, b"\x16\x03\x03\x00\x08\x02\x00\x00\x04\x03\x03xx", "1.2")


# PostgreSQL, and the port that redirects ------------------------------------------------


def test_postgresql_may_ask_first(talk: Talk) -> None:
    asked, answered = talk()
    assert judge_postgresql(SSL_REQUEST + asked, b"S" + answered, "1.2")
    assert judge_postgresql(asked, answered, "1.2")  # sslnegotiation=direct
    assert judge_postgresql(SSL_REQUEST, b"", "1.2") is None


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        (STARTUP, b"R\0\0\0\x08\0\0\0\0"),
        (SSL_REQUEST + STARTUP, b"S"),
        (SSL_REQUEST + STARTUP, b"NR\0\0\0\x08\0\0\0\0"),
        (SSL_REQUEST, b"N"),
        (bytes.fromhex("0000001004d2162e") + bytes(8), b""),  # a query is cancelled
    ],
)
def test_postgresql_in_plaintext_is_found(asked: bytes, answered: bytes) -> None:
    with pytest.raises(NotTLSError):
        judge_postgresql(asked, answered, "1.2")


def test_only_postgresql_may_ask_first(talk: Talk) -> None:
    asked, answered = talk()
    with pytest.raises(NotTLSError):
        judge(SSL_REQUEST + asked, b"S" + answered, "1.2")


REDIRECT = b"HTTP/1.1 308 Permanent Redirect\r\nLocation: https://localhost/\r\n\r\nmoved"


def test_redirects_are_recognised() -> None:
    for answered in (b"", REDIRECT, REDIRECT * 2):
        require_redirects(answered)


@pytest.mark.parametrize(
    "answered",
    [
        b"HTTP/1.1 200 OK\r\n\r\nbody",
        REDIRECT + b"HTTP/1.1 200 OK\r\n\r\nbody",
        b"HTTP/1.1 308 Permanent Redirect\r\nLocation: http://localhost/\r\n\r\n",
        b"body",
    ],
)
def test_anything_else_is_found(answered: bytes) -> None:
    with pytest.raises(NotTLSError, match="more than a redirect"):
        require_redirects(answered)
