"""The SQL of encrypted columns: what may be selected, and where the blind index stands."""

from collections.abc import Iterator
from typing import Any, NoReturn

from django.core.exceptions import FieldError
from django.db.models import BinaryField, Func
from django.db.models.expressions import Col

from apps.fields.values import EMPTY_SLOT, SLOT_SIZE, slot_offset

_BYTES = BinaryField()  # making one takes longer than the rest of a lookup's SQL


class EncryptedFieldError(FieldError):
    """A query that cannot work on encrypted values; the message says what can."""


class _OnlySelected:
    """Stands for a column's (absent) SQL parameters, and refuses to be put into anything.

    Every expression (a function, an aggregate, an ordering, a comparison) joins its
    operands' parameters to its own. Only the list of selected columns does not, so that
    is the one place where an encrypted column can be used as it is.
    """

    def __init__(self, field: Any) -> None:
        self._field = field

    def refuse(self, *_args: object) -> NoReturn:
        raise EncryptedFieldError(
            f"{self._field} is encrypted: the database cannot sort, group, aggregate or compute "
            "with it. Select the values and do that in Python, or compare with "
            "exact or in, if the field is searchable."
        )

    __iter__ = __len__ = __bool__ = __add__ = __radd__ = __mul__ = __rmul__ = __imul__ = refuse
    __getitem__ = __hash__ = refuse


class EncryptedCol(Col):
    """A reference to an encrypted column, good for selecting it and nothing else."""

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:
        sql, _no_params = super().as_sql(compiler, connection)
        return sql, _OnlySelected(self.target)

    def select_format(self, compiler: Any, sql: str, params: Any) -> tuple[str, Any]:
        """Let the column be selected, unless the query does more with what it selects."""
        if isinstance(params, _OnlySelected):
            _check_selection(compiler.query, self)
            params = ()
        return sql, params

    def stored(self) -> "StoredCol":
        """The same column as plain bytes."""
        return StoredCol(self.alias, self.target, _BYTES)


class StoredCol(Col):
    """An encrypted column as plain bytes; for the operations of this package alone."""

    def get_group_by_cols(self) -> list[Any]:
        """Rows are no more grouped by these bytes than by the encrypted column."""
        return [EncryptedCol(self.alias, self.target)]


def _check_selection(query: Any, col: EncryptedCol) -> None:
    """Refuse a query that uses a selected column by its name, or compares whole rows.

    There the database takes the column's bytes, without another word of their SQL:
    in `ORDER BY 1`, in a subquery, in SELECT DISTINCT, in a UNION.
    """
    names = {name for name, expression in _named(query) if expression == col}
    if query.combinator:
        names |= {col.target.name, col.target.attname}
    if query.subquery and (names or not query.default_cols):
        raise EncryptedFieldError(
            f"{col.target} is encrypted: a subquery cannot give its values to the query around it. "
            "Reach them through a relation, or fetch them in a query of their own."
        )
    if names & set(_ordering(query)):
        raise EncryptedFieldError(
            f"{col.target} is encrypted: the database cannot sort by it, nor tell the first row of "
            "each value. Select the values and do that in Python."
        )
    if query.combinator and len({_selection(part) for part in query.combined_queries}) > 1:
        raise EncryptedFieldError(
            f"{col.target} is encrypted: the parts of a combined query must select the same "
            "columns of the same model. Combine the results in Python."
        )
    if _compares_rows(query) and not _determined(query, col.alias):
        raise EncryptedFieldError(
            f"{col.target} is encrypted: the database cannot see which rows have the same value, "
            "to group them or to leave out duplicates. Select the primary key too, or do "
            "that in Python."
        )


def _named(query: Any) -> Iterator[tuple[str, Any]]:
    """What the query selects under a name: annotations, and the columns of `values()`."""
    for name, selected in (query.selected or {}).items():
        yield name, query.select[selected] if isinstance(selected, int) else selected
    yield from query.annotation_select.items()


def _ordering(query: Any) -> Iterator[str]:
    """The names by which the query sorts, or takes the first row of each."""
    ordering = query.extra_order_by or query.order_by
    if not ordering and query.default_ordering and query.model:
        ordering = query.model._meta.ordering
    for item in (*ordering, *query.distinct_fields):
        expression = getattr(item, "expression", item)
        name = getattr(expression, "name", expression)
        if isinstance(name, str):
            yield name.lstrip("+-")


def _selection(query: Any) -> tuple[Any, ...]:
    columns = [expression for _name, expression in _named(query)]
    columns = [getattr(column, "target", column) for column in (*query.select, *columns)]
    return query.default_cols and query.model._meta.concrete_model, *columns


def _compares_rows(query: Any) -> bool:
    return bool(
        (query.distinct and not query.distinct_fields)
        or query.group_by is not None
        or (query.combinator and not query.combinator_all)
    )


def _determined(query: Any, alias: str) -> bool:
    """Whether the compared columns hold a primary key on which this table's row depends."""
    if isinstance(query.group_by, tuple):
        columns = list(query.group_by)
    else:
        columns = [*query.select, *query.annotation_select.values()]
    keys = {c.alias for c in map(_source, columns) if _is_primary_key(c)}
    if query.default_cols and not isinstance(query.group_by, tuple):
        keys.add(query.base_table)
    while alias not in keys:
        join = query.alias_map[alias]
        relation = getattr(join, "join_field", None)
        if not (relation and (relation.many_to_one or relation.one_to_one)):
            return False
        alias = join.parent_alias
    return True


def _source(expression: Any) -> Any:
    return getattr(expression, "source", expression)


def _is_primary_key(expression: Any) -> bool:
    return bool(getattr(getattr(expression, "target", None), "primary_key", False))


class BlindIndex(Func):
    """The blind index in one slot of a searchable encrypted column; NULL if it is empty."""

    arity = 1

    def __init__(self, expression: Any, slot: int) -> None:
        self.slot = slot
        super().__init__(expression, output_field=_BYTES)

    def resolve_expression(self, *args: Any, **kwargs: Any) -> Any:
        resolved = super().resolve_expression(*args, **kwargs)
        (source,) = resolved.get_source_expressions()
        if isinstance(source, EncryptedCol):
            resolved.set_source_expressions([source.stored()])
        return resolved

    @staticmethod
    def _empty(connection: Any) -> str:
        digits = EMPTY_SLOT.hex()
        return rf"'\x{digits}'::bytea" if connection.vendor == "postgresql" else f"X'{digits}'"

    def as_sql(self, compiler: Any, connection: Any, **context: Any) -> Any:  # type: ignore[override]
        begin = slot_offset(self.slot) + 1
        template = (
            f"NULLIF(SUBSTR(%(expressions)s, {begin}, {SLOT_SIZE}), {self._empty(connection)})"
        )
        return super().as_sql(compiler, connection, template=template, **context)
