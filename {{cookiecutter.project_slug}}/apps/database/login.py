"""How a process logs in: every new connection asks a `Login` for its password.

A connection pool would otherwise keep the password that it was made with, but a token
of RDS's IAM authentication is good for 15 minutes, and a password until it is rotated.
"""

from collections.abc import Callable, Iterator, Mapping
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, Self

import psycopg
from botocore.exceptions import BotoCoreError, ClientError
from django.core.exceptions import ImproperlyConfigured

from apps.database.roles import password_parameter
from apps.secrets.aws import aws_client
from apps.secrets.ssm import ssm_client

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient


class Login(Protocol):
    """Knows the passwords of one database user."""

    def passwords(self) -> Iterator[str]:
        """Yield what to try, one after the other, as long as the server refuses.

        Raises `ImproperlyConfigured`, `BotoCoreError` or `ClientError`.
        """

    def accepted(self, password: str) -> None:
        """Hear which one the server has accepted."""


def log_in[T](login: Login, connect: Callable[[str], T]) -> T:
    """Return what `connect` returns for the first password that the server accepts.

    Raises the last `OperationalError` if it accepts none, and any other failure at once.
    """
    refusal: psycopg.OperationalError | None = None
    passwords = login.passwords()
    while True:
        try:
            password = next(passwords)
        except StopIteration:
            raise refusal or ImproperlyConfigured("There is no password to log in with.") from None
        except (BotoCoreError, ClientError, ImproperlyConfigured) as error:
            if refusal is None:
                raise
            refusal.add_note(f"No newer password could be read: {error}")
            raise refusal from None
        try:
            connection = connect(password)
        except psycopg.OperationalError as error:
            if not _is_refusal(error):
                raise
            refusal = error
        else:
            login.accepted(password)
            return connection


def _is_refusal(error: psycopg.OperationalError) -> bool:
    """Did the server end the login after it had asked for a password?

    libpq gives no SQLSTATE here, and the message is in the server's language:
    https://www.postgresql.org/docs/current/libpq-status.html#LIBPQ-PQCONNECTIONUSEDPASSWORD
    """
    return error.pgconn is not None and bool(error.pgconn.used_password)


class Connection(psycopg.Connection[Any]):
    """A connection as a pool makes it, with a password of this moment."""

    @classmethod
    def connect(cls, conninfo: str = "", *, login: Login, **kwargs: Any) -> Self:  # type: ignore[override]
        """Connect as psycopg does. Raises what `log_in` raises."""
        connect = super().connect
        return log_in(login, lambda password: connect(conninfo, password=password, **kwargs))


class PasswordLogin:
    """A password that is kept until the server refuses it, and then read anew.

    A rotation stores the new password before the server has it, so the one stored before
    is tried as well: no login fails, even if the rotation was interrupted in between.
    """

    def __init__(self, user: str, password: str, client: "SSMClient | None" = None) -> None:
        self._user = user
        self.kept = password
        self._given_client = client
        self._lock = Lock()
        self._stored: list[str] = []
        self._stored_at = float("-inf")

    def passwords(self) -> Iterator[str]:
        """Yield the one kept, then those stored, and the newest again."""
        kept = self.kept
        yield kept
        stored = self._read()
        yield from (password for password in stored if password != kept)
        # Between two attempts the server may have changed from the former to the newest.
        yield self._read()[0]

    def accepted(self, password: str) -> None:
        """Keep it."""
        self.kept = password

    def _read(self) -> list[str]:
        """Return the newest stored password and the one before; threads share a reading."""
        asked_at = monotonic()
        with self._lock:
            if self._stored_at < asked_at:
                self._stored_at, self._stored = monotonic(), self._read_store()
            return self._stored

    def _read_store(self) -> list[str]:
        name = password_parameter(self._user)
        client = self._given_client or ssm_client()
        newest = client.get_parameter(Name=name, WithDecryption=True)["Parameter"]
        # https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-versions.html
        before = f"{name}:{newest['Version'] - 1}"
        if newest["Version"] == 1:
            return [newest["Value"]]
        former = client.get_parameter(Name=before, WithDecryption=True)["Parameter"]
        return [newest["Value"], former["Value"]]


class IAMLogin:
    """A token of RDS's IAM authentication, signed here anew for every connection.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html
    """

    def __init__(self, host: str, port: int, user: str) -> None:
        self._address = {"DBHostname": host, "Port": port, "DBUsername": user}
        self._client: Any = None
        self._lock = Lock()

    def passwords(self) -> Iterator[str]:
        """Yield one token, good for 15 minutes."""
        with self._lock:  # boto3 makes one client at a time
            self._client = self._client or aws_client("rds", verify=None, endpoint_url=None)
        yield self._client.generate_db_auth_token(**self._address)

    def accepted(self, password: str) -> None:
        """Keep nothing."""


def login_of(database: Mapping[str, Any]) -> Login:
    """Return the login of one entry of `DATABASES`, as its OPTIONS name it."""
    if database["OPTIONS"].get("login") == "iam":
        return IAMLogin(database["HOST"], int(database["PORT"]), database["USER"])
    return PasswordLogin(database["USER"], database["PASSWORD"])
