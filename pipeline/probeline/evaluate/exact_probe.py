"""The exact linear probe on cached features: its request, the selection of its l2, and out-of-fold predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from probeline.data.sampling.splits import deal_train_folds
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.heads.exact import PROBE
from probeline.evaluate.heads.fit_device import FitDevice
from probeline.evaluate.heads.method import FitSettings, Fold, Selection
from probeline.evaluate.requests import ScoreRequest, find_score
from probeline.evaluate.selection import select
from probeline.heads.linear import Head, decision
from probeline.options.groups.fitting import HeadOptions
from probeline.results.score import Score
from probeline.types import BoolArray, FloatArray, IntArray


def request_exact_probe(features: CachedFeatures) -> ScoreRequest:
    """Return the request for the score of the exact probe."""
    return features.request(PROBE.name, **PROBE.options(HeadOptions()))


def select_exact_probe(features: CachedFeatures, device: FitDevice | None = None) -> tuple[Selection[Head], list[Fold]]:
    """Return the selection of the probe's l2, and its folds, of which the first is fitted on the train rows."""
    folds = features.load_selection_folds()
    settings = FitSettings(PROBE.options(HeadOptions()), features.classes, device=device or features.fit_device())
    return select(folds, PROBE, settings, features.task), folds


def cross_fit(
    features: CachedFeatures, row_sets: Sequence[IntArray], l2: float, device: FitDevice | None = None
) -> Iterator[tuple[IntArray, Fold, Head, BoolArray]]:
    """Yield for each of several sets of train rows the probe that is fitted on the others, or nothing for a single set.

    Yields the rows, their fold, its head, and bool [n] which rows have a class that the head was fitted on.
    """
    from probeline.heads.logistic.path import fit_path

    device = device or features.fit_device()
    if len(row_sets) > 1:
        for rows, fold in zip(row_sets, features.load_folds(row_sets), strict=True):
            (head,) = device.run(fit_path, fold.X, fold.y, features.classes, [l2])
            yield rows, fold, head, np.isin(fold.y_heldout, fold.y)


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


def predict_out_of_fold(features: CachedFeatures, device: FitDevice | None = None) -> OutOfFold:
    """Return predictions of the exact probe, fitted with its selected l2, for images that the fit did not include.

    If folds select, these are the folds, and their first fit, on the train rows, predicts test. If val selects, the
    train rows are split into folds for this purpose, and a fit on all of them predicts val and test. The features are
    those of the penultimate tap, without views.
    """
    from probeline.heads.logistic.path import fit_path

    splits, dataset = features.session.splits, features.session.dataset
    device = device or features.fit_device()
    l2 = _select_l2(features, device)
    heads: list[Head] = []
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
    for rows, fold, head, is_known in cross_fit(features, row_sets, l2, device):
        heads.append(head)
        logits[index[rows]] = decision(head, fold.X_heldout)
        unseen[index[rows]] = is_known
        if splits.folds and rows is row_sets[0]:
            logits[in_test] = decision(head, features.load_test(fold))
    if not splits.folds:
        (fold,) = features.load_selection_folds()
        heads += device.run(fit_path, fold.X, fold.y, features.classes, [l2])
        logits[in_val] = decision(heads[-1], fold.X_heldout)
        logits[in_test] = decision(heads[-1], features.load_test(fold))
        if len(row_sets) == 1:
            unseen[: len(train)] = False
    return OutOfFold(logits, unseen, l2, len(row_sets), all(head.certificate.converged for head in heads))


def _select_l2(features: CachedFeatures, device: FitDevice) -> float:
    """Return the l2 of the exact probe's score, or if there is none, of a new selection."""
    score = find_score(features.session, features.backbone, request_exact_probe(features))
    if isinstance(score, Score):
        return float(score.chosen["l2"])
    return float(select_exact_probe(features, device)[0].selected["l2"])
