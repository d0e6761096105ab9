"""Which commands are due, without a clock of its own."""

from collections.abc import Mapping
from datetime import timedelta


class Plan:
    """Commands and their intervals; everything is due at the start.

    `schedule` maps a management command's name to the time between two runs. Raises
    `ValueError` for an interval that is not positive.
    """

    def __init__(self, schedule: Mapping[str, timedelta]) -> None:
        if bad := [name for name, every in schedule.items() if every <= timedelta(0)]:
            raise ValueError(f"SCHEDULE needs positive intervals: {', '.join(bad)}.")
        self._every = {name: every.total_seconds() for name, every in schedule.items()}
        self._next = dict.fromkeys(self._every, float("-inf"))

    def due(self, now: float) -> list[str]:
        """Names due at `now` (seconds), which count as started from here on."""
        names = [name for name, at in self._next.items() if at <= now]
        self._next |= {name: now + self._every[name] for name in names}
        return names

    def seconds_to_next(self, now: float) -> float:
        """How long to sleep; an hour where nothing is planned."""
        return max(0.0, min(self._next.values(), default=now + 3600) - now)
