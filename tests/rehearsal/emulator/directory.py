"""Logins with IAM to databases, as RDS checks them.

RDS leaves a member of `rds_iam` to PAM, and PAM to a service of AWS. PostgreSQL's own way to
leave a login to a service is LDAP (PAM's helper would cut a token off at 512 characters); to
the client both are the same: the server asks for the password itself, within TLS. So this is a
directory whose passwords are tokens.
https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html
https://www.postgresql.org/docs/17/auth-ldap.html
https://datatracker.ietf.org/doc/html/rfc4511
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

from ministack.core.iam_evaluator import AuthError, EvalContext, evaluate, resolve_principal
from ministack.core.rds_iam import RdsIamTokenError, verify_rds_iam_token
from ministack.core.responses import request_scope
from ministack.services import rds
from places import ACCOUNT, ENDPOINT, Places

LOG = logging.getLogger(__name__)
PORT = 636
MOST = 65536
# Of RFC 4511: tags of a message's parts, and result codes.
BIND, BIND_RESPONSE, SIMPLE = 0x60, 0x61, 0x80
SUCCESS, INVALID_CREDENTIALS = 0, 49


def hba_line(resource_id: str) -> str:
    """Return the line of pg_hba.conf for members of `rds_iam`. Without TLS there is none."""
    options = {
        "ldapserver": ENDPOINT,
        "ldapport": PORT,
        "ldapscheme": "ldaps",
        "ldapprefix": '"cn="',
        "ldapsuffix": f'",ou={resource_id}"',
    }
    return f"hostssl all +rds_iam all ldap {' '.join(f'{k}={v}' for k, v in options.items())}\n"


def refusal(resource_id: str, user: str, token: str, region: str) -> str:
    """Return why a token does not let a user in, or nothing."""
    with request_scope(ACCOUNT, region):
        databases = rds._instances.values()
        database = next((e for e in databases if e["DbiResourceId"] == resource_id), None)
        if database is None:
            return "there is no such database"
        found = verify_rds_iam_token(
            token,
            hostname=database["Endpoint"]["Address"],
            port=database["Endpoint"]["Port"],
            db_user=user,
            region=region,
            account_id=ACCOUNT,
        )
        if isinstance(found, RdsIamTokenError):
            return str(found.code)
        principal = resolve_principal(found.access_key_id, ACCOUNT)
        if isinstance(principal, AuthError):
            return str(principal.code)
        context = EvalContext(
            principal_arn=principal.arn,
            principal_type=principal.type,
            principal_account=ACCOUNT,
            action="rds-db:connect",
            resource_arn=f"arn:aws:rds-db:{region}:{ACCOUNT}:dbuser:{resource_id}/{user}",
            region=region,
            principal_keys=principal.keys,
        )
        decision = evaluate(context, principal.policies or [], *principal.limits).decision
    return "" if decision == "Allow" else f"{principal.arn}: {decision} of rds-db:connect"


class Directory:
    """An LDAP server that understands a simple bind and nothing else."""

    def __init__(self, places: Places, let_in: Callable[[str], None]) -> None:
        """`let_in` hears the database's resource ID after every login."""
        self._places, self._let_in = places, let_in

    async def serve(self, context: Any) -> None:
        """Listen on the address that the databases' containers know as `ENDPOINT`."""
        await asyncio.start_server(self._talk, self._places.gateway, PORT, ssl=context)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while message := await _message(reader):
                number, request = _parts(message)
                if request[0] != BIND:  # such as an unbind
                    break
                _version, (_, name), (method, password) = _parts(request[1])
                code = INVALID_CREDENTIALS
                if method == SIMPLE and await asyncio.to_thread(
                    self._lets_in, name.decode(), password.decode()
                ):
                    code = SUCCESS
                result = _element(0x0A, bytes([code])) + _element(0x04, b"") * 2
                answer = _element(*number) + _element(BIND_RESPONSE, result)
                writer.write(_element(0x30, answer))
                await writer.drain()
        except (OSError, ValueError, asyncio.IncompleteReadError) as error:
            LOG.warning("directory: %s: %s", type(error).__name__, error)
        finally:
            writer.close()

    def _lets_in(self, name: str, token: str) -> bool:
        common, _, unit = name.rpartition(",ou=")
        user = common.removeprefix("cn=")
        if why := refusal(unit, user, token, self._places.region):
            LOG.warning("directory: %s of %s is refused: %s", user, unit, why)
            return False
        self._let_in(unit)
        return True


async def _message(reader: asyncio.StreamReader) -> bytes:
    """Return what is in the next message, or nothing at the end."""
    head = await reader.read(1)
    if not head:
        return b""
    length = (await reader.readexactly(1))[0]
    if length & 0x80:
        length = int.from_bytes(await reader.readexactly(length & 0x7F))
    if length > MOST:
        raise ValueError(f"a message of {length} bytes")
    return await reader.readexactly(length)


def _parts(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Return tags and contents of BER elements."""
    while content:
        tag, length, begin = content[0], content[1], 2
        if length & 0x80:
            begin += length & 0x7F
            length = int.from_bytes(content[2:begin])
        yield tag, content[begin : begin + length]
        content = content[begin + length :]


def _element(tag: int, content: bytes) -> bytes:
    assert len(content) < 0x80  # all that is ever answered
    return bytes([tag, len(content)]) + content
