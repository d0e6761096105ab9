"""Structured logs in which values that may be secret are blanked.

Sources: https://www.structlog.org/en/stable/standard-library.html and
https://django-structlog.readthedocs.io/
"""

import re
from collections.abc import Mapping
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_SECRET_NAME = re.compile(r"passw|secret|token|cookie|authorization|session|credential", re.I)
# The password in scheme://user:password@host
_SECRET_IN_URL = re.compile(r"(?<=://)([^/@:\s]*):[^/@\s]+@")


def _clean(value: Any) -> Any:
    match value:
        case str():
            return _SECRET_IN_URL.sub(r"\1:[redacted]@", value)
        case Mapping():
            return {
                key: "[redacted]" if _SECRET_NAME.search(str(key)) else _clean(inner)
                for key, inner in value.items()
            }
        case list() | tuple():
            return [_clean(inner) for inner in value]
        case _:
            return value


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Blank values whose key sounds secret, at any depth, and passwords inside URLs."""
    cleaned: EventDict = _clean(event)
    return cleaned


def configure(*, json: bool) -> dict[str, Any]:
    """Set structlog up and return Django's `LOGGING`: JSON lines, or text for people."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        structlog.processors.UnicodeDecoder(),
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    renderer: Processor = (
        structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=False)
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    renderer,
                ],
                "foreign_pre_chain": shared,
            }
        },
        "handlers": {"stdout": {"class": "logging.StreamHandler", "formatter": "structured"}},
        "root": {"handlers": ["stdout"], "level": "INFO"},
        "loggers": {
            "django": {"handlers": [], "level": "INFO", "propagate": True},
            # Each new client says where its endpoint comes from.
            "botocore": {"level": "WARNING"},
            # The probes cause name mismatches on purpose; as errors they are raised anyway.
            "urllib3.connection": {"level": "ERROR"},
        },
    }
