"""Django's PostgreSQL backend, with encrypted fields."""

from collections.abc import Iterable
from typing import Any

import psycopg
from django.db.backends.postgresql import base, client, operations, schema
from django.db.models import Model
from django.db.utils import DatabaseErrorWrapper
from django.utils.functional import cached_property

from apps.database.login import Login, log_in, login_of
from apps.fields.backend import EncryptedOperationsMixin, EncryptedSchemaEditorMixin
from apps.fields.fields import EncryptedField

_CONVERTED = "converted__"

# Options of a connection, and the variables that say the same to psql.
_VARIABLES = {
    "channel_binding": "PGCHANNELBINDING",
    "gssencmode": "PGGSSENCMODE",
    "require_auth": "PGREQUIREAUTH",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
}


class DatabaseOperations(EncryptedOperationsMixin, operations.DatabaseOperations):
    pass


class DatabaseSchemaEditor(EncryptedSchemaEditorMixin, schema.DatabaseSchemaEditor):
    """Where a column is encrypted or decrypted, another one holds the values meanwhile.

    To take its place PostgreSQL writes the table to a new file, without old versions of
    its rows, and drops the column's statistics: both held plaintext.
    """

    def convert(self, model: type[Model], old_field: Any, new_field: Any) -> None:
        table, column = self.quote_name(model._meta.db_table), self.quote_name(_CONVERTED)
        self.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        if _crosses(old_field, new_field):
            self.execute(
                f"ALTER TABLE {table} ADD COLUMN {column} {new_field.db_type(self.connection)}"
            )
            self.convert_into(_CONVERTED, model, old_field, new_field)
        else:
            super().convert(model, old_field, new_field)
        # A row that this transaction writes twice waits for the check of its foreign keys,
        # and ALTER TABLE fails while one does.
        self.execute("SET CONSTRAINTS ALL IMMEDIATE")

    def _alter_field(
        self, model: type[Model], old_field: Any, new_field: Any, old_type: Any, *args: Any
    ) -> None:
        if _crosses(old_field, new_field):
            old_type = ""  # Django would not touch a column of bytes that become other bytes
        super()._alter_field(model, old_field, new_field, old_type, *args)  # type: ignore[misc]

    def _using_sql(self, new_field: Any, old_field: Any) -> str:
        if _crosses(old_field, new_field):
            column = self.quote_name(_CONVERTED)
            return f" USING {column}, DROP COLUMN {column}"
        return super()._using_sql(new_field, old_field)  # type: ignore[misc,no-any-return]


def _crosses(old_field: Any, new_field: Any) -> bool:
    return isinstance(old_field, EncryptedField) != isinstance(new_field, EncryptedField)


class ErrorsWithoutDetail(DatabaseErrorWrapper):
    """Raises PostgreSQL's errors without their DETAIL, which quotes values and indexes."""

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        if isinstance(exc_value, psycopg.Error):
            exc_value.args = tuple(str(arg).partition("\nDETAIL:")[0] for arg in exc_value.args)
        super().__exit__(exc_type, exc_value, traceback)


class DatabaseClient(client.DatabaseClient):
    """`manage.py dbshell`, as strict as the application: Django passes on `sslmode` alone.

    https://www.postgresql.org/docs/current/libpq-envars.html
    """

    @classmethod
    def settings_to_cmd_args_env(
        cls, settings_dict: dict[str, Any], parameters: Iterable[str]
    ) -> tuple[list[str], dict[str, str] | None]:
        arguments, variables = super().settings_to_cmd_args_env(settings_dict, parameters)
        options = settings_dict["OPTIONS"]
        strict = {_VARIABLES[name]: str(options[name]) for name in _VARIABLES if name in options}
        password = {"PGPASSWORD": next(login_of(settings_dict).passwords())}
        return arguments, {**(variables or {}), **strict, **password}


class DatabaseWrapper(base.DatabaseWrapper):
    """`ENGINE = "apps.fields.postgresql"`. OPTIONS["login"] says where passwords come from.

    A pool must be made with `apps.database.login.Connection`, which takes that login.
    """

    encrypts_fields = True
    client_class = DatabaseClient
    ops_class = DatabaseOperations
    SchemaEditorClass = DatabaseSchemaEditor

    @cached_property
    def login(self) -> Login:
        """Return what every new connection asks for its password."""
        return login_of(self.settings_dict)

    def get_connection_params(self) -> dict[str, Any]:
        """Return the arguments of `apps.database.login.Connection.connect`."""
        params = super().get_connection_params()
        params.pop("password", None)
        return {**params, "login": self.login}

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Return a connection of the pool, or a new one."""
        connect = super().get_new_connection
        if self.pool:
            return connect(conn_params)
        params = {name: value for name, value in conn_params.items() if name != "login"}
        return log_in(self.login, lambda password: connect({**params, "password": password}))

    @cached_property
    def wrap_database_errors(self) -> ErrorsWithoutDetail:
        """Return what every call of the driver runs in."""
        return ErrorsWithoutDetail(self)
