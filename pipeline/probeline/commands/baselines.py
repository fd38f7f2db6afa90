"""Baselines: scikit-learn's logistic regression, ridge regression, k-NN and nearest centroid on the cached features."""

from __future__ import annotations

from typing import Any

from probeline.evaluate.by_crew import fit_by_crew
from probeline.evaluate.features import requested_features
from probeline.evaluate.notices import say_missed_classes
from probeline.evaluate.requests import outcome
from probeline.evaluate.score import score_heads
from probeline.evaluate.targets.score import score_targets, target_outcome
from probeline.evaluate.tokens import requested_rows
from probeline.session import Session


def run(session: Session) -> list[dict[str, Any]]:
    """Fit the baselines of every backbone that are not scored yet, extracting missing features; return all results."""
    if session.settings.sharing.crew is not None:
        fit_by_crew(session, "baselines")
    if session.dataset.targets is not None:
        own = [score for features in requested_features(session) for score in score_targets(features, "baselines")]
        return [target_outcome(session, score) for score in own]
    scores = [
        score for features in requested_rows(session, "baselines") for score in score_heads(features, "baselines")
    ]
    say_missed_classes(session, "baselines", scores)
    return [outcome(session, score) for score in scores]
