"""gunicorn: HTTPS with mutual TLS 1.3, for the proxy of the same task only.

Source: https://gunicorn.org/reference/settings/
"""

import os
import ssl
from collections.abc import Callable
from functools import cache
from typing import Any

_credentials = os.environ.get("CREDENTIALS_DIR", "/run/credentials")

bind = os.environ.get("GUNICORN_ADDRESS", "127.0.0.1:8000")
certfile = f"{_credentials}/tls.crt"
keyfile = f"{_credentials}/tls.key"
ca_certs = f"{_credentials}/ca.crt"
cert_reqs = ssl.CERT_REQUIRED

# The proxy keeps connections open, which only a threaded worker can serve.
worker_class = "gthread"
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
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate, key)
    return context


def ssl_context(config: Any, default_ssl_context_factory: Callable[[], ssl.SSLContext]) -> Any:
    """Return one context per process: a new one per connection costs handshakes."""
    return _context(config.certfile, config.keyfile, config.ca_certs)
