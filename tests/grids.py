"""The l2 that methods of a grid try, as tests need them: a few, which take no time, or all, as users get them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest

from probeline.analysis import data_checks
from probeline.evaluate.heads import exact, zero_shot
from probeline.evaluate.targets import methods
from probeline.finetuning import fitted_probe, requests

SHORT: dict[str, tuple[float, ...]] = {"L2_GRID": (1e-2, 1.0, 10.0), "REFERENCE_L2": (1e-2, 1e-1, 1.0)}
"""Instead of 45 of the exact probe, whose whole path takes seconds, and of 5 of scikit-learn's solver."""

PLACES: tuple[tuple[Any, str, str], ...] = (
    *((room, "L2_GRID", "L2_GRID") for room in (exact, zero_shot, data_checks, fitted_probe, requests)),
    (exact, "REFERENCE_L2", "REFERENCE_L2"),
    (methods.LabelProbe, "grid", "L2_GRID"),
    (methods.LabelReference, "grid", "REFERENCE_L2"),
)
"""Where a grid is read, the name there, and which grid it is."""

WHOLE = tuple(getattr(place, name) for place, name, _ in PLACES)


@contextmanager
def short_grids() -> Iterator[None]:
    """Try three l2 each."""
    with pytest.MonkeyPatch.context() as patch:
        for place, name, grid in PLACES:
            patch.setattr(place, name, SHORT[grid])
        yield


@contextmanager
def whole_grids() -> Iterator[None]:
    """Try all l2, within `short_grids`."""
    with pytest.MonkeyPatch.context() as patch:
        for (place, name, _), whole in zip(PLACES, WHOLE, strict=True):
            patch.setattr(place, name, whole)
        yield


def few_l2_in(*rooms: ModuleType) -> str:
    """Return lines that begin a program of its own, which then tries the same three l2 in these modules."""
    return "".join(
        f"import {room.__name__}\n{room.__name__}.{name} = {SHORT[grid]}\n"
        for room, name, grid in PLACES
        if room in rooms
    )
