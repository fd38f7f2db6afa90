"""Ridge regression on the classes' indicators."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from probeline.evaluate.candidates import Candidates, Selection
from probeline.evaluate.folds import Fold
from probeline.evaluate.heads.certificates import Certificate
from probeline.evaluate.heads.method import ExportedHead, FitSettings, HeadMethod, export_linear
from probeline.evaluate.task import Loss, Task
from probeline.heads.linear import decision
from probeline.metrics.scores import squared
from probeline.names import Method
from probeline.options.settings import HeadOptions
from probeline.types import FloatArray

if TYPE_CHECKING:
    from probeline.heads.ridge import RidgeHead

RIDGE_L2 = tuple(10.0 ** (half / 2) for half in range(-10, 9))
"""Half decades from 1e-5 to 1e4, 19 values, as each costs one matrix product."""


class RidgeRegression(HeadMethod["RidgeHead"]):
    """Ridge regression, selected by val top-1 and then by val squared error, which is what ridge minimises.

    The likelihood of its scores would say little before a temperature is fitted.
    """

    name = Method.RIDGE
    verb = "baselines"
    are_independent = True

    def options(self, options: HeadOptions) -> dict[str, Any]:
        """Return the grid."""
        return {"l2": list(RIDGE_L2)}

    def candidates(self, settings: FitSettings, rows: int) -> Candidates:
        """Return each l2 of the options."""
        return Candidates.of("l2", settings.options["l2"])

    def fit(self, fold: Fold, settings: FitSettings, candidates: Candidates) -> list[RidgeHead]:
        """Return the heads of all l2, from one eigendecomposition."""
        from probeline.heads.ridge import fit_ridge

        return fit_ridge(fold.X, fold.y, settings.classes, candidates.strengths)

    def logits(self, heads: Sequence[RidgeHead], X: FloatArray) -> Iterable[FloatArray]:
        """Yield the scores float32 [m, K] of each head for rows float32 [m, D]."""
        return (decision(head, X) for head in heads)

    def loss(self, task: Task) -> Loss:
        """Return the squared error."""
        return squared

    def certificate(
        self,
        head: RidgeHead,
        selection: Selection[RidgeHead],
        settings: FitSettings,
    ) -> Certificate:
        """Return whether the grid ends too early."""
        return Certificate(selection.is_at_edge)

    def export(self, head: RidgeHead, fold: Fold, settings: FitSettings) -> ExportedHead:
        """Return the layer."""
        return export_linear(head, fold.scaler)


RIDGE = RidgeRegression()
