"""Which row a word of the command line names."""

from __future__ import annotations

import re

from probeline.errors import BadOption, UnknownName
from probeline.types import DataSet


def named_row(word: str, dataset: DataSet) -> tuple[str, int]:
    """Return the part and the row that ``PART:ROW`` names; the part may be left out where there is but one.

    Raises
    ------
    BadOption, UnknownName
        A row or a part that the data set does not have.
    """
    named, _, number = word.rpartition(":")
    if not re.fullmatch(r"\d{1,18}", number, re.ASCII):
        raise BadOption("no row", where=repr(word), expected="[PART:]ROW, the row a number from 0")
    parts = tuple(dataset.parts)
    part = named or parts[0]
    if part not in parts:
        raise UnknownName("part", part, parts)
    if not named and len(parts) > 1:
        raise BadOption(
            "row of which part?", where=word, expected="one of: " + ", ".join(f"{name}:{number}" for name in parts)
        )
    n = len(dataset.parts[part])
    if int(number) >= n:
        raise BadOption("no such row", where=word, expected=f"0 to {n - 1}: {part} of {dataset.name} has {n:,} rows")
    return part, int(number)
