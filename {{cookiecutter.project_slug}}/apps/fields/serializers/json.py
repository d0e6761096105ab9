"""Django's `json` serializer, for models with encrypted fields."""

from django.core.serializers import json

from apps.fields.serializers import EncryptedDeserializerMixin, EncryptedSerializerMixin


class Serializer(EncryptedSerializerMixin, json.Serializer):
    pass


class Deserializer(json.Deserializer, EncryptedDeserializerMixin):
    pass
