"""Robustness: the exact probe of each backbone on corrupted copies of the test images."""

from __future__ import annotations

from typing import Any

from probeline.errors import BadOption
from probeline.evaluate.features import requested_features
from probeline.evaluate.shifts.robustness import measure_robustness
from probeline.evaluate.shifts.unlike import measure_unlike, other_session
from probeline.format import decimals, percent, points
from probeline.images import Corruption
from probeline.options.corruptions import parse_corruptions
from probeline.results.shifts.corruptions import ROBUSTNESS, Robustness
from probeline.results.shifts.unlike import UNLIKE, Unlike
from probeline.session import Session


def run(session: Session) -> list[dict[str, Any]]:
    """Measure the exact probe of each backbone and tap under the corruptions of ``--corruption``.

    With ``--ood`` its distances to the train images are compared with those of other data sets. Returns per backbone
    and tap what was found, in [0, 1], and the file.
    """
    seed, words = session.settings.data.data_seed, session.settings.robustness.corruptions
    corruptions = [Corruption(name, severity, seed) for name, severity in parse_corruptions(words)]
    others = [other_session(session, spec) for spec in session.settings.robustness.ood]
    if not corruptions and not others:
        raise BadOption("nothing to measure", expected="--corruption NAME, or --ood DATASET", got="--corruption none")
    results = []
    for features in requested_features(session):
        if corruptions:
            results.append(_report(session, measure_robustness(features, corruptions)))
        results += [_report_unlike(session, measure_unlike(features, other)) for other in others]
    return results


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


def _report_unlike(session: Session, record: Unlike) -> dict[str, Any]:
    places = decimals([min(record.n_test, record.n_other)])
    low, high = (percent(end, places) for end in record.auroc_interval)
    session.console.result(
        f"robustness: {record.backbone}: images of {record.other} are told from test images with AUROC "
        f"{percent(record.auroc, places)} % ({low} to {high}), FPR at 95 % TPR {percent(record.fpr95, places)} %, "
        f"n = {record.n_test:,} and {record.n_other:,}"
    )
    names = ("backbone", "weights", "tap", "other", "n_test", "n_other", "auroc", "auroc_interval")
    values = {name: getattr(record, name) for name in (*names, "fpr95", "fpr95_interval")}
    return {**values, "file": str(UNLIKE.path_of(session.reports, record))}
