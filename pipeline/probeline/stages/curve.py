"""Curve: the exact probe on nested parts of the train rows, from a few images to all; no pixel is looked at again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probeline import disk
from probeline.backbones.names import PENULTIMATE
from probeline.environment import environment
from probeline.heads.select import L2_GRID, choose
from probeline.heads.standardize import apply, fit_scaler
from probeline.identity import HEADS_VERSION, digest_bytes
from probeline.images.fractions import Portion, portions
from probeline.metrics.scores import nll, top1
from probeline.records import Backbone, Curve, CurvePoint, FloatArray, IntArray, Split
from probeline.report.curve_files import curve_path, find_curve, save_curve
from probeline.report.learning import steps
from probeline.report.words import percent
from probeline.stages import canary
from probeline.stages.fitting import side_by_side
from probeline.stages.inputs import Inputs


def run(inputs: Inputs) -> list[dict[str, Any]]:
    """Fit the learning curve of every backbone at every tap where it is not there yet, and return their steps.

    Every fraction chooses its l2 on the same val rows, those of the probe, or the first fold where there are folds:
    val is not scaled down with the fraction. Views play no part: every image is fitted on as it is.

    Raises
    ------
    MissingData
        The embeddings have not been extracted.
    ProbelineError
    """
    return [_outcome(inputs, _curve(inputs, taps)) for name in inputs.config.backbones for taps in inputs.taps(name)[0]]


@dataclass(frozen=True)
class _Rows:
    """Features and labels of one role: float32 [n, D] and int64 [n]."""

    X: FloatArray
    y: IntArray


def _curve(inputs: Inputs, taps: Sequence[Backbone]) -> Curve:
    backbone, tap = taps[0], "+".join(tap.tap for tap in taps)
    config, splits, dataset = inputs.config, inputs.splits, inputs.dataset
    wanted = portions(
        dataset.parts[splits.train.part].labels,
        splits.train.rows,
        percents=config.fractions,
        shots=() if config.shots == (0,) else config.shots,
        draws=config.draws,
        data_seed=config.data_seed,
        groups=dataset.groups.get(splits.train.part),
    )
    entries = [inputs.entry(tap, part) for tap in taps for part in inputs.parts()]
    key = inputs.score_key(
        "curve",
        version=HEADS_VERSION,
        features=[entry.key for entry in entries],
        l2=list(L2_GRID),
        # The row sets themselves: whatever draws them, other rows are another curve.
        portions=[[one.kind, one.amount, one.draw, digest_bytes(one.rows.tobytes())] for one in wanted],
    )
    title = f"curve: {dataset.name} x {backbone.name}" + ("" if tap == PENULTIMATE else f" at {tap}")
    if found := find_curve(inputs.curves, backbone.name, key):
        config.console.say(f"{title}: it is there")
        return found
    disk.check_writable(inputs.curves)
    canary.hold_all(inputs, taps, entries)
    train, val, test = (_rows(inputs, taps, split) for split in (splits.train, splits.val, splits.test))

    start = time.perf_counter()
    points: list[CurvePoint] = []
    fitted: dict[bytes, dict[str, Any]] = {}
    with config.console.bar(title, len(wanted), "fit") as bar:
        for one in wanted:
            rows = one.rows.tobytes()
            if rows not in fitted:  # few rows and many classes: 1 % and 2 % may be the same rows
                chosen = np.searchsorted(splits.train.rows, one.rows)
                fitted[rows] = _fit(_Rows(train.X[chosen], train.y[chosen]), val, test, len(dataset.class_names))
            points.append(_point(one, fitted[rows]))
            bar.update(1)
    seconds = time.perf_counter() - start
    # One pass gives every tap: of those side by side the longest counts.
    extraction = sum(max(inputs.features(tap, part).seconds for tap in taps) for part in inputs.parts())
    curve = Curve(
        dataset=dataset.title,
        backbone=backbone.name,
        weights=backbone.weights,
        precision=config.precision,
        tap=tap,
        key=key,
        splits=inputs.splits_sha256,
        image_size=backbone.preprocess.crop,
        class_names=dataset.class_names,
        n_train=len(splits.train),
        n_val=len(splits.val),
        n_test=len(splits.test),
        draws=config.draws,
        data_seed=config.data_seed,
        grouped=bool(dataset.groups),
        points=tuple(points),
        warm_seconds=seconds,
        cold_seconds=seconds + extraction,
        environment=environment("CPU"),
    )
    save_curve(inputs.curves, curve)
    for step in steps(curve):
        low, high = (percent(end, 1) for end in step.range)
        spread = f" ({low} to {high} % over {step.draws} draws)" if step.draws > 1 else ""
        config.console.say(f"{title}: {step.title}: {step.images} images, test top-1 {percent(step.mean, 1)} %{spread}")
    config.console.say(f"{title}: {len(fitted)} fits of {len(L2_GRID)} l2 each in {seconds:.1f} s")
    return curve


def _rows(inputs: Inputs, taps: Sequence[Backbone], split: Split) -> _Rows:
    features = side_by_side([inputs.features(tap, split.part).features[split.rows] for tap in taps])
    return _Rows(features, inputs.dataset.parts[split.part].labels[split.rows])


def _fit(train: _Rows, val: _Rows, test: _Rows, classes: int) -> dict[str, Any]:
    """Return what a point says of a fit: the whole l2 path on `train`, one head chosen by `val`, read on `test`."""
    from probeline.heads.linear import decision, predict
    from probeline.heads.logistic import fit_path

    scaler = fit_scaler(train.X)
    heads = fit_path(apply(scaler, train.X), train.y, classes, L2_GRID)
    X_val = apply(scaler, val.X)
    scores = []
    for head in heads:
        logits = decision(head, X_val)
        scores.append((top1(val.y, logits.argmax(1)), nll(val.y, logits)))
    place, edge = choose(scores, L2_GRID)
    return {
        "l2": L2_GRID[place],
        "edge": edge,
        "val_top1": scores[place][0],
        "test_top1": top1(test.y, predict(heads[place], apply(scaler, test.X))),
        "converged": all(head.certificate.converged for head in heads),
    }


def _point(one: Portion, facts: dict[str, Any]) -> CurvePoint:
    return CurvePoint(one.kind, one.amount, one.draw, len(one.rows), one.short, **facts)


def _outcome(inputs: Inputs, curve: Curve) -> dict[str, Any]:
    return {
        "backbone": curve.backbone,
        "weights": curve.weights,
        "tap": curve.tap,
        "steps": [step.to_json() for step in steps(curve)],
        "file": str(curve_path(inputs.curves, curve.backbone, curve.key)),
    }
