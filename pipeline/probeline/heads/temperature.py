"""Temperature scaling: one number that logits are divided by, so that their probabilities are calibrated."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import softmax

from probeline.heads.checks import check_labelled
from probeline.types import AnyFloatArray, DoubleArray, IntArray

LIMITS = (1e-3, 1e3)
"""The lowest and the highest temperature: one-hot targets need hundredths, squared distances need tens."""


def fit_temperature(labels: IntArray, logits: AnyFloatArray) -> float:
    """Return the temperature of the lowest negative log-likelihood of ``softmax(logits / temperature)``, or a limit.

    The likelihood is concave in 1 / temperature, so that its slope has one sign change, which Brent's method finds.
    If every row is right there is none, as lower is always better. Then the mean probability of the right class is
    set to (n + 1) / (n + 2), which Laplace's rule of succession expects of a predictor that was right n times of n.
    If the logits of each row are equal, 1 is returned. The logits' head was not fitted on these rows.

    References
    ----------
    Guo, Pleiss, Sun and Weinberger 2017, "On calibration of modern neural networks", ICML, section 4.2.
    """
    from scipy.optimize import brentq  # half a second, which an extraction need not wait for

    check_labelled(logits, labels, logits.shape[1])
    wide = logits.astype(np.float64)
    own = np.take_along_axis(wide, labels[:, None], axis=1)
    wide -= own  # the right class at 0: its probability and the slope lose nothing to cancellation

    def slope(log_inverse: float) -> float:
        """Return the slope of the negative log-likelihood by 1 / temperature."""
        shares = softmax(wide * math.exp(log_inverse), axis=1)
        return float((shares * wide).sum(axis=1).mean())

    def excess(log_inverse: float) -> float:
        """Return by how much the right class's mean probability exceeds Laplace's."""
        right = np.take_along_axis(softmax(wide * math.exp(log_inverse), axis=1), labels[:, None], axis=1)
        return float(right.mean()) - (len(labels) + 1) / (len(labels) + 2)

    if not wide.any():
        return 1.0
    low, high = (-math.log(limit) for limit in reversed(LIMITS))
    rising = slope if slope(high) > 0 else excess
    if rising(low) >= 0:
        return LIMITS[1]
    if rising(high) <= 0:
        return LIMITS[0]
    return math.exp(-brentq(rising, low, high, xtol=1e-9))


def fit_label_temperatures(Y: AnyFloatArray, logits: AnyFloatArray) -> DoubleArray:
    """Return a temperature for each label of a multi-label head, float64 [L], by its known entries on validation.

    `Y` are floats [n, L] of 0, 1 and NaN for unknown, and the probability of a label is ``sigmoid(logit /
    temperature)``. So each is :func:`fit_temperature` of two classes with the logits 0 and z. It is defined for a label
    whose known entries are all positive or all negative too, and 1 for one without known entries.
    """
    if Y.shape != logits.shape or Y.ndim != 2:
        raise ValueError(f"labels and logits must be [n, L] of one shape, not {list(Y.shape)} and {list(logits.shape)}")
    if not ((Y == 0) | (Y == 1) | np.isnan(Y)).all():
        raise ValueError("a label must be 0, 1 or NaN for unknown")
    temperatures = np.ones(Y.shape[1])
    for label, (truth, of_label) in enumerate(zip(Y.T, logits.T, strict=True)):
        known = ~np.isnan(truth)
        if known.any():
            two = np.column_stack([np.zeros_like(of_label[known]), of_label[known]])
            temperatures[label] = fit_temperature(truth[known].astype(np.int64), two)
    return temperatures
