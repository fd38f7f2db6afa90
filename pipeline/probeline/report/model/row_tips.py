"""The tooltip of a row's mark in figures and tables."""

from __future__ import annotations

from probeline.format import count, percent, seconds
from probeline.report.model.row import Row


def row_tip(title: str, row: Row, places: int) -> str:
    """Return a row's numbers in one line.

    Parameters
    ----------
    title : str
        Of its block's part.
    row : Row
    places : int
        Decimals of percentages.
    """
    low, high = (percent(end, places) for end in row.interval)
    spread = "" if row.seed_std is None else f", sd {percent(row.seed_std, places)} over {row.seeds} seeds"
    return (
        f"{row.short} on {title}: {percent(row.top1, places)} % (95 % interval {low} to {high}, n = {row.n_test:,}"
        f"{spread}); {seconds(row.cold_seconds)} s cold, {seconds(row.warm_seconds)} s warm; "
        f"{count(row.trainable)} of {count(row.total)} parameters trained"
    )
