"""The project's pages, and Django's own for a forgotten password, which it does not have yet."""

from django.contrib.auth import views
from django.urls import include, path

urlpatterns = [
    path("", include("config.urls")),
    path("reset/", views.PasswordResetView.as_view(), name="password_reset"),
    path("reset/done/", views.PasswordResetDoneView.as_view(), name="password_reset_done"),
    path(
        "reset/<uidb64>/<token>/",
        views.PasswordResetConfirmView.as_view(),
        name="password_reset_confirm",
    ),
    path(
        "reset/complete/",
        views.PasswordResetCompleteView.as_view(),
        name="password_reset_complete",
    ),
]
