"""Selection among candidates by their scores on rows that none was fitted on."""

from __future__ import annotations

import math
from collections.abc import Sequence

L2_GRID = tuple(10.0 ** (quarter / 4) for quarter in range(-24, 21))
"""l2 of the exact probe: quarter decades from 1e-6 to 1e5, 45 values. Kornblith et al. 2019, "Do better ImageNet models
transfer better?", CVPR, use this grid; here it is for the mean cross-entropy."""


def choose(scores: Sequence[tuple[float, float]], strengths: Sequence[float]) -> tuple[int, bool]:
    """Return the index of the best candidate, and whether a value beyond its grid might have been better.

    The best has the highest val top-1, then the lowest val negative log-likelihood (the two `scores` of each), then
    the largest of `strengths`, which are all equal if candidates have no order, then the lowest index. A grid of one
    or two values has no edge.
    """
    if len(scores) != len(strengths) or not scores:
        raise ValueError(f"{len(scores)} scores for {len(strengths)} candidates")
    if any(math.isnan(value) for score in scores for value in score):
        raise ValueError(f"a score is not a number: {list(scores)}")

    def merit(index: int) -> tuple[float, float, float]:
        top1, nll = scores[index]
        return round(top1, 12), -nll, strengths[index]  # a mean over folds may differ in its last bit alone

    index = max(range(len(scores)), key=merit)
    return index, len(set(strengths)) > 2 and strengths[index] in (min(strengths), max(strengths))
