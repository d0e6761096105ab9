"""The project's pages, and one that fails with values in its variables."""

from django.http import HttpRequest, HttpResponse
from django.template import Context, Template
from django.urls import include, path


def fail(request: HttpRequest, kind: str) -> HttpResponse:
    """Fail in one of three ways, with what was sent in the frame's variables."""
    value = request.POST.get("title", "")
    files = str(request.FILES)
    if kind == "template":
        Template("{% load nothing %}").render(Context({"value": value}))
    if kind == "encoding":
        (value.encode() + b"\xff").decode()
    try:
        raise KeyError(len(value) + len(files))
    except KeyError as error:
        raise RuntimeError("It failed.") from error


urlpatterns = [path("fail/<kind>/", fail), path("", include("config.urls"))]
