"""Collects what the project tells about errors: logs in both formats, mails, pages."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core import mail
from django.test import override_settings
from django.utils.log import AdminEmailHandler

from config import logs

LOCMEM = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}


class Reports:
    """All that was told since `collected` began. `pages` is for a test to add to."""

    def __init__(self) -> None:
        self.lines = {True: io.StringIO(), False: io.StringIO()}
        self.pages: list[str] = []

    @property
    def mails(self) -> list[Any]:
        return mail.outbox

    def everything(self) -> dict[str, str]:
        """Return each kind of report and its text."""
        mails = [
            "\n".join([message.subject, message.body, *(a.content for a in message.alternatives)])
            for message in self.mails
        ]
        return {
            "logs, JSON": self.lines[True].getvalue(),
            "logs, text": self.lines[False].getvalue(),
            "mails": "\n".join(mails),
            "pages": "\n".join(self.pages),
        }


@contextmanager
def collected() -> Iterator[Reports]:
    """Have errors reported in every way that the project knows, and collect the reports."""
    reports = Reports()
    mails = AdminEmailHandler(include_html=True)
    mails.setLevel(logging.ERROR)
    handlers: list[logging.Handler] = [mails]
    for as_json, stream in reports.lines.items():
        options = dict(logs.configure(json=as_json)["formatters"]["structured"])
        lines = logging.StreamHandler(stream)
        lines.setFormatter(options.pop("()")(**options))
        handlers.append(lines)
    root = logging.getLogger()
    with override_settings(MAILERS=LOCMEM, ADMINS=["admin@example.com"]):
        mail.outbox = []
        for handler in handlers:
            root.addHandler(handler)
        try:
            yield reports
        finally:
            for handler in handlers:
                root.removeHandler(handler)
            logs.configure(json=not settings.IS_LOCAL)
