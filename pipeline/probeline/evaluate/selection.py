"""Selection among candidates by their predictions on held-out rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from probeline.evaluate.folds import Fold
from probeline.heads.select import choose
from probeline.metrics.scores import nll, top1
from probeline.types import FloatArray, IntArray

Candidate = Mapping[str, Any]
"""The name of a hyper-parameter and its value."""

Fitted = TypeVar("Fitted")


@dataclass(frozen=True)
class Selection(Generic[Fitted]):
    """A choice among candidates, made without a look at the test rows.

    Attributes
    ----------
    candidates : sequence of mappings
    path : tuple of mappings
        Each candidate with its val ``top1`` and loss, averaged over the held-out rows of all rounds.
    index : int
        The chosen one's.
    is_at_edge : bool
        Whether it stands at an end of its grid.
    y_val : int64 [n]
        Of the held-out rows, round after round.
    val_logits : float32 [n, K]
        What the chosen candidate said of them, fitted without them.
    fitted : Fitted
        All candidates as the first round fitted them, which is on the train rows: these are what test is read with.
    """

    candidates: Sequence[Candidate]
    path: tuple[Candidate, ...]
    index: int
    is_at_edge: bool
    y_val: IntArray
    val_logits: FloatArray
    fitted: Fitted


def select(
    rounds: Sequence[Fold],
    candidates: Sequence[Candidate],
    strengths: Sequence[float],
    fit: Callable[[Fold], Fitted],
    logits_of: Callable[[Fitted, FloatArray], Iterable[FloatArray]],
    *,
    loss: Callable[[IntArray, FloatArray], float] = nll,
) -> Selection[Fitted]:
    """Fit every candidate on each round and choose by the rows held out: top-1, then loss, then the stronger one.

    Parameters
    ----------
    rounds : sequence of Fold
    candidates, strengths : sequence
        A hyper-parameter's names and values, and the values that order them; see
        :func:`probeline.heads.select.choose`.
    fit : callable
        Given a round, fits all candidates on it.
    logits_of : callable
        Given what `fit` returned and rows float32 [m, D], yields the logits float32 [m, K] of each candidate.
    loss : callable
        Of labels int64 [m] and logits; its name is that of its field in the path.
    """
    right, losses = np.zeros(len(candidates)), np.zeros(len(candidates))
    said: list[list[FloatArray]] = [[] for _ in candidates]
    every: list[Fitted] = []
    place, edge = 0, False
    for held in rounds:
        fitted = fit(held)
        every = every or [fitted]
        for i, logits in enumerate(logits_of(fitted, held.X_heldout)):
            right[i] += len(held.y_heldout) * top1(held.y_heldout, logits.argmax(1))
            losses[i] += len(held.y_heldout) * loss(held.y_heldout, logits)
            said[i].append(logits)
            if held is rounds[-1]:
                # The logits of all candidates may be many: only those of the best so far are kept.
                rows = sum(len(one.y_heldout) for one in rounds)
                scores = list(zip(right[: i + 1] / rows, losses[: i + 1] / rows, strict=True))
                best, edge = choose(scores, strengths[: i + 1])
                for loser in {place, i} - {best}:
                    said[loser] = []
                place = best
    path = tuple(
        {**candidate, "top1": float(score[0]), loss.__name__: float(score[1])}
        for candidate, score in zip(candidates, scores, strict=True)
    )
    y_val = np.concatenate([held.y_heldout for held in rounds])
    return Selection(candidates, path, place, edge, y_val, np.concatenate(said[place]), every[0])
