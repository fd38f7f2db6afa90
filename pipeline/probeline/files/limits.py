"""Ranges and sizes that the fields of records share, as hints for :func:`probeline.files.decode.decode`."""

from __future__ import annotations

import re
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Within:
    """A check of numbers: both ends belong to the range."""

    low: float
    high: float

    def __call__(self, value: float) -> str | None:
        """Return what is expected instead of a value; None if it is within the range."""
        return None if self.low <= value <= self.high else f"{self.low:,.12g} to {self.high:,.12g}"


@dataclass(frozen=True)
class Length:
    """A check of texts and arrays: how many characters or values they have."""

    low: int
    high: int

    def __call__(self, value: Sized) -> str | None:
        """Return what is expected instead of a value; None if it is as long as that."""
        return None if self.low <= len(value) <= self.high else f"a length of {self.low:,} to {self.high:,}"


@dataclass(frozen=True)
class Pattern:
    """A check of texts: what the whole text matches, and what that is called."""

    regex: str
    name: str

    def __call__(self, value: str) -> str | None:
        """Return what is expected instead of a value; None if it matches."""
        return None if re.fullmatch(self.regex, value) else self.name


MOST = 1 << 53
"""Of counts: up to it, every integer is a float too."""

Share = Annotated[float, Within(0, 1)]
Number = Annotated[float, Within(-1e39, 1e39)]
"""Up to the largest of float32."""

NotNegative = Annotated[float, Within(0, 1e39)]
Loss = Annotated[float, Within(-1e-6, 1e39)]
"""Not negative, but for rounding."""

Seconds = Annotated[float, Within(0, 1e12)]
"""A year has 3e7; the sum over shards or seeds is still a number."""

Count = Annotated[int, Within(0, MOST)]
Positive = Annotated[int, Within(1, MOST)]
Pixels = Annotated[int, Within(0, 1 << 20)]
Name = Annotated[str, Length(1, 1000)]
"""Of a data set, a net, weights, a tap: names of files are shorter, and a longer one would break a page."""

Sha256 = Annotated[str, Pattern("[0-9a-f]{64}", "64 hexadecimal digits")]
Base64 = Annotated[str, Pattern("[A-Za-z0-9+/]+={0,2}", "base64")]


def check_classes(name: str, values: Sequence[int], classes: int) -> None:
    """Raise ValueError for classes outside [0, `classes`)."""
    if values and not 0 <= min(values) <= max(values) < classes:
        raise ValueError(f"{name} in [{min(values)}, {max(values)}], where there are {classes:,} classes")


def check_lengths(**columns: Sized) -> None:
    """Raise ValueError for columns of different lengths."""
    if len(set(map(len, columns.values()))) > 1:
        raise ValueError(", ".join(f"{len(column):,} {name}" for name, column in columns.items()))


def check_interval(name: str, interval: tuple[float, float], value: float) -> None:
    """Raise ValueError for an interval that is not in order or does not hold its value, but for rounding."""
    low, high = interval
    if not low - 1e-9 <= value <= high + 1e-9:
        raise ValueError(f"{name} {low:.6g} to {high:.6g} does not hold {value:.6g}")
