"""The project's own clients, exactly as configured, and ways to bend them.

That a client verifies its peer is proved by connecting with another CA, and by
connecting under another name: both must fail. All else of the configuration stays,
so a weakened setting lets the bent connection through and is found.
"""

import socket
import ssl
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import redis
from botocore.exceptions import ClientError
from botocore.exceptions import SSLError as BotocoreSSLError
from django.conf import settings
from django.core.cache import cache
from django.core.files.storage import default_storage, storages
from django.db import connection as default_connection

from apps.database.login import Connection
from apps.encryption.tls import TIMEOUT, Peer
from apps.keys.kms import kms_client
from apps.secrets.ssm import ssm_client

# A CA that signed nothing here, and whose key was thrown away.
STRANGER_CA = str(Path(__file__).parent / "stranger-ca.crt")


class Bend(Enum):
    """A way in which a client must refuse its real server."""

    WRONG_CA = "wrong CA"
    WRONG_NAME = "wrong name"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """TLS of a connection that a client of this project really uses."""

    version: str
    cipher: str


def address_of(host: str, port: int) -> str:
    """The IP address where the server answers: a name that no certificate is made out to."""
    with socket.create_connection((host, port), timeout=TIMEOUT) as sock:
        return str(sock.getpeername()[0])


def _is_verification_failure(error: BaseException) -> bool:
    """Did verification fail, rather than the network?"""
    text = str(error)
    return any(
        sign in text
        for sign in (
            "CERTIFICATE_VERIFY_FAILED",
            "certificate verify failed",
            "does not match host",
            "doesn't match",
        )
    )


def _refused(connect: Any, *errors: type[Exception]) -> bool:
    """True if `connect()` fails verification, False if it reaches the server.

    Re-raises any other failure.
    """
    try:
        connect()
    except ClientError:
        return False  # AWS answered, if only to deny it: the client had trusted the server
    except errors as error:
        if _is_verification_failure(error):
            return True
        raise
    return False


# Database ---------------------------------------------------------------------


def _database_params() -> dict[str, Any]:
    return default_connection.get_connection_params()


def database_peer() -> Peer:
    """The server, name and CA of the configured database."""
    params = _database_params()
    return Peer(
        host=params["host"],
        port=int(params["port"]),
        server_name=params["host"],
        ca_file=params["sslrootcert"],
        postgres=True,
    )


def database_seen() -> Seen:
    """TLS of this process's connection as the server sees it (view `pg_stat_ssl`)."""
    with default_connection.cursor() as cursor:
        cursor.execute("SELECT version, cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        version, cipher = cursor.fetchone()
    if not version:
        raise ssl.SSLError("the server sees this connection as plaintext")
    return Seen(version=version, cipher=cipher)


def database_refuses(bend: Bend) -> bool:
    """Does the configured client refuse the real server when bent?"""
    params = _database_params()
    if bend is Bend.WRONG_CA:
        params["sslrootcert"] = STRANGER_CA
    else:
        params["hostaddr"] = address_of(params["host"], int(params["port"]))
        params["host"] = "wrong-name.invalid"
    return _refused(lambda: Connection.connect(**params).close(), psycopg.OperationalError)


# Cache ------------------------------------------------------------------------


def _cache_pool() -> redis.ConnectionPool:
    pool: redis.ConnectionPool = cache._cache.get_client().connection_pool  # type: ignore[attr-defined]
    return pool


def cache_peer() -> Peer:
    """The server, name and CA of the configured cache."""
    kwargs = _cache_pool().connection_kwargs
    return Peer(
        host=kwargs["host"],
        port=kwargs["port"],
        server_name=kwargs["host"],
        ca_file=kwargs["ssl_ca_certs"],
    )


def cache_seen() -> Seen:
    """TLS of a connection from the pool that Django's cache uses."""
    pool = _cache_pool()
    connection = pool.get_connection()
    try:
        sock = connection._sock  # the library has no public way to ask
        if not isinstance(sock, ssl.SSLSocket):
            raise ssl.SSLError("the cache connection is plaintext")
        return Seen(version=sock.version() or "", cipher=(sock.cipher() or ("",))[0])
    finally:
        pool.release(connection)


def cache_refuses(bend: Bend) -> bool:
    """Does the configured client refuse the real server when bent?"""
    pool = _cache_pool()
    kwargs = dict(pool.connection_kwargs)
    if bend is Bend.WRONG_CA:
        kwargs["ssl_ca_certs"] = STRANGER_CA
    else:
        kwargs["host"] = address_of(kwargs["host"], kwargs["port"])
    connection = pool.connection_class(**kwargs)
    try:
        return _refused(connection.connect, redis.ConnectionError)
    finally:
        connection.disconnect()


# Object storage, secret store and key management ----------------------------------


def _https_peer(client: Any) -> Peer:
    """The server, name and CA of a boto3 client; refuses an endpoint without TLS."""
    url = urlsplit(client.meta.endpoint_url)
    if url.scheme != "https" or not url.hostname:
        raise ssl.SSLError(f"the endpoint {client.meta.endpoint_url} has no TLS")
    return Peer(
        host=url.hostname,
        port=url.port or 443,
        server_name=url.hostname,
        ca_file=settings.AWS_CA_FILE,
    )


def _by_address(client: Any) -> str:
    peer = _https_peer(client)
    address = address_of(peer.host, peer.port)
    return f"https://{f'[{address}]' if ':' in address else address}:{peer.port}"


def storage_peer() -> Peer:
    """The server, name and CA of the configured object storage."""
    return _https_peer(default_storage.connection.meta.client)  # type: ignore[attr-defined]


def storage_refuses(bend: Bend) -> bool:
    """Does the configured client refuse the real server when bent?"""
    options = dict(settings.STORAGES["default"]["OPTIONS"])
    if bend is Bend.WRONG_CA:
        options["verify"] = STRANGER_CA
    else:
        options["endpoint_url"] = _by_address(default_storage.connection.meta.client)  # type: ignore[attr-defined]
    bent: Any = storages.create_storage({**settings.STORAGES["default"], "OPTIONS": options})
    client = bent.connection.meta.client
    return _refused(lambda: client.head_bucket(Bucket=bent.bucket_name), BotocoreSSLError)


def secrets_peer() -> Peer:
    """The server, name and CA of the secret store."""
    return _https_peer(ssm_client())


def secrets_refuses(bend: Bend) -> bool:
    """Does the secret loader's client refuse the real server when bent?"""
    if bend is Bend.WRONG_CA:
        client = ssm_client(verify=STRANGER_CA)
    else:
        client = ssm_client(endpoint_url=_by_address(ssm_client()))
    return _refused(
        lambda: client.get_parameters_by_path(Path=settings.SECRETS_PREFIX), BotocoreSSLError
    )


def keys_peer() -> Peer:
    """The server, name and CA of key management."""
    return _https_peer(kms_client())


def keys_refuses(bend: Bend) -> bool:
    """Does the client that unwraps the data keys refuse the real server when bent?"""
    if bend is Bend.WRONG_CA:
        client = kms_client(verify=STRANGER_CA)
    else:
        client = kms_client(endpoint_url=_by_address(kms_client()))
    # This needs no key. No role may ask it on AWS, and none has to: TLS refuses before.
    return _refused(lambda: client.list_aliases(Limit=1), BotocoreSSLError)
