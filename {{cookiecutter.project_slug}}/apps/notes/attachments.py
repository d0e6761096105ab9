"""An attachment's way onto a note and off it again.

The order of the steps keeps rows and objects together if a process dies between
two of them; see `Attachment`.
"""

from functools import partial
from uuid import uuid4

from django.core.files.storage import default_storage
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction

from apps.notes.models import Attachment, Note
from apps.notes.tasks import process_attachment, remove_attachment


def store(upload: "UploadedFile[bytes]") -> Attachment:
    """Store a checked upload, which belongs to no note yet. Not inside a transaction."""
    # The object's name tells neither whose it is nor what it is called.
    attachment = Attachment.objects.create(
        file=f"attachments/{uuid4().hex}", file_name=str(upload.name), size=upload.size or 0
    )
    default_storage.save(attachment.file.name, upload)
    return attachment


def put_on(note: Note, attachment: Attachment) -> None:
    """Make `attachment` the note's own; it is read in the background after the commit."""
    attachment.note = note
    attachment.save(update_fields=["note"])
    transaction.on_commit(partial(process_attachment.enqueue, attachment.pk))


def take_off(note: Note) -> None:
    """Take the attachment, if there is one, off the note; it is removed after the commit."""
    for attachment in Attachment.objects.filter(note=note):
        attachment.note = None
        attachment.save(update_fields=["note"])
        transaction.on_commit(partial(remove_attachment.enqueue, attachment.pk))
