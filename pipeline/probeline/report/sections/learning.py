"""From the points of learning curves to their steps: the draws of one fraction together, and the table of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

from probeline.format import decimals, listing, percent
from probeline.metrics.intervals import wilson
from probeline.names import PENULTIMATE, Method
from probeline.results.curve import Curve, CurvePoint
from probeline.results.methods import method_info


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
    raised : bool
        Of fractions: whether one image of every class is more than the percentage asks for.
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
    raised: bool
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
                # Whole groups are more than their share for another reason, which has a note of its own.
                raised=kind == "fraction" and not curve.grouped and min(sizes) > amount / 100 * curve.n_train + 0.5,
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
        *crossings(curves),
        "Nested, stratified parts of the train images, at least one of each class; "
        f"data seed {seeds}. Mean, sd and range are over the draws, the interval is Wilson's, for other test images.",
        "l2 is chosen on val here; where folds choose it for the table, its probe may differ from that of 100 %.",
        f"Assumed: {_chosen(curves)} chosen on all {_n(curves, 'n_val')} val images at every step: val is not "
        "scaled down, so the smallest parts are chosen with more labels than they are fitted on.",
    ]
    if any(curve.method != Method.PROBE for curve in curves):
        lines.append("Each draw of a training has a seed of its own, for its head, its order and its augmentation.")
    if any(curve.grouped for curve in curves):
        lines.append("A fraction takes whole groups, so it may hold more images than its percentage.")
    if any(step.short for step in every):
        lines.append("* some classes have fewer images than that and give all they have.")
    if any(step.raised for step in every):
        lines.append("§ too few images for one of each class: these are that many, whatever the percentage.")
    if not all(step.converged for step in every):
        lines.append("† a fit stopped before its tolerance.")
    if any(step.edge for step in every):
        lines.append("‡ a draw chose an l2 at the end of the grid.")
    return lines


def crossings(curves: Sequence[Curve]) -> list[str]:
    """Say for each trained curve from which step on it is above the exact probe of the same net and images."""
    lines = []
    for curve, title in zip(curves, curve_titles(curves), strict=True):
        if curve.method == Method.PROBE:
            continue
        for other in curves:
            if other.method == Method.PROBE and other.tap == PENULTIMATE and _same_net(curve, other):
                lines.append(f"{title}: {_crossing(other, curve)}")
                break
    return lines


def _same_net(trained: Curve, probe: Curve) -> bool:
    names = (
        "backbone",
        "image_size",
        "precision",
        "splits",
        *(() if trained.method == Method.SCRATCH else ("weights",)),
    )
    return all(getattr(trained, name) == getattr(probe, name) for name in names)


def _crossing(probe: Curve, trained: Curve) -> str:
    """Say from where on a curve is above another, at the steps that both have."""
    below = {(step.kind, step.amount): step for step in steps(probe)}
    both = [(step, below[step.kind, step.amount]) for step in steps(trained) if (step.kind, step.amount) in below]
    both = sorted((pair for pair in both if pair[0].kind == "fraction"), key=lambda pair: pair[0].amount)
    if not both:
        return "no step in common with the linear probe."
    ahead = len(both)
    while ahead and both[ahead - 1][0].mean > both[ahead - 1][1].mean:
        ahead -= 1
    step, its = both[min(ahead, len(both) - 1)]
    places = decimals([trained.n_test])
    numbers = f"{percent(step.mean, places)} against {percent(its.mean, places)} %"
    if ahead == len(both):
        return f"not above the linear probe at {step.title} of the train images ({numbers} at {step.images})."
    told = ""
    if step.draws > 1:
        told = ", though the draws overlap" if step.range[0] <= its.range[1] else ""
    elif step.interval and its.interval and step.interval[0] <= its.interval[1]:
        told = ", though the 95 % intervals overlap"
    where = "at every step, from" if not ahead else "from"
    return f"above the linear probe {where} {step.title} of the train images on ({numbers} at {step.images}{told})."


def curve_titles(curves: Sequence[Curve]) -> list[str]:
    """Return what each curve is called: backbone, tap and method, with what tells it from others of that backbone."""
    facts = (("weights", "{}"), ("image_size", "{} px"), ("precision", "{}"))
    found = []
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
        net = curve.backbone if curve.tap == PENULTIMATE else f"{curve.backbone} at {curve.tap}"
        found.append(", ".join([net, *parts]))
    return found


def _chosen(curves: Sequence[Curve]) -> str:
    probes = {curve.method == Method.PROBE for curve in curves}
    return "l2 and a training's epoch are" if len(probes) > 1 else "l2 is" if True in probes else "the epoch is"


def _n(curves: Sequence[Curve], name: str) -> str:
    return listing([f"{n:,}" for n in sorted({getattr(curve, name) for curve in curves})])


def _marks(step: Step) -> str:
    marks = {"*": step.short, "§": step.raised, "†": not step.converged, "‡": step.edge}
    return "".join(f" {mark}" for mark, is_so in marks.items() if is_so)


def _ends(ends: tuple[float, float], places: int) -> str:
    return "–".join(percent(end, places) for end in ends)
