"""Learning curves: one method fitted on growing parts of the train rows, selected on the same val rows each time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from probeline import disk
from probeline.data.sampling.fractions import Portion, choose_portions
from probeline.environment import environment
from probeline.identity import digest_bytes
from probeline.names import PENULTIMATE, Method
from probeline.results.curve import CURVES, Curve, CurvePoint
from probeline.results.methods import method_info
from probeline.session import Session
from probeline.types import Backbone


def keep_files() -> None:
    """Remove nothing."""


@dataclass(frozen=True)
class CurvePoints:
    """The points of a curve and what they cost.

    Attributes
    ----------
    points : tuple of CurvePoint
    seconds : float
        Of all fits.
    preparation_seconds : float
        Of what is cached, such as the features.
    device : str
        In words.
    summary : str
        How many fits there were.
    clean_up : callable
        Removes what an interrupted run would have continued from; called once the curve is written.
    """

    points: tuple[CurvePoint, ...]
    seconds: float
    preparation_seconds: float
    device: str
    summary: str
    clean_up: Callable[[], None] = keep_files


@dataclass(frozen=True)
class CurveRequest:
    """One curve: its identity, and the function that computes its points.

    Attributes
    ----------
    backbone : Backbone
    tap, method : str
        As in scores.
    options : mapping
        Of the method.
    key : str
        sha256 over everything that could change its numbers.
    compute : callable
        Returns the points, given the title of messages.
    """

    backbone: Backbone
    tap: str
    method: str
    options: Mapping[str, Any]
    key: str
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
    """Return what a curve's key holds of its parts: the rows themselves, however they were drawn."""
    return [[part.kind, part.amount, part.draw, digest_bytes(part.rows.tobytes())] for part in parts]


def title_curve(session: Session, request: CurveRequest) -> str:
    """Return the beginning of every message about a curve."""
    at_tap = "" if request.tap == PENULTIMATE else f" at {request.tap}"
    of_method = "" if request.method == Method.PROBE else f", {method_info(request.method).title}"
    return f"curve: {session.dataset.name} x {request.backbone.name}{at_tap}{of_method}"


def find_curve(session: Session, request: CurveRequest) -> Curve | None:
    """Return the requested curve if it exists, and say that it is skipped.

    Raises
    ------
    CannotWrite
        It does not exist, and could not be written.
    """
    curve = CURVES.find(session.reports, request.backbone.name, request.key)
    if isinstance(curve, Curve):
        session.console.say(f"{title_curve(session, request)}: already computed, skipped")
        return curve
    disk.check_writable(session.reports / "curves")
    return None


def compute_curve(session: Session, request: CurveRequest) -> tuple[Curve, CurvePoints]:
    """Compute the points of a curve, write it, and return both."""
    settings, splits, dataset, backbone = session.settings, session.splits, session.dataset, request.backbone
    result = request.compute(title_curve(session, request))
    curve = Curve(
        dataset=dataset.title,
        backbone=backbone.name,
        weights=backbone.weights,
        precision=settings.nets.precision,
        tap=request.tap,
        method=request.method,
        options=request.options,
        key=request.key,
        splits=session.splits_sha256,
        image_size=backbone.preprocess.crop,
        class_names=dataset.class_names,
        n_train=len(splits.train),
        n_val=len(splits.val),
        n_test=len(splits.test),
        draws=settings.curve.draws,
        data_seed=settings.data.data_seed,
        grouped=bool(dataset.groups),
        points=result.points,
        warm_seconds=result.seconds,
        cold_seconds=result.seconds + result.preparation_seconds,
        environment=environment(result.device),
    )
    CURVES.save(session.reports, curve)
    result.clean_up()
    return curve, result
