"""Selection among candidates by their outputs on held-out rows, those of all folds together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.heads.method import Candidates
from probeline.evaluate.selection import all_diverged
from probeline.evaluate.targets.folds import TargetFold, refit_fold, selection_folds, train_fold
from probeline.evaluate.targets.method import TargetFit, TargetMethod, TargetSelection
from probeline.evaluate.targets.task import TargetTask
from probeline.heads.select import choose
from probeline.types import DoubleArray

Head = TypeVar("Head")


def select(
    features: CachedFeatures, method: TargetMethod[Head], fit: TargetFit, task: TargetTask
) -> tuple[TargetSelection[Head], TargetFold, str]:
    """Return the selection, the fold of the train rows, and what selected, in words.

    If folds select and the method has exact leave-one-out predictions, these do, of train and val together: their
    standardisation alone has seen the row that is left out.

    Raises
    ------
    Diverged
        The training of every candidate diverged.
    """
    splits = features.session.splits
    if splits.folds:
        whole = refit_fold(features)
        candidates = method.candidates(fit, len(whole.Y))
        if (outputs := method.leave_one_out(whole, candidates)) is not None:
            first = train_fold(features)
            heads = method.fit(first, fit, candidates)
            chosen_by = f"leave-one-out (n={len(whole.Y)})"
            return _choose(candidates, [[one] for one in outputs], [whole.Y], heads, task), first, chosen_by
    folds = selection_folds(features)
    candidates = method.candidates(fit, min(len(fold.Y) for fold in folds))
    of_candidate: list[list[DoubleArray]] = [[] for _ in candidates.values]
    first_heads: Sequence[Head] = ()
    usable = list(range(len(candidates.values)))
    for fold in folds:
        heads = method.fit(fold, fit, candidates)
        first_heads = first_heads or heads
        usable = [i for i in usable if not method.has_diverged(heads[i])]
        if not usable:
            raise all_diverged(candidates.values, fit.options, method.name, features.title(method.name, fit.seed))
        for i in usable:
            of_candidate[i].append(method.outputs(heads[i], fold.X_heldout))
    selection = _choose(
        candidates.subset(usable),
        [of_candidate[i] for i in usable],
        [fold.Y_heldout for fold in folds],
        [first_heads[i] for i in usable],
        task,
    )
    is_at_edge = selection.is_at_edge or method.is_at_edge(fit, selection.selected)
    diverged = tuple(value for i, value in enumerate(candidates.values) if i not in usable)
    return replace(selection, is_at_edge=is_at_edge, diverged=diverged), folds[0], splits.chosen_by


def _choose(
    candidates: Candidates,
    outputs: Sequence[Sequence[DoubleArray]],
    targets: Sequence[DoubleArray],
    heads: Sequence[Head],
    task: TargetTask,
) -> TargetSelection[Head]:
    Y = np.concatenate(targets)
    joined = [np.concatenate(own) for own in outputs]
    values = [task.selection_values(Y, own) for own in joined]
    index, is_at_edge = choose([(value[0], value[1]) for value in values], candidates.strengths)
    path = [
        {**candidate, task.metric: value, task.loss: loss}
        for candidate, (value, loss) in zip(candidates.values, values, strict=True)
    ]
    return TargetSelection(candidates, tuple(path), index, is_at_edge, Y, joined[index], heads)
