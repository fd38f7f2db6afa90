"""Learning curves: one method fitted on growing parts of the train rows, selected on the same val rows each time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probeline import disk
from probeline.data.sampling.fractions import Portion, choose_portions
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.fit_options import fit_options
from probeline.evaluate.heads.exact import PROBE
from probeline.evaluate.heads.method import FitSettings, Fold, make_fold
from probeline.evaluate.requests import ScoreRequest, record_fields, result_key
from probeline.evaluate.selection import select
from probeline.evaluate.task import task_of
from probeline.heads.standardize import apply
from probeline.identity import HEADS_VERSION, digest_bytes
from probeline.names import PENULTIMATE, TOP1, Method
from probeline.results.curve import CURVES, Curve, CurvePoint
from probeline.results.methods import method_info
from probeline.session import Session
from probeline.types import Backbone, FloatArray, IntArray


@dataclass(frozen=True)
class CurvePoints:
    """The points of a curve and what they cost: seconds of all fits, and of preparing the features, for example.

    `summary` says how many fits there were; `clean_up` is called once the curve is written, and removes what an
    interrupted run would have continued from.
    """

    points: tuple[CurvePoint, ...]
    seconds: float
    preparation_seconds: float
    device: str
    summary: str
    clean_up: Callable[[], None] | None = None


@dataclass(frozen=True)
class CurveRequest(ScoreRequest):
    """One curve, before it exists; `compute` returns its points, given the title of messages."""

    backbone: Backbone
    tap: str
    compute: Callable[[str], CurvePoints]


def make_point(portion: Portion, **facts: Any) -> CurvePoint:
    """Return the point of a part of the train rows."""
    return CurvePoint(portion.kind, portion.amount, portion.draw, len(portion.rows), portion.short, **facts)


def draw_portions(session: Session) -> list[Portion]:
    """Return the parts of the train rows that the settings name."""
    settings, rows, dataset = session.settings, session.splits.train, session.dataset
    return choose_portions(
        dataset.parts[rows.part].labels,
        rows.rows,
        percents=settings.curve.fractions,
        shots=() if settings.curve.shots == (0,) else settings.curve.shots,
        draws=settings.curve.draws,
        data_seed=settings.data.data_seed,
        groups=dataset.groups.get(rows.part),
    )


def identify_portions(parts: Sequence[Portion]) -> list[list[Any]]:
    """Return what a curve's key holds of its parts: the rows themselves, whatever selected them."""
    return [[part.kind, part.amount, part.draw, digest_bytes(part.rows.tobytes())] for part in parts]


def title_curve(session: Session, request: CurveRequest) -> str:
    """Return the beginning of every message about a curve."""
    at_tap = "" if request.tap == PENULTIMATE else f" at {request.tap}"
    of_method = "" if request.method == Method.PROBE else f", {method_info(request.method).title}"
    return f"curve: {session.dataset.name} x {request.backbone.name}{at_tap}{of_method}"


def is_computed(session: Session, request: CurveRequest) -> bool:
    """Return whether a curve exists."""
    return isinstance(CURVES.find(session.reports, request.backbone.name, request.key), Curve)


def find_curve(session: Session, request: CurveRequest) -> Curve | None:
    """Return the requested curve and say that it is skipped; None if it is yet to be computed.

    Raises
    ------
    CannotWrite
        It is yet to be computed, and could not be kept.
    """
    curve = CURVES.find(session.reports, request.backbone.name, request.key)
    if isinstance(curve, Curve):
        session.console.say(f"{title_curve(session, request)}: already computed, skipped")
        return curve
    disk.check_writable(session.reports / "curves", session.settings.folders.reports)
    return None


def compute_curve(session: Session, request: CurveRequest) -> tuple[Curve, CurvePoints]:
    """Compute the points of a curve, write it, and return both."""
    settings, splits, dataset = session.settings, session.splits, session.dataset
    result = request.compute(title_curve(session, request))
    curve = Curve(
        **record_fields(session, request.backbone, request, result.device),
        tap=request.tap,
        class_names=dataset.class_names,
        n_val=len(splits.val),
        n_test=len(splits.test),
        draws=settings.curve.draws,
        data_seed=settings.data.data_seed,
        grouped=bool(dataset.groups),
        points=result.points,
        warm_seconds=result.seconds,
        cold_seconds=result.seconds + result.preparation_seconds,
    )
    CURVES.save(session.reports, curve)
    if result.clean_up:
        result.clean_up()
    return curve, result


def request_probe_curve(session: Session, taps: Sequence[Backbone], portions: Sequence[Portion]) -> CurveRequest:
    """Return the request for the curve of the exact probe at one tap, or at several concatenated ones.

    Augmented views are not used: every image is fitted on as it is.
    """
    features = CachedFeatures(session.without_views(), *taps)
    fitted = fit_options(session.settings, session.dataset.class_names)
    options = {**fitted, **PROBE.options(session.settings.heads)}
    key = result_key(
        session,
        "curve",
        version=HEADS_VERSION,
        features=[entry.key for entry in features.entries()],
        **options,
        portions=identify_portions(portions),
    )
    settings = features.fit_settings(options)
    return CurveRequest(
        PROBE.name,
        None,
        {**session.decoding.options(), **fitted},
        key,
        backbone=features.backbone,
        tap=features.tap,
        compute=lambda title: fit_points(features, settings, portions, title),
    )


def fit_points(features: CachedFeatures, settings: FitSettings, portions: Sequence[Portion], title: str) -> CurvePoints:
    """Return the points of the exact probe on each part of the train rows, its l2 selected on val."""
    features.prepare("curve")
    session = features.session
    splits = session.splits
    (X, y), val, test = (
        (features.load_raw(split), features.task.targets(session.dataset, split))
        for split in (splits.train, splits.val, splits.test)
    )
    started = time.perf_counter()
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
    seconds = time.perf_counter() - started
    return CurvePoints(tuple(points), seconds, features.extraction_seconds, settings.device.label, summary)


def fit_point(
    features: CachedFeatures, settings: FitSettings, fold: Fold, test: tuple[FloatArray, IntArray]
) -> dict[str, Any]:
    """Return the fields of a point: the probe is selected on the held-out rows of the fold, and scored on test."""
    task = task_of(features.session.dataset, settings.options.get("select_by", TOP1))
    selection = select([fold], PROBE, settings, task)
    X_test, y_test = test
    (logits,) = PROBE.logits([selection.head], apply(fold.scaler, X_test))
    return {
        "l2": selection.selected["l2"],
        "edge": selection.is_at_edge,
        "val_top1": selection.path[selection.index][TOP1],
        "test_top1": task.measures(y_test, logits)[TOP1],
        "converged": all(point["converged"] for point in selection.path),
    }
