"""The form that writes a note."""

import unicodedata
from datetime import timedelta
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.template.defaultfilters import filesizeformat
from django.utils import timezone

from apps.notes.models import MAX_FILE_NAME_LENGTH, Note

MAX_UPLOAD_SIZE = 10 * 1024 * 1024

KEEP = "keep"
DELETE_AFTER = {
    "never": None,
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "month": timedelta(days=30),
}
DELETE_AFTER_CHOICES = [
    ("never", "Never"),
    ("hour", "1 hour"),
    ("day", "1 day"),
    ("month", "30 days"),
]


def clean_file_name(name: str) -> str:
    """Return the last part of a path, without characters that do not print."""
    last = name.replace("\\", "/").rpartition("/")[2]
    printable = "".join(filter(str.isprintable, unicodedata.normalize("NFC", last))).strip()
    return printable if printable.strip(". ") else "file"


class NoteForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    """Write or change a note, its file and its end."""

    upload = forms.FileField(
        label="File", required=False, help_text=f"At most {filesizeformat(MAX_UPLOAD_SIZE)}."
    )
    remove_file = forms.BooleanField(label="Remove the file", required=False)
    delete_after = forms.ChoiceField(choices=DELETE_AFTER_CHOICES)

    class Meta:
        model = Note
        fields = ("title", "body")
        widgets: ClassVar = {"body": forms.Textarea(attrs={"rows": 8})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if getattr(self.instance, "attachment", None):
            self.fields["upload"].label = "Replace the file"
        else:
            del self.fields["remove_file"]
        if self.instance.expires_at:
            self.fields["delete_after"] = forms.ChoiceField(
                choices=[(KEEP, "No change"), *DELETE_AFTER_CHOICES], initial=KEEP
            )

    def clean_upload(self) -> "UploadedFile[bytes] | None":
        """Check the size, and make the file's name harmless. Django refuses empty files."""
        upload: UploadedFile[bytes] | None = self.cleaned_data["upload"]
        if upload is None:
            return None
        size = upload.size or 0
        if size > MAX_UPLOAD_SIZE:
            raise ValidationError(
                f"The file is too large: {filesizeformat(size)}, "
                f"and at most {filesizeformat(MAX_UPLOAD_SIZE)} are allowed."
            )
        name = clean_file_name(upload.name or "")
        if len(name) > MAX_FILE_NAME_LENGTH:
            raise ValidationError(
                f"The file's name is too long: at most {MAX_FILE_NAME_LENGTH} characters."
            )
        upload.name = name
        return upload

    def save(self, commit: bool = True) -> Note:
        """Save the note, with the moment at which it expires."""
        delete_after = self.cleaned_data["delete_after"]
        if delete_after != KEEP:
            period = DELETE_AFTER[delete_after]
            self.instance.expires_at = timezone.now() + period if period else None
        note: Note = super().save(commit)
        return note
