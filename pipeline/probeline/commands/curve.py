"""Curve: one method on nested parts of the train rows, from a few images to all, selected on the same val rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from probeline.data.sampling.fractions import Portion
from probeline.evaluate.curve import (
    CurveRequest,
    compute_curve,
    draw_portions,
    find_curve,
    identify_portions,
    title_curve,
)
from probeline.evaluate.probe_curve import request_probe_curve
from probeline.evaluate.requests import result_key
from probeline.format import percent
from probeline.names import PENULTIMATE
from probeline.report.records.learning_steps import steps
from probeline.results.curve import CURVES, Curve
from probeline.session import Session


def run(session: Session) -> list[dict[str, Any]]:
    """Compute the learning curves that do not exist yet, and return the steps of all.

    Each backbone has one of the exact probe per tap, and one per requested strategy. Every part is selected on the same
    val rows, or on the first fold: val does not shrink with the train rows.
    """
    portions = draw_portions(session)
    results = []
    for backbone in session.settings.nets.backbones:
        requests = [request_probe_curve(session, taps, portions) for taps in session.taps(backbone)[0]]
        requests += [
            _request_training_curve(session, backbone, strategy, portions)
            for strategy in session.settings.curve.curve_strategies
        ]
        results += [
            _describe(session, find_curve(session, request) or _compute(session, request)) for request in requests
        ]
    return results


def _request_training_curve(
    session: Session, backbone: str, strategy: str, portions: Sequence[Portion]
) -> CurveRequest:
    from probeline.finetune.curve import plan_curve, train_points

    trainings = plan_curve(session, session.backbone(backbone)[0], strategy)
    runs = [request.key for request in trainings.requests]
    key = result_key(session, "curve", runs=runs, portions=identify_portions(portions))
    return CurveRequest(
        trainings.backbone,
        PENULTIMATE,
        trainings.requests[0].method,
        trainings.requests[0].options,
        key,
        lambda title: train_points(trainings, portions, key=key, title=title),
    )


def _compute(session: Session, request: CurveRequest) -> Curve:
    curve, result = compute_curve(session, request)
    title = title_curve(session, request)
    for step in steps(curve):
        low, high = (percent(end, 1) for end in step.range)
        spread = f" ({low} to {high} % over {step.draws} draws)" if step.draws > 1 else ""
        session.console.say(
            f"{title}: {step.title}: {step.images} images, test top-1 {percent(step.mean, 1)} %{spread}"
        )
    session.console.result(f"{title}: {result.summary} in {result.seconds:.1f} s")
    return curve


def _describe(session: Session, curve: Curve) -> dict[str, Any]:
    return {
        "backbone": curve.backbone,
        "weights": curve.weights,
        "tap": curve.tap,
        "method": curve.method,
        "steps": [step.to_json() for step in steps(curve)],
        "file": str(CURVES.path(session.reports, curve.backbone, curve.key)),
    }
