"""What makes a learning curve hands over: its points and what they cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from probeline.data.sampling.fractions import Portion
from probeline.results.curve import CurvePoint


def nothing() -> None:
    """Leave all as it is."""


@dataclass(frozen=True)
class Points:
    """The points of a curve.

    Attributes
    ----------
    points : tuple of CurvePoint
    seconds : tuple of 2 floats
        That they took, and what came before and was kept.
    device : str
        In words.
    told : str
        How many of what were made.
    tidy : callable
        Removes what was kept for an interrupted run; called once the curve is written.
    """

    points: tuple[CurvePoint, ...]
    seconds: tuple[float, float]
    device: str
    told: str
    tidy: Callable[[], None] = nothing


def point(one: Portion, **facts: Any) -> CurvePoint:
    """Return the point of a part of the train rows, with what was found there."""
    return CurvePoint(one.kind, one.amount, one.draw, len(one.rows), one.short, **facts)
