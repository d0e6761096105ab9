"""Error reports (the debug page, mails to administrators) without values.

Django blanks what functions declare as sensitive, and only while DEBUG is off. The
frames of its own database code hold rows in plaintext and in ciphertext, and what a
browser sends may end up in an encrypted column. So here every variable of every frame,
and all of the request but its method and path, is blanked, always. The exception's own
text is shown.
https://docs.djangoproject.com/en/6.1/howto/error-reporting/#custom-error-reports
"""

from collections.abc import Iterable
from types import FrameType
from typing import Any

from django.http import HttpRequest
from django.views.debug import ExceptionReporter, SafeExceptionReporterFilter


class NoValuesFilter(SafeExceptionReporterFilter):
    """For `DEFAULT_EXCEPTION_REPORTER_FILTER`."""

    def is_active(self, request: HttpRequest | None) -> bool:
        """Always."""
        return True

    def get_traceback_frame_variables(
        self, request: HttpRequest | None, tb_frame: FrameType
    ) -> Any:
        """Return the names of the frame's variables, each with a placeholder."""
        return [(name, self.cleansed_substitute) for name in tb_frame.f_locals]

    def get_post_parameters(self, request: HttpRequest | None) -> dict[str, Any]:
        """Return the names of the form's fields, each with a placeholder."""
        return self._blanked(request.POST if request else ())

    def get_safe_request_meta(self, request: HttpRequest | None) -> dict[str, Any]:
        """Return the names of the headers, each with a placeholder; a referrer has a query."""
        return self._blanked(getattr(request, "META", ()))

    def get_safe_cookies(self, request: HttpRequest | None) -> dict[str, Any]:
        """Return the names of the cookies, each with a placeholder."""
        return self._blanked(getattr(request, "COOKIES", ()))

    def _blanked(self, names: Iterable[str]) -> dict[str, Any]:
        return dict.fromkeys(names, self.cleansed_substitute)


class NoValuesReporter(ExceptionReporter):
    """For `DEFAULT_EXCEPTION_REPORTER`: blanks what its filter is not asked about."""

    def get_traceback_data(self) -> dict[str, Any]:
        """Return what the templates of the reports show."""
        data = super().get_traceback_data()
        data["unicode_hint"] = ""  # a piece of the text that could not be converted
        if self.request is not None:
            blank = self.filter.cleansed_substitute
            data["request_GET_items"] = [(name, blank) for name in self.request.GET]
            data["request_FILES_items"] = [(name, blank) for name in self.request.FILES]
            data["request_insecure_uri"] = data["request_insecure_uri"].partition("?")[0]
        return data
