"""Learning curves: test accuracy over the number of train images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from probeline.format import decimals, listing, percent
from probeline.names import PENULTIMATE, Method
from probeline.report.model.content import ReportContent
from probeline.report.records.learning_steps import Step, curve_titles, steps
from probeline.report.sections.section import RESULTS, Tables, TableSection
from probeline.report.sections.tables import TextTable
from probeline.results.curve import Curve


class LearningCurves(TableSection):
    name, title, group, figure = "learning", "Learning curves", RESULTS, "learning"

    def tables(self, content: ReportContent) -> Tables | None:
        curves = content.curves
        return ([learning_table(curves)], learning_notes(curves)) if curves else None

    def record(self, content: ReportContent) -> Mapping[str, Any]:
        titles = curve_titles(content.curves)
        return {
            "curves": [
                {
                    "title": title,
                    **{name: getattr(curve, name) for name in ("tap", "method", "key", "n_train", "n_val", "n_test")},
                    "steps": [asdict(step) for step in steps(curve)],
                }
                for curve, title in zip(content.curves, titles, strict=True)
            ]
        }


def learning_table(curves: Sequence[Curve]) -> TextTable:
    """Return the steps of all curves."""
    titles = curve_titles(curves)
    grid = [["Backbone", "Train", "Images", "Draws", "Mean top-1 %", "Sd", "Lowest to highest", "95 % interval"]]
    for curve, title in zip(curves, titles, strict=True):
        places = decimals([curve.n_test])
        grid += [
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
    return TextTable(grid, [column < 2 for column in range(len(grid[0]))])


def learning_notes(curves: Sequence[Curve]) -> list[str]:
    """Return notes on the table."""
    all_steps = [step for curve in curves for step in steps(curve)]
    seeds = listing(sorted({str(curve.data_seed) for curve in curves}))
    n_val = listing([f"{n:,}" for n in sorted({curve.n_val for curve in curves})])
    lines = [
        *crossings(curves),
        "Nested, stratified subsets of the train images, at least one image per class; "
        f"data seed {seeds}. Mean, sd and range are over the draws; the interval is Wilson's, for other test images.",
        "l2 is chosen on val here; if it is cross-validated in the table of results, the probe there may differ from "
        "that at 100 %.",
        f"{_chosen(curves)} chosen on all {n_val} val images at every step: val is not reduced, so the "
        "smallest subsets are tuned with more labels than they are fitted on.",
    ]
    if any(curve.method != Method.PROBE for curve in curves):
        lines.append("Each draw of a training has its own seed, for its head, order and augmentation.")
    if any(curve.grouped for curve in curves):
        lines.append("A fraction takes whole groups, so it may have more images than its percentage.")
    if any(step.short for step in all_steps):
        lines.append("* some classes have fewer images; all of these are used.")
    if any(step.raised for step in all_steps):
        lines.append("§ raised to one image per class.")
    if not all(step.converged for step in all_steps):
        lines.append("† a fit stopped before its tolerance.")
    if any(step.edge for step in all_steps):
        lines.append("‡ a draw chose an l2 at a grid edge.")
    return lines


def crossings(curves: Sequence[Curve]) -> list[str]:
    """Return for each trained curve the step from which on it is above the exact probe of the same net and images."""
    lines = []
    probes = [curve for curve in curves if curve.method == Method.PROBE and curve.tap == PENULTIMATE]
    for curve, title in zip(curves, curve_titles(curves), strict=True):
        probe = next((probe for probe in probes if _same_net(curve, probe)), None)
        if probe is not None and curve.method != Method.PROBE:
            lines.append(f"{title}: {_crossing(probe, curve)}")
    return lines


def _same_net(trained: Curve, probe: Curve) -> bool:
    names = ["backbone", "image_size", "precision", "splits"]
    if trained.method != Method.SCRATCH:
        names.append("weights")
    return all(getattr(trained, name) == getattr(probe, name) for name in names)


def _crossing(probe: Curve, trained: Curve) -> str:
    """Return from where on a curve is above another, at the steps that both have."""
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
    overlap = ""
    if step.draws > 1:
        overlap = ", though the draws overlap" if step.range[0] <= its.range[1] else ""
    elif step.interval and its.interval and step.interval[0] <= its.interval[1]:
        overlap = ", though the 95 % intervals overlap"
    where = "at every step, from" if not ahead else "from"
    return f"above the linear probe {where} {step.title} of the train images on ({numbers} at {step.images}{overlap})."


def _chosen(curves: Sequence[Curve]) -> str:
    are_probes = {curve.method == Method.PROBE for curve in curves}
    if len(are_probes) > 1:
        return "l2 and the epoch of a training are"
    return "l2 is" if are_probes == {True} else "The epoch is"


def _marks(step: Step) -> str:
    marks = {"*": step.short, "§": step.raised, "†": not step.converged, "‡": step.edge}
    return "".join(f" {mark}" for mark, is_so in marks.items() if is_so)


def _ends(ends: tuple[float, float], places: int) -> str:
    return "–".join(percent(end, places) for end in ends)
