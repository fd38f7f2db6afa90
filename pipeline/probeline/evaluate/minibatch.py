"""Heads that are trained in minibatches: every candidate of a grid on one round's rows, always in the same company."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from probeline.evaluate.folds import Fold
from probeline.options.grids import Grid
from probeline.types import FloatArray

if TYPE_CHECKING:
    from probeline.heads.minibatch.mlp import MlpHead
    from probeline.heads.minibatch.sgd import SgdHead


def sgd_heads(held: Fold, classes: int, wanted: Grid, seed: int) -> list[SgdHead]:
    """Return the linear heads of all candidates, in their order."""
    from probeline.heads.minibatch.sgd import Setting, fit_sgd

    shared = wanted.fixed()
    training = {name: shared.pop(name) for name in ("epochs", "batch_size")}
    settings = [Setting(**candidate, **shared, seed=seed) for candidate in wanted.candidates()]
    return fit_sgd(held.X, held.y, classes, settings, **training, X_val=held.X_heldout, y_val=held.y_heldout)


def mlp_heads(held: Fold, classes: int, wanted: Grid, seed: int) -> list[MlpHead]:
    """Return the heads with a hidden layer of all candidates, in their order."""
    from probeline.heads.minibatch.mlp import fit_mlp

    facts = {**wanted.fixed(), "seed": seed, "X_val": held.X_heldout, "y_val": held.y_heldout}
    return [fit_mlp(held.X, held.y, classes, **candidate, **facts) for candidate in wanted.candidates()]


def mlp_logits(heads: Sequence[MlpHead], X: FloatArray) -> Iterable[FloatArray]:
    """Yield the logits float32 [m, K] of each head for rows float32 [m, D]."""
    from probeline.heads.minibatch.mlp import mlp_decision

    return (mlp_decision(head, X) for head in heads)
