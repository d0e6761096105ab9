"""Comparisons that work on encrypted values: equality through the blind index, and NULL."""

from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db.models.lookups import IsNull, Lookup

from apps.fields.columns import BlindIndex, EncryptedCol, EncryptedFieldError
from apps.fields.values import blind_index
from apps.keys.keyring import Purpose, keyring


def _stored(lhs: Any) -> Any:
    return lhs.stored() if isinstance(lhs, EncryptedCol) else lhs


class BlindLookup(Lookup):
    """What `exact`, `iexact` and `in` have in common.

    The index is computed when the query runs, not when it is built: a query may live
    longer than a key.
    """

    prepare_rhs = False

    def __init__(self, lhs: Any, rhs: Any) -> None:
        self.encrypted = lhs.output_field
        super().__init__(_stored(lhs), rhs)

    def get_prep_lookup(self) -> Any:
        """Refuse right-hand sides that only the database knows; convert the others."""
        if self.rhs is None:
            return None  # the query turns it into isnull
        return self._prepare(self.rhs)

    def _prepare(self, value: Any) -> Any:
        if hasattr(value, "resolve_expression"):
            raise EncryptedFieldError(
                f"{self.encrypted} is encrypted: it can be compared with values, not with other "
                "columns, expressions or subqueries. Fetch the values first."
            )
        return self.encrypted.get_prep_value(value)

    def _lhs(self, compiler: Any) -> tuple[str, list[Any]]:
        if getattr(self.lhs, "alias", "") is None:
            raise EncryptedFieldError(
                f"{self.encrypted} is encrypted: a constraint or index in the database cannot "
                "depend on its value."
            )
        index = BlindIndex(self.lhs, keyring(Purpose.INDEX).active_slot)
        sql, params = compiler.compile(index)
        return sql, list(params)

    def _index(self, value: Any, connection: Any) -> Any:
        normal = self.encrypted.normal_form(value)
        index = blind_index(keyring(Purpose.INDEX).active, self.encrypted.place, normal)
        return connection.Database.Binary(index)


class BlindExact(BlindLookup):
    """`field=value`, and `field__exact=value`."""

    lookup_name = "exact"

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        sql, params = self._lhs(compiler)
        return f"{sql} = %s", (*params, self._index(self.rhs, connection))


class BlindIExact(BlindExact):
    """`field__iexact=value`, for fields whose normal form ignores case."""

    lookup_name = "iexact"


class BlindIn(BlindLookup):
    """`field__in=[values]`."""

    lookup_name = "in"

    def get_prep_lookup(self) -> Any:
        """Convert each value; None stays, as `exclude()` looks for it."""
        if hasattr(self.rhs, "resolve_expression"):
            return self._prepare(self.rhs)
        return [None if value is None else self._prepare(value) for value in self.rhs]

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        wanted = {self._index(value, connection) for value in self.rhs if value is not None}
        if not wanted:
            raise EmptyResultSet
        sql, params = self._lhs(compiler)
        return f"{sql} IN ({', '.join(['%s'] * len(wanted))})", (*params, *wanted)


class StoredIsNull(IsNull):
    """`field__isnull=True`: NULL is stored as NULL."""

    def __init__(self, lhs: Any, rhs: Any) -> None:
        super().__init__(_stored(lhs), rhs)
