"""``--limit N``: a seeded, stratified subset, which is a smaller data set of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probeline.data.sampling.stratified import sample
from probeline.errors import BadOption
from probeline.types import IntArray

_PURPOSE = 1


@dataclass(frozen=True)
class Subset:
    """Which rows of each part a run looks at.

    Attributes
    ----------
    limit : int or None
        At most so many images of each part; None for all.
    seed : int
        The data seed.
    """

    limit: int | None = None
    seed: int = 0

    def name(self, dataset: str) -> str:
        """Return the name of the subset of a data set, as it stands in paths."""
        if self.limit is None:
            return dataset
        return f"{dataset}-limit{self.limit}" + (f"-dataseed{self.seed}" if self.seed else "")

    def rows(self, labels: IntArray, classes: int) -> IntArray:
        """Return the rows of one part that remain, in the part's order.

        Parameters
        ----------
        labels : int64 [N]
        classes : int
            Classes of the data set; each one of the part keeps at least one row.

        Returns
        -------
        int64 [min(N, limit)]
            Ascending.

        Raises
        ------
        BadOption
            For a limit below the number of classes, or a negative seed.
        """
        if self.limit is None:
            return np.arange(len(labels))
        if self.limit < classes:
            raise BadOption("bad --limit", expected=f"{classes} or more, one image of each class", got=self.limit)
        return sample(labels, self.limit, self.seed, _PURPOSE)
