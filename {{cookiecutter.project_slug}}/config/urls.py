from django.contrib import admin
from django.urls import include, path
from django.views.generic import TemplateView

urlpatterns = [
    path("", TemplateView.as_view(template_name="home.html"), name="home"),
    path("accounts/", include("apps.users.urls")),
    path("admin/", admin.site.urls),
    path("encryption/", include("apps.encryption.urls")),
    path("notes/", include("apps.notes.urls")),
]
