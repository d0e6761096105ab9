"""The probes: yes to good servers and clients, no to each weakness."""

import json
import socket
import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from django.conf import settings
from django.core.files.storage import InMemoryStorage
from django.db import connection

from apps.encryption import clients, hops, probes
from apps.encryption.probes import PROBES, Proof, Result
from apps.fields.values import seal
from apps.files.storage import EncryptedInMemoryStorage
from apps.users.models import User
from tests.encryption.certificates import Authority
from tests.encryption.conftest import Configure
from tests.encryption.processes import free_port
from tests.encryption.servers import (
    OLD,
    HTTPServer,
    PostgresServer,
    RedisServer,
    Server,
    refusal,
    tls,
)

# Each hop's kind of server, the service whose certificate it shows, and the
# variables that lead the client there.
SERVERS: dict[str, tuple[type[Server], str, Callable[[int], dict[str, str]]]] = {
    "edge": (HTTPServer, "proxy", lambda port: {"EDGE_ADDRESS": f"localhost:{port}"}),
    "gunicorn": (HTTPServer, "app", lambda port: {"GUNICORN_ADDRESS": f"127.0.0.1:{port}"}),
    "database": (PostgresServer, "postgres", lambda port: {"DATABASE_PORT": str(port)}),
    "cache": (RedisServer, "cache", lambda port: {"CACHE_PORT": str(port)}),
    "storage": (
        HTTPServer,
        "aws",
        lambda port: {"AWS_ENDPOINT_URL": f"https://localhost:{port}"},
    ),
    "secrets": (
        HTTPServer,
        "aws",
        lambda port: {"AWS_ENDPOINT_URL": f"https://localhost:{port}"},
    ),
    "keys": (
        HTTPServer,
        "aws",
        lambda port: {"AWS_ENDPOINT_URL": f"https://localhost:{port}"},
    ),
}
ITEMS = {item.name: item for item in hops.load()}


def good(hop: str, authority: Authority) -> Server:
    """The server this hop should have."""
    kind, service, _ = SERVERS[hop]
    if hop == "gunicorn":
        asks = authority.certificate
        return kind(tls(authority.of(service), client_ca=asks, oldest=ssl.TLSVersion.TLSv1_3))
    return kind(tls(authority.of(service)))


@pytest.fixture
def probe(
    configure: Configure, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Probe one hop or store against a server."""

    def seen_by_server() -> clients.Seen:
        return clients.Seen(version="TLSv1.3", cipher="TLS_AES_256_GCM_SHA384")

    monkeypatch.setattr(clients, "database_seen", seen_by_server)

    def probed(name: str, server: Server | int, **options: Any) -> Result:
        running: AbstractContextManager[object] = nullcontext()
        if isinstance(server, Server):
            running, port = server, server.port
        else:
            port = server
        certificate = str(authority.certificate)
        configure(
            EDGE_CA_FILE=certificate,
            CREDENTIALS_DIR=str(authority.of("app")),
            **SERVERS[name][2](port),
            **options,
        )
        result = Result(item=ITEMS[name])
        with running:
            PROBES[ITEMS[name].probe](result)
        return result

    return probed


Probe = Callable[..., Result]


def failures(result: Result) -> dict[str, str]:
    return {proof.claim: proof.reason for proof in result.proofs if not proof.holds}


VERIFIES = "The certificate verifies (chain, name, dates)"
PLAINTEXT = "Plaintext is refused"
LASTS = "The certificate lasts 7 more days"
WRONG_CA = "The client refuses a wrong CA"
WRONG_NAME = "The client refuses a wrong name"


@pytest.mark.parametrize(
    ("hop", "proofs"),
    [
        *(("edge", 5), ("gunicorn", 6), ("database", 8)),
        *(("cache", 8), ("storage", 7), ("secrets", 7), ("keys", 7)),
    ],
)
def test_a_good_hop_holds(hop: str, proofs: int, probe: Probe, authority: Authority) -> None:
    result = probe(hop, good(hop, authority))
    assert failures(result) == {}
    assert result.ok
    assert len(result.proofs) == proofs
    assert result.session is not None
    assert result.session.version == "TLSv1.3"


@pytest.mark.parametrize("hop", SERVERS)
def test_plaintext_beside_tls_is_found(hop: str, probe: Probe, authority: Authority) -> None:
    server = good(hop, authority)
    server.also_plaintext = True
    assert set(failures(probe(hop, server))) == {PLAINTEXT}


@pytest.mark.parametrize("hop", sorted(SERVERS.keys() - {"gunicorn"}))
def test_old_tls_is_found(hop: str, probe: Probe, authority: Authority) -> None:
    kind, service, _ = SERVERS[hop]
    result = probe(hop, kind(tls(authority.of(service), oldest=OLD)))
    assert set(failures(result)) == {"TLS below 1.2 is refused"}
    result = probe(hop, kind(tls(authority.of(service), oldest=OLD, newest=OLD)))
    assert "The certificate verifies (chain, name, dates)" in failures(result)


def test_tls_1_2_is_too_old_where_1_3_is_demanded(probe: Probe, authority: Authority) -> None:
    asks = authority.certificate
    both = tls(authority.of("app"), client_ca=asks)
    assert set(failures(probe("gunicorn", HTTPServer(both)))) == {"TLS below 1.3 is refused"}
    older = tls(authority.of("app"), newest=ssl.TLSVersion.TLSv1_2)
    assert set(failures(probe("gunicorn", HTTPServer(older)))) == {
        "TLS 1.3 or newer is used",
        "TLS below 1.3 is refused",
        "A client without a certificate is refused",
    }


@pytest.mark.parametrize("hop", ["edge", "gunicorn", "database"])
@pytest.mark.parametrize(
    ("days", "broken"), [(3, {LASTS}), (8, set()), (-1, {VERIFIES, LASTS})], ids=str
)
def test_a_certificate_near_its_end_is_found(
    hop: str, days: int, broken: set[str], probe: Probe, authority: Authority
) -> None:
    names = "DNS:localhost,DNS:app.internal"
    server = good(hop, authority)
    asks = authority.certificate if hop == "gunicorn" else None
    server.context = tls(
        authority.ending(timedelta(days=days), names),
        client_ca=asks,
        oldest=ssl.TLSVersion.TLSv1_3,
    )
    found = failures(probe(hop, server))
    assert broken <= set(found)
    assert days < 0 or set(found) == broken


@pytest.mark.parametrize("hop", SERVERS)
def test_another_name_or_ca_is_found(
    hop: str, probe: Probe, authority: Authority, stranger: Authority
) -> None:
    server = good(hop, authority)
    server.context = tls(authority.ending(timedelta(days=60), "DNS:other.internal"))
    assert "ismatch" in failures(probe(hop, server))[VERIFIES]
    server = good(hop, authority)
    server.context = tls(stranger.of(SERVERS[hop][1]))
    assert "unable to get local issuer" in failures(probe(hop, server))[VERIFIES]


def test_a_gunicorn_that_serves_anybody_is_found(probe: Probe, authority: Authority) -> None:
    anybody = tls(authority.of("app"), oldest=ssl.TLSVersion.TLSv1_3)
    found = failures(probe("gunicorn", HTTPServer(anybody)))
    assert set(found) == {"A client without a certificate is refused"}


@pytest.mark.parametrize("hop", SERVERS)
def test_nothing_listening_is_no_refusal(hop: str, probe: Probe) -> None:
    result = probe(hop, free_port())
    assert [proof.claim for proof in result.proofs if proof.holds] == (
        ["The connection in use is TLS"] if hop == "database" else []  # stubbed above
    )
    assert all(proof.reason for proof in result.proofs if not proof.holds)


# Clients that do not verify --------------------------------------------------------------


@pytest.mark.parametrize("mode", ["verify-ca", "require", "prefer"])
def test_a_weaker_sslmode_is_found(mode: str, probe: Probe, authority: Authority) -> None:
    def weaken(loaded: dict[str, Any]) -> None:
        loaded["DATABASES"]["default"]["OPTIONS"]["sslmode"] = mode

    found = failures(probe("database", good("database", authority), weaken=weaken))
    assert WRONG_NAME in found


@pytest.mark.parametrize(
    ("options", "broken"),
    [
        ({"ssl_check_hostname": False}, {WRONG_NAME}),
        ({"ssl_check_hostname": False, "ssl_cert_reqs": "none"}, {WRONG_CA, WRONG_NAME}),
    ],
)
def test_a_cache_client_that_verifies_less_is_found(
    options: dict[str, Any], broken: set[str], probe: Probe, authority: Authority
) -> None:
    def weaken(loaded: dict[str, Any]) -> None:
        loaded["CACHES"]["default"]["OPTIONS"] |= options

    assert set(failures(probe("cache", good("cache", authority), weaken=weaken))) == broken


def test_a_plaintext_cache_client_is_found(probe: Probe) -> None:
    def weaken(loaded: dict[str, Any]) -> None:
        default = loaded["CACHES"]["default"]
        default["LOCATION"] = default["LOCATION"].replace("rediss:", "redis:")
        for name in ("ssl_cert_reqs", "ssl_check_hostname"):
            del default["OPTIONS"][name]
        del default["OPTIONS"]["ssl_ca_certs"]

    result = probe("cache", RedisServer(None), weaken=weaken)
    assert not any(proof.holds for proof in result.proofs)


def test_the_cache_s_own_connection_must_be_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    released: list[object] = []
    connection = SimpleNamespace(_sock=socket.socket())
    pool = SimpleNamespace(get_connection=lambda: connection, release=released.append)
    monkeypatch.setattr(clients, "_cache_pool", lambda: pool)
    with connection._sock, pytest.raises(ssl.SSLError, match="cache connection is plaintext"):
        clients.cache_seen()
    assert released == [connection]


def test_a_storage_client_that_verifies_nothing_is_found(
    probe: Probe, authority: Authority
) -> None:
    def weaken(loaded: dict[str, Any]) -> None:
        loaded["STORAGES"]["default"]["OPTIONS"]["verify"] = False

    found = failures(probe("storage", good("storage", authority), weaken=weaken))
    assert WRONG_NAME in found


@pytest.mark.parametrize("status", [b"200 OK", b"400 Bad Request"])
@pytest.mark.parametrize("hop", ["secrets", "keys"])
def test_an_aws_client_that_verifies_nothing_is_found(
    hop: str, status: bytes, probe: Probe, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is told: on AWS no role may ask what the bent client asks of KMS."""
    make = boto3.client

    def unverified(*arguments: Any, **options: Any) -> Any:
        return make(*arguments, **options | {"verify": False})

    monkeypatch.setattr(boto3, "client", unverified)
    server = good(hop, authority)
    assert isinstance(server, HTTPServer)
    server.status = status
    assert failures(probe(hop, server)) == {WRONG_CA: "", WRONG_NAME: ""}


@pytest.mark.parametrize("hop", ["secrets", "keys"])
def test_an_aws_client_that_verifies_only_if_asked_to_is_found(
    hop: str, probe: Probe, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = boto3.client

    def careless(*arguments: Any, **options: Any) -> Any:
        return make(*arguments, **options | {"verify": options["verify"] or False})

    monkeypatch.setattr(boto3, "client", careless)
    assert failures(probe(hop, good(hop, authority))) == {WRONG_NAME: ""}


@pytest.mark.parametrize("hop", ["storage", "secrets", "keys"])
def test_an_endpoint_without_tls_is_found(
    hop: str, probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = (HTTPServer, "aws", lambda port: {"AWS_ENDPOINT_URL": f"http://localhost:{port}"})
    monkeypatch.setitem(SERVERS, hop, plain)
    result = probe(hop, HTTPServer(None))
    assert not any(proof.holds for proof in result.proofs)


# The database as the server sees it ---------------------------------------------------------


def database_answers(row: tuple[str | None, str | None]) -> SimpleNamespace:
    cursor = SimpleNamespace(execute=lambda _sql: None, fetchone=lambda: row)
    return SimpleNamespace(cursor=lambda: nullcontext(cursor))


def test_the_database_tells_how_it_sees_this_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "default_connection", database_answers(("TLSv1.3", "AES")))
    assert clients.database_seen() == clients.Seen(version="TLSv1.3", cipher="AES")
    monkeypatch.setattr(clients, "default_connection", database_answers((None, None)))
    with pytest.raises(ssl.SSLError, match="sees this connection as plaintext"):
        clients.database_seen()


def test_a_database_that_refuses_for_another_reason_was_not_asked() -> None:
    assert not probes._answers_postgres(refusal("no pg_hba.conf entry"))
    assert probes._answers_postgres(b"R\0\0\0\x08\0\0\0\x03")
    with pytest.raises(ConnectionError, match="too many clients"):
        probes._answers_postgres(refusal("too many clients", code="53300"))


# Addresses -------------------------------------------------------------------------------------


def test_the_wrong_name_is_the_address_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where localhost is ::1 first, a server on 127.0.0.1 only must still be found."""
    real = socket.getaddrinfo

    def both(_host: str, port: int, *arguments: Any, **options: Any) -> list[Any]:
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
            *real("127.0.0.1", port, *arguments, **options),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with HTTPServer(None) as server:
        assert clients.address_of("localhost", server.port) == "127.0.0.1"


def test_an_ipv6_address_makes_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "address_of", lambda _host, _port: "::1")
    client = SimpleNamespace(meta=SimpleNamespace(endpoint_url="https://localhost:4566"))
    assert clients._by_address(client) == "https://[::1]:4566"


# Stores ------------------------------------------------------------------------------------------


class FakeBucket(EncryptedInMemoryStorage):
    """A storage that says how its objects rest."""

    bucket_name = "media"

    def __init__(self, encryption: str | None) -> None:
        super().__init__()
        head = {"ServerSideEncryption": encryption} if encryption else {}
        client = SimpleNamespace(head_object=lambda Bucket, Key: head)  # noqa: N803
        self.connection = SimpleNamespace(meta=SimpleNamespace(client=client))


class PlainBucket(FakeBucket):
    """One that stores what it is given."""

    def _save(self, name: str, content: Any) -> str:
        return InMemoryStorage._save(self, name, content)  # type: ignore[no-any-return,attr-defined]

    def decrypt(self, name: str) -> Any:
        return self.open_stored(name)


def media(bucket: FakeBucket, monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.setattr(probes, "default_storage", bucket)
    result = Result(item=ITEMS["media"])
    PROBES["media"](result)
    assert bucket.listdir("probe")[1] == [], "the probe left its object behind"
    return result


@pytest.mark.proves("media", "positive")
def test_an_object_encrypted_twice_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert media(FakeBucket("aws:kms"), monkeypatch).ok


@pytest.mark.proves("media", "negative")
@pytest.mark.parametrize("encryption", [None, "AES256"])
def test_an_object_without_kms_is_found(
    encryption: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = media(FakeBucket(encryption), monkeypatch)
    assert [proof.holds for proof in result.proofs] == [False, True]


@pytest.mark.proves("media", "negative")
def test_an_object_that_the_application_did_not_encrypt_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = media(PlainBucket("aws:kms"), monkeypatch)
    assert [proof.holds for proof in result.proofs] == [True, False]


def columns() -> Result:
    result = Result(item=ITEMS["columns"])
    PROBES["columns"](result)
    return result


@pytest.mark.django_db
@pytest.mark.proves("columns", "positive")
def test_columns_hold_with_rows_and_without(user: User) -> None:
    assert columns().ok
    user.delete()
    assert columns().ok


ADDRESS = b"ada@example.com"


@pytest.mark.django_db
@pytest.mark.proves("columns", "negative")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda stored: ADDRESS, "MalformedValueError"),
        (lambda stored: stored[:-1], "AlteredValueError"),
        (lambda stored: stored[:1] + bytes(4) + stored[5:], "UnknownKeyError"),
        (lambda stored: seal("users_user.name", ADDRESS, ADDRESS), "AlteredValueError"),
        (lambda stored: seal("users_user.email", ADDRESS, None), "LookupError"),
    ],
    ids=["plaintext", "truncated", "unknown key", "another column's", "no index"],
)
def test_a_value_that_is_not_encrypted_here_is_found(
    user: User, change: Callable[[bytes], bytes], reason: str
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT email FROM users_user")
        stored = bytes(cursor.fetchone()[0])
        cursor.execute("UPDATE users_user SET email = %s", [change(stored)])
    (bound, readable) = columns().proofs
    assert bound.holds
    assert not readable.holds
    assert readable.reason.startswith(reason)
    assert ADDRESS.decode() not in readable.reason


@pytest.mark.django_db
@pytest.mark.proves("columns", "negative")
def test_encryption_that_binds_to_no_column_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "unseal", lambda _place, _stored: b"probe")
    assert [proof.holds for proof in columns().proofs] == [False, True]


def parameters(kinds: list[str], configure: Configure, authority: Authority) -> Result:
    server = HTTPServer(tls(authority.of("aws")))
    listed = [{"Name": f"/p/{i}", "Type": kind} for i, kind in enumerate(kinds)]
    server.answer = lambda _request: json.dumps({"Parameters": listed}).encode()
    result = Result(item=ITEMS["parameters"])
    with server:
        configure(AWS_ENDPOINT_URL=f"https://localhost:{server.port}")
        PROBES["parameters"](result)
    for asked, path in zip(server.received, ["", "keys/"], strict=True):
        assert f'"Path": "{settings.SECRETS_PREFIX}{path}"'.encode() in asked
        assert b'"WithDecryption": false' in asked
    return result


@pytest.mark.proves("parameters", "positive")
def test_secure_strings_hold(configure: Configure, authority: Authority) -> None:
    assert parameters(["SecureString", "SecureString"], configure, authority).ok


@pytest.mark.proves("parameters", "negative")
@pytest.mark.parametrize("kinds", [[], ["String"], ["SecureString", "String"]], ids=str)
def test_plain_parameters_are_found(
    kinds: list[str], configure: Configure, authority: Authority
) -> None:
    assert not parameters(kinds, configure, authority).ok


# Results -----------------------------------------------------------------------------------------


def test_a_result_without_proofs_is_not_ok() -> None:
    result = Result(item=ITEMS["edge"])
    assert not result.ok
    result.proofs.append(Proof(claim="one", holds=True))
    assert result.ok
    result.proofs.append(Proof(claim="two", holds=False))
    assert not result.ok


def test_an_error_while_asking_is_the_answer_no() -> None:
    result = Result(item=ITEMS["edge"])
    result.prove("anything", lambda: bool(1 / 0))
    (proof,) = result.proofs
    assert (proof.holds, proof.reason) == (False, "ZeroDivisionError: division by zero")


def test_a_store_has_no_tls_to_ask_for() -> None:
    with pytest.raises(TypeError, match="media is a store"):
        PROBES["edge"](Result(item=ITEMS["media"]))


def test_only_the_role_s_own_entries_are_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROBES:
        monkeypatch.setitem(PROBES, name, lambda result: result.prove("asked", lambda: True))
    listed = hops.load()

    def names(role: str) -> list[str]:
        return [result.item.name for result in probes.run(listed, role) if result.ok]

    assert names("app") == [item.name for item in listed]
    assert names("worker") == [
        *("database", "cache", "storage", "secrets", "keys"),
        *("columns", "media", "parameters"),
    ]
    assert names("nobody") == []
