import signal
import time
from argparse import ArgumentParser
from typing import Any

import structlog
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import close_old_connections

from apps.scheduler.plan import Plan

logger = structlog.get_logger(__name__)


class Command(BaseCommand):
    help = "Run the commands of settings.SCHEDULE, each when it is due, until stopped."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="run what is due now, then exit")

    def handle(self, *args: Any, **options: Any) -> None:
        # As process 1 of a container it would otherwise ignore SIGTERM.
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            self._run_due(once=options["once"])
        except KeyboardInterrupt:
            logger.info("scheduler_stopped")
        finally:
            signal.signal(signal.SIGTERM, before)

    def _run_due(self, *, once: bool) -> None:
        plan = Plan(settings.SCHEDULE)
        while True:
            for command in plan.due(time.monotonic()):
                self._run(command)
            if once:
                return
            time.sleep(plan.seconds_to_next(time.monotonic()))

    def _run(self, command: str) -> None:
        """A command that fails is logged and tried again when next due."""
        close_old_connections()
        try:
            call_command(command)
            logger.info("scheduled_command_done", command=command)
        except (Exception, SystemExit):
            logger.exception("scheduled_command_failed", command=command)
