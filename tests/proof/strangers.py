"""Bad clients at the real servers.

Each attack returns what was said to it, once for each thing that it tried.
"""

import json
import re
import ssl
import struct
import subprocess
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from authority import Authority, Pair, authority_of, self_signed
from on_path import CBC, NULL, TIMEOUT, TLS_1_0, TLS_1_1, TLS_1_2, WEAK, connected, trusting
from stack import NativeStack, require_programs

HUNG_UP = "it hung up"
# That a server did what it was asked for.
SERVED = re.compile(
    r"HTTP/1\.1 (200|308) |\+PONG|\(\d+ rows?\)|the handshake went well|^(ALTER|CREATE|DROP|SET)\b"
)
# What is not the application's to do in its database.
ADMINISTRATION = (
    "ALTER SYSTEM SET ssl = off",
    "SET ROLE migrator",
    "CREATE TABLE own (id int)",
    "ALTER TABLE users_user ADD COLUMN own int",
    "DROP TABLE users_user",
    "SELECT rolpassword FROM pg_authid",
)

# What a client speaks: versions and ciphers.
HANDSHAKES: dict[str, tuple[ssl.TLSVersion | None, str]] = {
    "tls-1-0": (TLS_1_0, ""),
    "tls-1-1": (TLS_1_1, ""),
    "tls-1-2": (TLS_1_2, ""),
    "weak": (None, WEAK),
    "null": (None, NULL),
    "cbc": (None, CBC),
}
# Whose certificates a client may try at gunicorn.
SERVICES = ("proxy", "app", "postgres", "cache", "aws")


@dataclass(frozen=True)
class Stranger:
    """Somebody in the network of a running stack, with another CA and a folder of their own."""

    stack: NativeStack
    another_ca: Authority
    folder: Path

    def attack(self, hop: str, attack: str) -> list[str]:
        """Try an attack of matrix.toml on a hop's server."""
        if attack in HANDSHAKES:
            return [self._shake_hands(hop, attack)]
        if attack == "plaintext":
            return [self._talk(hop, tls=False)]
        if attack == "plaintext-port":
            port = int(self.stack.addresses["HTTP_PORT"])
            return [_exchange(port, b"GET /notes/ HTTP/1.1\r\nHost: localhost\r\n\r\n")]
        if hop == "gunicorn":
            if attack == "no-credentials":
                return [self._talk(hop)]
            return [self._talk(hop, pair=pair) for pair in self._certificates(attack)]
        credentials: dict[str, Callable[[str], str]] = {
            "database": self._postgres,
            "cache": self._cache,
        }
        if (hop, attack) == ("database", "administrator"):
            return [self._psql("SELECT 1", user=user) for user in ("postgres", "migrator")]
        if (hop, attack) == ("database", "administration"):
            return [self._psql(statement) for statement in ADMINISTRATION]
        return [credentials[hop](attack) if hop in credentials else self._aws(hop, attack)]

    def behave(self, hop: str) -> str:
        """Be a good client: the control."""
        if hop == "gunicorn":
            return self._talk(hop, pair=self._own("proxy", "client"))
        if hop == "database":
            return self._psql("SELECT 1")
        if hop == "cache":
            return self._resp("app", self.stack.secrets["SEED_CACHE_PASSWORD"])
        return self._aws(hop, "") if hop in _AWS else self._talk(hop)

    def _port(self, hop: str) -> int:
        name = {"edge": "HTTPS_PORT", "gunicorn": "GUNICORN_ADDRESS"}.get(hop)
        name = name or {"database": "DATABASE_PORT", "cache": "CACHE_PORT"}.get(hop, "AWS_PORT")
        return int(self.stack.addresses[name].rpartition(":")[2])

    # TLS -----------------------------------------------------------------------------

    def _shake_hands(self, hop: str, attack: str) -> str:
        version, ciphers = HANDSHAKES[attack]
        pair = self._own("proxy", "client") if hop == "gunicorn" else None
        context = trusting(version=version, ciphers=ciphers, pair=pair)
        try:
            with connected(self._port(hop), context, postgres=hop == "database"):
                return "the handshake went well"
        except OSError as error:
            return str(error)

    def _talk(self, hop: str, *, tls: bool = True, pair: Pair | None = None) -> str:
        request = {"database": _STARTUP, "cache": b"PING\r\n"}.get(hop, _REQUEST)
        return _exchange(self._port(hop), request, tls=tls, pair=pair)

    # Credentials ---------------------------------------------------------------------

    def _own(self, service: str, name: str) -> Pair:
        folder = self.stack.project / ".local" / "certs" / service
        return Pair(folder / f"{name}.key", folder / f"{name}.crt")

    def _certificates(self, attack: str) -> list[Pair]:
        ca = authority_of(self.stack.project)
        folder, name = self.folder / attack, "proxy.internal"
        match attack:
            case "certificate-wrong-ca":
                return [self.another_ca.issue(folder, name, usage="clientAuth")]
            case "certificate-self-signed":
                return [self_signed(folder, name, usage="clientAuth")]
            case "certificate-expired":
                return [ca.issue(folder, name, usage="clientAuth", starts=-30, days=29)]
            case "certificate-not-yet-valid":
                return [ca.issue(folder, name, usage="clientAuth", starts=1)]
            case "certificate-other-name":
                return [ca.issue(folder, "other.internal", usage="clientAuth")]
            case "certificate-of-a-server":
                return [self._own(service, "tls") for service in SERVICES]
        raise ValueError(attack)

    def _postgres(self, attack: str) -> str:
        cache = self.stack.secrets["SEED_CACHE_PASSWORD"]
        match attack:
            case "no-credentials":
                return self._psql("SELECT 1", password="")
            case "wrong-credentials":
                return self._psql("SELECT 1", password="wrong")  # noqa: S106
            case "other-credentials":
                return self._psql("SELECT 1", password=cache)
        raise ValueError(attack)

    def _psql(self, statement: str, *, user: str = "app", password: str | None = None) -> str:
        require_programs("psql")
        if password is None:
            password = self.stack.secrets["SEED_DATABASE_PASSWORD"]
        conninfo = (
            f"host=localhost port={self._port('database')} dbname=app user={user} "
            f"sslmode=verify-full sslrootcert={self.stack.ca}"
        )
        ended = subprocess.run(
            ["psql", "--no-psqlrc", "--no-password", "-c", statement, conninfo],
            env={"PATH": self.stack.env["PATH"], "PGPASSWORD": password, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return ended.stdout.strip()

    def _cache(self, attack: str) -> str:
        password = self.stack.secrets["SEED_CACHE_PASSWORD"]
        match attack:
            case "no-credentials":
                return _exchange(self._port("cache"), b"PING\r\nQUIT\r\n", tls=True)
            case "wrong-credentials":
                return self._resp("app", "wrong")
            case "other-credentials":
                return self._resp("app", self.stack.secrets["SEED_DATABASE_PASSWORD"])
            case "administrator":
                return self._resp("default", password)
            case "administration":
                return self._resp("app", password, "CONFIG GET tls-port")
        raise ValueError(attack)

    def _resp(self, user: str, password: str, command: str = "PING") -> str:
        lines = f"AUTH {user} {password}\r\n{command}\r\nQUIT\r\n"
        return _exchange(self._port("cache"), lines.encode(), tls=True)

    def _aws(self, hop: str, attack: str) -> str:
        slug = self.stack.slug
        path, target, body = {
            "storage": (f"/{slug}-local-media", "", {}),
            "secrets": ("/", "AmazonSSM.GetParametersByPath", {"Path": f"/{slug}/local/"}),
            "keys": ("/", "TrentService.ListAliases", {}),
        }[hop]
        service = {"storage": "s3", "secrets": "ssm", "keys": "kms"}[hop]
        region = tomllib.loads((self.stack.project / "project.toml").read_text())["project"][
            "region"
        ]
        scope = f"20260101/{region}/{service}/aws4_request"
        user = "local" if not attack else "somebody"
        signature = (
            ""
            if attack == "no-credentials"
            else (
                f"Authorization: AWS4-HMAC-SHA256 Credential={user}/{scope}, "
                f"SignedHeaders=host, Signature={'0' * 64}\r\n"
            )
        )
        content = json.dumps(body) if target else ""
        request = (
            f"{'POST' if target else 'GET'} {path} HTTP/1.1\r\nHost: localhost\r\n"
            f"X-Amz-Target: {target}\r\nContent-Type: application/x-amz-json-1.1\r\n{signature}"
            f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n{content}"
        )
        return _exchange(self._port(hop), request.encode(), tls=True)


_AWS = ("storage", "secrets", "keys")
_REQUEST = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_PARAMETERS = b"user\0app\0database\0app\0\0"
_STARTUP = struct.pack("!ii", len(_PARAMETERS) + 8, 196608) + _PARAMETERS


def _exchange(port: int, request: bytes, *, tls: bool = False, pair: Pair | None = None) -> str:
    """Send a request; return all that comes back, or why nothing did."""
    context = trusting(pair=pair) if tls else None
    answer = b""
    try:
        with connected(port, context, postgres=False) as connection:
            connection.settimeout(TIMEOUT)
            connection.sendall(request)
            while some := connection.recv(65536):
                answer += some
                if not tls and b"\r\n\r\n" in answer:
                    break
    except (ConnectionError, TimeoutError) as error:
        return answer.decode(errors="replace") or (
            HUNG_UP if isinstance(error, ConnectionError) else "it said nothing"
        )
    except OSError as error:  # of TLS
        return str(error)
    return answer.decode(errors="replace") or HUNG_UP
