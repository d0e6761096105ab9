"""Uploads are kept in memory: Django would write large ones to a disk, in plaintext.

Source: https://docs.djangoproject.com/en/6.1/topics/http/file-uploads/#upload-handlers
"""

from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadhandler import MemoryFileUploadHandler


class MemoryUploadHandler(MemoryFileUploadHandler):
    """Keeps every uploaded file in memory.

    Refuses a request of more than `FILE_UPLOAD_MAX_MEMORY_SIZE` bytes, which the proxy
    does not let through: Django's own handler would leave its files to the next one.
    """

    def handle_raw_input(self, *args: Any, **kwargs: Any) -> None:
        super().handle_raw_input(*args, **kwargs)
        if not self.activated:
            raise RequestDataTooBig(
                "The request is larger than FILE_UPLOAD_MAX_MEMORY_SIZE "
                f"({settings.FILE_UPLOAD_MAX_MEMORY_SIZE} bytes). Keep it at "
                "client_max_body_size in services/nginx/nginx.conf."
            )
