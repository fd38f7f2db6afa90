"""The MLP head of several labels or of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from probeline.evaluate.heads.method import Candidate, Candidates
from probeline.evaluate.heads.minibatch import requested_values, saved_grid, training_of
from probeline.evaluate.targets.folds import TargetFold
from probeline.evaluate.targets.limit import LIMIT
from probeline.evaluate.targets.method import TargetFit, TargetMethod
from probeline.evaluate.targets.scale import TargetScale
from probeline.evaluate.targets.task import target_task
from probeline.names import MULTI_LABEL, REGRESSION, Method
from probeline.options.grids import mlp_axes
from probeline.options.groups.fitting import HeadOptions
from probeline.types import DoubleArray, FloatArray

if TYPE_CHECKING:
    from probeline.heads.minibatch.mlp import MlpHead
    from probeline.heads.minibatch.targets import Kind


@dataclass(frozen=True)
class ScaledMlp:
    """A head with a hidden layer, and how its outputs are turned back into logits or numbers."""

    net: MlpHead
    scale: TargetScale


@dataclass(frozen=True)
class TargetMlp(TargetMethod[ScaledMlp]):
    """A hidden layer and a linear one with an output for each label or number; fitted only if ``--mlp`` is given.

    Numbers are standardised by the rows it is fitted on, and their features limited to `LIMIT` standard deviations.
    """

    task: str
    name = Method.PROBE_MLP
    is_seeded = True

    def is_requested(self, options: HeadOptions) -> bool:
        return bool(options.mlp)

    def options(self, options: HeadOptions) -> dict[str, Any]:
        limit = {"limit": LIMIT} if self.task == REGRESSION else {}
        return {**requested_values("mlp", mlp_axes(self.task), options.mlp), **limit}

    def candidates(self, fit: TargetFit, rows: int) -> Candidates:
        return Candidates.unordered(saved_grid(mlp_axes(self.task), fit.options).candidates())

    def is_at_edge(self, fit: TargetFit, candidate: Candidate) -> bool:
        return saved_grid(mlp_axes(self.task), fit.options).edge(candidate)

    def fit(self, fold: TargetFold, fit: TargetFit, candidates: Candidates) -> Sequence[ScaledMlp]:
        heads, training = training_of(saved_grid(mlp_axes(self.task), fit.options), candidates, {"seed": fit.seed or 0})
        return fit.device.run(self._train, fold, heads, training)

    def _train(
        self, fold: TargetFold, heads: Sequence[Candidate], training: Mapping[str, Any], *, device: str
    ) -> list[ScaledMlp]:
        from probeline.heads.minibatch.mlp import MlpSettings, fit_mlp_targets

        scale, task = TargetScale.of(self.task, fold.Y), target_task(self.task)

        def on_val(outputs: FloatArray) -> float | None:
            return task.test_values(fold.Y_heldout, scale.restore(outputs))[0]

        X, Y = self._features(fold.X), scale.standardise(fold.Y)
        validation = self._features(fold.X_heldout), scale.standardise(fold.Y_heldout), on_val
        kind: Kind = "labels" if self.task == MULTI_LABEL else "numbers"
        return [
            ScaledMlp(
                fit_mlp_targets(X, Y, kind, MlpSettings(**head), **training, validation=validation, device=device),
                scale,
            )
            for head in heads
        ]

    def outputs(self, head: ScaledMlp, X: FloatArray) -> DoubleArray:
        from probeline.heads.minibatch.mlp import mlp_decision

        return head.scale.restore(mlp_decision(head.net, self._features(X)))

    def _features(self, X: FloatArray) -> FloatArray:
        return X.clip(-LIMIT, LIMIT) if self.task == REGRESSION else X

    def has_diverged(self, head: ScaledMlp) -> bool:
        return head.net.diverged is not None

    def history(self, head: ScaledMlp) -> tuple[dict[str, Any], ...]:
        return head.net.history

    def count_parameters(self, head: ScaledMlp) -> int:
        return sum(part.size for part in vars(head.net).values() if isinstance(part, np.ndarray))
