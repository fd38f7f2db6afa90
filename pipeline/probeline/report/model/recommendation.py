"""Which row to use: the one decision that the page, Markdown, the terminal and JSON all word.

Validation picks and test judges: the row that is best on validation is recommended, unless it trains the net and is
significantly below the linear probe on test; then the best head on frozen features is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from statistics import fmean
from typing import Any

from probeline.format import decimals, listing, percent, points
from probeline.names import TOP1, Method
from probeline.report.model.differences import Difference
from probeline.report.model.row import Block, Row, row_naming, titled_rows
from probeline.report.records.learning_steps import Step, curve_titles, steps
from probeline.results.curve import Curve
from probeline.results.methods import method_info
from probeline.results.score import Score
from probeline.results.score_words import missed_classes

_FEW_TEST_IMAGES = 1000
"""Below it one image moves top-1 by more than a tenth of a percent point."""

_NAMED = 4
"""Longer lists of rows are counted."""


class Reason(StrEnum):
    """Why a row is recommended."""

    NOTHING_SCORED = "nothing scored"
    ONLY_ROW = "only row"
    BEST_ON_VALIDATION = "best on validation"
    TRAINING_LOSES = "training significantly below the probe on test"
    BEST_CURVE = "best learning curve on validation"


@dataclass(frozen=True)
class Candidate:
    """A row that may be recommended."""

    name: str
    """As sentences call it, with its backbone if there are several."""
    where: str
    """The title of its block's part: backbone, tap and views."""
    row: Row
    scores: tuple[Score, ...]

    @property
    def trains(self) -> bool:
        """Whether the net itself was trained."""
        return method_info(self.row.method).trains

    @property
    def has_single_epoch(self) -> bool:
        """Whether any seed was trained for one epoch only."""
        return any(len(score.history) == 1 or score.options.get("epochs") in (1, [1]) for score in self.scores)

    @property
    def missed(self) -> str:
        """The classes that have test images of which no seed has any right, in words; empty if there is none."""
        return missed_classes(self.scores)

    @property
    def over_probe(self) -> Difference | None:
        """The difference from the reference probe on test."""
        return self.row.over_probe


@dataclass(frozen=True)
class CurveEnd:
    """A learning curve at the largest fraction of the train images that any curve reaches."""

    title: str
    curve: Curve
    step: Step
    val_top1: float


@dataclass(frozen=True)
class Recommendation:
    """What to use, why, compared with what, and how far to trust it."""

    reason: Reason
    candidates: tuple[Candidate, ...] = ()
    """Every row, in the order of the table."""
    recommended: Candidate | None = None
    best_on_validation: Candidate | None = None
    highest_on_test: Candidate | None = None
    reference: Candidate | None = None
    """The linear probe that the others are compared with."""
    best_trained: Candidate | None = None
    """Of the rows that train the net, the one that is best on validation."""
    curve_ends: tuple[CurveEnd, ...] = ()
    """The best on validation first."""
    trained_curves: tuple[Curve, ...] = ()
    """Learning curves of trainings."""
    caveats: tuple[str, ...] = ()
    """The most important first."""

    @property
    def name(self) -> str:
        """What is recommended; empty if nothing is."""
        if self.recommended is not None:
            return self.recommended.name
        return self.curve_ends[0].title if self.curve_ends else ""

    @property
    def trained(self) -> list[Candidate]:
        """The rows that train the net."""
        return [candidate for candidate in self.candidates if candidate.trains]

    @property
    def places(self) -> int:
        """Decimals that percentages of these test images deserve."""
        return decimals(candidate.row.n_test for candidate in self.candidates)

    def to_json(self) -> dict[str, Any]:
        """Return the decision as JSON values, shares in [0, 1]."""

        def named(candidate: Candidate | None) -> dict[str, Any] | None:
            return None if candidate is None else {"name": candidate.name, "keys": list(candidate.row.keys)}

        difference = self.recommended.over_probe if self.recommended else None
        return {
            "recommended": named(self.recommended) or ({"name": self.name, "keys": []} if self.name else None),
            "reason": str(self.reason),
            "compared_with": named(self.reference),
            "difference": None if difference is None else asdict(difference),
            "best_on_validation": named(self.best_on_validation),
            "highest_on_test": named(self.highest_on_test),
            "best_trained": named(self.best_trained),
            "caveats": list(self.caveats),
        }


def recommend(blocks: Sequence[Block], curves: Sequence[Curve] = ()) -> Recommendation:
    """Return which row to use; if there are no rows, which learning curve is best on validation."""
    name = row_naming(blocks)
    candidates = [Candidate(name(titled), titled.title, titled.row, titled.scores) for titled in titled_rows(blocks)]
    trained_curves = tuple(curve for curve in curves if method_info(curve.method).trains)
    ends = _curve_ends(curves)
    if not candidates:
        reason = Reason.BEST_CURVE if ends else Reason.NOTHING_SCORED
        caveats = _curve_caveats(ends)
        return Recommendation(reason, curve_ends=ends, trained_curves=trained_curves, caveats=caveats)
    ranking = sorted(candidates, key=lambda candidate: candidate.row.rank)
    first = recommended = ranking[0]
    reason = Reason.BEST_ON_VALIDATION if len(candidates) > 1 else Reason.ONLY_ROW
    if first.trains and is_significant(first.over_probe, above=False):
        recommended = next(candidate for candidate in ranking if not candidate.trains)
        reason = Reason.TRAINING_LOSES
    highest = max(candidates, key=lambda candidate: candidate.row.top1)
    reference = next((candidate for candidate in candidates if candidate.row.reference), None)
    best_trained = next((candidate for candidate in ranking if candidate.trains), None)
    caveats = (
        *_missed_caveat(recommended),
        *_fit_caveats(recommended, reference, highest, best_trained),
        *_test_caveats(recommended, reference, highest, best_trained),
        *_choice_caveats(recommended, first, highest, candidates),
        *_backbone_caveat(candidates, curves),
    )
    return Recommendation(
        reason,
        tuple(candidates),
        recommended,
        first,
        highest,
        reference,
        best_trained,
        ends,
        trained_curves,
        caveats,
    )


def is_significant(difference: Difference | None, *, above: bool) -> bool:
    """Return whether a row is significantly above the linear probe, or below it."""
    return difference is not None and difference.real and (difference.top1 > 0) == above


def _curve_ends(curves: Sequence[Curve]) -> tuple[CurveEnd, ...]:
    """Return the curves that reach the largest fraction of any, the best on validation first."""
    ends = []
    for curve, title in zip(curves, curve_titles(curves), strict=True):
        fractions = [step for step in steps(curve) if step.kind == "fraction"]
        if fractions:
            step = max(fractions, key=lambda step: step.amount)
            draws = [point for point in curve.points if (point.kind, point.amount) == (step.kind, step.amount)]
            ends.append(CurveEnd(title, curve, step, fmean(point.val_top1 for point in draws)))
    last = max((end.step.amount for end in ends), default=0.0)
    return tuple(sorted((end for end in ends if end.step.amount == last), key=lambda end: -round(end.val_top1, 9)))


def _missed_caveat(recommended: Candidate) -> list[str]:
    """Return which classes the recommended row never has right, as its top-1 does not show that."""
    if not (missed := recommended.missed):
        return []
    row, places = recommended.row, decimals([recommended.row.n_test])
    return [
        f"{_capital(recommended.name)} is never right on {missed}: its top-1 of {percent(row.top1, places)} % does not "
        f"show that; macro, the mean accuracy of the classes, is {percent(row.macro, places)} %."
    ]


def _fit_caveats(*mentioned: Candidate | None) -> list[str]:
    """Return what is unfinished or at a limit in the fits of the rows that are mentioned."""
    kinds: list[tuple[str, Callable[[Candidate], bool]]] = [
        ("Trained for one epoch only", lambda candidate: candidate.has_single_epoch),
        ("Not converged", lambda candidate: not candidate.row.converged),
        (
            "Hyper-parameter at the edge of its grid, so a wider grid may do better",
            lambda candidate: candidate.row.edge,
        ),
        (
            "One seed only, so the spread between seeds is unknown",
            lambda candidate: method_info(candidate.row.method).seeded and candidate.row.seeds == 1,
        ),
    ]
    rows = {id(candidate): candidate for candidate in mentioned if candidate is not None}.values()
    names = [(words, [candidate.name for candidate in rows if applies(candidate)]) for words, applies in kinds]
    return [f"{words}: {listing(concerned)}." for words, concerned in names if concerned]


def _test_caveats(
    recommended: Candidate, reference: Candidate | None, highest: Candidate, best_trained: Candidate | None
) -> list[str]:
    """Return how far the test images can judge."""
    caveats = []
    row, places = recommended.row, decimals([recommended.row.n_test])
    compared = best_trained if recommended is reference else recommended
    if compared is not None and (difference := compared.over_probe) is not None and not difference.real:
        low, high = (points(end, places) for end in difference.interval)
        caveats.append(
            f"{_capital(compared.name)} and the linear probe are not significantly different on test: the true "
            f"difference may be anywhere from {low} to {high} points."
        )
    if recommended is reference:
        others = {id(other): other for other in (best_trained, highest) if other is not None}
        caveats += [
            f"Validation and test disagree: {other.name} is significantly above the linear probe on test."
            for other in others.values()
            if is_significant(other.over_probe, above=True)
        ]
    elif is_significant(recommended.over_probe, above=False):
        caveats.append(f"Validation and test disagree: {recommended.name} is significantly below the linear probe.")
    if row.n_test < _FEW_TEST_IMAGES:
        wide = points(row.interval[1] - row.interval[0], places).lstrip("+")
        caveats.append(f"Only {row.n_test:,} test images: the 95 % interval is {wide} points wide.")
    if reference is None:
        caveats.append("No linear probe was scored, so nothing is compared with it.")
    return caveats


def _choice_caveats(
    recommended: Candidate, first: Candidate, highest: Candidate, candidates: Sequence[Candidate]
) -> list[str]:
    """Return what the choice on validation is worth, and what the highest on test is not."""
    caveats = []
    row = recommended.row
    metrics = sorted({str(other.row.options.get("select_by", TOP1)) for other in candidates})
    if len(metrics) > 1:
        caveats.append(
            f"Rows were selected by different metrics, {listing(metrics)}: all of them are ranked by validation top-1."
        )
    tied = [
        other.name
        for other in candidates
        if other is not recommended and other.row.rank[0] == row.rank[0] and other.row.method != Method.PROBE_REFIT
    ]
    if tied:
        caveats.append(f"Tied on validation with {listing(tied) if len(tied) <= _NAMED else f'{len(tied)} rows'}.")
    others = sorted({other.row.chosen_by for other in candidates} - {row.chosen_by, ""})
    if row.chosen_by and others:
        caveats.append(
            f"Validation accuracies compare only roughly: {recommended.name} was chosen by {row.chosen_by}, some rows "
            f"by {listing(others)}."
        )
    if highest.row.top1 > first.row.top1:
        caveats.append(
            f"{_capital(highest.name)} is highest on test; its accuracy was selected on test, so probably a little too "
            "high."
        )
    return caveats


def _backbone_caveat(candidates: Sequence[Candidate], curves: Sequence[Curve]) -> list[str]:
    names = {candidate.row.backbone for candidate in candidates} | {curve.backbone for curve in curves}
    alone = len(candidates) > 1 and len(names) == 1
    return [f"Only {candidates[0].row.backbone} was tried: nothing here compares backbones."] if alone else []


def _curve_caveats(ends: Sequence[CurveEnd]) -> tuple[str, ...]:
    single = [end.title for end in ends if end.curve.options.get("epochs") in (1, [1])]
    caveats = [f"Trained for one epoch only: {listing(single)}."] if single else []
    if len(ends) > 1:
        caveats.append("Learning curves are not compared by a paired test.")
    if ends and ends[0].curve.n_test < _FEW_TEST_IMAGES:
        caveats.append(f"Only {ends[0].curve.n_test:,} test images.")
    return tuple(caveats)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
