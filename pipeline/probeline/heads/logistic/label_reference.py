"""scikit-learn's logistic regression of each of several labels: the baseline, and the reference in tests."""

from __future__ import annotations

import numpy as np

from probeline.heads.linear import Certificate
from probeline.heads.logistic.labels import LabelHead
from probeline.heads.logistic.reference import fit_reference
from probeline.types import FloatArray


def fit_label_reference(X: FloatArray, Y: FloatArray, l2: float) -> LabelHead:
    """Fit each label with :func:`fit_reference` on the rows where it is known.

    `Y` is float32 [N, L] of 0, 1 and NaN for unknown. A label of which the known rows are all 0 or all 1 has a weight
    of 0 and the bias -40 or +40. The certificate has the sum of the objectives, and the norm of all gradients together.
    """
    weight, bias = np.zeros((Y.shape[1], X.shape[1]), np.float32), np.zeros(Y.shape[1], np.float32)
    objective, squares, iterations, converged = 0.0, 0.0, 0, True
    for label, truth in enumerate(Y.T):
        known = ~np.isnan(truth)
        classes = truth[known].astype(np.int64)
        if len(np.unique(classes)) < 2:
            bias[label] = 40.0 if classes.any() else -40.0
            continue
        head = fit_reference(X[known], classes, l2)
        weight[label], bias[label] = head.weight[0], head.bias[0]
        objective += head.certificate.objective
        squares += head.certificate.gradient_norm**2
        iterations = max(iterations, head.certificate.iterations)
        converged = converged and head.certificate.converged
    return LabelHead(weight, bias, l2, Certificate(float(np.sqrt(squares)), objective, iterations, converged))
