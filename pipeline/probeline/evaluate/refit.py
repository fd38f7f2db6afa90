"""The head of a score, fitted again: scores keep predictions, not heads."""

from __future__ import annotations

from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.heads.method import ExportedHead, FitSettings
from probeline.evaluate.heads.registry import head_method
from probeline.results.score import Score


def refit(features: CachedFeatures, score: Score) -> ExportedHead:
    """Fit the head of a score again, on the same rows and among the same candidates.

    Raises
    ------
    BadOption
        The head cannot be exported.
    ProbelineError
    """
    method = head_method(score.method)
    settings = FitSettings(score.options, features.classes, score.seed or 0)
    fold = features.load_refit_fold() if method.is_refit else features.load_selection_folds()[0]
    return method.export(method.refit(fold, settings, score.chosen), fold, settings)
