"""Serve ministack, the local AWS emulator, over TLS only and keep what it stores.

The environment names the certificate (``CREDENTIALS_DIR``), the state (``STATE_DIR``)
and the address (``HOST``, ``PORT``). There is no plaintext listener.

By itself ministack writes its state only at an orderly shutdown. Here the state of a
service is written before the answer to a request that may have changed it is sent:
what a client was told is stored survives SIGKILL too. Paths of ministack's own, with
which anyone who can connect could wipe the state, answer 404.
"""

import asyncio
import json
import os
import signal
import ssl
from importlib import import_module
from pathlib import Path

from hypercorn.asyncio import serve
from hypercorn.config import Config
from hypercorn.typing import (
    ASGIFramework,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    HTTPScope,
    Scope,
)

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
GRACE = 2  # seconds that requests under way get to finish after SIGTERM
HEALTH = "/_ministack/health"
SERVICES = {"AmazonSSM": "ssm", "TrentService": "kms", "secretsmanager": "secretsmanager"}


class TLSConfig(Config):
    """A server configuration that listens with TLS 1.2 or later and nothing else."""

    def __init__(self, credentials: Path, address: str) -> None:
        """Use the certificate and key that lie in ``credentials``."""
        super().__init__()
        self.bind = [address]
        self.certfile = str(credentials / "tls.crt")
        self.keyfile = str(credentials / "tls.key")
        self.loglevel = "WARNING"

    def create_ssl_context(self) -> ssl.SSLContext:
        """Return Python's own defaults, which hypercorn's context would clear in part."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(CIPHERS)
        context.set_ecdh_curve("X25519")
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(str(self.certfile), self.keyfile)
        return context


def prepare(state: Path, port: str) -> None:
    """Set what ministack reads from the environment when it is imported."""
    os.umask(0o077)  # the state holds keys in clear text
    state.mkdir(parents=True, exist_ok=True)
    for file in state.glob("*.json"):  # ministack would start empty, then overwrite it
        json.loads(file.read_bytes())
    os.environ |= {
        "DOCKER_HOST": "unix:///nonexistent",
        "GATEWAY_PORT": port,
        "IOT_MTLS_ENABLED": "0",
        "LOG_LEVEL": os.environ.get("LOG_LEVEL", "ERROR"),
        "PERSIST_STATE": "1",
        "S3_DATA_DIR": str(state / "s3"),
        "S3_PERSIST": "1",
        "SERVICES": "s3,ssm,kms,secretsmanager",
        "SFTP_ENABLED": "0",
        "STATE_DIR": str(state),
    }


def save(scope: HTTPScope) -> None:
    """Write the state of the service that the request was for."""
    target = dict(scope["headers"]).get(b"x-amz-target", b"").decode("latin-1")
    service = SERVICES.get(target.partition(".")[0], "s3")
    state = import_module(f"ministack.services.{service}").get_state()
    import_module("ministack.core.persistence").save_state(service, state)


def durable(emulator: ASGIFramework) -> ASGIFramework:
    """Return ``emulator`` so that it answers only after it has stored what changed."""

    async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] == "lifespan":
            await emulator(scope, receive, send)
            return
        if scope["type"] != "http" or (scope["path"].startswith("/_") and scope["path"] != HEALTH):
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        request = scope

        async def save_first(event: ASGISendEvent) -> None:
            if event["type"] == "http.response.start" and request["method"] not in {"GET", "HEAD"}:
                save(request)
            await send(event)

        await emulator(scope, receive, save_first)

    return app


async def run(emulator: ASGIFramework, config: Config) -> None:
    """Serve until SIGTERM or SIGINT; then exit even if idle clients stay connected."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    async def stopped() -> None:
        await stop.wait()
        # An idle TLS client could hold the server for 30 s; every answer is on disk already.
        loop.call_later(GRACE, os._exit, 0)

    await serve(durable(emulator), config, shutdown_trigger=stopped)


def main() -> None:
    """Read the environment and serve."""
    host, port = os.environ.get("HOST", "127.0.0.1"), os.environ.get("PORT", "4566")
    credentials = Path(os.environ.get("CREDENTIALS_DIR", "/run/credentials"))
    prepare(Path(os.environ.get("STATE_DIR", "/var/lib/aws")), port)
    emulator = import_module("ministack.app").app
    asyncio.run(run(emulator, TLSConfig(credentials, f"{host}:{port}")))


if __name__ == "__main__":
    main()
