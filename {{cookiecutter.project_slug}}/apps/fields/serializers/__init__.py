"""`dumpdata` and `loaddata` that never write an encrypted field in plaintext.

A dump has the form that the database has, as `{"encrypted": "base64"}`, and can be
loaded where the same keys are. Only `loaddata` reads that form: if a field's `to_python`
did, a form field would decrypt what anybody pastes into it.
"""

import base64
from collections.abc import Iterator
from typing import Any

from django.core.serializers.base import DeserializationError, SerializationError
from django.core.serializers.python import Deserializer as PythonDeserializer
from django.db.models import Model

from apps.fields.fields import EncryptedField
from apps.keys.errors import DataKeyError, DecryptionError

_MARK = "encrypted"


class EncryptedSerializerMixin:
    """Writes encrypted fields as they are stored.

    Raises `SerializationError` for a natural key that tells an encrypted value.
    """

    use_natural_foreign_keys: bool

    def _value_from_field(self, obj: Model, field: Any) -> Any:
        if not isinstance(field, EncryptedField):
            return super()._value_from_field(obj, field)  # type: ignore[misc]
        value = field.get_prep_value(field.value_from_object(obj))
        return None if value is None else {_MARK: base64.b64encode(field.encrypt(value)).decode()}

    def _resolve_natural_key(self, obj: Model) -> Any:
        return _checked(super()._resolve_natural_key(obj), obj)  # type: ignore[misc]

    def _resolve_fk_natural_key(self, obj: Model, field: Any) -> Any:
        key = super()._resolve_fk_natural_key(obj, field)  # type: ignore[misc]
        return _checked(key, getattr(obj, field.name))

    def handle_m2m_field(self, obj: Model, field: Any) -> None:
        if self.use_natural_foreign_keys and field.remote_field.through._meta.auto_created:
            for related in getattr(obj, field.name).all():
                self._resolve_natural_key(related)
        super().handle_m2m_field(obj, field)  # type: ignore[misc]


def _checked(key: Any, obj: Any) -> Any:
    """Return a natural key, unless it would be another one if encrypted values were."""
    try:
        tells = key and key != _disguised(obj, {}).natural_key()
    except Exception:  # it wants to work with an encrypted value
        tells = True
    if tells:
        raise SerializationError(
            f"The natural key of {obj._meta.label} is made of an encrypted field. Dump without "
            "--natural-foreign and --natural-primary."
        )
    return key


def _disguised(obj: Any, done: dict[int, Any]) -> Any:
    """Return the object, and those that it knows, with nonsense in its encrypted fields."""
    if id(obj) not in done:
        loaded = {f.attname: f for f in obj._meta.concrete_fields if f.attname in obj.__dict__}
        values = [
            object() if isinstance(field, EncryptedField) else obj.__dict__[name]
            for name, field in loaded.items()
        ]
        done[id(obj)] = twin = obj.from_db(obj._state.db, loaded.keys(), values)
        for name, related in obj._state.fields_cache.items():
            if related is not None:
                twin._state.fields_cache[name] = _disguised(related, done)
    return done[id(obj)]


class EncryptedDeserializerMixin(PythonDeserializer):
    """Reads what `EncryptedSerializerMixin` writes, and plain values too.

    Raises `DeserializationError`, caused by a `DecryptionError` or `DataKeyError` if a
    value was altered, belongs elsewhere, or needs a key that is not there.
    """

    def _handle_object(self, obj: Any) -> Iterator[Any]:
        try:
            fields = self._get_model_from_node(obj["model"])._meta.fields  # type: ignore[attr-defined]
        except DeserializationError:
            fields = ()  # Django says so, or ignores the object
        encrypted = {field.name: field for field in fields if isinstance(field, EncryptedField)}
        row = f"{obj['model']}:pk={obj.get('pk')}"
        values = {
            name: _read(encrypted[name], value, row) if name in encrypted else value
            for name, value in obj["fields"].items()
        }
        yield from super()._handle_object({**obj, "fields": values})  # type: ignore[misc]


def _read(field: Any, value: Any, row: str) -> Any:
    try:
        match value:
            case {"encrypted": str(stored), **rest} if not rest:
                return field.decrypt(base64.b64decode(stored, validate=True))
        return field.to_python(value)
    except (DecryptionError, DataKeyError) as error:
        raise DeserializationError(f"{error} ({row})") from error
    except Exception as error:  # whose message may show the value
        raise DeserializationError(
            f"The dump holds no value that {field} can have: {type(error).__name__}. ({row})"
        ) from None
