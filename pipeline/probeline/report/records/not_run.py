"""What a report could show and nothing has been run for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class NotRun:
    """A row or a record that is missing, and the command that makes it."""

    what: str
    command: str
