"""Uploaded files are in memory, never in a temporary file."""

import re
import tempfile

import pytest
import pytest_django
from django.conf import settings as in_force
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadedfile import InMemoryUploadedFile, SimpleUploadedFile
from django.test import RequestFactory

from config.project import BASE_DIR

CONTENT = b"canary-4711 " * 500_000  # 6 MB


def test_a_large_upload_is_not_written_to_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NamedTemporaryFile", "TemporaryFile", "SpooledTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, pytest.fail)
    request = RequestFactory().post("/", {"file": SimpleUploadedFile("a", CONTENT)})
    file = request.FILES["file"]
    assert isinstance(file, InMemoryUploadedFile)
    assert file.read() == CONTENT


def test_a_request_above_the_limit_is_refused(settings: pytest_django.Settings) -> None:
    """Django would go on without the file, as if none had been chosen."""
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = len(CONTENT)
    request = RequestFactory().post("/", {"file": SimpleUploadedFile("a", CONTENT)})
    with pytest.raises(RequestDataTooBig, match="client_max_body_size"):
        _ = request.FILES


def test_the_proxy_lets_nothing_larger_through() -> None:
    configuration = (BASE_DIR / "services" / "nginx" / "nginx.conf").read_text()
    (megabytes,) = re.findall(r"client_max_body_size (\d+)m;", configuration)
    assert int(megabytes) * 1024 * 1024 == in_force.FILE_UPLOAD_MAX_MEMORY_SIZE
