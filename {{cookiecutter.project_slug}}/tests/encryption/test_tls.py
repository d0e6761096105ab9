"""Looking at a TLS peer from outside: what each question answers, and when it raises."""

import socket
import ssl
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from apps.encryption import tls as questions
from apps.encryption.tls import Peer, accepts_stranger, accepts_version, handshake, plaintext_reply
from tests.encryption.certificates import Authority
from tests.encryption.processes import free_port
from tests.encryption.servers import OLD, HTTPServer, PostgresServer, RedisServer, Server, tls

TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


class HangsUp(Server):
    """Closes as soon as somebody speaks, politely or with a reset."""

    reset = False

    def open(self, connection: socket.socket) -> None:
        connection.recv(65536)
        if self.reset:
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


class Resets(HangsUp):
    reset = True


class Talkative(Server):
    def open(self, connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


class SaysNothing(Server):
    def open(self, connection: socket.socket) -> None:
        while connection.recv(65536):
            pass


def peer(server: Server, authority: Authority, name: str = "localhost") -> Peer:
    return Peer(
        host="127.0.0.1",
        port=server.port,
        server_name=name,
        ca_file=str(authority.certificate),
        postgres=isinstance(server, PostgresServer),
    )


@pytest.mark.parametrize("kind", [HTTPServer, PostgresServer])
def test_a_handshake_shows_version_cipher_issuer_and_end(
    kind: type[Server], authority: Authority
) -> None:
    with kind(tls(authority.of("postgres"))) as server:
        session = handshake(peer(server, authority))
    assert session.version == "TLSv1.3"
    assert session.cipher.startswith("TLS_")
    assert session.issuer.startswith("CA ")
    assert timedelta(days=59) < session.expires - datetime.now(UTC) <= timedelta(days=60)


def test_a_handshake_verifies_name_chain_and_dates(
    authority: Authority, stranger: Authority, expired: Path
) -> None:
    with HTTPServer(tls(authority.of("aws"))) as server:
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            handshake(peer(server, authority, "postgres.internal"))
        with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
            handshake(peer(server, stranger))
    with (
        HTTPServer(tls(expired)) as server,
        pytest.raises(ssl.SSLCertVerificationError, match="expired"),
    ):
        handshake(peer(server, authority))


def test_a_postgresql_without_tls_is_named(authority: Authority) -> None:
    with (
        PostgresServer(None) as server,
        pytest.raises(ssl.SSLError, match="answered b'N' to SSLRequest: it has no TLS"),
    ):
        handshake(peer(server, authority))


def test_old_versions_are_seen_where_they_are_accepted(authority: Authority) -> None:
    with HTTPServer(tls(authority.of("aws"), oldest=OLD)) as server:
        assert accepts_version(peer(server, authority), OLD)
        assert accepts_version(peer(server, authority), TLS_1_2)
    with HTTPServer(tls(authority.of("aws"))) as server:
        assert not accepts_version(peer(server, authority), OLD)
        assert accepts_version(peer(server, authority), TLS_1_2)
    with HTTPServer(tls(authority.of("aws"), oldest=TLS_1_3)) as server:
        assert not accepts_version(peer(server, authority), TLS_1_2)


def test_an_old_version_is_seen_although_a_certificate_is_asked(authority: Authority) -> None:
    asks = authority.certificate
    with HTTPServer(tls(authority.of("app"), client_ca=asks)) as server:
        assert accepts_version(peer(server, authority), TLS_1_2)
    with HTTPServer(tls(authority.of("app"), client_ca=asks, oldest=TLS_1_3)) as server:
        assert not accepts_version(peer(server, authority), TLS_1_2)


@pytest.mark.parametrize("kind", [HangsUp, Resets])
def test_hanging_up_is_a_refusal(kind: type[Server], authority: Authority) -> None:
    with kind(None) as server:
        assert not accepts_version(peer(server, authority), OLD)
        assert not accepts_stranger(peer(server, authority))
        assert plaintext_reply("127.0.0.1", server.port, b"PING\r\n") == b""


def test_what_could_not_be_asked_is_no_refusal(authority: Authority, stranger: Authority) -> None:
    with (
        HTTPServer(tls(authority.of("aws"))) as server,
        pytest.raises(ssl.SSLError, match="certificate verify failed"),
    ):
        accepts_stranger(peer(server, stranger))
    with (
        Talkative(None) as server,
        pytest.raises(ssl.SSLError, match="does not speak TLS: it answered b'H'"),
    ):
        accepts_version(peer(server, authority), OLD)
    nobody = Peer(host="127.0.0.1", port=free_port(), server_name="localhost")
    with pytest.raises(ConnectionRefusedError):
        accepts_version(nobody, OLD)
    with pytest.raises(ConnectionRefusedError):
        accepts_stranger(nobody)
    with pytest.raises(ConnectionRefusedError):
        plaintext_reply("127.0.0.1", nobody.port, b"PING\r\n")


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
def test_a_stranger_is_served_only_where_no_certificate_is_asked(
    version: ssl.TLSVersion, authority: Authority
) -> None:
    asks = tls(authority.of("aws"), client_ca=authority.certificate, newest=version)
    with HTTPServer(asks) as server:
        assert not accepts_stranger(peer(server, authority))
    with HTTPServer(tls(authority.of("aws"), newest=version)) as server:
        assert accepts_stranger(peer(server, authority))


def test_plaintext_is_answered_by_plaintext_servers_only(authority: Authority) -> None:
    with RedisServer(None) as server:
        assert plaintext_reply("127.0.0.1", server.port, b"PING\r\n") == b"+PONG\r\n"
    with RedisServer(tls(authority.of("cache"))) as server:
        assert b"PONG" not in plaintext_reply("127.0.0.1", server.port, b"PING\r\n")


def test_silence_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "TIMEOUT", 0.1)
    with SaysNothing(None) as server, pytest.raises(TimeoutError):
        plaintext_reply("127.0.0.1", server.port, b"PING\r\n")
