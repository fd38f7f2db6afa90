"""Curve: one method on nested parts of the train rows, from a few images to all, selected on the same val rows."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from probeline.crews.waves import choose_crew, run_waves
from probeline.crews.work import Results
from probeline.evaluate.by_crew import extract_by_crew, pieces_by_tap
from probeline.evaluate.curve import (
    CurveRequest,
    compute_curve,
    draw_portions,
    find_curve,
    is_computed,
    request_probe_curve,
    title_curve,
)
from probeline.finetuning.curve import request_training_curve
from probeline.format import percent
from probeline.report.records.learning_steps import steps
from probeline.results.curve import CURVES, Curve
from probeline.session import Session


def run(session: Session) -> list[dict[str, Any]]:
    """Compute the learning curves that do not exist yet, and return the steps of all.

    Each backbone has one of the exact probe per tap, and one per requested strategy. Every part is selected on the same
    val rows, or on the first fold: val does not shrink with the train rows.
    """
    if session.settings.sharing.crew is not None:
        _compute_by_crew(session)
    return [
        _describe(session, find_curve(session, request) or _compute(session, request)) for request in _requests(session)
    ]


def _requests(session: Session) -> list[CurveRequest]:
    portions = draw_portions(session)
    requests = []
    for backbone in session.settings.nets.backbones:
        requests += [request_probe_curve(session, taps, portions) for taps in session.taps(backbone)[0]]
        requests += [
            request_training_curve(session, session.backbone(backbone)[0], strategy, portions)
            for strategy in session.settings.curve.curve_strategies
        ]
    return requests


def _compute_by_crew(session: Session) -> None:
    """Let the crew compute each curve in a process of its own: first those of the probe, which the others have too."""

    def exist(own: Session) -> bool:
        return all(is_computed(own, request) for request in _requests(own))

    settings = session.settings
    pieces = pieces_by_tap(session, exist, curve_strategies=())
    at_one_tap = session.under(settings.changed(taps=settings.reading.taps[:1]))
    trained = [
        piece
        for strategy in settings.curve.curve_strategies
        for piece in pieces_by_tap(at_one_tap, exist, curve_strategies=(strategy,))
    ]
    extract_by_crew(session, [*pieces, *trained])
    run_waves(session, choose_crew(session), Results(settings, "curve", "curve", pieces))
    run_waves(session, choose_crew(session), Results(settings, "curve", "trained curve", trained))


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
        "steps": [asdict(step) for step in steps(curve)],
        "file": str(CURVES.path(session.reports, curve.backbone, curve.key)),
    }
