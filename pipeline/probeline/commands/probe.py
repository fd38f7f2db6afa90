"""Probe: fit linear heads on the cached features, the exact one and those that are trained in minibatches."""

from __future__ import annotations

from typing import Any

from probeline.evaluate.by_crew import fit_by_crew
from probeline.evaluate.features import requested_features
from probeline.evaluate.notices import require_no_texts, say_missed_classes, say_without_texts
from probeline.evaluate.requests import outcome
from probeline.evaluate.score import score_heads
from probeline.evaluate.targets.score import score_targets, target_outcome
from probeline.evaluate.tokens import requested_rows
from probeline.session import Session


def run(session: Session) -> list[dict[str, Any]]:
    """Fit the heads of every backbone that are not scored yet, extracting missing features; return all results."""
    if session.settings.sharing.crew is not None:
        fit_by_crew(session, "probe")
    if session.dataset.targets is not None:
        require_no_texts(session)
        own = [score for features in requested_features(session) for score in score_targets(features, "probe")]
        return [target_outcome(session, score) for score in own]
    rows = requested_rows(session, "probe")
    say_without_texts(session, rows)
    scores = [score for features in rows for score in score_heads(features, "probe")]
    say_missed_classes(session, "probe", scores)
    return [outcome(session, score) for score in scores]
