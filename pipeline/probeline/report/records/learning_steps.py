"""The steps of learning curves: all draws of one fraction or number of shots together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from probeline.metrics.intervals import wilson
from probeline.names import PENULTIMATE, Method
from probeline.results.curve import Curve, CurvePoint
from probeline.results.methods import method_info
from probeline.results.score_words import class_weights_in_words


@dataclass(frozen=True)
class Step:
    """All draws of one fraction, or of one number of shots.

    Attributes
    ----------
    kind, amount : str, float
        ``fraction`` in percent of the train rows, or ``shots``, images per class.
    n_train : tuple of 2 ints
        Fewest and most images of a draw.
    mean, sd, range, interval : float, float or None, tuple of 2 floats, tuple of 2 floats or None
        Of the draws' test top-1, in [0, 1]. One draw has no sample standard deviation, and only one draw has an
        interval: Wilson's 95 %, for other test images.
    short, raised, edge : int, bool, int
        Classes with fewer images than shots; whether one image per class is more than the fraction; draws whose l2 is
        at an edge of the grid.
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
    raised: bool
    edge: int
    converged: bool

    @property
    def title(self) -> str:
        """``5 %``, or ``4 per class``."""
        return f"{self.amount:g} %" if self.kind == "fraction" else f"{self.amount:g} per class"

    @property
    def images(self) -> str:
        """``72``, or ``70 to 75`` where the draws differ."""
        low, high = self.n_train
        return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def steps(curve: Curve) -> list[Step]:
    """Return the steps of a curve in the order of its points: fractions before shots, each ascending."""
    groups: dict[tuple[str, float], list[CurvePoint]] = {}
    for point in curve.points:
        groups.setdefault((point.kind, point.amount), []).append(point)
    result = []
    for (kind, amount), points in groups.items():
        tops = [point.test_top1 for point in points]
        sizes = [point.n_train for point in points]
        single = len(points) == 1
        result.append(
            Step(
                kind=kind,
                amount=amount,
                n_train=(min(sizes), max(sizes)),
                draws=len(points),
                mean=fmean(tops),
                sd=None if single else stdev(tops),
                range=(min(tops), max(tops)),
                interval=wilson(round(tops[0] * curve.n_test), curve.n_test) if single else None,
                short=max(point.short for point in points),
                # Whole groups exceed their share for another reason, which has its own note.
                raised=kind == "fraction" and not curve.grouped and min(sizes) > amount / 100 * curve.n_train + 0.5,
                edge=sum(point.edge for point in points),
                converged=all(point.converged for point in points),
            )
        )
    return result


def curve_titles(curves: Sequence[Curve]) -> list[str]:
    """Return the title of each curve: backbone, tap and method, and what differs from other curves of the backbone."""
    facts = (("weights", "{}"), ("image_size", "{} px"), ("precision", "{}"))
    curve_names = []
    for curve in curves:
        others = [other for other in curves if other is not curve and other.backbone == curve.backbone]
        parts = [] if all(other.method == curve.method for other in curves) else [method_info(curve.method).title]
        if curve.method == Method.SCRATCH:
            others = [other for other in others if other.method == Method.SCRATCH]
        else:
            others = [other for other in others if other.method != Method.SCRATCH]
            parts += ["untrained"] if curve.weights == "none" else []
        parts += [
            form.format(getattr(curve, name))
            for name, form in facts
            if (name, getattr(curve, name)) != ("weights", "none")
            and any(getattr(other, name) != getattr(curve, name) for other in others)
        ]
        if weights := class_weights_in_words(curve.options):
            parts.append(weights)
        if any(other.options.get("select_by") != curve.options.get("select_by") for other in others):
            parts.append(f"by {curve.options.get('select_by', 'top-1')}")
        net = curve.backbone if curve.tap == PENULTIMATE else f"{curve.backbone} at {curve.tap}"
        curve_names.append(", ".join([net, *parts]))
    return curve_names
