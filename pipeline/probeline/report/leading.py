"""Which row speaks for a backbone: the one that val prefers."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from probeline.identity import canonical
from probeline.records import Score
from probeline.report.methods import order
from probeline.report.rows import by_row


def leading(scores: Sequence[Score], backbone: str) -> tuple[Score, ...] | None:
    """Return the scores of the row of a backbone with the highest val top-1, in the order of their seeds.

    Test has no say, not even between rows of equal val top-1; None where the backbone has no score.
    """
    rows = by_row(score for score in scores if score.backbone == backbone)

    def rank(row: tuple[Score, ...]) -> tuple[object, ...]:
        first = row[0]
        net = (first.tap, first.views, first.weights, first.image_size, first.precision)
        return (-fmean(score.val_top1 for score in row), order(first.method), *net, canonical(dict(first.options)))

    return min(rows, key=rank, default=None)
