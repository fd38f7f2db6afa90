"""Robustness: the exact probe of each backbone on corrupted copies of the test images."""

from __future__ import annotations

from typing import Any

from probeline.evaluate.features import requested_features
from probeline.evaluate.shifts.robustness import measure_robustness
from probeline.format import decimals, percent, points
from probeline.images import Corruption
from probeline.options.corruptions import parse_corruptions
from probeline.results.shifts.corruptions import ROBUSTNESS, Robustness
from probeline.session import Session


def run(session: Session) -> list[dict[str, Any]]:
    """Measure the exact probe of each backbone and tap under the corruptions of ``--corruption``.

    Returns per backbone and tap clean and mean top-1 in [0, 1], the drop with its interval, and the file.
    """
    seed, words = session.settings.data.data_seed, session.settings.robustness.corruptions
    corruptions = [Corruption(name, severity, seed) for name, severity in parse_corruptions(words)]
    return [_report(session, measure_robustness(features, corruptions)) for features in requested_features(session)]


def _report(session: Session, record: Robustness) -> dict[str, Any]:
    places = decimals([record.n_test])
    low, high = (points(-end, places) for end in reversed(record.drop_interval))
    session.console.result(
        f"robustness: {record.backbone}: clean top-1 {percent(record.clean, places)} %, mean of "
        f"{len(record.corrupted)} corruptions and severities {percent(record.mean, places)} %: "
        f"{points(-record.drop, places)} points ({low} to {high}), n = {record.n_test:,}"
    )
    return {
        "backbone": record.backbone,
        "weights": record.weights,
        "tap": record.tap,
        "clean": record.clean,
        "mean": record.mean,
        "drop": record.drop,
        "drop_interval": record.drop_interval,
        "file": str(ROBUSTNESS.path_of(session.reports, record)),
    }
