"""When a path from strong to weak regularisation may end: no weaker value can be selected by validation any more."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from probeline.evaluate.task import Task
from probeline.metrics.scores import nll
from probeline.names import TOP1
from probeline.types import BoolArray, FloatArray, IntArray

RISES = 4
"""Values in a row, a decade of the probe's grid, at each of which val's negative log-likelihood must have risen."""

FAR_BELOW = 2
"""The last of them, at which top-1 on val must be lower than the best by `SIGNIFICANT` standard errors."""

SIGNIFICANT = 3.0
"""Standard errors of the paired difference of two accuracies. By chance, one of 700 equally good heads is so much
worse."""


class PathWatch:
    """Watches the heads of a path on validation, which come from the strongest to the weakest.

    Past the best l2 a weaker one overfits more: the negative log-likelihood rises, and accuracy falls. The path is over
    if the likelihood has worsened at each of the last four values, and at both of the last two accuracy is
    significantly below the best, by McNemar's statistic, the difference of the rows that one of two heads alone has
    right over the root of their sum (McNemar 1947, "Note on the sampling error of the difference between correlated
    proportions or percentages", Psychometrika 12, 153-157). Where accuracy stays level, as on few or easy images, the
    path is never over, since a weaker value may be selected.
    """

    def __init__(self, y: IntArray) -> None:
        """Take the labels int64 [m] of the validation rows."""
        self._y = y
        self.start()

    @classmethod
    def of(cls, task: Task, y: IntArray) -> PathWatch | None:
        """Return a watch for a task that top-1 selects; None for others, whose scores are no means over rows."""
        return cls(y) if task.selection_metric == TOP1 and task.loss is nll else None

    def start(self) -> None:
        """Forget what was seen, as the path begins."""
        self._best: tuple[int, float] = (-1, math.inf)
        self._best_right: BoolArray = np.zeros(len(self._y), np.bool_)
        self._rises, self._last = 0, math.inf
        self._z: deque[float] = deque([0.0] * FAR_BELOW, FAR_BELOW)

    def is_over(self, logits: FloatArray) -> bool:
        """Return whether the path may end, given the logits float32 [m, K] of the next weaker head on these rows."""
        right, loss = logits.argmax(1) == self._y, nll(self._y, logits)
        self._rises = self._rises + 1 if loss > self._last else 0
        self._last = loss
        lost, gained = int((self._best_right & ~right).sum()), int((right & ~self._best_right).sum())
        self._z.append((lost - gained) / math.sqrt(max(lost + gained, 1)))
        count = int(right.sum())
        if (count, -loss) > (self._best[0], -self._best[1]):
            self._best, self._best_right = (count, loss), right
        return self._rises >= RISES and min(self._z) >= SIGNIFICANT
