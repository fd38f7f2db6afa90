"""Linear heads by exact solvers: the exact probe and its refit, scikit-learn's logistic regression, and ridge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from probeline.evaluate.heads.method import (
    Candidate,
    Candidates,
    Certificate,
    FitSettings,
    Fold,
    LinearHead,
    LinearMethod,
    Selection,
    Watch,
)
from probeline.evaluate.task import Loss, Task
from probeline.heads.linear import Head
from probeline.heads.select import L2_GRID
from probeline.metrics.scores import squared
from probeline.names import Method
from probeline.options.groups.fitting import HeadOptions
from probeline.types import FloatArray

if TYPE_CHECKING:
    from probeline.heads.ridge import RidgeHead

REFERENCE_L2 = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Whole decades, since each is a fit of its own; the exact probe's grid is finer and wider."""

RIDGE_L2 = tuple(10.0 ** (half / 2) for half in range(-10, 9))
"""Half decades from 1e-5 to 1e4, 19 values, as each costs one matrix product."""


@dataclass(frozen=True)
class ExactCertificate(Certificate):
    """Of a logistic regression, computed in float64 at the stored float32 weights.

    Attributes
    ----------
    objective : float
        Mean cross-entropy (nats) + l2 / 2 * ||W||^2.
    gap : float
        How far the objective can lie above its minimum.
    """

    gradient_norm: float
    objective: float
    iterations: int
    converged: bool
    gap: float


class _L2Method(LinearMethod[LinearHead]):
    """A linear method whose l2 is selected on validation."""

    weighs_classes = True

    def candidates(self, settings: FitSettings, rows: int) -> Candidates:
        return Candidates.of("l2", settings.options["l2"])


class LogisticRegression(_L2Method[Head]):
    """l2-regularised logistic regression."""

    def has_converged(self, head: Head) -> bool:
        return head.certificate.converged

    def certificate(self, head: Head, selection: Selection[Head], settings: FitSettings) -> ExactCertificate:
        return ExactCertificate(edge=selection.is_at_edge, **vars(head.certificate), gap=head.gap)


@dataclass(frozen=True)
class ExactProbe(LogisticRegression):
    """The exact linear probe: every l2 of a fine grid by the Newton path."""

    name: str = Method.PROBE
    is_refit: bool = False

    @property
    def selection_name(self) -> str:
        """The refit shares the probe's selection."""
        return Method.PROBE

    def options(self, options: HeadOptions) -> dict[str, Any]:
        return {"l2": list(L2_GRID)}

    def fit(self, fold: Fold, settings: FitSettings, candidates: Candidates) -> list[Head]:
        """Return the heads of all l2, which share one factorisation and start from each other."""
        from probeline.heads.logistic.path import fit_path

        return settings.device.run(
            fit_path, fold.X, fold.y, settings.classes, candidates.strengths, **_weights(fold, settings)
        )

    def fit_until(
        self, fold: Fold, settings: FitSettings, candidates: Candidates, watch: Watch[Head]
    ) -> list[Head | None]:
        """Return the heads from the strongest l2 down to where the watch ends the path."""
        from probeline.heads.logistic.path import walk_path

        def walk(*arguments: Any, **options: Any) -> dict[float, Head]:
            heads: dict[float, Head] = {}
            watch.start()
            for window in walk_path(*arguments, **options):
                heads |= {head.l2: head for head in window}
                if any(watch.is_over(head) for head in window):
                    break
            return heads

        heads = settings.device.run(
            walk, fold.X, fold.y, settings.classes, candidates.strengths, **_weights(fold, settings)
        )
        return [heads.get(l2) for l2 in candidates.strengths]

    def refit(self, fold: Fold, settings: FitSettings, selected: Candidate, *, alone: bool = False) -> Head:
        """Return the head of a score again; the weaker l2, which do not change it, are left out."""
        if alone:
            return super().refit(fold, settings, selected, alone=True)
        candidates = self.candidates(settings, len(fold.y))
        heads = self.fit_until(fold, settings, candidates, _Until(selected["l2"]))
        head = heads[candidates.values.index(dict(selected))]
        if head is None:
            raise ValueError(f"l2 {selected['l2']} was not fitted")
        return head


@dataclass(frozen=True)
class _Until:
    """Ends a path at an l2."""

    l2: float

    def start(self) -> None: ...

    def is_over(self, head: Head) -> bool:
        return head.l2 <= self.l2


def _weights(fold: Fold, settings: FitSettings) -> dict[str, FloatArray]:
    """Return the option of a fit that weighs rows, if they are weighted."""
    weights = settings.row_weights(fold.y)
    return {} if weights is None else {"weights": weights.astype(np.float32)}


class ReferenceLogistic(LogisticRegression):
    """scikit-learn's solver on the same objective, one fit per l2."""

    name = Method.LOGISTIC
    verb = "baselines"
    are_independent = True

    def options(self, options: HeadOptions) -> dict[str, Any]:
        return {"l2": list(REFERENCE_L2)}

    def fit(self, fold: Fold, settings: FitSettings, candidates: Candidates) -> list[Head]:
        from probeline.heads.logistic.reference import fit_reference

        weights = settings.row_weights(fold.y)
        return [fit_reference(fold.X, fold.y, l2, weights=weights) for l2 in candidates.strengths]


class RidgeRegression(_L2Method["RidgeHead"]):
    """Ridge regression on the classes' indicators, all l2 from one eigendecomposition.

    It is selected by val top-1 and then by val squared error, which is what ridge minimises: the likelihood of its
    scores would say little before a temperature is fitted.
    """

    name = Method.RIDGE
    verb = "baselines"
    are_independent = True

    def options(self, options: HeadOptions) -> dict[str, Any]:
        return {"l2": list(RIDGE_L2)}

    def fit(self, fold: Fold, settings: FitSettings, candidates: Candidates) -> list[RidgeHead]:
        from probeline.heads.ridge import fit_ridge

        weights = settings.row_weights(fold.y)
        return fit_ridge(fold.X, fold.y, settings.classes, candidates.strengths, weights=weights)

    def loss(self, task: Task) -> Loss:
        return squared

    def certificate(self, head: RidgeHead, selection: Selection[RidgeHead], settings: FitSettings) -> Certificate:
        return Certificate(selection.is_at_edge)


PROBE = ExactProbe()
PROBE_REFIT = ExactProbe(Method.PROBE_REFIT, is_refit=True)
LOGISTIC = ReferenceLogistic()
RIDGE = RidgeRegression()
