"""`manage.py report_metrics`: what the alarms watch, as one line for CloudWatch."""

from typing import Any

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from apps.operations import emf
from apps.operations.measures import MEASURES

logger = structlog.get_logger(__name__)


class Command(BaseCommand):
    """Print the measures that could be taken, and log the others.

    A metric that is left out is missing data, which its alarm takes for a failure. The
    command itself fails only if nothing at all could be measured.
    """

    help = "Prints this environment's own metrics in CloudWatch's Embedded Metric Format."

    def handle(self, **_options: Any) -> None:
        values: dict[str, float] = {}
        for measure in MEASURES:
            try:
                values[measure.name] = measure.take()
            except Exception:
                logger.exception("metric_not_measured", metric=measure.name)
        if not values:
            raise CommandError("Nothing could be measured; the log says why for each metric.")
        # To standard output itself: a logger would wrap the line, and CloudWatch not see it.
        self.stdout.write(
            emf.line(
                settings.PROJECT.slug,
                {"Environment": settings.ENVIRONMENT},
                values,
                {measure.name: measure.unit for measure in MEASURES},
                at=timezone.now(),
            )
        )
