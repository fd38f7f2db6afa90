"""Targets as nets and heads are trained on them, and their outputs as they are meant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probeline.heads.linear import CERTAIN
from probeline.names import MULTI_LABEL
from probeline.types import AnyFloatArray, BoolArray, DoubleArray, FloatArray


@dataclass(frozen=True, eq=False)
class TargetScale:
    """How targets are standardised.

    Numbers have the mean 0 and the standard deviation 1 on the train rows; labels stay 0 and 1.

    Attributes
    ----------
    mean, scale : float64 [T]
        A number is `mean` plus `scale` times the output for it; of a number that all train rows share, `scale` is 0.
    is_known : bool [T]
        Whether a train row has a value. Without one nothing can be learned: a label has the logit -40 and a number is
        0, as the exact heads predict them.
    """

    mean: DoubleArray
    scale: DoubleArray
    is_known: BoolArray

    @classmethod
    def of(cls, task: str, Y: DoubleArray) -> TargetScale:
        """Return the scale of a task from the targets of the train rows, float64 [n, T] with NaN where unknown."""
        known: BoolArray = ~np.isnan(Y)
        is_known: BoolArray = np.any(known, axis=0, keepdims=True)[0]
        if task == MULTI_LABEL:
            return cls(np.where(is_known, 0.0, -CERTAIN), is_known.astype(np.float64), is_known)
        counts = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, Y, 0.0).sum(axis=0) / counts
        variance = np.where(known, np.square(Y - mean), 0.0).sum(axis=0) / counts
        lowest, highest = np.where(known, Y, np.inf).min(axis=0), np.where(known, Y, -np.inf).max(axis=0)
        # The variance of equal numbers is rounding noise, not always 0.
        return cls(mean, np.where(lowest < highest, np.sqrt(variance), 0.0), is_known)

    def standardise(self, Y: DoubleArray) -> FloatArray:
        """Return targets float64 [n, T] as the net is trained on them, float32; NaN where there is nothing to learn."""
        own = (Y - self.mean) / np.where(self.scale > 0, self.scale, 1.0)
        scaled: FloatArray = np.where(self.is_known, own, np.nan).astype(np.float32)
        return scaled

    def restore(self, outputs: AnyFloatArray) -> DoubleArray:
        """Return logits, or numbers in their unit, float64 [n, T], for a net's outputs [n, T]."""
        restored: DoubleArray = self.mean + self.scale * outputs.astype(np.float64)
        return restored
