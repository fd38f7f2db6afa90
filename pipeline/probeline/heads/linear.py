"""A linear head and its logits: no solver, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from probeline.heads.checks import check_features
from probeline.types import FloatArray

CERTAIN = 40.0
"""The logit of a label that all known rows have, or minus that of one that none has."""


@dataclass(frozen=True)
class Certificate:
    """The certificate of a fit, computed in float64 at the stored float32 weights.

    Attributes
    ----------
    gradient_norm : float
        Euclidean norm of the objective's gradient by weights and bias.
    objective : float
        Mean cross-entropy (nats) + l2 / 2 * ||W||^2.
    iterations : int
    converged : bool
        Whether the solver met its tolerance, which its docstring defines.
    """

    gradient_norm: float
    objective: float
    iterations: int
    converged: bool


@dataclass(frozen=True)
class Head:
    """An l2-regularised logistic regression on standardised features.

    Attributes
    ----------
    weight : float32 [K, D], or [1, D] for two classes
        One logit decides between two classes, as in scikit-learn; it is class 1's, and class 0's is 0.
    bias : float32 [K] or [1]
    l2 : float
        1 / (C n) in scikit-learn's terms.
    certificate : Certificate
    """

    weight: FloatArray
    bias: FloatArray
    l2: float
    certificate: Certificate

    @property
    def gap(self) -> float:
        """Return the most that the objective can lie above its minimum: gradient_norm^2 / (2 l2).

        The objective is l2-strongly convex in the weights (Boyd and Vandenberghe, Convex Optimization, 2004, eq. 9.9),
        which bounds the excess if the bias is at its optimum.
        """
        return self.certificate.gradient_norm**2 / (2 * self.l2)


class Linear(Protocol):
    """Anything with a linear map: weight float32 [K or 1, D] and bias float32 [K or 1]."""

    @property
    def weight(self) -> FloatArray: ...

    @property
    def bias(self) -> FloatArray: ...


def decision(head: Linear, X: FloatArray) -> FloatArray:
    """Return logits float32 [N, K], one column per class also if two classes have one logit: (0, z).

    `X`, float32 [N, D], is standardised as the head's fitting rows were.
    """
    check_features(X, columns=head.weight.shape[1])
    logits = X @ head.weight.T + head.bias
    if head.weight.shape[0] == 1:
        logits = np.hstack([np.zeros_like(logits), logits])
    return logits.astype(np.float32, copy=False)
