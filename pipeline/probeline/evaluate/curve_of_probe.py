"""The exact probe on parts of the train rows; no pixel is looked at again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probeline.cache.entry import Entry
from probeline.data.sampling.fractions import Portion
from probeline.evaluate.curve_points import Points, point
from probeline.evaluate.features import concatenate_taps
from probeline.evaluate.stopwatch import Stopwatch
from probeline.extract import canary
from probeline.heads.select import L2_GRID, choose
from probeline.heads.standardize import apply, fit_scaler
from probeline.metrics.scores import nll, top1
from probeline.results.curve import CurvePoint
from probeline.session import Session
from probeline.types import Backbone, FloatArray, IntArray, Split


@dataclass(frozen=True)
class _Rows:
    """Features and labels of one role: float32 [n, D] and int64 [n]."""

    X: FloatArray
    y: IntArray


def probed(
    session: Session,
    taps: Sequence[Backbone],
    entries: Sequence[Entry],
    wanted: Sequence[Portion],
    *,
    title: str,
) -> Points:
    """Return the points of the exact probe on each part, its l2 chosen on val.

    Parameters
    ----------
    session : Session
    taps : sequence of Backbone
        One net at one tap, or at several whose features stand side by side.
    entries : sequence of Entry
        Their embeddings of every part.
    wanted : sequence of Portion
    title : str
        Of the progress bar.

    Raises
    ------
    MissingData
    ProbelineError
    """
    canary.check_cached(session, taps, entries)
    splits, classes = session.splits, len(session.dataset.class_names)
    train, val, test = (_rows(session, taps, split) for split in (splits.train, splits.val, splits.test))
    watch = Stopwatch()
    points: list[CurvePoint] = []
    fitted: dict[bytes, dict[str, Any]] = {}
    with session.console.bar(title, len(wanted), "fit") as bar:
        for one in wanted:
            rows = one.rows.tobytes()
            if rows not in fitted:  # few rows and many classes: 1 % and 2 % may be the same rows
                chosen = np.searchsorted(splits.train.rows, one.rows)
                fitted[rows] = _fit(_Rows(train.X[chosen], train.y[chosen]), val, test, classes)
            points.append(point(one, **fitted[rows]))
            bar.update(1)
    seconds = watch.seconds()
    # One pass gives every tap: of those side by side the longest counts.
    extraction = sum(max(session.features(tap, part).seconds for tap in taps) for part in session.parts())
    told = f"{len(fitted)} fits of {len(L2_GRID)} l2 each"
    return Points(tuple(points), (seconds, extraction), "CPU", told)


def _rows(session: Session, taps: Sequence[Backbone], split: Split) -> _Rows:
    features = concatenate_taps([session.features(tap, split.part).features[split.rows] for tap in taps])
    return _Rows(features, session.dataset.parts[split.part].labels[split.rows])


def _fit(train: _Rows, val: _Rows, test: _Rows, classes: int) -> dict[str, Any]:
    """Return what a point says of a fit: the whole l2 path on `train`, one head chosen by `val`, read on `test`."""
    from probeline.heads.linear import decision, predict
    from probeline.heads.logistic.path import fit_path

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
