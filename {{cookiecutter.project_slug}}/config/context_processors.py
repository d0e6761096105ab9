from django.conf import settings
from django.http import HttpRequest

from config.project import Project


def project(_request: HttpRequest) -> dict[str, Project]:
    """Give templates `project`: the names from `project.toml`."""
    return {"project": settings.PROJECT}
