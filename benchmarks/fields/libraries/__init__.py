"""One module per library, each with a class `Adapter`: how its documentation says to use it.

Everything else of the benchmark is the same for all of them. A library is imported inside
the methods, for its module is loaded before Django is set up.
"""

# ruff: noqa: S608 (the table's name is the model's)

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from django.db import connection, models, transaction


class Library(ABC):
    """What the benchmark needs to know of a library. Keys are made new for each run."""

    distribution: str
    engine = "django.db.backends.postgresql"
    rotation: str
    """How its documentation says to rotate keys."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return the settings it needs, with its first key."""

    @abstractmethod
    def model(self) -> type[models.Model]:
        """Define the encrypted model. Called once, while Django loads the models."""

    def make(self, model: Any, email: str, note: str, number: int) -> models.Model:
        """Return an instance, ready for `bulk_create`."""
        instance: models.Model = model(email=email, note=note, number=number)
        return instance

    def query(self, email: str) -> dict[str, Any]:
        """Return the arguments of `filter` and `get` that find an e-mail address."""
        return {"email": email}

    @abstractmethod
    def add_key(self) -> None:
        """Make a new key that encrypts from now on; the former one can still decrypt."""

    @abstractmethod
    def drop_old_key(self) -> None:
        """Forget every key but the newest."""

    @abstractmethod
    def rotate(self, model: Any) -> str:
        """Encrypt all rows with the newest key. Returns what the library said, if anything."""


def save_all(model: Any) -> None:
    """Fetch and save every row, as a data migration does: in one transaction."""
    with transaction.atomic():
        for row in model.objects.iterator():
            row.save()


def update_all(model: Any, fields: Iterable[str], batch: int = 1000) -> None:
    """Fetch all rows and write them with `bulk_update`, in one transaction."""
    with transaction.atomic():
        model.objects.bulk_update(model.objects.all(), fields, batch_size=batch)


def stored_values(model: Any, number: int) -> list[bytes]:
    """Return the columns of the row with this number as the database has them."""
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT * FROM "{model._meta.db_table}" WHERE number = %s', [number])
        row = cursor.fetchone()
    return [v.encode() if isinstance(v, str) else bytes(v) for v in row if not isinstance(v, int)]
