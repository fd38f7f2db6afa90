"""Out-of-fold predictions of the exact probe for train, val and test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probeline.data.sampling.splits import deal_train_folds
from probeline.evaluate.exact_probe import request_exact_probe, select_exact_probe
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.folds import Fold
from probeline.heads.linear import Head, decision
from probeline.results.score import SCORES, Score
from probeline.types import BoolArray, FloatArray


@dataclass(frozen=True)
class OutOfFold:
    """Predictions for all images in this order: train rows, val rows, test rows.

    Attributes
    ----------
    logits : float32 [N, K]
    unseen : bool [N]
        Whether a row is out-of-fold, and its class is not: False if the other folds lack the class altogether.
    l2 : float
        Selected for the probe.
    folds : int
        Of the train rows.
    converged : bool
        Whether all fits did.
    """

    logits: FloatArray
    unseen: BoolArray
    l2: float
    folds: int
    converged: bool


def out_of_fold(features: CachedFeatures) -> OutOfFold:
    """Return predictions of the exact probe, fitted with its selected l2, for images that the fit did not include.

    If folds select, these are the folds, and their first fit, on the train rows, predicts test. If val selects, the
    train rows are split into folds for this purpose, and a fit on all of them predicts val and test.

    Parameters
    ----------
    features : CachedFeatures
        At the penultimate tap, without views.

    Raises
    ------
    MissingData
    """
    from probeline.heads.logistic.path import fit_path

    splits, dataset = features.session.splits, features.session.dataset
    l2 = _select_l2(features)
    heads: list[Head] = []

    def fit(fold: Fold) -> Head:
        heads.append(fit_path(fold.X, fold.y, features.classes, [l2])[0])
        return heads[-1]

    train, val = splits.train.rows, splits.val.rows
    logits = np.zeros((len(train) + len(val) + len(splits.test), features.classes), np.float32)
    unseen = np.ones(len(logits), np.bool_)
    in_val, in_test = slice(len(train), len(train) + len(val)), slice(len(train) + len(val), None)
    # Folds are rows of the train part: the index of each row among all predictions.
    index = np.full(len(dataset.parts[splits.train.part]), -1)
    index[train] = np.arange(len(train))
    if splits.folds:
        index[val] = len(train) + np.arange(len(val))
    row_sets = splits.folds or deal_train_folds(dataset, splits)
    for rows, fold in zip(row_sets, features.load_folds(row_sets), strict=True) if len(row_sets) > 1 else ():
        head = fit(fold)
        logits[index[rows]] = decision(head, fold.X_heldout)
        unseen[index[rows]] = np.isin(fold.y_heldout, fold.y)
        if splits.folds and rows is row_sets[0]:
            logits[in_test] = decision(head, features.load_test(fold))
    if not splits.folds:
        (fold,) = features.load_selection_folds()
        head = fit(fold)
        logits[in_val] = decision(head, fold.X_heldout)
        logits[in_test] = decision(head, features.load_test(fold))
        if len(row_sets) == 1:
            unseen[: len(train)] = False
    return OutOfFold(logits, unseen, l2, len(row_sets), all(head.certificate.converged for head in heads))


def _select_l2(features: CachedFeatures) -> float:
    """Return the l2 of the exact probe: that of its score, or if there is none, of a new selection."""
    request, backbone = request_exact_probe(features), features.backbone
    score = SCORES.find(
        features.session.reports, backbone.name, backbone.weights, request.method, request.seed, request.key
    )
    if isinstance(score, Score):
        return float(score.chosen["l2"])
    return float(select_exact_probe(features)[0].selected["l2"])
