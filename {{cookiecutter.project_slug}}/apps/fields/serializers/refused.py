"""In place of Django's `xml` and `yaml`, which would write encrypted values in plaintext.

Both go past `EncryptedSerializerMixin`: with natural keys, and YAML with every value that
has a type of its own, such as a number or a date.
"""

from typing import Any

from django.core.serializers import base

_MESSAGE = "This format does not keep encrypted fields secret. Use json or jsonl."


class Serializer(base.Serializer):
    def __init__(self) -> None:
        raise base.SerializationError(_MESSAGE)


class Deserializer(base.Deserializer):
    def __init__(self, *_args: Any, **_options: Any) -> None:
        raise base.DeserializationError(_MESSAGE)
