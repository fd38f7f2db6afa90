"""scikit-learn's logistic regression on the exact head's objective: the baseline, and the judge in tests."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

from probeline.heads.linear import Certificate, Head
from probeline.heads.logistic import certify

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


def fit_reference(
    X: npt.NDArray[np.floating], y: IntArray, l2: float, *, tolerance: float = 1e-4, max_iterations: int = 1000
) -> Head:
    """Fit one head with ``LogisticRegression(solver="lbfgs")`` at C = 1 / (l2 n).

    Parameters
    ----------
    X : float32 or float64 [N, D]
        Standardised features.
    y : int64 [N]
        Every class of the task is among them.
    l2 : float
    tolerance : float
        scikit-learn's ``tol``: the largest gradient component of the mean objective.
    max_iterations : int

    Returns
    -------
    Head
        Its certificate is computed as for any other head; ``converged`` is scikit-learn's own word.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1 / (l2 * len(y)), tol=tolerance, max_iter=max_iterations)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            model.fit(X, y)
            converged = True
        except ConvergenceWarning:
            converged = False
    if not converged:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X, y)
    weight, bias = model.coef_.astype(np.float32), model.intercept_.astype(np.float32)
    objective, gradient_norm = certify(X, y, weight, bias, l2)
    certificate = Certificate(gradient_norm, objective, int(model.n_iter_.max()), converged)
    return Head(weight, bias, l2, certificate)
