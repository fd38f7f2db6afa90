"""The learning curve of the exact probe, on cached features alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from probeline.data.sampling.fractions import Portion
from probeline.evaluate.curve import CurvePoints, CurveRequest, identify_portions, make_point
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.folds import Fold, make_fold
from probeline.evaluate.heads.exact import PROBE
from probeline.evaluate.heads.method import FitSettings
from probeline.evaluate.requests import result_key
from probeline.evaluate.selection import select
from probeline.evaluate.stopwatch import Stopwatch
from probeline.heads.standardize import apply
from probeline.identity import HEADS_VERSION
from probeline.results.curve import CurvePoint
from probeline.session import Session
from probeline.types import Backbone, FloatArray, IntArray, Split


def request_probe_curve(session: Session, taps: Sequence[Backbone], portions: Sequence[Portion]) -> CurveRequest:
    """Return the request for the curve of the exact probe at one tap, or at several concatenated ones.

    Augmented views are not used: every image is fitted on as it is.
    """
    features = CachedFeatures(session.without_views(), *taps)
    options = PROBE.options(session.settings.heads)
    key = result_key(
        session,
        "curve",
        version=HEADS_VERSION,
        features=[entry.key for entry in features.entries()],
        **options,
        portions=identify_portions(portions),
    )
    return CurveRequest(
        features.backbone,
        features.tap,
        PROBE.name,
        {},
        key,
        lambda title: fit_points(features, FitSettings(options, features.classes), portions, title),
    )


def fit_points(features: CachedFeatures, settings: FitSettings, portions: Sequence[Portion], title: str) -> CurvePoints:
    """Return the points of the exact probe on each part of the train rows, its l2 selected on val.

    Raises
    ------
    ProbelineError
    """
    features.prepare("curve")
    session = features.session
    splits = session.splits
    X, y = _load(features, splits.train)
    val, test = _load(features, splits.val), _load(features, splits.test)
    watch = Stopwatch()
    points: list[CurvePoint] = []
    fits: dict[bytes, dict[str, Any]] = {}
    with session.console.bar(title, len(portions), "fit") as bar:
        for portion in portions:
            rows = portion.rows.tobytes()
            if rows not in fits:  # few rows and many classes: 1 % and 2 % may be the same rows
                chosen = np.searchsorted(splits.train.rows, portion.rows)
                fits[rows] = fit_point(features, settings, make_fold(X[chosen], y[chosen], *val), test)
            points.append(make_point(portion, **fits[rows]))
            bar.update(1)
    summary = f"{len(fits)} fits of {len(settings.options['l2'])} l2 each"
    return CurvePoints(tuple(points), watch.seconds(), features.extraction_seconds, "CPU", summary)


def fit_point(
    features: CachedFeatures, settings: FitSettings, fold: Fold, test: tuple[FloatArray, IntArray]
) -> dict[str, Any]:
    """Return the fields of a point: the probe is fitted on a fold, selected on its held-out rows, scored on test."""
    task = features.task
    selection = select([fold], PROBE, settings, task)
    X_test, y_test = test
    (logits,) = PROBE.logits([selection.head], apply(fold.scaler, X_test))
    return {
        "l2": selection.selected["l2"],
        "edge": selection.is_at_edge,
        "val_top1": selection.path[selection.index][task.selection_metric],
        "test_top1": task.selection_score(y_test, logits),
        "converged": all(point["converged"] for point in selection.path),
    }


def _load(features: CachedFeatures, split: Split) -> tuple[FloatArray, IntArray]:
    return features.load_raw(split), features.task.targets(features.session.dataset, split)
