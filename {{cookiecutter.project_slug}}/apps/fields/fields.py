"""Model fields whose values the application encrypts before the database sees them.

    email = EncryptedEmailField(unique=True, searchable=True)

Values are read and written as those of Django's own fields. A searchable field can be
compared with `exact` and `in`, may be unique, and may stand in a `UniqueConstraint`;
every other use in a query raises `EncryptedFieldError`. docs/fields.md explains them.
"""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import models
from django.db.backends.utils import format_number
from django.db.models.expressions import Case, Col, Value
from django.db.models.functions import Cast
from django.utils.functional import cached_property

from apps.fields.columns import EncryptedCol, EncryptedFieldError
from apps.fields.lookups import BlindExact, BlindIExact, BlindIn, StoredIsNull
from apps.fields.normalize import casefold
from apps.fields.values import seal, unseal, unsealer
from apps.keys.errors import MalformedValueError

Normalize = Callable[[str], str]


class EncryptedField(models.Field):  # type: ignore[type-arg]  # a mixin of many types
    """What all encrypted fields share. Mixed into one of Django's fields.

    searchable: keep a blind index, so that `exact` and `in` work. Whoever reads the
    database then sees which rows have equal values, though not the values.
    normalize: the form in which two texts count as equal, a function at module level.
    unique: no two rows have equal (normalised) values; needs searchable.
    """

    can_be_searchable = True
    # What the type stubs leave out.
    db_index: bool
    unique_for_date: str | None
    unique_for_month: str | None
    unique_for_year: str | None

    def __init__(
        self,
        *args: Any,
        searchable: bool = False,
        unique: bool = False,
        normalize: Normalize | None = None,
        **kwargs: Any,
    ) -> None:
        self.searchable = searchable
        self.normalize = normalize
        self._is_unique = unique
        super().__init__(*args, **kwargs)

    @property
    def unique(self) -> bool:
        """Whether forms and models must look for a row with the same value.

        Migrations do not know of it: a unique constraint on the ciphertext would hold
        nothing apart. `apps.fields.schema` adds the one on the blind index.
        """
        return self._is_unique

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        if self.searchable:
            kwargs["searchable"] = True
        if self.normalize:
            kwargs["normalize"] = self.normalize
        return name, path, args, kwargs

    def get_internal_type(self) -> str:
        return "BinaryField"

    def db_type(self, connection: Any) -> str | None:
        """Refuse a backend whose migrations would leave plaintext in the column."""
        if not getattr(connection, "encrypts_fields", False):
            raise ImproperlyConfigured(
                f"{self} is encrypted, but migrations of the database {connection.alias!r} cannot "
                "encrypt. Set its ENGINE to apps.fields.postgresql or apps.fields.sqlite3."
            )
        return super().db_type(connection)

    @property
    def place(self) -> str:
        """To what this field's values are bound: its table and column."""
        return f"{self.model._meta.db_table}.{self.column}"

    # Checks -----------------------------------------------------------------------

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        return [*super().check(**kwargs), *self._check_encrypted()]

    def _check_encrypted(self) -> list[checks.CheckMessage]:
        meta: Any = self.model._meta
        wrong = {
            "unique=True needs searchable=True.": self._is_unique and not self.searchable,
            "normalize needs searchable=True.": self.normalize and not self.searchable,
            "This type has no normal form, so it cannot be searchable.": (
                self.searchable and not self.can_be_searchable
            ),
            "An encrypted field cannot be a primary key, nor a part of one.": (
                self.primary_key or self in meta.pk_fields
            ),
            "db_index=True would index the ciphertext. Use searchable=True.": self.db_index,
            "A db_default would be stored in plaintext. Use default.": self.has_db_default(),
            "unique_for_date and its like compare parts of dates in the database.": (
                self.unique_for_date or self.unique_for_month or self.unique_for_year
            ),
            "A foreign key cannot refer to an encrypted field, as equal values differ in it.": any(
                getattr(relation, "field_name", None) == self.name
                for relation in meta.get_fields(include_hidden=True)
            ),
            "An Index of its name would index the ciphertext. Use searchable=True.": any(
                self.name in {name for name, _order in index.fields_orders}
                for index in meta.indexes
            ),
            "An encrypted field cannot be a part of another, such as an ArrayField: no rotation "
            "would find its values. Use EncryptedJSONField.": self not in meta.local_fields,
        }
        return [
            checks.Error(message, obj=self, id=f"fields.EncryptedField.E{number:03}")
            for number, (message, holds) in enumerate(wrong.items(), 1)
            if holds
        ]

    # Bytes --------------------------------------------------------------------------

    def to_bytes(self, value: Any) -> bytes:
        """Return a value (never None) as bytes, always the same ones for equal values."""
        return value.encode() if isinstance(value, str) else str(value).encode()

    def from_bytes(self, plaintext: bytes) -> Any:
        """Return the value that `to_bytes` was given."""
        return self.to_python(plaintext.decode())

    def normal_form(self, value: Any) -> bytes:
        """Return what the blind index is made of."""
        plaintext = self.to_bytes(value)
        return self.normalize(plaintext.decode()).encode() if self.normalize else plaintext

    def encrypt(self, value: Any) -> bytes:
        """Return what is stored for a value as `get_prep_value` returns it, not None."""
        plaintext = self.to_bytes(value)
        return seal(self.place, plaintext, self.normal_form(value) if self.searchable else None)

    def decrypt(self, stored: Any) -> Any:
        """Return the value that is stored. Raises `DecryptionError` or `DataKeyError`."""
        return self._from_plaintext(unseal(self.place, stored))

    def renew(self, stored: Any, place: str | None = None) -> bytes:
        """Return a stored value, which may be from another place, encrypted and indexed anew.

        Raises as `decrypt`.
        """
        plaintext = unseal(place or self.place, stored)
        normal = self.normal_form(self._from_plaintext(plaintext)) if self.searchable else None
        return seal(self.place, plaintext, normal)

    def _from_plaintext(self, plaintext: bytes) -> Any:
        try:
            return self.from_bytes(plaintext)
        except (TypeError, ValueError, ArithmeticError, ValidationError):
            # The error there shows the value.
            raise MalformedValueError(
                f"A value in {self.place} is none that {type(self).__name__} wrote. Migrate the "
                "column, or restore the row."
            ) from None

    # To and from the database ---------------------------------------------------------

    def get_prep_value(self, value: Any) -> Any:
        """Convert a value as Django's field does, with errors that do not show it."""
        try:
            return super().get_prep_value(value)
        except (TypeError, ValueError, ValidationError) as error:
            raise type(error)(
                f"{self} cannot hold this value, of type {type(value).__name__}."
            ) from None

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        if not prepared:
            value = self.get_prep_value(value)
        return None if value is None else connection.Database.Binary(self.encrypt(value))

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        if hasattr(value, "as_sql"):
            if not self._encrypts(value):
                raise EncryptedFieldError(
                    f"{self} is encrypted: it can be set to values, not to an expression that the "
                    "database computes. Compute it in Python, or give the literal its field: "
                    "Value(..., output_field=field)."
                )
            return value
        return self.get_db_prep_value(value, connection)

    def _encrypts(self, expression: Any) -> Any:
        """Whether all that an expression can result in passes through this field.

        That is what `bulk_update` makes: a CASE of literals, perhaps in a cast.
        """
        match expression:
            case Value(value=None):
                return True
            case Value():
                return expression._output_field_or_none == self  # type: ignore[attr-defined]
            case Case():
                results = [case.result for case in expression.cases]
                return all(map(self._encrypts, [*results, expression.default]))
            case Cast():
                return all(map(self._encrypts, expression.get_source_expressions()))
        return False

    def get_db_converters(self, connection: Any) -> list[Any]:
        """Return `decrypt` for the rows of one query."""
        unseal_here, from_plaintext = unsealer(self.place), self._from_plaintext

        def convert(value: Any, _expression: Any, _connection: Any) -> Any:
            return None if value is None else from_plaintext(unseal_here(value))

        return [convert]

    def value_to_string(self, obj: models.Model) -> str:
        raise EncryptedFieldError(
            f"{self} is encrypted, and this format would write it in plaintext. "
            "Use --format json or jsonl."
        )

    # Queries ----------------------------------------------------------------------------

    def get_col(self, alias: str, output_field: Any = None) -> Col:
        return EncryptedCol(alias, self, output_field)

    @cached_property
    def cached_col(self) -> Col:
        return EncryptedCol(self.model._meta.db_table, self)

    def get_lookup(self, lookup_name: str) -> Any:
        if lookup_name == "isnull":
            return StoredIsNull
        if self.searchable:
            if lookup_name == "exact":
                return BlindExact
            if lookup_name == "in":
                return BlindIn
            if lookup_name == "iexact" and getattr(self.normalize, "ignores_case", False):
                return BlindIExact
        raise self._unsupported(lookup_name)

    def get_transform(self, lookup_name: str) -> Any:
        raise self._unsupported(lookup_name)

    def _unsupported(self, name: str) -> EncryptedFieldError:
        """Return the error for a lookup that cannot work, which says what can."""
        if not self.can_be_searchable:
            return EncryptedFieldError(
                f"{self} is encrypted, so {name!r} cannot work; of its type only isnull can. "
                "Compare in Python."
            )
        if not self.searchable:
            return EncryptedFieldError(
                f"{self} is encrypted and not searchable, so {name!r} cannot work. For "
                "exact and in, give it searchable=True and migrate; otherwise compare in Python."
            )
        if name == "iexact":
            return EncryptedFieldError(
                f"{self} is encrypted, and its index heeds case. For iexact, give "
                "it normalize=casefold and migrate."
            )
        return EncryptedFieldError(
            f"{self} is encrypted: its blind index knows equality only, so {name!r} cannot work. "
            "Use exact, in or isnull, or compare in Python."
        )


class EncryptedCharField(EncryptedField, models.CharField):  # type: ignore[type-arg]
    """A short text."""


class EncryptedTextField(EncryptedField, models.TextField):  # type: ignore[type-arg]
    """A long text."""


class EncryptedEmailField(EncryptedField, models.EmailField):  # type: ignore[type-arg]
    """An e-mail address. If it is searchable, its case does not matter."""

    def __init__(self, *args: Any, searchable: bool = False, **kwargs: Any) -> None:
        if searchable:
            kwargs.setdefault("normalize", casefold)
        super().__init__(*args, searchable=searchable, **kwargs)

    def deconstruct(self) -> Any:
        """Say that case matters, which is not the default."""
        name, path, args, kwargs = super().deconstruct()
        if self.searchable and not self.normalize:
            kwargs["normalize"] = None
        return name, path, args, kwargs


class EncryptedIntegerField(EncryptedField, models.IntegerField):  # type: ignore[type-arg]
    """A whole number of any size."""

    @cached_property
    def validators(self) -> list[Any]:
        """All but the range of a database's integers."""
        return [*self.default_validators, *self._validators]  # type: ignore[attr-defined]


class EncryptedDecimalField(EncryptedField, models.DecimalField):  # type: ignore[type-arg]
    """A decimal number, rounded to `decimal_places` as a database does."""

    def to_bytes(self, value: Decimal) -> bytes:
        text = str(format_number(value, self.max_digits, self.decimal_places))
        if self.decimal_places is None and "." in text:
            text = text.rstrip("0").rstrip(".")
        return (text if Decimal(text) else text.lstrip("-")).encode()  # -0 equals 0


class EncryptedDateField(EncryptedField, models.DateField):  # type: ignore[type-arg]
    """A date."""

    def to_bytes(self, value: date) -> bytes:
        return value.isoformat().encode()


class EncryptedDateTimeField(EncryptedField, models.DateTimeField):  # type: ignore[type-arg]
    """A moment. It is stored and returned in UTC."""

    def to_bytes(self, value: datetime) -> bytes:
        return value.astimezone(UTC).isoformat().encode()


class EncryptedTimeField(EncryptedField, models.TimeField):  # type: ignore[type-arg]
    """A time of day, which has no time zone."""

    def to_bytes(self, value: time) -> bytes:
        if value.tzinfo:
            raise ValueError(f"{self} cannot hold a time with a time zone.")
        return value.isoformat().encode()


class EncryptedBooleanField(EncryptedField, models.BooleanField):  # type: ignore[type-arg]
    """Yes or no. An index of two values would tell them, so it cannot be searchable."""

    can_be_searchable = False


class EncryptedJSONField(EncryptedField, models.JSONField):
    """Anything that JSON can hold."""

    can_be_searchable = False

    def to_bytes(self, value: Any) -> bytes:
        return json.dumps(value, cls=self.encoder).encode()

    def from_bytes(self, plaintext: bytes) -> Any:
        return json.loads(plaintext, cls=self.decoder)

    def get_prep_value(self, value: Any) -> Any:
        return value


class EncryptedBinaryField(EncryptedField, models.BinaryField):  # type: ignore[type-arg]
    """Bytes."""

    def to_bytes(self, value: Any) -> bytes:
        return bytes(memoryview(value))  # bytes(5) would make five of them

    def from_bytes(self, plaintext: bytes) -> bytes:
        return plaintext
