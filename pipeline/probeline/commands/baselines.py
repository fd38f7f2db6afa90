"""Baselines: scikit-learn's logistic regression on the same objective, ridge, nearest neighbours and centroids."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from probeline.evaluate.fitting import Round, Stopwatch, Task, linear_logits, select, with_certificates
from probeline.evaluate.requests import outcome
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
            task = Task(session, *taps)
            scores += [_logistic(task), _ridge(task), _knn(task), _centroid(task)]
    return [outcome(session, score) for score in scores]


def _logistic(task: Task) -> Score:
    asked = task.ask("logistic", l2=list(REFERENCE_L2))
    if found := task.done(asked):
        return found

    from probeline.heads.linear import Head
    from probeline.heads.logistic.reference import fit_reference

    def fit(held: Round) -> list[Head]:
        return [fit_reference(held.X, held.y, l2) for l2 in REFERENCE_L2]

    watch = Stopwatch()
    rounds = task.selection()
    selection = with_certificates(select(rounds, [{"l2": l2} for l2 in REFERENCE_L2], REFERENCE_L2, fit, linear_logits))
    head = selection.fitted[selection.place]
    return task.save(
        asked,
        selection,
        linear_logits(selection.fitted, task.test_rows(rounds[0])),
        watch,
        **task.sizes(head),
        converged=head.certificate.converged,
        certificate={**vars(head.certificate), "gap": head.gap, "edge": selection.edge},
    )


def _ridge(task: Task) -> Score:
    """Ridge regression, chosen by val top-1, then by val squared error: it is what ridge makes small.

    The likelihood of its scores would say little before a temperature is fitted.
    """
    asked = task.ask("ridge", l2=list(RIDGE_L2))
    if found := task.done(asked):
        return found

    from probeline.heads.ridge import RidgeHead, fit_ridge

    def fit(held: Round) -> list[RidgeHead]:
        return fit_ridge(held.X, held.y, task.classes, RIDGE_L2)

    watch = Stopwatch()
    rounds = task.selection()
    selection = select(rounds, [{"l2": l2} for l2 in RIDGE_L2], RIDGE_L2, fit, linear_logits, loss=squared)
    head = selection.fitted[selection.place]
    return task.save(
        asked,
        selection,
        linear_logits(selection.fitted, task.test_rows(rounds[0])),
        watch,
        **task.sizes(head),
        converged=True,
        certificate={"edge": selection.edge},
    )


def _knn(task: Task) -> Score:
    asked = task.ask("knn", k=list(NEIGHBOURS), metric="cosine")
    if found := task.done(asked):
        return found

    from probeline.heads.neighbours import knn

    def votes(fitted: Round, X: FloatArray) -> Iterable[FloatArray]:
        return knn(fitted.X, fitted.y, X, ks, classes=task.classes).values()

    watch = Stopwatch()
    rounds = task.selection()
    ks = [k for k in NEIGHBOURS if k <= min(len(held.y) for held in rounds)]
    selection = select(rounds, [{"k": k} for k in ks], ks, lambda held: held, votes)
    return task.save(
        asked,
        selection,
        votes(selection.fitted, task.test_rows(rounds[0])),
        watch,
        **task.sizes(),
        converged=True,
        # Fewer than one neighbour there are not: that end of the grid hides nothing beyond it.
        certificate={"edge": selection.edge and ks[selection.place] > 1},
    )


def _centroid(task: Task) -> Score:
    asked = task.ask("centroid")
    if found := task.done(asked):
        return found

    from probeline.heads.neighbours import nearest_centroid

    def nearness(fitted: Round, X: FloatArray) -> Iterable[FloatArray]:
        return [nearest_centroid(fitted.X, fitted.y, X, classes=task.classes)]

    watch = Stopwatch()
    rounds = task.selection()
    selection = select(rounds, [{}], [0.0], lambda held: held, nearness)
    return task.save(
        asked,
        selection,
        nearness(selection.fitted, task.test_rows(rounds[0])),
        watch,
        **task.sizes(),
        converged=True,
    )
