"""The exact linear probe on cached features: its request, the selection of its l2, and out-of-fold predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from probeline.data.sampling.splits import deal_train_folds
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.heads.exact import PROBE
from probeline.evaluate.heads.fit_device import FitDevice
from probeline.evaluate.heads.method import Candidates, FitSettings, Fold, Selection
from probeline.evaluate.requests import ScoreRequest, find_score
from probeline.evaluate.selection import select
from probeline.evaluate.task import task_of
from probeline.heads.linear import Head, decision
from probeline.names import TOP1
from probeline.options.groups.fitting import HeadOptions
from probeline.results.score import Score
from probeline.types import BoolArray, FloatArray, IntArray

PLAIN: Mapping[str, Any] = MappingProxyType({})
"""Of a probe that top-1 selects, without class weights; see :func:`probeline.evaluate.fit_options.fit_options`."""


def request_exact_probe(features: CachedFeatures, fitted: Mapping[str, Any] = PLAIN) -> ScoreRequest:
    """Return the request for the score of the exact probe; `fitted` says how it is selected and weighted."""
    return features.request(PROBE.name, **{**fitted, **PROBE.options(HeadOptions())})


def probe_settings(
    features: CachedFeatures, fitted: Mapping[str, Any] = PLAIN, device: FitDevice | None = None
) -> FitSettings:
    """Return what the fit of the exact probe depends on."""
    return features.fit_settings({**fitted, **PROBE.options(HeadOptions())}, device=device)


def select_exact_probe(
    features: CachedFeatures, device: FitDevice | None = None, fitted: Mapping[str, Any] = PLAIN
) -> tuple[Selection[Head], list[Fold]]:
    """Return the selection of the probe's l2, and its folds, of which the first is fitted on the train rows."""
    folds = features.load_selection_folds()
    task = task_of(features.session.dataset, fitted.get("select_by", TOP1))
    return select(folds, PROBE, probe_settings(features, fitted, device), task), folds


def fit_one(settings: FitSettings, fold: Fold, l2: float) -> Head:
    """Return the exact probe of one l2, fitted on the rows of a fold."""
    (head,) = PROBE.fit(fold, settings, Candidates.of("l2", [l2]))
    return head


def cross_fit(
    features: CachedFeatures, row_sets: Sequence[IntArray], l2: float, settings: FitSettings
) -> Iterator[tuple[IntArray, Fold, Head, BoolArray]]:
    """Yield for each of several sets of train rows the probe that is fitted on the others, or nothing for a single set.

    Yields the rows, their fold, its head, and bool [n] which rows have a class that the head was fitted on.
    """
    if len(row_sets) > 1:
        for rows, fold in zip(row_sets, features.load_folds(row_sets), strict=True):
            yield rows, fold, fit_one(settings, fold, l2), np.isin(fold.y_heldout, fold.y)


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
    those of the penultimate tap, without views. Top-1 selects and all classes weigh the same, whatever other fits do.
    """
    splits, dataset = features.session.splits, features.session.dataset
    device = device or features.fit_device()
    settings = probe_settings(features, device=device)
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
    for rows, fold, head, is_known in cross_fit(features, row_sets, l2, settings):
        heads.append(head)
        logits[index[rows]] = decision(head, fold.X_heldout)
        unseen[index[rows]] = is_known
        if splits.folds and rows is row_sets[0]:
            logits[in_test] = decision(head, features.load_test(fold))
    if not splits.folds:
        (fold,) = features.load_selection_folds()
        heads.append(fit_one(settings, fold, l2))
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
