"""Elapsed time."""

from __future__ import annotations

import time


class Stopwatch:
    """Seconds since it was made, and those `before`."""

    def __init__(self, before: float = 0.0) -> None:
        self._start = time.perf_counter() - before

    def seconds(self) -> float:
        """Return the seconds so far."""
        return time.perf_counter() - self._start
