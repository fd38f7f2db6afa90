"""Which row speaks for a backbone: the one that val prefers."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from probeline.identity import canonical
from probeline.report.model.rows import by_row
from probeline.results.methods import order
from probeline.results.score import Score


def ranked(scores: Sequence[Score], backbone: str) -> list[tuple[Score, ...]]:
    """Return the scores of each row of a backbone, in the order of their seeds, the row of the highest val top-1 first.

    Test has no say, not even between rows of equal val top-1.
    """

    def rank(row: tuple[Score, ...]) -> tuple[object, ...]:
        first = row[0]
        net = (first.tap, first.views, first.weights, first.image_size, first.precision)
        return (
            -round(fmean(score.val_top1 for score in row), 9),
            order(first.method),
            *net,
            canonical(dict(first.options)),
        )

    return sorted(by_row(score for score in scores if score.backbone == backbone), key=rank)


def leading(scores: Sequence[Score], backbone: str) -> tuple[Score, ...] | None:
    """Return the first of the `ranked` rows of a backbone; None where it has no score."""
    return next(iter(ranked(scores, backbone)), None)


def leading_probe(scores: Sequence[Score], backbone: str) -> Score | None:
    """Return the score of the exact probe of a backbone that val prefers; None where it has none."""
    row = leading([score for score in scores if score.method == "probe"], backbone)
    return None if row is None else row[0]
