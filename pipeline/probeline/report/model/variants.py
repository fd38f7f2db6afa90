"""How rows of one method are told apart: by tap, precision, numbers of images, and which run of several options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from probeline.format import option
from probeline.identity import canonical

if TYPE_CHECKING:
    from probeline.report.model.rows import Row


def variant(i: int, rows: Sequence[Row]) -> str:
    """Return what tells row `i` from others of its method in its place; first, even of a row alone, tap and views."""
    row, alike = rows[i], _alike(i, rows)
    parts = [row.where] if row.where else []
    parts += [row.precision] if len({other.precision for other in alike}) > 1 else []
    parts += [
        f"{getattr(row, name):,} {name[2:]}"
        for name in ("n_train", "n_val", "n_test")
        if len({getattr(other, name) for other in alike}) > 1
    ]
    runs = sorted({canonical(dict(other.options)) for other in alike})
    parts += [f"run {_letters(runs.index(canonical(dict(row.options))))}"] if len(runs) > 1 else []
    return ", ".join(parts)


def differing(i: int, rows: Sequence[Row]) -> str:
    """Return the options of a row in which other runs of it differ, to the last digit."""
    alike = _alike(i, rows)
    return ", ".join(
        option(name, value, exactly=True)
        for name, value in rows[i].options.items()
        if any(other.options.get(name) != value for other in alike)
    )


def _alike(i: int, rows: Sequence[Row]) -> list[Row]:
    """Return the rows of one method in one place, that row among them."""

    def place(row: Row) -> tuple[object, ...]:
        return row.backbone, row.weights, row.image_size, row.tap, row.views, row.method

    return [other for other in rows if place(other) == place(rows[i])]


def _letters(number: int) -> str:
    """Return ``A`` to ``Z``, then ``AA`` and so on."""
    rest, last = divmod(number, 26)
    return (_letters(rest - 1) if rest else "") + chr(ord("A") + last)
