"""Cases of one test of which a few are quick enough for every run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def slow_after(quick: int, cases: Iterable[Any]) -> list[Any]:
    """Return the cases of a test as parameters, all after the first `quick` ones slow; a tuple is several values."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=() if number < quick else pytest.mark.slow)
        for number, case in enumerate(cases)
    ]
