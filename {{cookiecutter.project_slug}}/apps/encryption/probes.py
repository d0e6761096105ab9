"""Probes: what each hop and store of `encryption.toml` does right now.

A probe returns `Proof`s, each one sentence that is true or not. Nothing is assumed:
an error while probing makes the proof false and is its reason.
"""

import secrets as random
import ssl
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import DEFAULT_DB_ALIAS

from apps.encryption import clients
from apps.encryption.clients import Bend, Seen
from apps.encryption.hops import EncryptionList, Hop, Store
from apps.encryption.tls import (
    Peer,
    Session,
    accepts_stranger,
    accepts_version,
    handshake,
    plaintext_reply,
)
from apps.fields.values import seal, unseal
from apps.keys.errors import AlteredValueError
from apps.rotation.tables import tables
from apps.secrets.ssm import parameters_by_path, ssm_client

# A certificate that ends sooner than this counts as a failure, early enough to act.
MIN_REMAINING = timedelta(days=7)

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_BELOW = {"1.2": ssl.TLSVersion.TLSv1_1, "1.3": ssl.TLSVersion.TLSv1_2}

# Of each table, at each end.
_VALUES_TO_READ = 100

_HTTP_REQUEST = b"GET /livez HTTP/1.0\r\nHost: localhost\r\n\r\n"
_REDIS_REQUEST = b"PING\r\n"


@dataclass(frozen=True, kw_only=True)
class Proof:
    """One statement about a hop or store, and whether it holds."""

    claim: str
    holds: bool
    reason: str = ""


@dataclass(kw_only=True)
class Result:
    """All that was seen of one hop or store."""

    item: Hop | Store
    session: Session | None = None
    proofs: list[Proof] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True only if something was proved and nothing failed."""
        return bool(self.proofs) and all(proof.holds for proof in self.proofs)

    def prove(self, claim: str, question: Callable[[], bool]) -> None:
        """Ask, and record the answer; an error is the answer no."""
        try:
            self.proofs.append(Proof(claim=claim, holds=question()))
        except Exception as error:  # any failure to prove is a failure
            reason = f"{type(error).__name__}: {error}".strip()
            self.proofs.append(Proof(claim=claim, holds=False, reason=reason))


# What TLS ports have in common ---------------------------------------------------


def _answers_http(reply: bytes) -> bool:
    # 400 is how NGINX answers plaintext on a TLS port.
    return reply.startswith(b"HTTP/") and reply.split(b" ")[1:2] != [b"400"]


def _answers_redis(reply: bytes) -> bool:
    return reply[:1] in (b"+", b"-")


def _answers_postgres(reply: bytes) -> bool:
    # "R" asks for a password. An "E" refuses only if it is about authorization (28000:
    # "no pg_hba.conf entry"); a server that is full or starting refuses TLS just as well.
    if reply[:1] == b"E" and b"C28000\0" not in reply:
        raise ConnectionError(f"the server could not be asked: {reply!r}")
    return reply[:1] == b"R"


def _postgres_startup() -> bytes:
    """A StartupMessage without SSLRequest, as a plaintext client sends it.

    https://www.postgresql.org/docs/current/protocol-message-formats.html
    """
    database = settings.DATABASES["default"]
    text = f"user\0{database['USER']}\0database\0{database['NAME']}\0\0".encode()
    return struct.pack("!ii", len(text) + 8, 196608) + text


def _tls(result: Result, peer: Callable[[], Peer]) -> None:
    hop = result.item
    if not isinstance(hop, Hop):
        raise TypeError(f"{hop.name} is a store; only a hop has TLS.")

    def certificate() -> bool:
        result.session = handshake(peer())
        return True

    def version() -> bool:
        session = result.session or handshake(peer())
        return ssl.TLSVersion[session.version.replace(".", "_")] >= _VERSIONS[hop.min_tls]

    def lasts() -> bool:
        session = result.session or handshake(peer())
        return session.expires - datetime.now(UTC) > MIN_REMAINING

    result.prove("The certificate verifies (chain, name, dates)", certificate)
    result.prove(f"TLS {hop.min_tls} or newer is used", version)
    result.prove(
        f"TLS below {hop.min_tls} is refused",
        lambda: not accepts_version(peer(), _BELOW[hop.min_tls]),
    )
    result.prove(f"The certificate lasts {MIN_REMAINING.days} more days", lasts)


def _no_plaintext(
    result: Result,
    peer: Callable[[], Peer],
    request: Callable[[], bytes],
    answers: Callable[[bytes], bool],
) -> None:
    def refused() -> bool:
        at = peer()
        return not answers(plaintext_reply(at.host, at.port, request()))

    result.prove("Plaintext is refused", refused)


def _client_verifies(result: Result, refuses: Callable[[Bend], bool]) -> None:
    for bend in Bend:
        result.prove(f"The client refuses a {bend.value}", lambda bend=bend: refuses(bend))  # type: ignore[misc]


def _own_connection(result: Result, seen: Callable[[], Seen]) -> None:
    result.prove("The connection in use is TLS", lambda: seen().version.startswith("TLSv1."))


# Hops ------------------------------------------------------------------------------


def _peer_at(address: str, server_name: str, ca_file: str) -> Peer:
    host, _, port = address.rpartition(":")
    return Peer(host=host, port=int(port), server_name=server_name or host, ca_file=ca_file)


def edge(result: Result) -> None:
    """The public HTTPS port, seen as a browser sees it."""

    def peer() -> Peer:
        return _peer_at(settings.EDGE_ADDRESS, "", settings.EDGE_CA_FILE)

    _tls(result, peer)
    _no_plaintext(result, peer, lambda: _HTTP_REQUEST, _answers_http)


def gunicorn(result: Result) -> None:
    """gunicorn's port, which must serve nobody but the proxy."""

    def peer() -> Peer:
        ca_file = str(settings.CREDENTIALS_DIR / "ca.crt")
        return _peer_at(settings.GUNICORN_ADDRESS, "app.internal", ca_file)

    _tls(result, peer)
    _no_plaintext(result, peer, lambda: _HTTP_REQUEST, _answers_http)
    result.prove("A client without a certificate is refused", lambda: not accepts_stranger(peer()))


def database(result: Result) -> None:
    """PostgreSQL through Django's own connection parameters."""
    _tls(result, clients.database_peer)
    _no_plaintext(result, clients.database_peer, _postgres_startup, _answers_postgres)
    _client_verifies(result, clients.database_refuses)
    _own_connection(result, clients.database_seen)


def cache(result: Result) -> None:
    """The cache through Django's own connection pool."""
    _tls(result, clients.cache_peer)
    _no_plaintext(result, clients.cache_peer, lambda: _REDIS_REQUEST, _answers_redis)
    _client_verifies(result, clients.cache_refuses)
    _own_connection(result, clients.cache_seen)


def storage(result: Result) -> None:
    """Object storage through the configured storage's client."""
    _tls(result, clients.storage_peer)
    _no_plaintext(result, clients.storage_peer, lambda: _HTTP_REQUEST, _answers_http)
    _client_verifies(result, clients.storage_refuses)


def secrets(result: Result) -> None:
    """Parameter Store through the secret loader's client."""
    _tls(result, clients.secrets_peer)
    _no_plaintext(result, clients.secrets_peer, lambda: _HTTP_REQUEST, _answers_http)
    _client_verifies(result, clients.secrets_refuses)


def keys(result: Result) -> None:
    """KMS through the client that unwraps the data keys."""
    _tls(result, clients.keys_peer)
    _no_plaintext(result, clients.keys_peer, lambda: _HTTP_REQUEST, _answers_http)
    _client_verifies(result, clients.keys_refuses)


# Stores ----------------------------------------------------------------------------


def media(result: Result) -> None:
    """An object written like any upload must come to rest encrypted twice."""
    content = random.token_bytes(64)

    def with_new_object(look: Callable[[str], bool]) -> Callable[[], bool]:
        def asked() -> bool:
            name = default_storage.save(f"probe/{uuid4()}", ContentFile(content))
            try:
                return look(name)
            finally:
                default_storage.delete(name)

        return asked

    def under_kms(name: str) -> bool:
        head = default_storage.connection.meta.client.head_object(  # type: ignore[attr-defined]
            Bucket=default_storage.bucket_name,  # type: ignore[attr-defined]
            Key=name,
        )
        return bool(head.get("ServerSideEncryption") == "aws:kms")

    def by_application(name: str) -> bool:
        with default_storage.open_stored(name) as stored:  # type: ignore[attr-defined]
            if content in stored.read():
                return False
        with default_storage.open(name) as file:
            return bool(file.read() == content)

    result.prove("A new object is stored with SSE-KMS", with_new_object(under_kms))
    result.prove(
        "What is stored of it was encrypted by the application", with_new_object(by_application)
    )


def columns(result: Result) -> None:
    """Encrypted columns must hold what the current keys decrypt, and nothing else."""

    def bound() -> bool:
        stored = seal("probe.here", b"probe", b"probe")
        try:
            unseal("probe.elsewhere", stored)
        except AlteredValueError:
            return b"probe" not in stored and unseal("probe.here", stored) == b"probe"
        return False

    def readable() -> bool:
        for table in tables(DEFAULT_DB_ALIAS):
            table.look(_VALUES_TO_READ)
        return True

    result.prove("A value encrypted now can be read in its own column only", bound)
    result.prove("The oldest and newest values of every column decrypt, and can be found", readable)


def parameters(result: Result) -> None:
    """Everything below the project's prefix must be a SecureString."""

    def secure() -> bool:
        client = ssm_client()
        # The keys' own path apart: the retired ones below it are none of the application's.
        paths = (settings.SECRETS_PREFIX, f"{settings.SECRETS_PREFIX}keys/")
        kinds = [
            parameter["Type"]
            for path in paths
            for parameter in parameters_by_path(client, Path=path, WithDecryption=False)
        ]
        return set(kinds) == {"SecureString"}  # and not none at all

    result.prove("Every parameter is a SecureString", secure)


PROBES: dict[str, Callable[[Result], None]] = {
    probe.__name__: probe
    for probe in (
        edge,
        gunicorn,
        database,
        cache,
        storage,
        secrets,
        keys,
        columns,
        media,
        parameters,
    )
}


def run(listed: EncryptionList, role: str) -> Iterator[Result]:
    """Probe every hop and store that `role` has, one after the other."""
    for item in listed:
        if role in item.probed_from:
            result = Result(item=item)
            PROBES[item.probe](result)
            yield result
