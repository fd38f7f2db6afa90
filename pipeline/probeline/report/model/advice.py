"""What to do next: what to use, the courses' rule of thumb, and whether to label more."""

from __future__ import annotations

import math
from collections.abc import Sequence

from probeline.format import decimals, few, percent, points
from probeline.names import LAST_K, PENULTIMATE, Method
from probeline.report.model.recommendation import Candidate, Recommendation, is_significant, recommend
from probeline.report.model.row import Block
from probeline.report.model.verdict import in_points, significance
from probeline.report.records.learning_steps import Step, steps
from probeline.results.curve import Curve
from probeline.results.methods import method_info

_FEW, _MANY = 100, 1000
"""Train images per class: below the first the courses keep a net frozen, from the second on they fine-tune it whole."""

_STEEP = 0.01
"""If the last doubling of the images gave a point more, labelling is worth it; less is within the spread of draws."""

_NAMED = 3
"""Rows that have some of every class right; more are counted."""

_FROZEN, _PARTLY, _WHOLE = (
    "keep the net frozen and fit a probe",
    "train the last stages, or all of them from the probe's solution",
    "fine-tune the whole net",
)


def advice(blocks: Sequence[Block], curves: Sequence[Curve] = ()) -> list[str]:
    """Return a paragraph's sentences on what to do next."""
    decision = recommend(blocks, curves)
    if decision.recommended is None:
        return _advice_of_curves(decision)
    if decision.reference is None:
        compare = "Score the linear probe (verb: probe) to have every row compared with it."
        return [f"Use {decision.name}.", *_missed(decision.recommended, decision), compare]
    use = [*_use(decision.recommended, decision.reference, decision), *_missed(decision.recommended, decision)]
    return [*use, _rule(decision.reference, decision), _labels(decision.reference, curves)]


def _missed(recommended: Candidate, decision: Recommendation) -> list[str]:
    """Return what to do about classes that the recommended row never has right."""
    if not recommended.missed:
        return []
    places = decision.places
    whole = [
        f"{other.name} (macro {percent(other.row.macro, places)} %)"
        for other in sorted(decision.candidates, key=lambda candidate: -candidate.row.macro)
        if not other.missed
    ]
    others = (
        f"Right on some of every class: {few(whole, _NAMED, between=', ')}."
        if whole
        else "Every other row misses a class too."
    )
    if len(decision.candidates) == 1:
        others = "There is no other row to compare it with."
    return [
        f"If every class matters, do not use it as it is: it is never right on {recommended.missed}.",
        others,
        "Compare and select by macro (--metric macro), which counts classes alike, and label more of what is missed.",
    ]


def _advice_of_curves(decision: Recommendation) -> list[str]:
    if not decision.curve_ends:
        return []
    best = decision.curve_ends[0].curve
    rule = _rule_of_thumb(best.n_train / len(best.class_names))[1]
    return [f"Use {decision.name}.", f"{rule}.", *filter(None, [_climb(best, "It")])]


def _rule_of_thumb(images_per_class: float) -> tuple[str, str]:
    """Return the courses' rule for so many train images per class, and a clause that states it."""
    rule = _FROZEN if images_per_class < _FEW else _PARTLY if images_per_class < _MANY else _WHOLE
    return rule, f"With {images_per_class:,.0f} train images per class the usual rule of thumb is to {rule}"


def _use(recommended: Candidate, probe: Candidate, decision: Recommendation) -> list[str]:
    """Return what to use, at what cost, and what training has shown."""
    trained = decision.best_trained
    if recommended.trains:
        return [_train(recommended, probe)]
    sentences = [f"Keep the net frozen and use {recommended.name}."]
    if (difference := recommended.over_probe) is not None and is_significant(difference, above=True):
        gain = points(difference.top1, decision.places)
        sentences = [f"{sentences[0][:-1]}: {gain} points, at {_cost(recommended, probe)}."]
    if trained is not None and trained.over_probe is not None:
        several = (
            f", the best of {len(decision.trained)} trained rows on validation," if len(decision.trained) > 1 else ""
        )
        sentences.append(
            f"Against the linear probe, {trained.name}{several} has {in_points(trained.over_probe, decision.places)}, "
            f"{significance(trained.over_probe)}, at {_cost(trained, probe)}."
        )
    return sentences


def _train(recommended: Candidate, probe: Candidate) -> str:
    if recommended.over_probe is None:
        return f"Train {recommended.name}; it was not compared with the linear probe, as its test images are others."
    if is_significant(recommended.over_probe, above=True):
        gain = points(recommended.over_probe.top1, decimals([recommended.row.n_test]))
        return f"Train {recommended.name} if {gain} points are worth {_cost(recommended, probe)}."
    return (
        f"Train {recommended.name} only if {_cost(recommended, probe)} is no matter: a gain on test is not shown. "
        "More test images would decide it."
    )


def _cost(candidate: Candidate, probe: Candidate) -> str:
    ratio = candidate.row.cold_seconds / max(probe.row.cold_seconds, 1e-9)
    times = f"{ratio:,.0f}" if ratio >= 9.5 else f"{ratio:.2g}"
    return f"{times} times the linear probe's cold time"


def _rule(probe: Candidate, decision: Recommendation) -> str:
    """Return the rule of thumb, and whether the measurements agree with it."""
    rule, stated = _rule_of_thumb(probe.row.n_train / len(probe.scores[0].class_names))
    trained = decision.best_trained
    if trained is not None:
        return f"{stated}; {_agreement(rule, trained, decision)}."
    if not decision.trained_curves:
        return f"{stated}; no fine-tune has been run here, so it is untested (verb: finetune)."
    ends = [
        f"{method_info(end.curve.method).title} {percent(end.step.mean, decimals([end.curve.n_test]))} %"
        for end in decision.curve_ends
        if method_info(end.curve.method).trains and _same_net(end.curve, probe) and end.step.amount == _ALL
    ]
    if not ends:
        return f"{stated}; only learning curves of training were run, which no test pairs with the probe."
    own = percent(probe.row.top1, decision.places)
    return (
        f"{stated}; on the learning curves all train images gave {', '.join(ends)}, the probe has {own} %, "
        "which no test pairs."
    )


_ALL = 100.0
"""Percent of the train images."""


def _agreement(rule: str, trained: Candidate, decision: Recommendation) -> str:
    """Return whether the rule and the measurements agree."""
    difference, method = trained.over_probe, trained.row.method
    if difference is None or not difference.real:
        frozen = decision.recommended is not None and not decision.recommended.trains
        if rule == _FROZEN and frozen:
            return "the recommendation agrees"
        return "the measurements neither confirm nor contradict it"
    gains = difference.top1 > 0
    if rule == _FROZEN:
        return "the measurements contradict it" if gains else "the measurements agree"
    partly = LAST_K.fullmatch(method) or method in (Method.LP_FT, Method.WISE_FT)
    meant = method == Method.FINETUNE if rule == _WHOLE else partly
    if gains and not meant:
        return "the measurements agree that training pays, though with another strategy"
    return "the measurements agree" if gains else "the measurements contradict it"


def _same_net(curve: Curve, probe: Candidate) -> bool:
    return (curve.backbone, curve.image_size) == (probe.row.backbone, probe.row.image_size)


def _labels(probe: Candidate, curves: Sequence[Curve]) -> str:
    """Return whether more labels would help, as far as the probe's learning curve shows."""
    for curve in curves:
        own = _same_net(curve, probe) and curve.weights == probe.row.weights
        if own and curve.method == Method.PROBE and curve.tap == PENULTIMATE and (climb := _climb(curve, "The probe")):
            return climb
    return "A learning curve (verb: curve) shows whether more labels would help."


def _climb(curve: Curve, what: str) -> str:
    """Return what the last doubling of the train images gave; empty where the curve has none."""
    fractions: dict[float, Step] = {step.amount: step for step in steps(curve) if step.kind == "fraction"}
    if not {_ALL / 2, _ALL} <= fractions.keys():
        return ""
    half, whole = fractions[_ALL / 2], fractions[_ALL]
    low, high = (percent(step.mean, decimals([curve.n_test])) for step in (half, whole))
    gain = whole.mean - half.mean
    # All images are one draw; its spread is taken to be that of the half.
    clear = half.sd is not None and gain > 2 * half.sd * math.sqrt(1 + 1 / half.draws)
    return f"{what} went from {low} % on half of the train images to {high} % on all: " + (
        "label more, the curve still climbs."
        if gain >= _STEEP
        else "it climbs slowly; twice the labels may add about as much again."
        if clear
        else f"flat, as far as {curve.n_test:,} test images show; another backbone may give more."
    )
