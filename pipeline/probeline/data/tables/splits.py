"""The parts that a table's split column names, in the usual spellings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from probeline.data.part_names import named_part
from probeline.errors import BadData

_SHOWN = 10
_SURE = ("split", "subset")


def names_parts(values: Sequence[str], column: str | None) -> bool:
    """Return whether a column names parts: it is called split or subset, or one of its values is a part."""
    return (column or "").lower() in _SURE or any(map(named_part, values))


def read_splits(values: Sequence[str], column: str, where: object) -> list[str]:
    """Return the part of each row: train, val or test.

    Raises
    ------
    BadData
        Values that are none of the spellings, with how often each occurs, or no row of train.
    """
    parts = [named_part(value) for value in values]
    unknown = Counter(value for value, part in zip(values, parts, strict=True) if part is None)
    if unknown:
        counts = ", ".join(f"{value.strip() or 'empty'} ({n:,})" for value, n in unknown.most_common(_SHOWN))
        raise BadData(
            f"the split column {column!r} has other values than train, val and test",
            where=where,
            got=counts + (f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""),
            remedy="rename them, or pass --columns split= to split the images anew",
        )
    known = [part for part in parts if part is not None]
    if known and "train" not in known:
        raise BadData(
            f"the split column {column!r} has no row of train",
            where=where,
            got=", ".join(sorted({*known})),
            remedy="pass --columns split= to split the images anew",
        )
    return known
