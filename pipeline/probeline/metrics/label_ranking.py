"""How well scores order the entries of one label: sorted once, then measured on any number of resamples."""

from __future__ import annotations

import numpy as np

from probeline.types import AnyFloatArray, DoubleArray, IntArray


class LabelRanking:
    """The known entries of a label by falling score, with the groups of equal scores that have a positive entry.

    Its measures take counts, int64 [B, n]: how often each of n images is in each of B resamples. A measure is float64
    [B], and NaN for a resample that lacks positive or negative entries.
    """

    def __init__(self, truth: AnyFloatArray, scores: AnyFloatArray, images: IntArray | None = None) -> None:
        """Sort entries [m], whose truth is 0, 1 or NaN for unknown; `images` [m] are theirs if not 0 to m - 1."""
        known = np.flatnonzero(~np.isnan(truth))
        by_score = known[np.argsort(-scores[known], kind="stable")]
        falling, is_positive = scores[by_score], truth[by_score] == 1
        is_first = np.ones(len(falling), np.bool_)
        is_first[1:] = falling[1:] != falling[:-1]
        begins = np.flatnonzero(is_first)
        ends = np.append(begins[1:], len(falling)) if len(begins) else begins
        until = np.append(0, np.cumsum(is_positive))
        has_positive = until[ends] > until[begins]
        self._images = by_score if images is None else images[by_score]
        self._positive_images = self._images[is_positive]
        self._begins, self._ends = begins[has_positive], ends[has_positive]
        self._until = np.append(0, until[ends][has_positive])

    def average_precision(self, counts: IntArray) -> DoubleArray:
        """Return the mean over positive entries of the precision among those that score as high or higher."""
        found, seen = self._totals(counts)
        right = found[:, self._until]
        precision = right[:, 1:] / np.maximum(seen[:, self._ends], 1)
        return _ratio((np.diff(right) * precision).sum(axis=1), right[:, -1], seen[:, -1] - right[:, -1])

    def area(self, counts: IntArray) -> DoubleArray:
        """Return the share of pairs in which the positive entry scores higher; a pair of equals counts half."""
        found, seen = self._totals(counts)
        right = found[:, self._until]
        above, reached = seen[:, self._begins] - right[:, :-1], seen[:, self._ends] - right[:, 1:]
        negatives = seen[:, -1] - right[:, -1]
        below = 2 * negatives[:, None] - above - reached
        return _ratio((np.diff(right) * below).sum(axis=1) / (2 * np.maximum(negatives, 1)), right[:, -1], negatives)

    def _totals(self, counts: IntArray) -> tuple[IntArray, IntArray]:
        """Return running sums, from 0, of the positive entries [B, p + 1] and of all [B, m + 1]."""
        return _running(counts, self._positive_images), _running(counts, self._images)


def _running(counts: IntArray, images: IntArray) -> IntArray:
    sums = np.zeros((len(counts), len(images) + 1), np.int64)
    np.cumsum(np.take(counts, images, axis=1), axis=1, out=sums[:, 1:])
    return sums


def _ratio(total: DoubleArray, positives: IntArray, negatives: IntArray) -> DoubleArray:
    """Return the total per positive entry, or NaN where there are none or no negative ones."""
    values = np.full(len(total), np.nan)
    np.divide(total, positives, out=values, where=(positives > 0) & (negatives > 0))
    return values
