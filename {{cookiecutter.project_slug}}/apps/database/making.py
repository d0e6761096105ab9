"""Makes the roles `app` and `migrator`, and says what they may.

Everything here is also possible for a master user that is no superuser, as RDS's:
https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Appendix.PostgreSQL.CommonDBATasks.Roles.rds_superuser.html
"""

from collections.abc import Mapping
from typing import Any

from psycopg import Connection
from psycopg.sql import SQL, Identifier, Literal

from apps.database.roles import APP, MIGRATOR

# Any number that nobody else in this database takes for a lock.
LOCK = 0x726F6C6573

_IAM = "rds_iam"
_MAY_BE_MEMBER = {APP: {_IAM}, MIGRATOR: {_IAM, APP}}
_IS_POWERFUL = """
SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls
FROM pg_roles WHERE rolname = %s
"""
_MEMBER_OF = """
SELECT array_agg(granted.rolname::text) FROM pg_auth_members
JOIN pg_roles AS granted ON granted.oid = pg_auth_members.roleid
JOIN pg_roles AS member ON member.oid = pg_auth_members.member WHERE member.rolname = %s
"""
_OWNER = "SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = current_database()"

# Who may what. Rights are taken first, so that none is left that somebody gave by hand.
_RIGHTS = """
REVOKE ALL ON DATABASE {database} FROM PUBLIC, {app}, {migrator};
GRANT CONNECT ON DATABASE {database} TO {app}, {migrator};

GRANT {app} TO {migrator}; -- which sees, as a member, what its sessions do

REVOKE ALL ON SCHEMA public FROM PUBLIC, {app};
GRANT USAGE ON SCHEMA public TO {app};

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, {app};
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {app};
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM PUBLIC, {app};
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {app};

ALTER DEFAULT PRIVILEGES FOR ROLE {migrator} IN SCHEMA public REVOKE ALL ON TABLES FROM {app};
ALTER DEFAULT PRIVILEGES FOR ROLE {migrator} IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {app};
ALTER DEFAULT PRIVILEGES FOR ROLE {migrator} IN SCHEMA public REVOKE ALL ON SEQUENCES FROM {app};
ALTER DEFAULT PRIVILEGES FOR ROLE {migrator} IN SCHEMA public
    GRANT USAGE, SELECT ON SEQUENCES TO {app};
"""


class RolesError(Exception):
    """The roles cannot be made; the message says why, and what to do."""


def make_roles(connection: Connection[Any], passwords: Mapping[str, str] | None) -> None:
    """Make both roles, all or nothing; what there is already is brought into line.

    `passwords` has one for each role; with None they log in with IAM. The connection's user
    owns the database and may make roles. Raises `RolesError`, or `psycopg.Error` with
    what the server says.
    """
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        for role in (APP, MIGRATOR):
            _make(connection, role)
            if passwords is None:
                _use_iam(connection, role)
            else:
                _use_password(connection, role, passwords[role])
        if _ask(connection, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
            _give_rights(connection)
        else:
            # Only a member of a role can change what is the role's. For no longer than that:
            # with IAM, a member cannot log in with a password.
            some = (
                " WITH INHERIT TRUE, SET TRUE" if connection.info.server_version >= 160000 else ""
            )
            _run(connection, f"GRANT {{app}}, {{migrator}} TO CURRENT_USER{some}")
            _give_rights(connection)
            _run(connection, "REVOKE {app}, {migrator} FROM CURRENT_USER")


def set_password(connection: Connection[Any], role: str, password: str) -> None:
    """Give a role a password, of which the server and its logs see a SCRAM verifier only.

    https://www.postgresql.org/docs/current/libpq-misc.html#LIBPQ-PQENCRYPTPASSWORDCONN
    """
    made = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    connection.execute(
        SQL("ALTER ROLE {} PASSWORD {}").format(Identifier(role), Literal(made.decode()))
    )


def _make(connection: Connection[Any], role: str) -> None:
    is_powerful = _ask(connection, _IS_POWERFUL, role)
    if is_powerful is None:
        connection.execute(SQL("CREATE ROLE {} LOGIN").format(Identifier(role)))
        return
    if is_powerful or set(_ask(connection, _MEMBER_OF, role) or ()) - _MAY_BE_MEMBER[role]:
        raise RolesError(
            f"The database role {role} may do more than this project's role of that name: it is "
            "a superuser, may make roles or databases, or is a member of another role. Take "
            f"that from it (ALTER ROLE {role} ..., REVOKE ... FROM {role}), then repeat this."
        )
    connection.execute(SQL("ALTER ROLE {} LOGIN").format(Identifier(role)))


def _use_iam(connection: Connection[Any], role: str) -> None:
    if not _exists(connection, _IAM):
        raise RolesError(
            f"There is no role {_IAM}: this server is not RDS, or has no IAM authentication. "
            "Turn it on in infra/, or set DATABASE_LOGIN to 'password'."
        )
    connection.execute(SQL("GRANT {} TO {}").format(Identifier(_IAM), Identifier(role)))


def _use_password(connection: Connection[Any], role: str, password: str) -> None:
    set_password(connection, role, password)
    if _exists(connection, _IAM):  # whose members cannot use a password
        connection.execute(SQL("REVOKE {} FROM {}").format(Identifier(_IAM), Identifier(role)))


def _give_rights(connection: Connection[Any]) -> None:
    # A database from before there was a migrator belonged to `app`, with all that is in it.
    if _ask(connection, _OWNER) in (APP, MIGRATOR):
        _run(connection, "ALTER DATABASE {database} OWNER TO CURRENT_USER")
    _run(connection, "REASSIGN OWNED BY {app} TO {migrator}")
    _run(connection, "ALTER SCHEMA public OWNER TO {migrator}")
    _run(connection, _RIGHTS)


def _exists(connection: Connection[Any], role: str) -> bool:
    return bool(_ask(connection, "SELECT true FROM pg_roles WHERE rolname = %s", role))


def _ask(connection: Connection[Any], query: Any, *params: str) -> Any:
    row = connection.execute(query, params).fetchone()
    return row and row[0]


def _run(connection: Connection[Any], statements: Any) -> None:
    names = {"database": connection.info.dbname, "app": APP, "migrator": MIGRATOR}
    quoted = {name: Identifier(value) for name, value in names.items()}
    connection.execute(SQL(statements).format(**quoted))
