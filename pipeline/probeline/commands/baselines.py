"""Baselines: scikit-learn's logistic regression on the same objective, ridge, nearest neighbours and centroids."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from probeline.evaluate.exact_probe import linear_logits, with_certificates
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.folds import Fold
from probeline.evaluate.requests import outcome
from probeline.evaluate.selection import select
from probeline.evaluate.stopwatch import Stopwatch
from probeline.metrics.scores import squared
from probeline.results.score import Score
from probeline.session import Session
from probeline.types import FloatArray

REFERENCE_L2 = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Whole decades, since each is a fit of its own; the exact probe's grid is finer and wider."""

RIDGE_L2 = tuple(10.0 ** (half / 2) for half in range(-10, 9))
"""Half decades from 1e-5 to 1e4, 19 values, as each costs one matrix product."""

NEIGHBOURS = (1, 3, 5, 10, 20, 50)


def run(session: Session) -> list[dict[str, Any]]:
    """Fit the baselines of every backbone where there is no score of them yet, and return all their outcomes.

    Raises
    ------
    MissingData
        The embeddings have not been extracted.
    ProbelineError
    """
    scores: list[Score] = []
    for name in session.settings.nets.backbones:
        for taps in session.taps(name)[0]:
            task = CachedFeatures(session, *taps)
            scores += [_logistic(task), _ridge(task), _knn(task), _centroid(task)]
    return [outcome(session, score) for score in scores]


def _logistic(task: CachedFeatures) -> Score:
    asked = task.request("logistic", l2=list(REFERENCE_L2))
    if found := task.find_finished(asked):
        return found

    from probeline.heads.linear import Head
    from probeline.heads.logistic.reference import fit_reference

    def fit(held: Fold) -> list[Head]:
        return [fit_reference(held.X, held.y, l2) for l2 in REFERENCE_L2]

    watch = Stopwatch()
    rounds = task.load_selection_folds()
    selection = with_certificates(select(rounds, [{"l2": l2} for l2 in REFERENCE_L2], REFERENCE_L2, fit, linear_logits))
    head = selection.fitted[selection.index]
    return task.save_score(
        asked,
        selection,
        linear_logits(selection.fitted, task.load_test(rounds[0])),
        watch,
        **task.count_parameters(head),
        converged=head.certificate.converged,
        certificate={**vars(head.certificate), "gap": head.gap, "edge": selection.is_at_edge},
    )


def _ridge(task: CachedFeatures) -> Score:
    """Ridge regression, chosen by val top-1, then by val squared error: it is what ridge makes small.

    The likelihood of its scores would say little before a temperature is fitted.
    """
    asked = task.request("ridge", l2=list(RIDGE_L2))
    if found := task.find_finished(asked):
        return found

    from probeline.heads.ridge import RidgeHead, fit_ridge

    def fit(held: Fold) -> list[RidgeHead]:
        return fit_ridge(held.X, held.y, task.classes, RIDGE_L2)

    watch = Stopwatch()
    rounds = task.load_selection_folds()
    selection = select(rounds, [{"l2": l2} for l2 in RIDGE_L2], RIDGE_L2, fit, linear_logits, loss=squared)
    head = selection.fitted[selection.index]
    return task.save_score(
        asked,
        selection,
        linear_logits(selection.fitted, task.load_test(rounds[0])),
        watch,
        **task.count_parameters(head),
        converged=True,
        certificate={"edge": selection.is_at_edge},
    )


def _knn(task: CachedFeatures) -> Score:
    asked = task.request("knn", k=list(NEIGHBOURS), metric="cosine")
    if found := task.find_finished(asked):
        return found

    from probeline.heads.neighbours import knn

    def votes(fitted: Fold, X: FloatArray) -> Iterable[FloatArray]:
        return knn(fitted.X, fitted.y, X, ks, classes=task.classes).values()

    watch = Stopwatch()
    rounds = task.load_selection_folds()
    ks = [k for k in NEIGHBOURS if k <= min(len(held.y) for held in rounds)]
    selection = select(rounds, [{"k": k} for k in ks], ks, lambda held: held, votes)
    return task.save_score(
        asked,
        selection,
        votes(selection.fitted, task.load_test(rounds[0])),
        watch,
        **task.count_parameters(),
        converged=True,
        # Fewer than one neighbour there are not: that end of the grid hides nothing beyond it.
        certificate={"edge": selection.is_at_edge and ks[selection.index] > 1},
    )


def _centroid(task: CachedFeatures) -> Score:
    asked = task.request("centroid")
    if found := task.find_finished(asked):
        return found

    from probeline.heads.neighbours import nearest_centroid

    def nearness(fitted: Fold, X: FloatArray) -> Iterable[FloatArray]:
        return [nearest_centroid(fitted.X, fitted.y, X, classes=task.classes)]

    watch = Stopwatch()
    rounds = task.load_selection_folds()
    selection = select(rounds, [{}], [0.0], lambda held: held, nearness)
    return task.save_score(
        asked,
        selection,
        nearness(selection.fitted, task.load_test(rounds[0])),
        watch,
        **task.count_parameters(),
        converged=True,
    )
