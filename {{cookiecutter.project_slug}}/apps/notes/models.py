"""Private notes, each with at most one attached file."""

from typing import ClassVar, Self

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db import models
from django.urls import reverse
from django.utils import timezone

from apps.fields import EncryptedCharField, EncryptedTextField

MAX_FILE_NAME_LENGTH = 120


class NoteQuerySet(models.QuerySet["Note"]):
    """Notes by owner and age."""

    def visible_to(self, user: AbstractBaseUser) -> Self:
        """The notes that this user owns and that have not expired."""
        live = models.Q(expires_at=None) | models.Q(expires_at__gt=timezone.now())
        return self.filter(live, owner_id=user.pk)

    def expired(self) -> Self:
        """Notes that nobody sees any more and that are to be removed."""
        return self.filter(expires_at__lte=timezone.now())


class Note(models.Model):
    """A text that only its owner sees, until it expires."""

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="notes"
    )
    title = EncryptedCharField(max_length=200)
    body = EncryptedTextField("text", blank=True, max_length=20_000)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    expires_at = models.DateTimeField(null=True, blank=True, db_index=True)

    objects = NoteQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-updated_at", "-pk"]
        indexes: ClassVar = [models.Index(fields=["owner", "-updated_at", "-id"])]

    def __str__(self) -> str:
        return f"Note {self.pk}"

    def get_absolute_url(self) -> str:
        return reverse("notes:detail", args=[self.pk])


class Attachment(models.Model):
    """A file in the default storage.

    A row is written before its object is stored and deleted after its object is
    deleted, so the table names every object there is. A row without a note is an
    upload that has not ended or a file that is no longer wanted.
    """

    class Status(models.TextChoices):
        """How far the background task is."""

        PENDING = "pending", "Waiting"
        PROCESSING = "processing", "Being read"
        READY = "ready", "Ready"
        FAILED = "failed", "Failed"

    note = models.OneToOneField(
        Note, on_delete=models.SET_NULL, null=True, blank=True, related_name="attachment"
    )
    file = models.FileField()
    file_name = EncryptedCharField(max_length=MAX_FILE_NAME_LENGTH)
    size = models.PositiveBigIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)
    # What the background task finds out. The browser's claims are never stored.
    status = models.CharField(max_length=10, choices=Status, default=Status.PENDING)
    error = models.CharField(max_length=200, blank=True)
    content_type = models.CharField(max_length=50, default="application/octet-stream")
    # It would tell whoever knows a file that it is here.
    sha256 = EncryptedCharField("SHA-256", max_length=64, blank=True)
    thumbnail = models.FileField(blank=True)

    def __str__(self) -> str:
        return f"Attachment {self.pk}"

    @property
    def thumbnail_name(self) -> str:
        """The thumbnail's object name: known before there is one."""
        return f"{self.file.name}-thumbnail"

    @property
    def in_progress(self) -> bool:
        """Whether the background task has not ended yet."""
        return self.status in (self.Status.PENDING, self.Status.PROCESSING)
