"""The AWS emulator ministack, with what a rehearsal needs besides: see the modules here.

Listens on the API's port (TLS), as the load balancers (443 with TLS, 80) and as the
address where tasks get their credentials. `places.py` says where each is.
"""

import asyncio
import json
import os
import signal
import ssl
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import left_out
from hypercorn.asyncio import serve
from hypercorn.config import Config
from places import ACCOUNT, EDGE, ENDPOINT, SECRET, TASK_METADATA, Places

if TYPE_CHECKING:
    from directory import Directory

type Scope = dict[str, Any]
type Receive = Callable[[], Awaitable[dict[str, Any]]]
type Send = Callable[[dict[str, Any]], Awaitable[None]]
type App = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]


class Listener(Config):  # type: ignore[misc]
    """A server with a certificate for whatever name a client says, or without TLS."""

    def __init__(
        self, *binds: str, places: Places | None = None, names: tuple[str, ...] = ()
    ) -> None:
        super().__init__()
        self.bind = list(binds)
        self.loglevel = "WARNING"
        self._places, self._names = places, names

    @property
    def ssl_enabled(self) -> bool:
        return self._places is not None

    def create_ssl_context(self) -> ssl.SSLContext | None:
        """Return a context that has a certificate for its own names, or for the client's."""
        if self._places is None:
            return None
        places = self._places

        def choose(connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
            if not self._names and name:
                connection.context = _context_of(places, name)

        context = _context_of(places, *(self._names or ("no.name.invalid",)))
        context.sni_callback = choose
        return context


def _context_of(places: Places, *names: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    pair = places.certificate(*names)
    context.load_cert_chain(pair.crt, pair.key)
    return context


async def _body(receive: Receive) -> bytes:
    content, more = b"", True
    while more:
        message = await receive()
        content += message.get("body", b"")
        more = message.get("more_body", False)
    return content


async def _answer(send: Send, status: int, headers: dict[str, Any], body: bytes | str) -> None:
    content = body.encode() if isinstance(body, str) else body
    pairs = [
        (name.encode(), str(value).encode("latin-1"))
        for name, values in headers.items()
        for value in (values if isinstance(values, list) else [values])
        if name.lower() != "content-length"
    ]
    length = (b"content-length", str(len(content)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*pairs, length]})
    await send({"type": "http.response.body", "body": content})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


async def edge(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve the load balancers: the host's name says which."""
    import balancer
    from ministack.services import alb

    if scope["type"] != "http":
        return await _lifespan(receive, send)
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = (
            f"{headers[key]}{'; ' if key == 'cookie' else ', '}{text}" if key in headers else text
        )
    found = balancer.balancer_of(headers.get("host", "").partition(":")[0])
    if found is None:
        return await _answer(send, 404, {}, "no load balancer has this name's certificate")
    answer = await alb.dispatch_request(
        found,
        scope["method"],
        scope["path"],
        headers,
        await _body(receive),
        {},
        443 if scope["scheme"] == "https" else 80,
        client_ip=scope["client"][0],
        raw_query_string=scope["query_string"].decode("latin-1"),
        raw_path=scope["raw_path"].decode("latin-1"),
    )
    return await _answer(send, *answer)


async def metadata(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve a task's credentials and metadata."""
    import tasks
    from ministack.services import ecs_metadata

    if scope["type"] != "http":
        return await _lifespan(receive, send)
    path = scope["path"]
    if path.startswith("/v2/credentials/"):
        found = tasks.credentials(path)
        said = json.dumps(found or {"message": "unknown"})
        return await _answer(
            send, 200 if found else 404, {"content-type": "application/json"}, said
        )
    return await _answer(send, *await ecs_metadata.handle_request("GET", path, {}, b"", {}))


def prepare(places: Places) -> tuple[App, "Directory"]:
    """Import the emulator and install all replacements; return its application and logins."""
    os.environ |= {
        "AUTH": "true",  # signatures and policies are checked
        "AWS_SECRET_ACCESS_KEY": SECRET,  # the administrator's
        "DOCKER_NETWORK": places.network,
        "GATEWAY_PORT": str(places.port),
        "IOT_MTLS_ENABLED": "0",
        "LOG_LEVEL": os.environ.get("LOG_LEVEL", "WARNING"),
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "MINISTACK_REGION": places.region,
        "S3_DATA_DIR": str(places.folder / "s3"),
        "SFTP_ENABLED": "0",
        "STATE_DIR": str(places.folder / "state"),
        "TMPDIR": str(places.folder),
    }
    import balancer
    import policies
    from directory import Directory
    from ministack.app import app
    from ministack.services import ecr
    from ministack.services.cloudformation import provisioners, stacks
    from stores import Stores
    from tasks import Tasks

    handlers = provisioners._RESOURCE_HANDLERS
    left_out.add_to(handlers)
    Tasks(places).install(handlers)
    stores = Stores(places)
    stores.install(handlers)
    balancer.install(places)
    policies.install()
    ecr._repo_uri = lambda name: f"{places.registry}/{name}"
    # They wait for containers, which must not stop every other request.
    blocking, waits = stacks._runs_on_worker_thread, {"AWS::ECS::Service", "AWS::RDS::DBInstance"}
    stacks._runs_on_worker_thread = lambda kind: kind in waits or blocking(kind)
    return app, Directory(places, stores.iam_is_used)


async def main() -> None:
    places = Places.given()
    app, logins = prepare(places)
    api = Listener(
        f"127.0.0.1:{places.port}",
        f"{places.gateway}:{places.port}",
        places=places,
        names=(ENDPOINT, "127.0.0.1"),
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    loop.add_reader(sys.stdin.fileno(), stop.set)  # nothing is ever written there

    async def stopped() -> None:
        await stop.wait()
        loop.call_later(2, os._exit, 0)

    await logins.serve(_context_of(places, ENDPOINT, "127.0.0.1"))
    await asyncio.gather(
        serve(app, api, shutdown_trigger=stopped),
        serve(edge, Listener(f"{EDGE}:443", places=places), shutdown_trigger=stopped),
        serve(edge, Listener(f"{EDGE}:80"), shutdown_trigger=stopped),
        serve(metadata, Listener(f"{TASK_METADATA}:80"), shutdown_trigger=stopped),
    )


if __name__ == "__main__":
    Path(os.environ["REHEARSAL_DIR"]).mkdir(exist_ok=True)
    asyncio.run(main())
