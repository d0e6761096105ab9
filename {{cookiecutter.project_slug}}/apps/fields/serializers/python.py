"""Django's `python` serializer, for models with encrypted fields."""

from django.core.serializers import python

from apps.fields.serializers import EncryptedDeserializerMixin, EncryptedSerializerMixin


class Serializer(EncryptedSerializerMixin, python.Serializer):
    pass


class Deserializer(EncryptedDeserializerMixin):
    pass
