"""Where an axis of top-1 starts: rows far below all others would leave no room for these."""

from __future__ import annotations

from collections.abc import Sequence

from probeline.report.model.row import Row

_WIDE = 3
"""How many times as wide as without the far rows an axis of all rows may be."""


def lower_limit(tops: Sequence[float]) -> float:
    """Return a top-1 a little below all but the rows far below; 0 without such rows.

    Far is farther than the range of the others, which are at least half of the rows.
    """
    falling = sorted(tops, reverse=True)
    for i in range(max(2, (len(falling) + 1) // 2), len(falling)):
        spread = falling[0] - falling[i - 1]
        if 0 < spread < falling[i - 1] - falling[i]:
            return max(falling[i - 1] - 0.3 * spread, 0.0)
    return 0.0


def axis_start(rows: Sequence[Row]) -> float:
    """Return where an axis of top-1 starts: at the lowest end of the intervals, without rows far below the others.

    Rows with a lower top-1 are shown at the start. It is 0 if there are none.
    """
    low = lower_limit([row.top1 for row in rows])
    for _ in range(2):  # rows within the intervals of the others are shown with their own
        low = min((end for row in rows if row.top1 >= low for end in (row.interval[0], *row.top1_by_seed)), default=0.0)
    end = max(row.interval[1] for row in rows)
    narrow = end - min(row.interval[0] for row in rows) < _WIDE * (end - low)
    return 0.0 if narrow or not any(row.top1 < low for row in rows) else low
