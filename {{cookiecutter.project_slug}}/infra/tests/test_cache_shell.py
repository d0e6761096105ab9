"""The shell on the cache talks to the real server alone, whatever the tunnel leads to."""

import io
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest
import redis

import cache_shell

HOST = "cache.example"
PASSWORD = "the-password"


class Server:
    """Listens at the end of a tunnel, answers OK to everything, and notes what it is sent."""

    def __init__(self, folder: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        self._context, self.received = context, b""
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            plain, _ = self._socket.accept()
            try:
                with self._context.wrap_socket(plain, server_side=True) as secure:
                    while data := secure.recv(4096):
                        self.received += data
                        # As many replies as there are commands, each an array.
                        secure.sendall(b"+OK\r\n" * data.count(b"*"))
            except OSError:
                plain.close()


def certificate(folder: Path, name: str) -> Path:
    """Make a certificate that is its own CA."""
    folder.mkdir()
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *(
                "-nodes",
                "-days",
                "2",
                "-subj",
                f"/CN={name}",
                "-addext",
                f"subjectAltName=DNS:{name}",
            ),
            *("-keyout", folder / "tls.key", "-out", folder / "tls.crt"),
        ],
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture
def real(tmp_path: Path) -> Path:
    return certificate(tmp_path / "real", HOST)


def open_at(server: Server, ca: Path) -> redis.Redis:
    return cache_shell.open_cache(
        host=HOST, password=PASSWORD, tunnel=server.port, ca_file=ca / "tls.crt"
    )


def test_commands_are_run_one_after_the_other(
    real: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server(real)
    client = open_at(server, real)
    monkeypatch.setattr("sys.stdin", io.StringIO("ttl 'a key'\n\n'no end\nget b\n"))
    cache_shell.run(client)
    said = capsys.readouterr()
    assert said.out == "b'OK'\n" * 2
    assert said.err == "error: No closing quotation\n"
    assert PASSWORD.encode() in server.received
    assert b"$5\r\na key\r\n" in server.received


@pytest.mark.parametrize(
    ("name", "trusted"), [("other.example", True), (HOST, False)], ids=["name", "CA"]
)
def test_another_server_gets_no_password(
    real: Path, tmp_path: Path, name: str, trusted: bool
) -> None:
    other = certificate(tmp_path / "other", name)
    server = Server(other)
    with pytest.raises(redis.ConnectionError, match="certificate verify failed"):
        open_at(server, other if trusted else real)
    assert server.received == b""
