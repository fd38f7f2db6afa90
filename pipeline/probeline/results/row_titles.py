"""What tells rows of one method apart: tap, precision, numbers of images, and which run of several options."""

from __future__ import annotations

from collections.abc import Sequence

from probeline.format import option
from probeline.identity import canonical
from probeline.names import describe_tap
from probeline.results.ranking import Ranked


def variant(i: int, rows: Sequence[Ranked]) -> str:
    """Return what tells row `i` from rows of the same method and net; tap and views come first, even for a lone row."""
    row, runs = rows[i], _runs(i, rows)
    where = describe_tap(row.tap, row.views)
    parts = [where] if where else []
    parts += [row.precision] if len({other.precision for other in runs}) > 1 else []
    parts += [
        f"{getattr(row, name):,} {name[2:]}"
        for name in ("n_train", "n_val", "n_test")
        if len({getattr(other, name) for other in runs}) > 1
    ]
    options = sorted({canonical(dict(other.options)) for other in runs})
    if len(options) > 1:
        parts.append(f"run {_letters(options.index(canonical(dict(row.options))))}")
    return ", ".join(parts)


def differing_options(i: int, rows: Sequence[Ranked]) -> str:
    """Return the options in which other runs of row `i` differ from it, with all digits."""
    runs = _runs(i, rows)
    return ", ".join(
        option(name, value, exactly=True)
        for name, value in rows[i].options.items()
        if any(other.options.get(name) != value for other in runs)
    )


def _runs(i: int, rows: Sequence[Ranked]) -> list[Ranked]:
    """Return the rows of the same method, net, tap and views as row `i`, itself included."""

    def identity(row: Ranked) -> tuple[object, ...]:
        return row.backbone, row.weights, row.image_size, row.tap, row.views, row.method

    return [other for other in rows if identity(other) == identity(rows[i])]


def _letters(number: int) -> str:
    """Return ``A`` to ``Z``, then ``AA`` and so on."""
    rest, last = divmod(number, 26)
    return (_letters(rest - 1) if rest else "") + chr(ord("A") + last)
