"""Indexes and unique constraints of searchable fields, on the blind index.

A model says `unique=True`, `searchable=True`, or names a field in a `UniqueConstraint`
or `unique_together`; the database gets, for each slot of the index, a constraint or an
index on an expression. Both slots have one, so that a value stays unique while the
index key rotates. Migrations list them like any other.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db.models import BaseConstraint, F, Index, Model, UniqueConstraint
from django.db.models.signals import class_prepared
from django.dispatch import receiver

from apps.fields.columns import BlindIndex, EncryptedFieldError
from apps.fields.fields import EncryptedField
from apps.fields.values import SLOTS


class BlindUniqueConstraint(UniqueConstraint):
    """A unique constraint in which encrypted fields stand with their blind index."""

    def validate(
        self, model: type[Model], instance: Model, exclude: Any = None, using: Any = "default"
    ) -> None:
        """Compare values, as the constraint that the model declares would.

        The first slot's constraint speaks for both; what `unique=True` and
        `unique_together` declare, `Model.validate_unique` looks at.
        """
        names = tuple(source.name for source in map(_source, self.expressions))
        second = any(getattr(expression, "slot", 0) for expression in self.expressions)
        single = len(names) == 1 and getattr(model._meta.get_field(names[0]), "unique", False)
        if second or single or names in model._meta.unique_together:
            return
        _path, _args, options = self.deconstruct()
        declared = UniqueConstraint(fields=names, **options)
        declared.validate(model, instance, exclude=exclude, using=using)


def _source(expression: Any) -> Any:
    return expression.source_expressions[0] if isinstance(expression, BlindIndex) else expression


def _short(*parts: str) -> str:
    """Return a name that fits every database (30 characters) and stays the same."""
    text = "_".join(parts)
    return f"{text[:21]}_{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def _expressions(model: type[Model], names: Iterable[str], slot: int) -> list[Any]:
    def expression(name: str) -> Any:
        field = model._meta.get_field(name)
        return BlindIndex(name, slot) if isinstance(field, EncryptedField) else F(name)

    return [expression(name) for name in names]


def _has_encrypted(model: type[Model], names: Iterable[str]) -> bool:
    try:
        fields = [model._meta.get_field(name) for name in names]
    except FieldDoesNotExist:
        return False  # Django's own checks say so
    encrypted = [field for field in fields if isinstance(field, EncryptedField)]
    for field in encrypted:
        if not field.searchable:
            raise EncryptedFieldError(f"{field} must be searchable to be part of a constraint.")
    return bool(encrypted)


def _constraints(model: type[Model]) -> Iterator[BaseConstraint]:
    """The model's constraints, with those on encrypted fields replaced."""
    for constraint in model._meta.constraints:
        names = getattr(constraint, "fields", ())
        if not (isinstance(constraint, UniqueConstraint) and _has_encrypted(model, names)):
            yield constraint
            continue
        _path, _args, options = constraint.deconstruct()
        del options["fields"]
        if options.get("nulls_distinct") is False:
            raise EncryptedFieldError(
                f"{constraint.name} has an encrypted field, so NULLs must be distinct in it: one "
                "slot of the blind index is empty in every row. Remove nulls_distinct=False."
            )
        for slot in SLOTS:
            options["name"] = f"{constraint.name}_{slot}"
            yield BlindUniqueConstraint(*_expressions(model, names, slot), **options)


@receiver(class_prepared)
def index_encrypted_fields(sender: type[Model], **_kwargs: Any) -> None:
    """Complete a model's indexes and constraints.

    Historical models have them already, from the migrations.
    """
    meta: Any = sender._meta
    if sender.__module__ == "__fake__" or meta.proxy or not meta.managed:
        return
    fields = [f for f in meta.local_fields if isinstance(f, EncryptedField) and f.searchable]
    together = [names for names in meta.unique_together if _has_encrypted(sender, names)]
    constraints = list(_constraints(sender))
    indexes = list(meta.indexes)
    label = meta.label_lower.replace(".", "_")
    for names in [*((f.name,) for f in fields if f.unique), *together]:
        constraints += [
            BlindUniqueConstraint(
                *_expressions(sender, names, slot), name=f"{_short(label, *names)}_u{slot}"
            )
            for slot in SLOTS
        ]
    for f in fields:
        if not f.unique:
            indexes += [
                Index(BlindIndex(f.name, slot), name=f"{_short(label, f.name)}_i{slot}")
                for slot in SLOTS
            ]
    # Django compares `original_attrs` with the migrations.
    if constraints != meta.constraints:
        meta.constraints = meta.original_attrs["constraints"] = constraints
    if indexes != meta.indexes:
        meta.indexes = meta.original_attrs["indexes"] = indexes
    if together:
        rest = [names for names in meta.unique_together if names not in together]
        meta.original_attrs["unique_together"] = rest
