"""Django's `jsonl` serializer, for models with encrypted fields."""

from django.core.serializers import jsonl

from apps.fields.serializers import EncryptedDeserializerMixin, EncryptedSerializerMixin


class Serializer(EncryptedSerializerMixin, jsonl.Serializer):
    pass


class Deserializer(jsonl.Deserializer, EncryptedDeserializerMixin):
    pass
