from django.urls import path

from apps.encryption import views

urlpatterns = [path("", views.status, name="encryption-status")]
