"""What the exact probe says of each image by a fit that did not see it: train, val and test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probeline.data.sampling.splits import crossing
from probeline.evaluate.exact_probe import request_exact_probe, select_exact_probe
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.folds import Fold
from probeline.heads.linear import Head, decision
from probeline.results.score import SCORES, Score
from probeline.types import BoolArray, FloatArray


@dataclass(frozen=True)
class OutOfFold:
    """What was said of all images in their order: train rows, val rows, test rows.

    Attributes
    ----------
    logits : float32 [N, K]
    unseen : bool [N]
        False for the rows of a class that the fit on the other folds saw nothing of: it cannot tell them.
    l2 : float
        That the probe chose.
    folds : int
        Fits that tell the train rows.
    converged : bool
        Whether all fits did.
    """

    logits: FloatArray
    unseen: BoolArray
    l2: float
    folds: int
    converged: bool


def out_of_fold(task: CachedFeatures) -> OutOfFold:
    """Fit the exact probe, with the l2 that it chose, on folds, and have each fit tell the rows that it did not see.

    Where folds choose, these are the folds, and their first fit, which is on the train rows, tells test. Where val
    chooses, train rows are dealt to folds made for this, and a fit on all of them tells val and test.

    Parameters
    ----------
    task : CachedFeatures
        At the penultimate tap, without views.

    Raises
    ------
    MissingData
    """
    from probeline.heads.logistic.path import fit_path

    splits, dataset = task.session.splits, task.session.dataset
    l2 = _select_l2(task)
    fits: list[Head] = []

    def fit(held: Fold) -> Head:
        fits.append(fit_path(held.X, held.y, task.classes, [l2])[0])
        return fits[-1]

    train, val = splits.train.rows, splits.val.rows
    logits = np.zeros((len(train) + len(val) + len(splits.test), task.classes), np.float32)
    unseen = np.ones(len(logits), np.bool_)
    # Folds are rows of the train part: where each of them stands in the order of all.
    place = np.full(len(dataset.parts[splits.train.part]), -1)
    place[train] = np.arange(len(train))
    if splits.folds:
        place[val] = len(train) + np.arange(len(val))
    folds = splits.folds or crossing(dataset, splits)
    for fold, held in zip(folds, task.load_folds(folds), strict=True) if len(folds) > 1 else ():
        head = fit(held)
        logits[place[fold]] = decision(head, held.X_heldout)
        unseen[place[fold]] = np.isin(held.y_heldout, held.y)
        if splits.folds and fold is folds[0]:
            logits[len(train) + len(val) :] = decision(head, task.load_test(held))
    if not splits.folds:
        (held,) = task.load_selection_folds()
        head = fit(held)
        logits[len(train) : len(train) + len(val)] = decision(head, held.X_heldout)
        logits[len(train) + len(val) :] = decision(head, task.load_test(held))
        if len(folds) == 1:
            unseen[: len(train)] = False
    return OutOfFold(logits, unseen, l2, len(folds), all(one.certificate.converged for one in fits))


def _select_l2(features: CachedFeatures) -> float:
    """Return the l2 of the exact probe: that of its score, or if there is none, of a new selection."""
    request, backbone = request_exact_probe(features), features.backbone
    score = SCORES.find(
        features.session.reports, backbone.name, backbone.weights, request.method, request.seed, request.key
    )
    if isinstance(score, Score):
        return float(score.chosen["l2"])
    return float(select_exact_probe(features)[0].selected["l2"])
