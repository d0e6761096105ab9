"""gunicorn: HTTPS with mutual TLS 1.3, for the proxy of the same task only.

Source: https://gunicorn.org/reference/settings/
"""

import os
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

_credentials = os.environ.get("CREDENTIALS_DIR", "/run/credentials")

bind = os.environ.get("GUNICORN_ADDRESS", "127.0.0.1:8000")
certfile = f"{_credentials}/tls.crt"
keyfile = f"{_credentials}/tls.key"
ca_certs = f"{_credentials}/ca.crt"
cert_reqs = ssl.CERT_REQUIRED

# What the proxy lets through is taken (large_client_header_buffers in nginx.conf).
limit_request_line = 8190
limit_request_fields = 32768
limit_request_field_size = 16384
# gunicorn knows by its own TLS that a request is secure, and believes no header.
forwarded_allow_ips = ""


_MOST = 16 << 20  # bytes; more than the proxy lets through


class Worker(ThreadWorker):
    """Lets the proxy read every answer, though gunicorn may answer while a body still comes in.

    gunicorn reads 64 KiB of what is left of it, then closes without having said so. The kernel
    resets the connection, and the proxy makes 502 of the answer (RFC 9112, 9.6), or of the
    next request, if it has sent one meanwhile.
    """

    def _keepalive_after(self, conn: TConn, keepalive: bool) -> bool:
        """Read all that is left of a body; return false if the connection is to be closed."""
        parser: Any = conn.parser
        deadline = time.monotonic() + 2
        return keepalive and bool(parser.finish_body(deadline=deadline, max_bytes=_MOST))

    def handle(self, conn: TConn) -> Any:
        """Return as gunicorn does: false if the connection is to be closed."""
        keep = super().handle(conn)
        if not keep:
            deadline = time.monotonic() + 2
            with suppress(OSError):
                conn.sock.shutdown(socket.SHUT_WR)
                conn.sock.settimeout(2)
                while time.monotonic() < deadline and conn.sock.recv(65536):
                    pass
        return keep


# The proxy keeps connections open, which only a threaded worker can serve.
worker_class = Worker
workers = int(os.environ.get("WEB_WORKERS", "2"))
threads = int(os.environ.get("WEB_THREADS", "8"))
keepalive = 75
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108
control_socket_disable = True
# Settings, and with them the secrets, are loaded once and not per worker.
preload_app = True
accesslog = "-"
access_log_format = '%(t)s "%(m)s %(U)s %(H)s" %(s)s %(b)s %(M)sms'


@cache
def _context(certificate: str, key: str, ca: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_ecdh_curve("X25519")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate, key)
    return context


def ssl_context(config: Any, default_ssl_context_factory: Callable[[], ssl.SSLContext]) -> Any:
    """Return one context per process: a new one per connection costs handshakes."""
    return _context(config.certfile, config.keyfile, config.ca_certs)
