"""What to do next: the rule of thumb of the courses beside what was measured, and whether more labels would help.

A strategy is picked by val, so that the test images only say whether the pick is really ahead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from probeline.format import decimals, listing, percent, points, probability
from probeline.names import LAST_K, PENULTIMATE, Method
from probeline.report.model.differences import Difference
from probeline.report.model.row import Block, Row, equal_on_validation
from probeline.report.records.learning_steps import Step, curve_titles, steps
from probeline.results.curve import Curve
from probeline.results.methods import method_info

_FEW, _MANY = 100, 1000
"""Images a class: below the first the courses keep a net frozen, from the second on they fine-tune all of it."""

_STEEP = 0.01
"""A last doubling of the images that gives a point more is worth the labelling; less is within what draws scatter."""

_FROZEN, _PARTLY, _WHOLE = (
    "keep the net frozen and fit a probe",
    "train the last stages, or all of them from the probe's solution",
    "fine-tune the whole net",
)


def advice(blocks: Sequence[Block], curves: Sequence[Curve] = ()) -> list[str]:
    """Return a paragraph's sentences: on the block of the probe that val prefers, or on curves that stand alone."""
    if not blocks:
        return _of_curves(curves)
    reference = next(((row, block) for block in blocks for row in block.rows if row.reference), None)
    if reference is None:
        return []
    return [*_strategy(*reference, curves), *_head(*reference), _labels(reference[0], curves)]


def _of_curves(curves: Sequence[Curve]) -> list[str]:
    """Say what val prefers at the end of the curves, and whether more labels would help it."""
    last = max((amount for curve in curves for amount in _at(curve)), default=0.0)
    ends = [(curve, title) for curve, title in zip(curves, curve_titles(curves), strict=True) if last in _at(curve)]
    if not ends:
        return []
    pick, title = max(ends, key=lambda end: _val(end[0], last))
    step = _at(pick)[last]
    top1 = f"{percent(step.mean, decimals([pick.n_test]))} % of test"
    found = f"With {step.images} of them {title} has {top1}."
    if len(ends) > 1:
        found = (
            f"With {step.images} of them val prefers {title}, of {len(ends)} curves: {top1}; no test pairs the curves."
        )
    return [f"{_told_rule(pick.n_train / len(pick.class_names))[1]}.", found, *filter(None, [_climb(pick, "It")])]


def _val(curve: Curve, amount: float) -> float:
    return fmean(point.val_top1 for point in curve.points if (point.kind, point.amount) == ("fraction", amount))


def _told_rule(each: float) -> tuple[str, str]:
    """Return the courses' rule for so many train images a class, and a clause that tells it."""
    rule = _FROZEN if each < _FEW else _PARTLY if each < _MANY else _WHOLE
    return rule, f"With {each:,.0f} train images a class the usual rule of thumb is to {rule}"


def _strategy(probe: Row, block: Block, curves: Sequence[Curve]) -> list[str]:
    rule, said = _told_rule(probe.n_train / len(block.scores[0][0].class_names))
    trained = [row for row in block.rows if method_info(row.method).trains and row.over_probe is not None]
    if not trained:
        return [f"{said}; {_untested(probe, curves)}."]
    pick = min(trained, key=lambda row: row.rank)
    if pick.over_probe is None:
        return [f"{said}."]
    places = decimals([probe.n_test])
    ratio = pick.cold_seconds / max(probe.cold_seconds, 1e-9)
    of = f"Of {len(trained)} strategies that were trained val prefers" if len(trained) > 1 else "Trained was"
    same = listing([row.title for row in equal_on_validation(pick, trained)])
    low, high = (points(end, places) for end in pick.over_probe.interval)
    measured = (
        f"{of} {pick.title}{f' ({same} had the same on val)' if same else ''}: "
        f"{points(pick.over_probe.top1, places)} points against the linear probe's {percent(probe.top1, places)} %, "
        f"for {_times(ratio)} its time, extraction included"
    )
    if pick.over_probe.real and pick.over_probe.top1 > 0:
        choice = "That is a real difference: train it so, if the points are worth the time"
    elif pick.over_probe.real:
        choice = "Training really loses here: keep the probe"
    else:
        choice = (
            f"With {probe.n_test:,} test images the true difference may lie anywhere from {low} to {high} points, so "
            "training has not shown a gain: keep the probe, or test on more images"
        )
    return [f"{said}.", f"{measured}.", f"{choice}; {_verdict(rule, pick, pick.over_probe)}."]


def _verdict(rule: str, pick: Row, over: Difference) -> str:
    """Say whether the rule and what was measured agree."""
    if not over.real:
        return "the rule says the same" if rule == _FROZEN else "the rule is neither borne out nor refuted"
    if rule == _FROZEN:
        agree = over.top1 < 0
    else:
        meant = (
            pick.method == Method.FINETUNE
            if rule == _WHOLE
            else LAST_K.fullmatch(pick.method) or pick.method == Method.LP_FT
        )
        if over.top1 > 0 and not meant:
            return "that training pays the rule says too, though not this one"
        agree = over.top1 > 0
    return "the rule and the measurement agree" if agree else "the measurement goes against the rule, and it counts"


def _untested(probe: Row, curves: Sequence[Curve]) -> str:
    """Say what is known where no strategy has a score: what the learning curves of training tell, or nothing."""
    told = [
        f"{method_info(curve.method).title} {percent(step.mean, decimals([curve.n_test]))} %"
        for curve in curves
        if curve.method != Method.PROBE and (curve.backbone, curve.image_size) == (probe.backbone, probe.image_size)
        for step in steps(curve)
        if (step.kind, step.amount) == ("fraction", 100.0)
    ]
    if told:
        own = percent(probe.top1, decimals([probe.n_test]))
        return f"on the learning curves all train images gave {', '.join(told)}, the probe {own} %, which no test pairs"
    return "nothing has been fine-tuned here yet, so it stands untested: probeline finetune tries it"


def _head(probe: Row, block: Block) -> list[str]:
    """Say which head on the cached features val prefers, where that is really better than the probe."""
    heads = [row for row in block.rows if not method_info(row.method).trains]
    pick = min(heads, key=lambda row: row.rank)
    if pick.over_probe is None or not pick.over_probe.real or pick.over_probe.top1 <= 0:
        return []
    ratio = pick.cold_seconds / max(probe.cold_seconds, 1e-9)
    words = _words(pick.over_probe, decimals([probe.n_test]))
    return [
        f"Of the heads on cached features val prefers {pick.title}, {words}, for {_times(ratio)} its time, extraction "
        "included."
    ]


def _words(difference: Difference, places: int) -> str:
    low, high = (points(end, places) for end in difference.interval)
    return f"{points(difference.top1, places)} points ({low} to {high}, {probability(difference.p)})"


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} times" if ratio >= 9.5 else f"{ratio:.2g} times"


def _labels(probe: Row, curves: Sequence[Curve]) -> str:
    """Say whether more labels would help, as far as the probe's learning curve tells."""
    for curve in curves:
        same = (curve.backbone, curve.weights, curve.image_size) == (probe.backbone, probe.weights, probe.image_size)
        if not same or curve.method != Method.PROBE or curve.tap != PENULTIMATE:
            continue
        if told := _climb(curve, "The probe"):
            return told
    return "Whether more labels would help is what probeline curve tells."


def _climb(curve: Curve, what: str) -> str:
    """Say what the last doubling of the train images gave; nothing where the curve has none."""
    at = _at(curve)
    if not {50.0, 100.0} <= at.keys():
        return ""
    half, whole = at[50.0], at[100.0]
    low, high = (percent(step.mean, decimals([curve.n_test])) for step in (half, whole))
    gain = whole.mean - half.mean
    # All images are one draw, which scatters as those of the half do.
    clear = half.sd is not None and gain > 2 * half.sd * math.sqrt(1 + 1 / half.draws)
    return f"{what} went from {low} % on half of the train images to {high} % on all: " + (
        "label more, the curve still climbs."
        if gain >= _STEEP
        else "it climbs, but slowly: twice the labels may add about as much again."
        if clear
        else f"that is flat, as far as {curve.n_test:,} test images show; another backbone may give more."
    )


def _at(curve: Curve) -> dict[float, Step]:
    return {step.amount: step for step in steps(curve) if step.kind == "fraction"}
