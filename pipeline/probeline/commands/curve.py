"""Curve: one method on nested parts of the train rows, from a few images to all, each chosen on the same val rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from probeline import disk
from probeline.data.sampling.fractions import Portion, portions
from probeline.environment import environment
from probeline.evaluate.curve_of_probe import probed
from probeline.evaluate.curve_points import Points
from probeline.evaluate.requests import result_key
from probeline.finetune.curve import plan_curve, train_points
from probeline.format import percent
from probeline.heads.select import L2_GRID
from probeline.identity import HEADS_VERSION, digest_bytes
from probeline.names import PENULTIMATE, Method
from probeline.report.records.learning_steps import steps
from probeline.results.curve import CURVES, Curve
from probeline.results.methods import method_info
from probeline.session import Session
from probeline.types import Backbone


def run(session: Session) -> list[dict[str, Any]]:
    """Make the learning curves that are not there yet, and return the steps of all.

    Of every backbone, there is one of the exact probe at each tap, and one of each strategy that is asked for. Every
    fraction is chosen on the same val rows, or the first fold where there are folds: val is not scaled down with the
    fraction. Views play no part in the probe's: every image is fitted on as it is.

    Raises
    ------
    MissingData
        The embeddings have not been extracted.
    ProbelineError
    """
    wanted = _wanted(session)
    parts = [[one.kind, one.amount, one.draw, digest_bytes(one.rows.tobytes())] for one in wanted]
    found = []
    for name in session.settings.nets.backbones:
        lines = [_of_probe(session, taps, wanted, parts) for taps in session.taps(name)[0]]
        lines += [
            _of_training(session, name, strategy, wanted, parts) for strategy in session.settings.curve.curve_strategies
        ]
        found += [_outcome(session, _curve(session, line)) for line in lines]
    return found


@dataclass(frozen=True)
class _Line:
    """One curve as it is asked for, and what makes its points."""

    backbone: Backbone
    tap: str
    method: str
    options: Mapping[str, Any]
    key: str
    make: Callable[[str], Points]


def _wanted(session: Session) -> list[Portion]:
    settings, rows, dataset = session.settings, session.splits.train, session.dataset
    return portions(
        dataset.parts[rows.part].labels,
        rows.rows,
        percents=settings.curve.fractions,
        shots=() if settings.curve.shots == (0,) else settings.curve.shots,
        draws=settings.curve.draws,
        data_seed=settings.data.data_seed,
        groups=dataset.groups.get(rows.part),
    )


def _of_probe(session: Session, taps: Sequence[Backbone], wanted: Sequence[Portion], parts: list[Any]) -> _Line:
    entries = [session.entry(tap, part) for tap in taps for part in session.parts()]
    key = result_key(
        session,
        "curve",
        version=HEADS_VERSION,
        features=[entry.key for entry in entries],
        l2=list(L2_GRID),
        # The row sets themselves: whatever draws them, other rows are another curve.
        portions=parts,
    )
    tap = "+".join(tap.tap for tap in taps)
    return _Line(taps[0], tap, "probe", {}, key, lambda title: probed(session, taps, entries, wanted, title=title))


def _of_training(session: Session, name: str, strategy: str, wanted: Sequence[Portion], parts: list[Any]) -> _Line:
    trainings = plan_curve(session, session.backbone(name)[0], strategy)
    key = result_key(session, "curve", runs=[request.key for request in trainings.requests], portions=parts)
    return _Line(
        trainings.backbone,
        PENULTIMATE,
        trainings.requests[0].method,
        trainings.requests[0].options,
        key,
        lambda title: train_points(trainings, wanted, key=key, title=title),
    )


def _curve(session: Session, line: _Line) -> Curve:
    settings, splits, dataset, backbone = session.settings, session.splits, session.dataset, line.backbone
    title = f"curve: {dataset.name} x {backbone.name}" + ("" if line.tap == PENULTIMATE else f" at {line.tap}")
    title += "" if line.method == Method.PROBE else f", {method_info(line.method).title}"
    found = CURVES.find(session.reports, backbone.name, line.key)
    if isinstance(found, Curve):
        settings.console.say(f"{title}: it is there")
        return found
    disk.check_writable(session.reports / "curves")
    made = line.make(title)
    curve = Curve(
        dataset=dataset.title,
        backbone=backbone.name,
        weights=backbone.weights,
        precision=settings.nets.precision,
        tap=line.tap,
        method=line.method,
        options=line.options,
        key=line.key,
        splits=session.splits_sha256,
        image_size=backbone.preprocess.crop,
        class_names=dataset.class_names,
        n_train=len(splits.train),
        n_val=len(splits.val),
        n_test=len(splits.test),
        draws=settings.curve.draws,
        data_seed=settings.data.data_seed,
        grouped=bool(dataset.groups),
        points=made.points,
        warm_seconds=made.seconds[0],
        cold_seconds=sum(made.seconds),
        environment=environment(made.device),
    )
    CURVES.save(session.reports, curve)
    made.tidy()
    for step in steps(curve):
        low, high = (percent(end, 1) for end in step.range)
        spread = f" ({low} to {high} % over {step.draws} draws)" if step.draws > 1 else ""
        settings.console.say(
            f"{title}: {step.title}: {step.images} images, test top-1 {percent(step.mean, 1)} %{spread}"
        )
    settings.console.result(f"{title}: {made.told} in {made.seconds[0]:.1f} s")
    return curve


def _outcome(session: Session, curve: Curve) -> dict[str, Any]:
    return {
        "backbone": curve.backbone,
        "weights": curve.weights,
        "tap": curve.tap,
        "method": curve.method,
        "steps": [step.to_json() for step in steps(curve)],
        "file": str(CURVES.path(session.reports, curve.backbone, curve.key)),
    }
