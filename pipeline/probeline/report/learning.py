"""From the points of learning curves to their steps: the draws of one fraction together, and the table of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

from probeline.backbones.names import PENULTIMATE
from probeline.metrics.intervals import wilson
from probeline.records import Curve, CurvePoint
from probeline.report.words import decimals, listing, percent


@dataclass(frozen=True)
class Step:
    """All draws of one fraction, or of one number of shots.

    Attributes
    ----------
    kind : str
        ``fraction`` or ``shots``.
    amount : float
        Percent of the train rows, or images a class.
    n_train : tuple of 2 ints
        Fewest and most images of a draw.
    draws : int
    mean : float
        Test top-1 over the draws, in [0, 1].
    sd : float or None
        Sample standard deviation over the draws; None for one.
    range : tuple of 2 floats
        Lowest and highest of the draws.
    interval : tuple of 2 floats or None
        Wilson's 95 % interval for drawing other test images, where there is one draw.
    short : int
        Of shots: classes that have fewer images than that.
    edge : int
        Draws whose l2 stands at an end of the grid.
    converged : bool
        Whether every fit did.
    """

    kind: str
    amount: float
    n_train: tuple[int, int]
    draws: int
    mean: float
    sd: float | None
    range: tuple[float, float]
    interval: tuple[float, float] | None
    short: int
    edge: int
    converged: bool

    @property
    def title(self) -> str:
        """``5 %``, or ``4 a class``."""
        return f"{self.amount:g} %" if self.kind == "fraction" else f"{self.amount:g} a class"

    @property
    def images(self) -> str:
        """``72``, or ``70 to 75`` where the draws differ."""
        low, high = self.n_train
        return f"{low:,}" if low == high else f"{low:,} to {high:,}"

    def to_json(self) -> dict[str, Any]:
        """Return the step as JSON values."""
        return asdict(self)


def steps(curve: Curve) -> list[Step]:
    """Return the steps of a curve in the order of its points: fractions before shots, each ascending."""
    together: dict[tuple[str, float], list[CurvePoint]] = {}
    for point in curve.points:
        together.setdefault((point.kind, point.amount), []).append(point)
    found = []
    for (kind, amount), points in together.items():
        tops = [point.test_top1 for point in points]
        sizes = [point.n_train for point in points]
        alone = len(points) == 1
        found.append(
            Step(
                kind=kind,
                amount=amount,
                n_train=(min(sizes), max(sizes)),
                draws=len(points),
                mean=fmean(tops),
                sd=None if alone else stdev(tops),
                range=(min(tops), max(tops)),
                interval=wilson(round(tops[0] * curve.n_test), curve.n_test) if alone else None,
                short=max(point.short for point in points),
                edge=sum(point.edge for point in points),
                converged=all(point.converged for point in points),
            )
        )
    return found


def table(curves: Sequence[Curve]) -> list[list[str]]:
    """Return the head and the cells of a table of the steps of all curves."""
    titles = curve_titles(curves)
    rows = [["Backbone", "Train", "Images", "Draws", "Mean top-1 %", "Sd", "Lowest to highest", "95 % interval"]]
    for curve, title in zip(curves, titles, strict=True):
        places = decimals([curve.n_test])
        rows += [
            [
                title,
                step.title + _marks(step),
                step.images,
                str(step.draws),
                percent(step.mean, places),
                "" if step.sd is None else percent(step.sd, places),
                "" if step.sd is None else _ends(step.range, places),
                "" if step.interval is None else _ends(step.interval, places),
            ]
            for step in steps(curve)
        ]
    return rows


def notes(curves: Sequence[Curve]) -> list[str]:
    """Return what a reader of the table has to know."""
    every = [step for curve in curves for step in steps(curve)]
    seeds = listing(sorted({str(curve.data_seed) for curve in curves}))
    lines = [
        "The exact probe on nested, stratified parts of the train images, at least one of each class; "
        f"data seed {seeds}. Mean, sd and range are over the draws, the interval is Wilson's, for other test images.",
        "At 100 % it is the probe of the table where one val set chooses; where folds choose there, the first of them "
        "chooses here.",
        f"Assumed: l2 is chosen on all {_n(curves, 'n_val')} val images at every step: val is not scaled down, so "
        "the smallest parts are chosen with more labels than they are fitted on.",
    ]
    if any(curve.grouped for curve in curves):
        lines.append("A fraction takes whole groups, so it may hold more images than its percentage.")
    if any(step.short for step in every):
        lines.append("* some classes have fewer images than that and give all they have.")
    if not all(step.converged for step in every):
        lines.append("† a fit stopped before its tolerance.")
    if any(step.edge for step in every):
        lines.append("‡ a draw chose an l2 at the end of the grid.")
    return lines


def curve_titles(curves: Sequence[Curve]) -> list[str]:
    """Return what each curve is called: its backbone and tap, with what tells it from others of that backbone."""
    found = []
    for curve in curves:
        others = [other for other in curves if other is not curve and other.backbone == curve.backbone]
        facts = (("weights", "{}"), ("image_size", "{} px"), ("precision", "{}"))
        parts = ["untrained"] if curve.weights == "none" else []
        parts += [
            form.format(getattr(curve, name))
            for name, form in facts
            if (name, getattr(curve, name)) != ("weights", "none")
            and any(getattr(other, name) != getattr(curve, name) for other in others)
        ]
        net = curve.backbone if curve.tap == PENULTIMATE else f"{curve.backbone} at {curve.tap}"
        found.append(", ".join([net, *parts]))
    return found


def _n(curves: Sequence[Curve], name: str) -> str:
    return listing([f"{n:,}" for n in sorted({getattr(curve, name) for curve in curves})])


def _marks(step: Step) -> str:
    return (" *" if step.short else "") + ("" if step.converged else " †") + (" ‡" if step.edge else "")


def _ends(ends: tuple[float, float], places: int) -> str:
    return "–".join(percent(end, places) for end in ends)
