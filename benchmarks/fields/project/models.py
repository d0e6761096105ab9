"""The table with plain columns, and beside it the encrypted one of the library at hand."""

from typing import ClassVar

from django.conf import settings
from django.db import models


class Plain(models.Model):
    email = models.EmailField()
    note = models.TextField()
    number = models.IntegerField()

    class Meta:
        # Not unique=True: that would make a second index, for LIKE, and plain inserts slower.
        constraints: ClassVar = [models.UniqueConstraint(fields=["email"], name="plain_email")]


Encrypted: type[models.Model] = settings.LIBRARY.model()
