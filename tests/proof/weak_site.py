"""A web server that does everything wrong, for the scanners to find."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from authority import make_authority
from stack import free_ports, listens, wait_until

# Old protocols, CBC ciphers, its version in every answer, a way out of a folder, plaintext.
_CONF = """
daemon off;
pid "{folder}/pid";
error_log stderr crit;
events {{}}
http {{
    access_log off;
    server_tokens on;
    default_type text/html;
    client_body_temp_path "{folder}/1";
    proxy_temp_path "{folder}/2";
    fastcgi_temp_path "{folder}/3";
    uwsgi_temp_path "{folder}/4";
    scgi_temp_path "{folder}/5";
    ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3;
    ssl_ciphers ALL:@SECLEVEL=0;
    ssl_ecdh_curve secp521r1:prime256v1;
    ssl_certificate "{folder}/leaf/tls.crt";
    ssl_certificate_key "{folder}/leaf/tls.key";
    server {{
        listen 127.0.0.1:{http};
        listen 127.0.0.1:{https} ssl;
        location /files {{
            alias {folder}/files/;
        }}
        location / {{
            return 200 "<!DOCTYPE html><title>Weak</title>";
        }}
    }}
}}
"""


@dataclass(frozen=True)
class WeakSite:
    """Where the weak server listens, and its files."""

    http: int
    https: int
    conf: Path
    ca: Path


@contextmanager
def weak_site(folder: Path) -> Iterator[WeakSite]:
    """Run the weak server until the end of the block. Skips the test where there is no NGINX."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if not nginx:
        pytest.skip("nginx is not installed")
    http, https = free_ports(2)
    authority = make_authority(folder / "ca")
    authority.issue(folder / "leaf", "localhost", days=400)
    site = WeakSite(http, https, folder / "nginx.conf", authority.crt)
    site.conf.write_text(_CONF.format(folder=folder, http=http, https=https))
    log = folder / "log"
    with log.open("w") as output:
        command = [nginx, "-e", "stderr", "-p", str(folder), "-c", str(site.conf)]
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        assert wait_until(lambda: listens(https) or server.poll() is not None)
        assert server.poll() is None, log.read_text()
        yield site
    finally:
        server.terminate()
        server.wait(20)
