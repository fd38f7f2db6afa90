"""Differences between rows on the same test images, and whether they are significant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from probeline.metrics.intervals import holm, mcnemar, paired_bootstrap
from probeline.results.score import Score
from probeline.types import IntArray

LEVEL = 0.05
"""A difference with an adjusted p below it may be significant."""

Pair = tuple[int, int]
"""The indices of a row and of the row that it is compared with."""


@dataclass(frozen=True)
class Difference:
    """How far a row is above another on the same test images, and whether that is significant."""

    top1: float
    """Difference of the mean top-1, in [-1, 1]."""
    interval: tuple[float, float]
    """95 % interval of `top1` by the paired bootstrap, for other test images and the same seeds, in [-1, 1]. It is not
    adjusted for the number of pairs."""
    p: float
    """Of McNemar's exact test on the predictions of each row's first seed: two predictors that are fixed before any
    result is seen. Adjusted by Holm's method over all pairs that are tested together."""
    real: bool
    """Whether the difference is significant: `p` is below `LEVEL`, the first seeds differ in the same direction as the
    means, and the interval excludes 0. So neither one lucky seed nor the other seeds alone are enough."""


def differences(pairs: Iterable[Pair], rows: Sequence[Sequence[Score]]) -> dict[Pair, Difference]:
    """Return the difference of each pair of rows that share their test images; all of them are tested together.

    `rows` are the scores of each row's seeds.
    """
    tested = sorted(pair for pair in set(pairs) if rows[pair[0]][0].splits == rows[pair[1]][0].splits)
    labels = {i: _classes([rows[i][0].labels])[0] for pair in tested for i in pair}
    predictions = {i: _classes([score.predictions for score in rows[i]]) for i in labels}
    ps = holm([mcnemar(labels[i], predictions[i][0], predictions[j][0]) for i, j in tested])
    result = {}
    for (i, j), p in zip(tested, ps, strict=True):
        top1 = fmean(score.top1 for score in rows[i]) - fmean(score.top1 for score in rows[j])
        agree = (rows[i][0].top1 - rows[j][0].top1) * top1 > 0
        interval = paired_bootstrap(labels[i], predictions[i], predictions[j])
        excludes_0 = interval[0] > 0 or interval[1] < 0
        result[i, j] = Difference(top1, interval, p, real=p < LEVEL and agree and excludes_0)
    return result


def _classes(seeds: Sequence[Sequence[int]]) -> IntArray:
    return np.asarray(seeds, dtype=np.int64)
