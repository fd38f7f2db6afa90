"""Where an axis of top-1 begins: rows that lie far below all others would leave these no room."""

from __future__ import annotations

from collections.abc import Sequence

from probeline.report.model.rows import Row

_WIDE = 3
"""An axis that shows all rows may be so many times as wide as one of those that lie near."""


def floor(tops: Sequence[float]) -> float:
    """Return the height that lower rows are drawn at, a little below the others; 0 where none lies far below.

    Far is farther than the others, half of the rows at least, lie from one another.
    """
    falling = sorted(tops, reverse=True)
    for i in range(max(2, (len(falling) + 1) // 2), len(falling)):
        spread = falling[0] - falling[i - 1]
        if 0 < spread < falling[i - 1] - falling[i]:
            return max(falling[i - 1] - 0.3 * spread, 0.0)
    return 0.0


def edge(rows: Sequence[Row]) -> float:
    """Return where an axis of top-1 begins: at the lowest end of the intervals of rows that do not lie far below.

    Rows whose top-1 is lower than that are drawn at the edge. 0 where there are none.
    """
    low = floor([row.top1 for row in rows])
    for _ in range(2):  # what does not lie below the intervals of the others is shown with its own
        low = min((end for row in rows if row.top1 >= low for end in (row.interval[0], *row.top1_by_seed)), default=0.0)
    end = max(row.interval[1] for row in rows)
    narrow = end - min(row.interval[0] for row in rows) < _WIDE * (end - low)
    return 0.0 if narrow or not any(row.top1 < low for row in rows) else low
