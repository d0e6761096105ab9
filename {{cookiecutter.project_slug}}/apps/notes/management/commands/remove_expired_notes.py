"""`manage.py remove_expired_notes`: the scheduled clean-up."""

from datetime import timedelta
from typing import Any

import structlog
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from apps.notes.models import Attachment, Note
from apps.notes.tasks import remove_attachment

logger = structlog.get_logger(__name__)

# An upload that has found no note in this time was abandoned.
ABANDONED_AFTER = timedelta(hours=1)


class Command(BaseCommand):
    """Delete expired notes, and files that are on no note.

    It may be stopped at any moment and run at the same time as itself: what one run
    leaves, a later one removes.
    """

    help = "Deletes expired notes with their files, and files that are on no note any more."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--batch-size", type=int, default=500)

    def handle(self, *, batch_size: int, **_options: Any) -> None:
        notes = 0
        unwanted: list[int] = []
        while batch := list(Note.objects.expired().values_list("pk", flat=True)[:batch_size]):
            with transaction.atomic():
                unwanted += Attachment.objects.filter(note__in=batch).values_list("pk", flat=True)
                _, deleted = Note.objects.expired().filter(pk__in=batch).delete()
            notes += deleted.get("notes.Note", 0)
        unwanted += Attachment.objects.filter(
            note=None, created_at__lt=timezone.now() - ABANDONED_AFTER
        ).values_list("pk", flat=True)

        removed, failed = 0, 0
        for attachment_id in dict.fromkeys(unwanted):
            try:
                removed += remove_attachment.call(attachment_id)
            except Exception:
                logger.exception("attachment_not_removed", attachment_id=attachment_id)
                failed += 1
        self.stdout.write(f"Removed {notes} notes and {removed} files.")
        if failed:
            raise CommandError(f"{failed} files could not be removed; the next run tries again.")
