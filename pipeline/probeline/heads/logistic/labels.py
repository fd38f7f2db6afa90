"""Logistic regressions of several labels on the same rows, each label on the rows where it is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probeline.heads.linear import CERTAIN, Certificate
from probeline.heads.linear import Head as BinaryHead
from probeline.heads.logistic.path import fit_path
from probeline.types import FloatArray


@dataclass(frozen=True)
class LabelHead:
    """A logistic regression for each label: weight float32 [L, D] and bias float32 [L], all with one l2.

    The certificate has the sum of the labels' objectives, and the norm of all their gradients together.
    """

    weight: FloatArray
    bias: FloatArray
    l2: float
    certificate: Certificate


def fit_label_path(X: FloatArray, Y: FloatArray, l2s: Sequence[float], **options: Any) -> list[LabelHead]:
    """Fit one head per l2, in their order: each label by :func:`fit_path` on the rows where it is known.

    `X` is float32 [N, D], standardised, `Y` float32 [N, L] of 0, 1 and NaN for unknown. A label whose known rows are
    all 0 or all 1 has a weight of 0 and the bias -40 or +40. The options are those of :func:`fit_path`.
    """
    by_label: list[list[BinaryHead | None]] = []
    biases = np.zeros(Y.shape[1], np.float32)
    for label, truth in enumerate(Y.T):
        known = ~np.isnan(truth)
        y = truth[known].astype(np.int64)
        if len(np.unique(y)) < 2:
            biases[label] = CERTAIN if y.any() else -CERTAIN
            by_label.append([None] * len(l2s))
        else:
            by_label.append(list(fit_path(X[known], y, 2, l2s, **options)))
    heads = []
    for l2, own in zip(l2s, zip(*by_label, strict=True), strict=True):
        weight, bias = np.zeros((len(own), X.shape[1]), np.float32), biases.copy()
        for label, head in enumerate(own):
            if head is not None:
                weight[label], bias[label] = head.weight[0], head.bias[0]
        heads.append(LabelHead(weight, bias, l2, _together([head.certificate for head in own if head is not None])))
    return heads


def _together(certificates: Sequence[Certificate]) -> Certificate:
    return Certificate(
        gradient_norm=float(np.sqrt(sum(own.gradient_norm**2 for own in certificates))),
        objective=sum(own.objective for own in certificates),
        iterations=max((own.iterations for own in certificates), default=0),
        converged=all(own.converged for own in certificates),
    )
