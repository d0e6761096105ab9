from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView, TemplateView

handler400 = "config.pages.bad_request"
handler403 = "config.pages.permission_denied"
handler404 = "config.pages.not_found"

urlpatterns = [
    path("", TemplateView.as_view(template_name="home.html"), name="home"),
    path("accounts/", include("apps.users.urls")),
    # The admin's own form would look at old passwords without any limit.
    path("admin/password_change/", RedirectView.as_view(pattern_name="password_change")),
    path("admin/", admin.site.urls),
    path("encryption/", include("apps.encryption.urls")),
    path("notes/", include("apps.notes.urls")),
]
