"""What a check reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figures:
    """The outcome of one check.

    Attributes
    ----------
    name : str
        What was done.
    tried : int
        Faults that took effect.
    held : int
        Those that the store refused by name or withstood, and that the next run healed to the bit.
    lost : int
        All others: wrong rows accepted, valid rows gone, a result unlike a single writer's, a traceback, a crash or
        a hang.
    note : str
        Conditions, and what else was counted.
    control : bool
        Another reader, for comparison: what it loses is no failure of the store.
    """

    name: str
    tried: int
    held: int
    lost: int
    note: str
    control: bool = False


def summed(name: str, complaints: Sequence[str], note: str) -> Figures:
    """Return the figures of trials that each had a complaint, or an empty string where there was none."""
    lost = [complaint for complaint in complaints if complaint]
    text = f"{note}; first loss: {lost[0]}" if lost else note
    return Figures(name, len(complaints), len(complaints) - len(lost), len(lost), text)
