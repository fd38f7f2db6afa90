"""The exact head as a scikit-learn classifier, for pipelines of the user's own."""

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
"""Rows that are taken together where they pass through float64."""


class LinearProbe(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Logistic regression with an l2 penalty, on the input as it comes.

    The objective is that of scikit-learn's ``LogisticRegression(C=C, class_weight=class_weight)``: C times the weighted
    sum of the cross-entropies, plus half the squared weights; the intercept is free, and two classes are one logit.
    The solver is :func:`probeline.heads.logistic.path.fit_path`.

    Equal rows count as one row of their weights' sum, and the order of the rows is of no account: a weight of 2
    and a row that is there twice give the same model to the last bit.

    Nothing is standardised. The columns are only centred, and all are multiplied by one number, which changes no
    solution. Most products are of float32: where the standard deviations of columns lie more than some four orders of
    magnitude apart, or C is so large that nothing holds a class that is told apart perfectly, rounding can hide the
    way, which mostly ends in a ``ConvergenceWarning``, and the smaller columns can be fitted less well than `tol` says.
    ``make_pipeline(StandardScaler(), LinearProbe())`` is the remedy.

    Parameters
    ----------
    C : float, default=1.0
        Inverse strength of the penalty, positive and finite.
    class_weight : dict or 'balanced', default=None
        What a row of each class counts for, beside `sample_weight`; 1 for a class that a dict leaves out. 'balanced'
        gives each class the same sum of weights.
    tol : float, default=1e-6
        By how much the objective may exceed its minimum, as a part of itself and 0.01 nats a row. That is not
        scikit-learn's ``tol``, which is a gradient.
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
        Only where the columns had names.
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
        X : array-like [N, D]
        y : array-like [N]
            Labels of at least two classes.
        sample_weight : array-like [N], optional
            What each row counts for, not negative; 1 for each by default.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            Where a parameter or an array is not as described.

        Warns
        -----
        ConvergenceWarning
            Where the objective could not be shown to be within `tol` of its minimum.
        """
        from probeline.heads.logistic.path import fit_path

        self._check_parameters()
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], order="C")
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        count = len(self.classes_)
        if count < 2:
            raise ValueError(f"y holds one class alone, {self.classes_[0]!r}; it takes at least two")
        weights = self._row_weights(X, codes, sample_weight)
        first, weights = _distinct(X, codes, weights)
        rows, centre, unit = _centred(X, first, weights)
        l2 = 1 / (self.C * float(weights.sum()))
        if l2 / unit**2 == 0:
            raise ValueError(f"C={self.C:g} is too large: 1 / C is nothing beside the loss of so many rows")
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
                f"{self.max_iter}), not within tol={self.tol:g} of the minimum as far as is known: standardise the "
                "columns of X, or allow a larger max_iter or tol",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def decision_function(self, X: Any) -> DoubleArray:
        """Return logits float64 [N, K], or [N] of the second class where there are two.

        Parameters
        ----------
        X : array-like [N, D]
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
        X : array-like [N, D]
        """
        logits = self.decision_function(X)
        chosen = (logits > 0).astype(np.intp) if logits.ndim == 1 else logits.argmax(axis=1)
        predicted: AnyArray = self.classes_[chosen]
        return predicted

    def predict_proba(self, X: Any) -> DoubleArray:
        """Return the probability of each of `classes_`, float64 [N, K].

        Parameters
        ----------
        X : array-like [N, D]
        """
        logits = self.decision_function(X)
        chances: DoubleArray = (
            expit(np.column_stack([-logits, logits])) if logits.ndim == 1 else softmax(logits, axis=1)
        )
        return chances

    def predict_log_proba(self, X: Any) -> DoubleArray:
        """Return the logarithm of the probability of each of `classes_`, float64 [N, K]; finite where that is tiny.

        Parameters
        ----------
        X : array-like [N, D]
        """
        logits = self.decision_function(X)
        chances: DoubleArray = (
            log_expit(np.column_stack([-logits, logits])) if logits.ndim == 1 else log_softmax(logits, axis=1)
        )
        return chances

    def _check_parameters(self) -> None:
        for name, value in (("C", self.C), ("tol", self.tol)):
            if not isinstance(value, Real) or not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be a positive finite number, not {value!r}")
        if not isinstance(self.max_iter, Integral) or self.max_iter < 1:
            raise ValueError(f"max_iter must be a whole number of at least 1, not {self.max_iter!r}")
        if not (self.class_weight is None or self.class_weight == "balanced" or isinstance(self.class_weight, Mapping)):
            raise ValueError(f"class_weight must be a dict, 'balanced' or None, not {self.class_weight!r}")

    def _row_weights(self, X: AnyArray, codes: IntArray, sample_weight: Any) -> DoubleArray:
        """Return what each row counts for, by itself and its class, float64 [N]."""
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


def _distinct(X: AnyArray, codes: IntArray, weights: DoubleArray) -> tuple[IntArray, DoubleArray]:
    """Return a row of each kind, int64 [M], and the sum of the weights of its kind, float64 [M].

    Rows are of one kind where their bytes and classes are equal; rows without weight are of no kind. The kinds come in
    an order of their own, whatever that of the rows.
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
    """Return rows of X, centred and in a unit that makes the columns' mean square about 1, with mean [D] and unit.

    The unit is a power of 2, so that dividing by it rounds nothing. Both keep large values and large means from
    what float32 can neither hold nor tell apart.
    """
    blocks = [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]
    shares = weights / weights.sum()
    share_blocks = [shares[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]
    centre = np.zeros(X.shape[1])
    for block, share in zip(blocks, share_blocks, strict=True):
        centre += share @ X[block]
    square = 0.0
    for block, share in zip(blocks, share_blocks, strict=True):
        centred = X[block] - centre
        square += float(share @ np.einsum("ij,ij->i", centred, centred)) / X.shape[1]
    if not math.isfinite(square):
        raise ValueError("X holds values whose squares overflow float64: scale its columns")
    unit = 2.0 ** round(math.log2(square) / 2) if square > 0 else 1.0
    scaled = np.empty((len(rows), X.shape[1]), dtype=np.float32)
    for start, block in zip(range(0, len(rows), _BLOCK), blocks, strict=True):
        scaled[start : start + _BLOCK] = (X[block] - centre) / unit
    return scaled, centre, unit
