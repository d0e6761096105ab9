"""An admin of the library's models, and the URLs of it."""

from typing import Any

from django.contrib import admin
from django.urls import include, path

from tests.fields.library.models import Loan, Reader, Tag

site = admin.AdminSite(name="library_admin")


class LoanInline(admin.TabularInline[Loan, Reader]):
    """A reader's loans."""

    model = Loan
    extra = 0


@admin.register(Reader, site=site)
class ReaderAdmin(admin.ModelAdmin[Reader]):
    """Searched by exact values."""

    list_display = ("email", "name", "plain")
    ordering = ("pk",)
    list_editable = ("name",)
    search_fields = ("email__exact", "name__exact", "plain")
    inlines = (LoanInline,)


@admin.register(Loan, site=site)
class LoanAdmin(admin.ModelAdmin[Loan]):
    """Searched through a relation, and by case-insensitive equality."""

    list_display = ("book", "reader")
    list_select_related = ("reader",)
    search_fields = ("reader__email__exact", "=book")
    list_filter = ("due", ("reader", admin.RelatedOnlyFieldListFilter))
    autocomplete_fields = ("reader",)


@admin.register(Tag, site=site)
class TagAdmin(admin.ModelAdmin[Tag]):
    """Asks for what cannot be done."""

    list_display = ("word",)
    list_filter = ("colour",)
    search_fields = ("word",)
    exclude = ("loans",)


urlpatterns: list[Any] = [path("library/", site.urls), path("", include("config.urls"))]
