"""scikit-learn's logistic regression on the exact head's objective: the baseline, and the reference in tests.

Of classes it is one fit, of several labels one for each.
"""

from __future__ import annotations

import warnings

import numpy as np

from probeline.heads.checks import check_labelled
from probeline.heads.linear import CERTAIN, Certificate, Head
from probeline.heads.logistic.labels import LabelHead
from probeline.heads.logistic.path import certify
from probeline.types import AnyArray, DoubleArray, FloatArray, IntArray


def fit_reference(
    X: AnyArray,
    y: IntArray,
    l2: float,
    *,
    tolerance: float = 1e-4,
    max_iterations: int = 1000,
    start: Head | None = None,
    weights: DoubleArray | None = None,
) -> Head:
    """Fit one head with ``LogisticRegression(solver="lbfgs")`` at C = 1 / (l2 N), in the dtype of `X`.

    Each of the classes 0 to K - 1 has a row. `tolerance` is scikit-learn's: the largest component of the objective's
    gradient. The certificate is computed as for any other head, but ``converged`` is scikit-learn's. `weights`, float64
    [N], are the rows' and have the mean 1.
    """
    classes = int(y.max()) + 1
    check_labelled(X, y, classes)
    if len(np.unique(y)) < classes or not l2 > 0:
        raise ValueError(f"each of {classes} classes must have a row, and l2 = {l2} must be positive")
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1 / (l2 * len(y)), tol=tolerance, max_iter=max_iterations)
    if start is not None:
        model.set_params(warm_start=True)
        model.coef_, model.intercept_ = start.weight, start.bias
    converged = True
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y, sample_weight=weights)
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            converged = False
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    weight, bias = model.coef_.astype(np.float32), model.intercept_.astype(np.float32)
    objective, gradient_norm = certify(X, y, weight, bias, l2, weights=weights)
    return Head(weight, bias, l2, Certificate(gradient_norm, objective, int(model.n_iter_.max()), converged))


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
            bias[label] = CERTAIN if classes.any() else -CERTAIN
            continue
        head = fit_reference(X[known], classes, l2)
        weight[label], bias[label] = head.weight[0], head.bias[0]
        objective += head.certificate.objective
        squares += head.certificate.gradient_norm**2
        iterations = max(iterations, head.certificate.iterations)
        converged = converged and head.certificate.converged
    return LabelHead(weight, bias, l2, Certificate(float(np.sqrt(squares)), objective, iterations, converged))
