"""How long work takes, and for how much of it its threads waited for a core."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from probeline.files.reading import TEXT, read_text

_TASKS = Path("/proc/self/task")
"""On Linux, one folder for each thread of this process."""


@dataclass(frozen=True)
class Elapsed:
    """What some work took.

    Attributes
    ----------
    seconds : float
        By the clock.
    computed : float
        Of the processor, all threads together.
    waited : float or None
        Seconds for which threads that could go on had no core, all threads together; None where the system, such as
        macOS, does not say.
    """

    seconds: float = 0.0
    computed: float = 0.0
    waited: float | None = 0.0

    def __add__(self, other: Elapsed) -> Elapsed:
        waited = None if self.waited is None or other.waited is None else self.waited + other.waited
        return Elapsed(self.seconds + other.seconds, self.computed + other.computed, waited)

    @property
    def waited_share(self) -> float | None:
        """The share in [0, 1] of waiting in the time that the threads wanted a core; None if it is not known."""
        if self.waited is None or not self.waited + self.computed:
            return None
        return self.waited / (self.waited + self.computed)


class Stopwatch:
    """Runs from when it is made. What threads did that have ended since is missing from their waiting."""

    def __init__(self) -> None:
        self._clock, self._computed, self._waited = time.perf_counter(), time.process_time(), _waited_by_thread()

    def read(self) -> Elapsed:
        """Return what has passed since it was made."""
        now, before = _waited_by_thread(), self._waited
        waited = None
        if now is not None and before is not None:
            waited = sum(total - before.get(thread, 0.0) for thread, total in now.items())
        return Elapsed(time.perf_counter() - self._clock, time.process_time() - self._computed, waited)


def _waited_by_thread() -> dict[str, float] | None:
    """Return the seconds that each thread of this process has waited for a core, or None if the system does not say."""
    found: dict[str, float] = {}
    try:
        for task in _TASKS.iterdir():
            try:
                found[task.name] = int(read_text(task / "schedstat", TEXT).split()[1]) / 1e9
            except (FileNotFoundError, ProcessLookupError):
                continue  # the thread has ended
    except (OSError, IndexError, ValueError):
        return None
    return found or None
