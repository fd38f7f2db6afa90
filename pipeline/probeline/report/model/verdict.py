"""The recommendation in a few sentences: what to use and why, what is highest on test, and how far to trust both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from probeline.format import decimals, listing, percent, points, probability
from probeline.names import Method
from probeline.report.model.differences import Difference
from probeline.report.model.recommendation import Candidate, Reason, Recommendation, recommend
from probeline.report.model.row import Block
from probeline.report.records.learning_steps import curve_titles, steps
from probeline.results.curve import Curve
from probeline.results.methods import method_info

_NAMED = 6
"""Longer lists of rows are counted."""


@dataclass(frozen=True)
class Verdict:
    """A few sentences on the rows of a report."""

    answer: str
    """``Recommended: X, because Y.``"""
    measured: tuple[str, ...] = ()
    """The row that is highest on test, and its difference from the linear probe."""
    caveats: tuple[str, ...] = ()
    """How far to trust the answer."""
    remarks: tuple[str, ...] = ()
    """Which rows do not differ significantly from the linear probe, and headrooms."""

    @property
    def lines(self) -> list[str]:
        """All of them."""
        return [self.answer, *self.measured, *self.caveats, *self.remarks]


def verdict(blocks: Sequence[Block], curves: Sequence[Curve] = ()) -> Verdict:
    """Return what :func:`probeline.report.model.recommendation.recommend` decides, in words."""
    decision = recommend(blocks, curves)
    if decision.recommended is None:
        ends = _ends(curves)
        if not decision.curve_ends:
            return Verdict(next(iter(ends), "Nothing has been scored yet."))
        return Verdict(_answer_of_curves(decision), ends, decision.caveats)
    return Verdict(_answer(decision.recommended, decision), _highest(decision), decision.caveats, _remarks(decision))


def _answer(recommended: Candidate, decision: Recommendation) -> str:
    row, places = recommended.row, decision.places
    top1 = f"{percent(row.top1, places)} % on test"
    if decision.reason is Reason.ONLY_ROW:
        return f"Recommended: {recommended.name}, because no other row has been scored; it has {top1}."
    if decision.reason is Reason.TRAINING_LOSES and (first := decision.best_on_validation) is not None:
        return (
            f"Recommended: {recommended.name}, because it is the best frozen head on validation and has {top1}; "
            f"{first.name} is higher on validation but {_compare_with_probe(first, decision)} on test, with "
            f"{percent(first.row.top1, places)} %."
        )
    against = f", {words}" if (words := _compare_with_probe(recommended, decision)) else ""
    trained = decision.best_trained
    if not recommended.trains and trained is not None:
        against += f"; {trained.name} was trained and has {percent(trained.row.top1, places)} %"
        against += f", {words}" if (words := _compare_with_probe(trained, decision)) else ""
    return (
        f"Recommended: {recommended.name}, because it is best on validation ({row.on_validation(places)}) and "
        f"has {top1}{against}."
    )


def _compare_with_probe(candidate: Candidate, decision: Recommendation) -> str:
    """Return a clause that compares a row with the linear probe on test; empty for the probe itself or without one."""
    reference = decision.reference
    if reference is None or candidate is reference:
        return ""
    if candidate.over_probe is None:
        return "on other test images than the linear probe"
    known = "it"
    if decision.recommended is not reference:
        known = f"{_name_probe(decision)} ({percent(reference.row.top1, decision.places)} %)"
    if not candidate.over_probe.real:
        return f"no significant difference from {known}"
    return f"significantly {'above' if candidate.over_probe.top1 > 0 else 'below'} {known}"


def _name_probe(decision: Recommendation) -> str:
    """Return what the reference probe is called in a sentence: in full if there are several probes."""
    probes = [candidate for candidate in decision.candidates if candidate.row.method == Method.PROBE]
    if decision.reference is None or len(probes) == 1:
        return "the linear probe"
    return decision.reference.name.replace(method_info(Method.PROBE).short, "the linear probe", 1)


def _highest(decision: Recommendation) -> tuple[str, ...]:
    """Return the row that is highest on test, and by how much it is above the linear probe."""
    best, reference, places = decision.highest_on_test, decision.reference, decision.places
    if best is None:
        return ()
    row = best.row
    low, high = (percent(end, places) for end in row.interval)
    spread = f"; {row.seeds} seeds, sd {percent(row.seed_std, places)}" if row.seed_std is not None else ""
    equal = [other.name for other in decision.candidates if other is not best and other.row.top1 == row.top1]
    also = f"; {listing(equal)} equally high" if 0 < len(equal) <= _NAMED else ""
    sentences = [
        f"Highest on test: {percent(row.top1, places)} % by {row.short} on {best.where} "
        f"(95 % interval {low} to {high}, n = {row.n_test:,}{spread}){also}."
    ]
    if row.over_probe is not None and reference is not None:
        n_probe = reference.row.n_train
        others = "" if row.n_train == n_probe else f"; fitted on {row.n_train:,} images, the probe on {n_probe:,}"
        sentences.append(
            f"Its difference from {_name_probe(decision)} ({percent(reference.row.top1, places)} %): "
            f"{in_points(row.over_probe, places)}, {significance(row.over_probe)}{others}."
        )
    return tuple(sentences)


def _remarks(decision: Recommendation) -> tuple[str, ...]:
    places = decision.places
    headrooms = [
        f"Headroom of {', '.join(filter(None, (tuned.where, tuned.row.detail)))}: "
        f"{in_points(tuned.row.headroom, places)} from its probe to its fine-tune, {significance(tuned.row.headroom)}."
        for tuned in decision.candidates
        if tuned.row.headroom is not None
    ]
    return (*_not_significant(decision), *headrooms)


def _not_significant(decision: Recommendation) -> list[str]:
    """Return the sentence on the rows without a significant difference from the linear probe, if there are any."""
    others = [other for other in decision.candidates if other.over_probe is not None]
    equal = [other for other in others if other.over_probe is not None and not other.over_probe.real]
    known = f"No significant difference from {_name_probe(decision)} on test"
    if len(equal) > _NAMED:
        apart = [other.name for other in others if other.over_probe is not None and other.over_probe.real]
        but = f"; significantly different: {listing(apart)}" if 0 < len(apart) <= _NAMED else ""
        return [f"{known}: {len(equal)} of the {len(others)} other rows{but}."]
    named = [other.name for other in equal if other is not decision.highest_on_test]
    return [f"{known}: {listing(named)}."] if named else []


def in_points(difference: Difference, places: int) -> str:
    """Return a difference with its interval."""
    low, high = (points(end, places) for end in difference.interval)
    return f"{points(difference.top1, places)} points (95 % interval {low} to {high})"


def significance(difference: Difference) -> str:
    """Return whether a difference is significant."""
    return f"{'significant' if difference.real else 'not significant'} (adjusted {probability(difference.p)})"


def _answer_of_curves(decision: Recommendation) -> str:
    best = decision.curve_ends[0]
    places = decimals([best.curve.n_test])
    ends = len(decision.curve_ends)
    why = f"it is best on validation of {ends} learning curves" if ends > 1 else "there is no other learning curve"
    return (
        f"Recommended: {best.title}, because {why}; with {best.step.images} train images it has "
        f"{percent(best.step.mean, places)} % on test."
    )


def _ends(curves: Sequence[Curve]) -> tuple[str, ...]:
    ends = []
    for curve, title in zip(curves, curve_titles(curves), strict=True):
        last = max(steps(curve), key=lambda step: step.n_train, default=None)
        if last is not None:
            top1 = percent(last.mean, decimals([curve.n_test]))
            ends.append(f"{title}: {top1} % with {last.n_train[1]:,} train images")
    return (f"Learning curves (n = {curves[0].n_test:,}): {'; '.join(ends)}.",) if ends else ()
