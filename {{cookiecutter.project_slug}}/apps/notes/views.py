"""Pages of the notes app. A note or file that is not the user's own does not exist."""

from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models.fields.files import FieldFile
from django.http import FileResponse, Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from apps.notes.attachments import put_on, store, take_off
from apps.notes.forms import NoteForm
from apps.notes.models import Attachment, Note
from apps.notes.summary import forget_summary, summary
from apps.users.requests import AuthenticatedRequest

PAGE_SIZE = 20
# A page waits so long for the background task, then it stops asking.
PATIENCE = timedelta(minutes=10)

form_methods = require_http_methods(["GET", "HEAD", "POST"])


@require_safe
@login_required
@never_cache
def note_list(request: AuthenticatedRequest) -> HttpResponse:
    """The user's notes, newest first, and their totals."""
    notes = Note.objects.visible_to(request.user).select_related("attachment").defer("body")
    page = Paginator(notes, PAGE_SIZE).get_page(request.GET.get("page"))
    return render(request, "notes/list.html", {"page": page, "summary": summary(request.user)})


@form_methods
@login_required
@never_cache
def create(request: AuthenticatedRequest) -> HttpResponse:
    """Write a new note."""
    form = NoteForm(request.POST or None, request.FILES or None, instance=Note(owner=request.user))
    if form.is_valid():
        return redirect(_save(request, form))
    return render(request, "notes/form.html", {"form": form})


@require_safe
@login_required
@never_cache
def detail(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    """One note. The page reloads itself while its file is being read."""
    note = _get_note(request, pk)
    attachment = getattr(note, "attachment", None)
    waiting = bool(
        attachment and attachment.in_progress and timezone.now() - attachment.created_at < PATIENCE
    )
    context = {"note": note, "attachment": attachment, "waiting": waiting}
    response = render(request, "notes/detail.html", context)
    if waiting:
        response.headers["Refresh"] = "2"
    return response


@form_methods
@login_required
@never_cache
def edit(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    """Change a note."""
    note = _get_note(request, pk)
    form = NoteForm(request.POST or None, request.FILES or None, instance=note)
    if form.is_valid():
        return redirect(_save(request, form))
    return render(request, "notes/form.html", {"form": form, "note": note})


@form_methods
@login_required
@never_cache
def delete(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    """Ask, and on POST delete the note with its file."""
    note = _get_note(request, pk)
    if request.method != "POST":
        return render(request, "notes/delete.html", {"note": note})
    with transaction.atomic():
        take_off(note)
        note.delete()
        forget_summary(request.user)
    messages.success(request, "The note is deleted.")
    return redirect("notes:list")


@require_safe
@login_required
@never_cache
def download(request: AuthenticatedRequest, pk: int) -> FileResponse:
    """The attached file, always as a download, never shown by the browser."""
    attachment = _get_attachment(request, pk)
    return _send(
        attachment.file,
        filename=attachment.file_name,
        content_type=attachment.content_type,
        as_attachment=True,
    )


@require_safe
@login_required
@never_cache
def thumbnail(request: AuthenticatedRequest, pk: int) -> FileResponse:
    """The small picture of an attached picture."""
    attachment = _get_attachment(request, pk)
    if not attachment.thumbnail:
        raise Http404
    return _send(attachment.thumbnail, filename="thumbnail.webp", content_type="image/webp")


def _get_note(request: AuthenticatedRequest, pk: int) -> Note:
    notes = Note.objects.visible_to(request.user).select_related("attachment")
    return get_object_or_404(notes, pk=pk)


def _get_attachment(request: AuthenticatedRequest, pk: int) -> Attachment:
    return get_object_or_404(Attachment, pk=pk, note__in=Note.objects.visible_to(request.user))


def _save(request: AuthenticatedRequest, form: NoteForm) -> Note:
    """Save a valid form: first the file, then, in one transaction, all that names it."""
    upload = form.cleaned_data["upload"]
    attachment = store(upload) if upload else None
    with transaction.atomic():
        if form.instance.pk:
            # The lock keeps two changes apart; a note deleted meanwhile stays deleted.
            get_object_or_404(
                Note.objects.visible_to(request.user).select_for_update(), pk=form.instance.pk
            )
        note = form.save()
        if attachment or form.cleaned_data.get("remove_file"):
            take_off(note)
        if attachment:
            put_on(note, attachment)
        forget_summary(request.user)
    messages.success(request, "The note is saved.")
    return note


def _send(file: FieldFile, **options: Any) -> FileResponse:
    try:
        return FileResponse(file.open("rb"), **options)
    except FileNotFoundError as error:
        # Deleted since the query.
        raise Http404 from error
