import json
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from apps.encryption import hops, probes, report


class Command(BaseCommand):
    help = "Probe every hop and store that this process has; exit 1 if one falls short."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print data instead of a table")

    def handle(self, *args: Any, **options: Any) -> None:
        results = list(probes.run(hops.load(), settings.ROLE))
        if options["json"]:
            self.stdout.write(json.dumps(report.as_data(results), indent=2))
        else:
            self.stdout.write(report.as_table(results))
        failed = [result.item.name for result in results if not result.ok]
        if not results:
            raise CommandError(f"The role {settings.ROLE!r} has no hop in encryption.toml.")
        if failed:
            raise CommandError(f"{len(failed)} of {len(results)} fall short: {', '.join(failed)}.")
        if not options["json"]:
            proofs = sum(len(result.proofs) for result in results)
            self.stdout.write(
                f"All {len(results)} hops and stores of '{settings.ROLE}' hold ({proofs} proofs)."
            )
