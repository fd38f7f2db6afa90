"""The exact head as a scikit-learn classifier."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted, validate_data

from probeline.types import AnyArray, DoubleArray, FloatArray, IntArray

_BLOCK = 8192
"""Rows that are converted to float64 at once."""


class LinearProbe(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Logistic regression with an l2 penalty, on unscaled input.

    The objective is that of scikit-learn's ``LogisticRegression(C=C, class_weight=class_weight)``: C times the weighted
    sum of the cross-entropies, plus half the squared weights; the intercept is free, and two classes are one logit.
    The solver is :func:`probeline.heads.logistic.path.fit_path`.

    Equal rows count as one row with the sum of their weights, and the order of the rows does not matter: a weight of 2
    and a repeated row give the same model bit for bit.

    The columns are centred and all divided by one number, which changes no solution, but not standardised. Most
    products are float32. If the standard deviations of the columns differ by more than about four orders of magnitude,
    or C is so large that perfectly separable classes are hardly penalised, the fit can stop early with a
    ``ConvergenceWarning``, and small columns can be fitted less precisely than `tol`.
    ``make_pipeline(StandardScaler(), LinearProbe())`` avoids that.

    Parameters
    ----------
    C : float, default=1.0
        Inverse strength of the penalty, positive and finite.
    class_weight : dict or 'balanced', default=None
        Weight of the rows of each class, multiplied by `sample_weight`; 1 for a class that a dict omits. 'balanced'
        gives each class the same total weight.
    tol : float, default=1e-6
        By how much the objective may exceed its minimum, relative to itself plus 0.01 nats per row. Unlike
        scikit-learn's ``tol`` it is not a gradient.
    max_iter : int, default=1000
        Most products with the Hessian.

    Attributes
    ----------
    classes_ : array [K]
        Labels, sorted.
    coef_ : float64 [K, D], or [1, D] for two classes
    intercept_ : float64 [K] or [1]
    n_iter_ : int32 [1]
        Products with the Hessian.
    n_features_in_ : int
        D.
    feature_names_in_ : array [D]
        Defined only if the columns had names.
    """

    def __init__(
        self,
        *,
        C: float = 1.0,
        class_weight: Mapping[Any, float] | str | None = None,
        tol: float = 1e-6,
        max_iter: int = 1000,
    ) -> None:
        self.C = C
        self.class_weight = class_weight
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : array_like [N, D]
        y : array_like [N]
            Labels of at least two classes.
        sample_weight : array_like [N], optional
            Row weights, not negative; 1 by default.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            A parameter or an array is not as described.

        Warns
        -----
        ConvergenceWarning
            The objective could not be shown to be within `tol` of its minimum.
        """
        from probeline.heads.logistic.path import fit_path

        self._check_parameters()
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], order="C")
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        count = len(self.classes_)
        if count < 2:
            raise ValueError(f"y holds one class alone, {self.classes_[0]!r}; at least two are needed")
        weights = self._row_weights(X, codes, sample_weight)
        first, weights = _distinct(X, codes, weights)
        rows, centre, unit = _centred(X, first, weights)
        l2 = 1 / (self.C * float(weights.sum()))
        if l2 / unit**2 == 0:
            raise ValueError(f"C={self.C:g} is too large: 1 / C vanishes next to the loss of so many rows")
        even = weights.min() == weights.max()
        [head] = fit_path(
            rows,
            codes[first],
            count,
            [l2 / unit**2],
            weights=None if even else (weights / weights.mean()).astype(np.float32),
            tolerance=self.tol,
            max_iterations=self.max_iter,
        )
        self.coef_ = head.weight.astype(np.float64) / unit
        self.intercept_ = head.bias - self.coef_ @ centre
        self.n_iter_ = np.array([head.certificate.iterations], dtype=np.int32)
        if not head.certificate.converged:
            warnings.warn(
                f"LinearProbe ended after {head.certificate.iterations} products with the Hessian (max_iter="
                f"{self.max_iter}), possibly not within tol={self.tol:g} of the minimum: standardise the "
                "columns of X, or allow a larger max_iter or tol",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def decision_function(self, X: Any) -> DoubleArray:
        """Return logits float64 [N, K], or [N] of the second class if there are two.

        Parameters
        ----------
        X : array_like [N, D]
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        logits = np.empty((len(X), len(self.coef_)))
        for start in range(0, len(X), _BLOCK):
            block = slice(start, start + _BLOCK)
            logits[block] = X[block] @ self.coef_.T + self.intercept_
        return logits[:, 0] if logits.shape[1] == 1 else logits

    def predict(self, X: Any) -> AnyArray:
        """Return the class of the largest logit for each row, as one of `classes_`, [N].

        Parameters
        ----------
        X : array_like [N, D]
        """
        logits = self.decision_function(X)
        chosen = (logits > 0).astype(np.intp) if logits.ndim == 1 else logits.argmax(axis=1)
        predicted: AnyArray = self.classes_[chosen]
        return predicted

    def predict_proba(self, X: Any) -> DoubleArray:
        """Return the probability of each of `classes_`, float64 [N, K].

        Parameters
        ----------
        X : array_like [N, D]
        """
        logits = self.decision_function(X)
        probabilities: DoubleArray = expit(_both(logits)) if logits.ndim == 1 else softmax(logits, axis=1)
        return probabilities

    def predict_log_proba(self, X: Any) -> DoubleArray:
        """Return the log-probability of each of `classes_`, float64 [N, K]; finite even if the probability is tiny.

        Parameters
        ----------
        X : array_like [N, D]
        """
        logits = self.decision_function(X)
        logarithms: DoubleArray = log_expit(_both(logits)) if logits.ndim == 1 else log_softmax(logits, axis=1)
        return logarithms

    def _check_parameters(self) -> None:
        for name, value in (("C", self.C), ("tol", self.tol)):
            if not isinstance(value, Real) or not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be a positive finite number, not {value!r}")
        if not isinstance(self.max_iter, Integral) or self.max_iter < 1:
            raise ValueError(f"max_iter must be a whole number of at least 1, not {self.max_iter!r}")
        if not (self.class_weight is None or self.class_weight == "balanced" or isinstance(self.class_weight, Mapping)):
            raise ValueError(f"class_weight must be a dict, 'balanced' or None, not {self.class_weight!r}")

    def _row_weights(self, X: AnyArray, codes: IntArray, sample_weight: Any) -> DoubleArray:
        """Return the weight of each row times that of its class, float64 [N]."""
        if sample_weight is None:
            weights = np.ones(len(X))
        else:
            weights = check_array(sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight")
            if weights.ndim != 1:
                raise ValueError(f"Sample weights must be 1D array, not {weights.ndim}D")
            check_consistent_length(X, weights)
            if weights.min() < 0 or not weights.max() > 0:
                raise ValueError("sample_weight must not be negative, nor zero for all rows")
        if self.class_weight is None:
            return np.asarray(weights, dtype=np.float64)
        if self.class_weight == "balanced":
            sums = np.bincount(codes, weights)
            by_class = sums.sum() / (len(sums) * np.where(sums > 0, sums, np.inf))
        else:
            by_class = compute_class_weight(self.class_weight, classes=self.classes_, y=self.classes_)
        weights = np.asarray(weights * by_class[codes], dtype=np.float64)
        if weights.min() < 0 or not weights.max() > 0:
            raise ValueError("class_weight must not be negative, nor leave all rows without weight")
        return weights


def _both(logits: DoubleArray) -> DoubleArray:
    """Return the logits of both classes [N, 2] for those of the second one."""
    return np.column_stack([-logits, logits])


def _distinct(X: AnyArray, codes: IntArray, weights: DoubleArray) -> tuple[IntArray, DoubleArray]:
    """Return the indices of the distinct rows, int64 [M], and the sum of the weights of their copies, float64 [M].

    Rows with equal bytes and classes are copies; rows with weight 0 are dropped. The result does not depend on the
    order of the rows.
    """
    kept = np.flatnonzero(weights)
    keys = X.view(np.dtype((np.void, X.itemsize * X.shape[1])))[:, 0]
    order = kept[np.argsort(keys[kept] if len(kept) < len(keys) else keys)]
    order = order[np.argsort(codes[order], kind="stable")]
    is_new = np.concatenate([[True], codes[order[1:]] != codes[order[:-1]]])
    for start in range(1, len(order), _BLOCK):
        here = order[start : start + _BLOCK]
        is_new[start : start + _BLOCK] |= keys[here] != keys[order[start - 1 : start - 1 + len(here)]]
    return order[is_new], np.asarray(np.add.reduceat(weights[order], np.flatnonzero(is_new)), dtype=np.float64)


def _centred(X: AnyArray, rows: IntArray, weights: DoubleArray) -> tuple[FloatArray, DoubleArray, float]:
    """Return rows of X, centred and divided by a unit that makes their mean square about 1, with mean [D] and unit.

    The unit is a power of 2, so that dividing by it does not round. Large values and large means would lose their
    differences in float32.
    """
    starts = range(0, len(rows), _BLOCK)
    shares = weights / weights.sum()
    blocks = [(rows[start : start + _BLOCK], shares[start : start + _BLOCK]) for start in starts]
    centre = np.zeros(X.shape[1])
    for block, share in blocks:
        centre += share @ X[block]
    square = 0.0
    for block, share in blocks:
        centred = X[block] - centre
        square += float(share @ np.einsum("ij,ij->i", centred, centred)) / X.shape[1]
    if not math.isfinite(square):
        raise ValueError("X holds values whose squares overflow float64: scale its columns")
    unit = 2.0 ** round(math.log2(square) / 2) if square > 0 else 1.0
    scaled = np.empty((len(rows), X.shape[1]), dtype=np.float32)
    for start, (block, _) in zip(starts, blocks, strict=True):
        scaled[start : start + _BLOCK] = (X[block] - centre) / unit
    return scaled, centre, unit
