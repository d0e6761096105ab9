"""A classic mistake, for the control: TLS ends at a proxy, and the application gets plaintext.

The application is the stack's own, in the very place of the healthy one: gunicorn with its
usual configuration, but without a certificate. So it has to believe the proxy's header that the
browser came with TLS, or it would only redirect.
"""

import asyncio
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from capture import namespaces
from stack import DockerStack, Stack, free_ports, wait_until


@contextmanager
def plaintext_site(stack: Stack) -> Iterator[tuple[str, int]]:
    """Yield the address of a proxy that shows the stack's certificate, and gunicorn's port."""
    namespace = dict(namespaces(stack))["task"] if isinstance(stack, DockerStack) else None
    with ThreadPoolExecutor(1, initializer=_enter, initargs=(namespace,)) as place:
        connect = _Connector(place, free_ports(1)[0])
        with _gunicorn(stack, connect), _proxy(stack, connect) as port:
            yield f"https://localhost:{port}", connect.port


def _enter(namespace: Path | None) -> None:
    """Move this thread to a network namespace: its sockets are of there."""
    if namespace:
        with namespace.open() as file:
            os.setns(file.fileno(), os.CLONE_NEWNET)


class _Connector:
    """Opens connections to gunicorn, from where the healthy proxy does."""

    def __init__(self, place: ThreadPoolExecutor, port: int) -> None:
        self._place, self.port = place, port

    def __call__(self) -> socket.socket:
        address = ("127.0.0.1", self.port)
        return self._place.submit(socket.create_connection, address).result()

    def works(self) -> bool:
        try:
            self().close()
        except ConnectionRefusedError:
            return False
        return True


@contextmanager
def _gunicorn(stack: Stack, connect: _Connector) -> Iterator[None]:
    options = ("--config", "services/app/gunicorn.conf.py", "--bind", f"127.0.0.1:{connect.port}")
    plaintext = ("--certfile", "", "--keyfile", "", "--forwarded-allow-ips", "127.0.0.1")
    command = ("gunicorn", *options, *plaintext, "config.wsgi")
    # `docker compose exec` ends without its command: that has to notice it.
    until_then = ("sh", "-c", '"$@" & cat; kill $!; wait', "-")
    words = [str(word) for word in (*stack.inside("app"), *until_then, *command)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(
        words, cwd=stack.project, env=stack.env, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet
    ) as server:
        try:
            wait_until(lambda: connect.works() or server.poll() is not None)
            assert server.poll() is None, "gunicorn did not start without a certificate"
            yield
        finally:
            assert server.stdin
            server.stdin.close()
            server.wait(30)


@contextmanager
def _proxy(stack: Stack, connect: _Connector) -> Iterator[int]:
    """Run a proxy that takes TLS off, in a thread; yield its port."""
    ready: Future[tuple[int, Callable[[], object]]] = Future()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(stack, connect, ready)))
    thread.start()
    port, stop = ready.result(30)
    try:
        yield port
    finally:
        stop()
        thread.join()


async def _serve(
    stack: Stack, connect: _Connector, ready: Future[tuple[int, Callable[[], object]]]
) -> None:
    credentials = stack.project / ".local/certs/proxy"
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(credentials / "tls.crt", credentials / "tls.key")

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.to_thread(connect)
        answers, requests = await asyncio.open_connection(sock=there)
        await asyncio.gather(_copy(reader, requests), _copy(answers, writer))

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=context)
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    port = server.sockets[0].getsockname()[1]
    ready.set_result((port, lambda: loop.call_soon_threadsafe(stopped.set)))
    await stopped.wait()
    server.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with suppress(ConnectionError):
            while data := await reader.read(64 * 1024):
                writer.write(data)
                await writer.drain()
    finally:
        writer.close()
