"""Class means that are shrunken towards the mean of all rows: columns in which a class does not stand out are dropped.

Tibshirani, Hastie, Narasimhan and Chu 2002, "Diagnosis of multiple cancer types by shrunken centroids of gene
expression", PNAS 99, 6567-6572. The class whose shrunken mean is nearest by Euclidean distance is predicted, as
scikit-learn's ``NearestCentroid(shrink_threshold=...)`` does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probeline.heads.neighbours import class_means
from probeline.types import DoubleArray, FloatArray, IntArray

_BLOCK = 8192


@dataclass(frozen=True)
class ClassMeans:
    """The means of classes, and how far each stands out.

    Attributes
    ----------
    present : int64 [P]
        The classes that have rows.
    means : float64 [P, D]
    centre : float64 [D]
        The mean of all rows.
    errors : float64 [P, D]
        The standard error of each mean's distance from the centre, plus its median over the columns, so that columns
        that hardly vary do not dominate.
    deviations : float64 [P, D]
        Distances from the centre in these errors; 0 where an error is 0.
    """

    present: IntArray
    means: DoubleArray
    centre: DoubleArray
    errors: DoubleArray
    deviations: DoubleArray

    def threshold(self, share: float) -> float:
        """Return the threshold in standard errors that is a share of the largest deviation."""
        return share * float(np.abs(self.deviations).max())

    def shrunken(self, share: float) -> DoubleArray:
        """Return the means float64 [P, D], each deviation nearer to 0 by the threshold of a share in [0, 1].

        Where the rows of no class vary, there is no error, and nothing is shrunken.
        """
        if share == 0:
            return self.means
        beyond = np.maximum(np.abs(self.deviations) - self.threshold(share), 0)
        shrunken = self.centre + self.errors * np.copysign(beyond, self.deviations)
        return np.where(self.errors > 0, shrunken, self.means)


def fit_class_means(X: FloatArray, y: IntArray, *, classes: int) -> ClassMeans:
    """Return the means of the classes of rows float32 [N, D] with labels int64 [N], and how far each stands out."""
    present, means = class_means(X, y, classes)
    codes, counts = np.searchsorted(present, y), np.bincount(y, minlength=classes)[present]
    squares = np.zeros(X.shape[1])
    for start in range(0, len(y), _BLOCK):  # in blocks: no float64 copy of X
        rows = slice(start, start + _BLOCK)
        squares += np.square(X[rows] - means[codes[rows]]).sum(axis=0)
    freedom = len(y) - len(present)
    spread = np.sqrt(squares / freedom) if freedom else np.zeros_like(squares)
    reach = np.sqrt(1 / counts - 1 / len(y))[:, None]
    errors = reach * (spread + np.median(spread))
    centre = counts @ means / len(y)
    deviations = np.divide(means - centre, errors, out=np.zeros_like(means), where=errors > 0)
    return ClassMeans(present, means, centre, errors, deviations)
