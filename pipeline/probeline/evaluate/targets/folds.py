"""Cached features with the targets of their rows, as heads are fitted on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probeline.evaluate.features import CachedFeatures
from probeline.heads.standardize import Scaler, apply, fit_scaler
from probeline.types import DoubleArray, FloatArray, Split, Targets


@dataclass(frozen=True)
class TargetFold:
    """Rows to fit on and held-out rows, both standardised by the rows to fit on.

    Attributes
    ----------
    X : float32 [n, D]
    Y : float64 [n, T]
        NaN where unknown.
    X_heldout : float32 [m, D]
    Y_heldout : float64 [m, T]
    scaler : Scaler
    """

    X: FloatArray
    Y: DoubleArray
    X_heldout: FloatArray
    Y_heldout: DoubleArray
    scaler: Scaler


def targets_of(features: CachedFeatures) -> Targets:
    """Return the targets of the data set; ValueError for one of classes."""
    targets = features.session.dataset.targets
    if targets is None:
        raise ValueError(f"{features.session.dataset.name} has one class for each image")
    return targets


def load_targets(features: CachedFeatures, split: Split) -> DoubleArray:
    """Return the targets float64 [n, T] of a split's rows."""
    rows: DoubleArray = targets_of(features).by_part[split.part][split.rows]
    return rows


def load_fold(features: CachedFeatures, fitted: Sequence[Split], heldout: Split) -> TargetFold:
    """Return a fold of these splits; the images of the fitted ones are augmented, if views are asked for."""
    seen = [(split, view) for split in fitted for view in features.session.views(split.part)]
    X = np.concatenate([features.load_raw(split, view) for split, view in seen])
    Y = np.concatenate([load_targets(features, split) for split, _ in seen])
    scaler = fit_scaler(X)
    X_heldout = apply(scaler, features.load_raw(heldout))
    return TargetFold(apply(scaler, X), Y, X_heldout, load_targets(features, heldout), scaler)


def train_fold(features: CachedFeatures) -> TargetFold:
    """Return the fold that is fitted on the train rows, with val held out."""
    splits = features.session.splits
    return load_fold(features, [splits.train], splits.val)


def selection_folds(features: CachedFeatures) -> list[TargetFold]:
    """Return the folds that select hyper-parameters; the first one is fitted on the train rows."""
    splits = features.session.splits
    if not splits.folds:
        return [train_fold(features)]
    part, rows = splits.train.part, np.sort(np.concatenate(splits.folds))
    return [
        load_fold(features, [Split(part, np.setdiff1d(rows, fold), "train")], Split(part, fold, "val"))
        for fold in splits.folds
    ]


def refit_fold(features: CachedFeatures) -> TargetFold:
    """Return the fold that is fitted on train and val, with test held out."""
    splits = features.session.splits
    return load_fold(features, [splits.train, splits.val], splits.test)
