"""Background work on attachments. Each task may run twice, or die, without harm."""

import hashlib

import structlog
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction
from django.tasks import task

from apps.notes.images import Thumbnail, UnreadableImageError, make_thumbnail
from apps.notes.models import Attachment

logger = structlog.get_logger(__name__)

Status = Attachment.Status


@task
def process_attachment(attachment_id: int) -> None:
    """Find out an attachment's digest and media type, and make its thumbnail.

    Ends with the status `ready` or `failed`, and does nothing for an attachment that
    has either, or that is on no note any more.
    """
    waiting = Attachment.objects.filter(
        pk=attachment_id, note__isnull=False, status__in=[Status.PENDING, Status.PROCESSING]
    )
    if not waiting.update(status=Status.PROCESSING):
        return
    try:
        attachment = waiting.get()
        thumbnail = _examine(attachment)
        with transaction.atomic():
            # The lock holds `remove_attachment` off until the row names the thumbnail.
            if not waiting.select_for_update().exists():
                return
            if thumbnail:
                _store_thumbnail(attachment, thumbnail)
            attachment.save(
                update_fields=["status", "error", "content_type", "sha256", "thumbnail"]
            )
    except Exception:
        logger.exception("attachment_failed", attachment_id=attachment_id)
        waiting.update(status=Status.FAILED, error="The stored file could not be read.")


def _examine(attachment: Attachment) -> Thumbnail | None:
    """Fill in what the file's content tells, and return its thumbnail if it has one."""
    digest, size = hashlib.sha256(), 0
    with attachment.file.open("rb") as file:
        for chunk in file.chunks():
            digest.update(chunk)
            size += len(chunk)
        if size != attachment.size:
            raise OSError(f"{size} of {attachment.size} bytes are stored.")
        attachment.sha256 = digest.hexdigest()
        file.seek(0)
        try:
            thumbnail = make_thumbnail(file)
        except UnreadableImageError as error:
            attachment.status, attachment.error = Status.FAILED, str(error)
            return None
    attachment.status = Status.READY
    if thumbnail:
        attachment.content_type = thumbnail.original_type
    return thumbnail


def _store_thumbnail(attachment: Attachment, thumbnail: Thumbnail) -> None:
    # A run that died may have left one, and no storage overwrites.
    default_storage.delete(attachment.thumbnail_name)
    attachment.thumbnail = default_storage.save(
        attachment.thumbnail_name, ContentFile(thumbnail.content)
    )


@task
def remove_attachment(attachment_id: int) -> bool:
    """Delete the objects and then the row of an attachment that is on no note.

    Returns whether there was one. If the storage fails, the row stays and
    `remove_expired_notes` tries again.
    """
    unwanted = Attachment.objects.filter(pk=attachment_id, note=None)
    with transaction.atomic():
        attachment = unwanted.select_for_update().first()
        if attachment is None:
            return False
        default_storage.delete(attachment.thumbnail_name)
        attachment.file.delete(save=False)
        attachment.delete()
    return True
