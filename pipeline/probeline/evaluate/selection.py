"""Selection among candidates by their predictions on held-out rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from probeline.errors import Diverged
from probeline.evaluate.heads.method import (
    Candidate,
    Candidates,
    FitSettings,
    FoldOf,
    MethodOf,
    Rows,
    Selection,
    describe_candidate,
)
from probeline.evaluate.heads.path_watch import PathWatch
from probeline.evaluate.task import Task
from probeline.heads.select import choose
from probeline.types import FloatArray

Head = TypeVar("Head")


def select(
    folds: Sequence[FoldOf[Rows]], method: MethodOf[Head, Rows], settings: FitSettings, task: Task, *, where: str = ""
) -> Selection[Head]:
    """Fit every candidate on each fold and select by the held-out rows: by score, then loss, then strength.

    If one fold selects, a method may leave out candidates that cannot be selected (``path_watch.py`` says when),
    unless the settings ask for the full path.

    Raises
    ------
    Diverged
        The training of every candidate diverged.
    """
    candidates = method.candidates(settings, min(len(fold.y) for fold in folds))
    loss, rows = method.loss(task), sum(len(fold.y_heldout) for fold in folds)
    losses = np.zeros(len(candidates.values))
    sums: list[dict[str, float]] = [{} for _ in candidates.values]
    outputs: list[list[FloatArray]] = [[] for _ in candidates.values]
    first_heads: dict[int, Head] = {}
    usable = list(range(len(candidates.values)))
    best, edge = 0, False
    for fold in folds:
        heads = _fit(fold, method, settings, task, candidates, is_only=len(folds) == 1)
        first_heads = first_heads or heads
        usable = [i for i in usable if i in heads and not method.has_diverged(heads[i])]
        if not usable:
            raise all_diverged(candidates.values, settings.options, method.name, where)
        for count, (i, logits) in enumerate(
            zip(usable, method.logits([heads[i] for i in usable], fold.X_heldout), strict=True), start=1
        ):
            for name, value in task.measures(fold.y_heldout, logits).items():
                sums[i][name] = sums[i].get(name, 0.0) + len(fold.y_heldout) * value
            losses[i] += len(fold.y_heldout) * loss(fold.y_heldout, logits)
            outputs[i].append(logits)
            if fold is folds[-1]:
                # The logits of all candidates may be many: only those of the best so far are kept.
                known = usable[:count]
                means = [(sums[j][task.selection_metric] / rows, losses[j] / rows) for j in known]
                index, edge = choose(means, candidates.subset(known).strengths)
                for loser in {best, i} - {known[index]}:
                    outputs[loser] = []
                best = known[index]
    kept = candidates.subset(usable)
    path = []
    for i, candidate in zip(usable, kept.values, strict=True):
        converged = method.has_converged(first_heads[i])
        point = {**{name: value / rows for name, value in sums[i].items()}, loss.__name__: float(losses[i] / rows)}
        path.append({**candidate, **point, **({} if converged is None else {"converged": converged})})
    return Selection(
        kept,
        tuple(path),
        usable.index(best),
        edge,
        np.concatenate([fold.y_heldout for fold in folds]),
        np.concatenate(outputs[best]),
        [first_heads[i] for i in usable],
        tuple(candidates.values[i] for i in first_heads if i not in usable),
    )


def _fit(
    fold: FoldOf[Rows],
    method: MethodOf[Head, Rows],
    settings: FitSettings,
    task: Task,
    candidates: Candidates,
    *,
    is_only: bool,
) -> dict[int, Head]:
    """Return the fitted heads by the number of their candidate."""
    watch = PathWatch.of(task, fold.y_heldout) if is_only and not settings.full_path else None
    if watch is None:
        return dict(enumerate(method.fit(fold, settings, candidates)))
    heads = method.fit_until(fold, settings, candidates, _HeadWatch(method, fold.X_heldout, watch))
    return {i: head for i, head in enumerate(heads) if head is not None}


@dataclass(frozen=True)
class _HeadWatch(Generic[Head, Rows]):
    """Watches heads by their logits on validation."""

    method: MethodOf[Head, Rows]
    X_val: Rows
    watch: PathWatch

    def start(self) -> None:
        self.watch.start()

    def is_over(self, head: Head) -> bool:
        return self.watch.is_over(next(iter(self.method.logits([head], self.X_val))))


def all_diverged(candidates: Sequence[Candidate], options: Mapping[str, Any], method: str, where: str) -> Diverged:
    """Return the error that no candidate of a method is of use; `options` are those of its score."""
    tried = [describe_candidate(candidate) for candidate in candidates]
    fixed = {name: value for name, value in options.items() if isinstance(value, list)}
    rates = f"--{method.removeprefix('probe-')}"
    return Diverged(
        "every head's training diverged",
        where=where,
        got=", ".join(tried) or describe_candidate({name: values[0] for name, values in fixed.items()}),
        remedy=f"use lower rates in {rates}, or check the features with probeline verify",
    )
