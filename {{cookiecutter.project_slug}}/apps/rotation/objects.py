"""Encrypts stored files anew that are not under the current key."""

from collections.abc import Callable, Iterator
from typing import Any

from django.db import transaction
from django.db.models import FileField, Model

from apps.files.storage import EncryptedStorageMixin
from apps.keys.errors import DecryptionError, UnknownKeyError
from apps.keys.keyring import Purpose, keyring
from apps.rotation.tables import Progress, models_in

_PAGE = 1000


class Files:
    """The files that one field of a model names, in an encrypted storage."""

    unit = "files"

    def __init__(self, model: type[Model], field: FileField, using: str) -> None:
        self.name = f"{model._meta.db_table}.{field.column}"
        self._storage: Any = field.storage
        self._field = field
        self._using = using
        self._rows = model._base_manager.using(using)

    def count(self) -> int:
        """Return the number of files."""
        return sum(1 for _ in self._names())

    def count_due(self) -> int:
        """Return the number of files that are not under the current key."""
        return sum(self._is_due(name) for _, name in self._names())

    def rotate(self, _batch_size: int, report: Callable[[int], object]) -> Progress:
        """Rewrite what is due, one file after the other."""
        progress = Progress()
        for pk, name in self._names():
            if self._is_due(name):
                try:
                    progress.rewritten += self._rewrite(pk, name)
                except (DecryptionError, UnknownKeyError):
                    progress.failed.append(pk)
                report(1)
        return progress

    def _names(self) -> Iterator[tuple[Any, str]]:
        # Pages, not .iterator(): between them nothing is held in the database.
        rows = self._rows.order_by("pk").values_list("pk", self._field.name)
        page = list(rows[:_PAGE])
        while page:
            yield from ((pk, name) for pk, name in page if name)
            page = list(rows.filter(pk__gt=page[-1][0])[:_PAGE])

    def _is_due(self, name: str) -> bool:
        try:
            return bool(self._storage.key_id(name) != keyring(Purpose.FILES).active.id)
        except FileNotFoundError:
            return False  # deleted since, or its upload was never completed
        except DecryptionError:
            return True

    def _rewrite(self, pk: Any, name: str) -> bool:
        with transaction.atomic(using=self._using):
            # Who deletes a file holds its row first, so the file cannot come back.
            row = self._rows.select_for_update(of=("self",), no_key=True).filter(pk=pk)
            if row.values_list(self._field.name, flat=True).first() != name:
                return False
            try:
                self._storage.rewrite(name)
            except FileNotFoundError:
                return False
        return True


def files(using: str) -> list[Files]:
    """Return every field whose files are encrypted."""
    return [
        Files(model, field, using)
        for model in models_in(using)
        for field in model._meta.local_fields
        if isinstance(field, FileField) and isinstance(field.storage, EncryptedStorageMixin)
    ]
