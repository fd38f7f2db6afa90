"""Logistic regression: the exact probe, its refit on train and val, and scikit-learn's solver as a baseline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from probeline.evaluate.candidates import Candidates, Selection
from probeline.evaluate.folds import Fold
from probeline.evaluate.heads.certificates import ExactCertificate
from probeline.evaluate.heads.method import ExportedHead, FitSettings, HeadMethod, export_linear
from probeline.heads.linear import Head, decision
from probeline.heads.select import L2_GRID
from probeline.names import Method
from probeline.options.settings import HeadOptions
from probeline.types import FloatArray

REFERENCE_L2 = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Whole decades, since each is a fit of its own; the exact probe's grid is finer and wider."""


class LogisticRegression(HeadMethod[Head]):
    """l2-regularised logistic regression, its l2 selected on validation."""

    def candidates(self, settings: FitSettings, rows: int) -> Candidates:
        """Return each l2 of the options."""
        return Candidates.of("l2", settings.options["l2"])

    def logits(self, heads: Sequence[Head], X: FloatArray) -> Iterable[FloatArray]:
        """Yield the logits float32 [m, K] of each head for rows float32 [m, D]."""
        return (decision(head, X) for head in heads)

    def has_converged(self, head: Head) -> bool:
        """Return whether the solver met its tolerance."""
        return head.certificate.converged

    def certificate(self, head: Head, selection: Selection[Head], settings: FitSettings) -> ExactCertificate:
        """Return the solver's proof."""
        return ExactCertificate(edge=selection.is_at_edge, **vars(head.certificate), gap=head.gap)

    def export(self, head: Head, fold: Fold, settings: FitSettings) -> ExportedHead:
        """Return the layer."""
        return export_linear(head, fold.scaler)


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
        """Return the grid."""
        return {"l2": list(L2_GRID)}

    def fit(self, fold: Fold, settings: FitSettings, candidates: Candidates) -> list[Head]:
        """Return the heads of all l2, which share one factorisation and start from each other."""
        from probeline.heads.logistic.path import fit_path

        return fit_path(fold.X, fold.y, settings.classes, candidates.strengths)


class ReferenceLogistic(LogisticRegression):
    """scikit-learn's solver on the same objective."""

    name = Method.LOGISTIC
    verb = "baselines"
    are_independent = True

    def options(self, options: HeadOptions) -> dict[str, Any]:
        """Return the grid."""
        return {"l2": list(REFERENCE_L2)}

    def fit(self, fold: Fold, settings: FitSettings, candidates: Candidates) -> list[Head]:
        """Return one fit per l2."""
        from probeline.heads.logistic.reference import fit_reference

        return [fit_reference(fold.X, fold.y, l2) for l2 in candidates.strengths]


PROBE = ExactProbe()
PROBE_REFIT = ExactProbe(Method.PROBE_REFIT, is_refit=True)
LOGISTIC = ReferenceLogistic()
