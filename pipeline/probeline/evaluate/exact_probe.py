"""The exact linear probe: its request, and the selection of its l2."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.folds import Fold
from probeline.evaluate.requests import ScoreRequest
from probeline.evaluate.selection import Selection, select
from probeline.heads.linear import Head, Linear, decision
from probeline.heads.select import L2_GRID
from probeline.types import FloatArray


def with_certificates(selection: Selection[list[Head]]) -> Selection[list[Head]]:
    """Return a selection whose path says of each candidate whether its fit on the train rows converged."""
    path = tuple(
        {**said, "converged": head.certificate.converged}
        for said, head in zip(selection.path, selection.fitted, strict=True)
    )
    return replace(selection, path=path)


def request_exact_probe(task: CachedFeatures, method: str = "probe") -> ScoreRequest:
    """Return what is asked of the exact probe, or of its refit."""
    return task.request(method, l2=list(L2_GRID))


def select_exact_probe(task: CachedFeatures) -> tuple[Selection[list[Head]], list[Fold]]:
    """Fit the exact probe's path of l2 on each round and choose by the rows held out.

    Returns
    -------
    selection : Selection
    rounds : list of Fold
        The first of them is fitted on the train rows.
    """
    from probeline.heads.logistic.path import fit_path

    rounds = task.load_selection_folds()
    candidates = [{"l2": l2} for l2 in L2_GRID]
    selection = select(
        rounds, candidates, L2_GRID, lambda held: fit_path(held.X, held.y, task.classes, L2_GRID), linear_logits
    )
    return with_certificates(selection), rounds


def linear_logits(heads: Sequence[Linear], X: FloatArray) -> Iterable[FloatArray]:
    """Yield the logits float32 [m, K] of each linear head for rows float32 [m, D]."""
    return (decision(head, X) for head in heads)
