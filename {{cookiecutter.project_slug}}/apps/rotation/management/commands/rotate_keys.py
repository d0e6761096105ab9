"""`manage.py rotate_keys`: new data keys, and everything encrypted under them."""

import time
from collections.abc import Sequence
from typing import Any, Never

from django.core.management.base import BaseCommand, CommandError, CommandParser, OutputWrapper
from django.db import DEFAULT_DB_ALIAS, connections
from tqdm import tqdm

from apps.keys.errors import DataKeyError
from apps.keys.keyring import Purpose
from apps.rotation import keys
from apps.rotation.keys import Plan
from apps.rotation.objects import Files, files
from apps.rotation.tables import Table, tables
from apps.rotation.waiting import only_one, settle

Places = Sequence[Table | Files]


class Command(BaseCommand):
    """Runs while the site serves. It may be killed at any moment: run it again, and it
    goes on with what it began.

    Nothing it does needs all of it to have happened: old and new keys decrypt, a search
    finds values indexed under either, and a key is retired only when nothing uses it.
    """

    help = (
        "Makes new data keys, re-encrypts and re-indexes what is stored, verifies that nothing "
        "uses the old keys, and retires them. Run it again if it was interrupted."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--purpose",
            action="append",
            choices=[purpose.value for purpose in Purpose],
            help="rotate this key only; may be repeated (default: all)",
        )
        parser.add_argument(
            "--resume",
            action="store_true",
            help="make no new key: finish a rotation, or move restored data to the current keys",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="say what there is to do, and do nothing"
        )
        parser.add_argument("--batch-size", type=int, default=1000, help="rows per transaction")

    def handle(
        self,
        *,
        purpose: list[str] | None,
        resume: bool,
        dry_run: bool,
        batch_size: int,
        **_options: Any,
    ) -> None:
        if batch_size < 1:
            raise CommandError("--batch-size must be at least 1.")
        self._batch_size = batch_size
        wanted = {Purpose(name) for name in purpose or Purpose}
        try:
            if dry_run:
                self._describe(keys.plan(wanted, resume=resume))
                return
            # Every database has values under the same keys, so one rotation is for all.
            with only_one(DEFAULT_DB_ALIAS):
                self._rotate(keys.plan(wanted, resume=resume))
        except DataKeyError as error:
            raise CommandError(f"{error} Then run this again: it goes on.") from error

    def _describe(self, plan: Plan) -> None:
        for purpose in plan.purposes:
            state = "would get a new key" if purpose in plan.new else "gets no new key"
            self.stdout.write(f"{purpose}: {'is rotating' if purpose in plan.begun else state}")
        places: Places = [*self._tables(plan), *self._files(plan)]
        for place in places:
            self.stdout.write(
                f"{place.name}: {place.count()} {place.unit}, "
                f"{place.count_due()} of them not under the current keys"
            )
        self.stdout.write("Nothing is changed.")

    def _rotate(self, plan: Plan) -> None:
        if plan.begun:
            self._say(f"Going on with the rotation of {', '.join(plan.begun)}.")
        for purpose in plan.new:
            self._say(f"Made the {purpose} key {keys.begin(purpose, plan.made).id}.")
        self._settle()
        self._rewrite(self._tables(plan))
        self._rewrite(self._files(plan))
        rotating = [purpose for purpose in plan.purposes if keys.is_rotating(purpose)]
        if Purpose.INDEX in rotating:
            self._move_index(self._tables(plan))
            rotating.remove(Purpose.INDEX)
        elif rotating:
            self._settle()  # somebody may have read a value before, and decrypt it now
        # Last, for this tells the next run that something is left to do.
        for purpose in rotating:
            self._retire(purpose)

    def _move_index(self, places: Places) -> None:
        # By now every value is indexed under both keys.
        if not keys.newest_is_searched():
            keys.search_with_newest()
            self._say("Searches now use the new index key.")
        self._settle()
        self._retire(Purpose.INDEX)
        self._settle()
        self._rewrite(places)  # takes the old index out of them

    def _tables(self, plan: Plan) -> list[Table]:
        if not {Purpose.FIELDS, Purpose.INDEX} & set(plan.purposes):
            return []
        return [table for alias in connections for table in tables(alias)]

    def _files(self, plan: Plan) -> list[Files]:
        if Purpose.FILES not in plan.purposes:
            return []
        return [place for alias in connections for place in files(alias)]

    def _rewrite(self, places: Places) -> None:
        """Rewrite until nothing is due. Raises `CommandError` if something cannot be."""
        if not places:
            return
        begun, rewritten, unit = time.monotonic(), 0, places[0].unit
        for place in places:
            while due := place.count_due():
                with self._bar(place, due) as bar:
                    done = place.rotate(self._batch_size, bar.update)
                rewritten += done.rewritten
                if done.failed and place.count_due() <= len(done.failed):
                    raise CommandError(
                        f"{place.name}: {len(done.failed)} {unit} cannot be decrypted, for "
                        f"example {', '.join(map(str, done.failed[:5]))}. Restore them from a "
                        'backup, or delete them: .filter(pk=...).only("pk").delete(). Then run '
                        "this again: no key that decrypts was retired."
                    )
                if not done.rewritten:
                    time.sleep(0.2)  # others hold the rest
        seconds = time.monotonic() - begun
        self._say(f"Rewrote {rewritten} {unit} in {seconds:.1f} s ({rewritten / seconds:,.0f}/s).")

    def _bar(self, place: Table | Files, due: int) -> "tqdm[Never]":
        # On a terminal a bar is drawn over the last one; a log gets a line for each.
        err: Any = self.stderr
        file = OutputWrapper(err._out, ending="" if err.isatty() else "\n")
        return tqdm(total=due, unit=f" {place.unit}", desc=place.name, file=file)

    def _retire(self, purpose: Purpose) -> None:
        for key_id in keys.retire(purpose):
            self._say(f"Nothing uses the {purpose} key {key_id} any more: it is retired.")

    def _settle(self) -> None:
        settle(self._say)

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
