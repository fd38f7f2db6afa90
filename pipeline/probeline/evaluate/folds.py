"""Rows to fit on and rows held out, standardised: what one fit reads."""

from __future__ import annotations

from dataclasses import dataclass

from probeline.heads.standardize import Scaler, apply, fit_scaler
from probeline.types import FloatArray, IntArray


@dataclass(frozen=True)
class Fold:
    """Rows to fit on and rows held out, standardised by the rows fitted on.

    Attributes
    ----------
    X : float32 [n, D]
    y : int64 [n]
    X_heldout : float32 [m, D]
    y_heldout : int64 [m]
    scaler : Scaler
        Of the rows fitted on.
    """

    X: FloatArray
    y: IntArray
    X_heldout: FloatArray
    y_heldout: IntArray
    scaler: Scaler


def make_fold(X: FloatArray, y: IntArray, X_heldout: FloatArray, y_heldout: IntArray) -> Fold:
    """Return a fold of features as they are, which standardises them."""
    scaler = fit_scaler(X)
    return Fold(apply(scaler, X), y, apply(scaler, X_heldout), y_heldout, scaler)
