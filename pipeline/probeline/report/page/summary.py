"""The table of the first screen: what is recommended, and the few rows that it should be compared with."""

from __future__ import annotations

from dataclasses import dataclass

from probeline.format import percent, points, probability, seconds
from probeline.report.model.recommendation import Candidate, Recommendation
from probeline.report.palette import class_of_colour
from probeline.results.methods import method_info

HEADS = (
    "Row",
    "Test top-1 % (95 % interval)",
    "Difference from the probe",
    "Validation %",
    "Cold time, s",
    "Warm time, s",
)
"""Of the table, after the role of each row."""


@dataclass(frozen=True)
class SummaryRow:
    """One row of the table.

    Attributes
    ----------
    roles : str
        Why it is shown, such as ``Recommended, best on validation``.
    name, colour : str
    cells : tuple of str
        Under `HEADS`, after the name.
    is_recommended : bool
    """

    roles: str
    name: str
    colour: str
    cells: tuple[str, ...]
    is_recommended: bool


def summary(decision: Recommendation) -> list[SummaryRow]:
    """Return the recommended row, the linear probe, the best on validation, the highest on test and the best fine-tune.

    A row that is several of these comes once: they are four at most.
    """
    wanted = (
        ("recommended", decision.recommended),
        ("linear probe", decision.reference),
        ("best on validation", decision.best_on_validation),
        ("highest on test", decision.highest_on_test),
        ("best fine-tune", decision.best_trained),
    )
    roles: dict[int, list[str]] = {}
    for role, candidate in wanted:
        if candidate is not None:
            roles.setdefault(decision.candidates.index(candidate), []).append(role)
    return [_summary_row(names, decision.candidates[i], decision) for i, names in roles.items()]


def _summary_row(roles: list[str], candidate: Candidate, decision: Recommendation) -> SummaryRow:
    row, places = candidate.row, decision.places
    low, high = (percent(end, places) for end in row.interval)
    cells = (
        f"{percent(row.top1, places)} ({low}–{high})",
        _difference(candidate, decision),
        percent(row.val_top1, places),
        seconds(row.cold_seconds),
        seconds(row.warm_seconds),
    )
    colour = class_of_colour(method_info(row.method).colour)
    return SummaryRow(", ".join(roles).capitalize(), candidate.name, colour, cells, candidate is decision.recommended)


def _difference(candidate: Candidate, decision: Recommendation) -> str:
    difference, places = candidate.over_probe, decision.places
    if difference is None:
        return "reference" if candidate is decision.reference else "not compared"
    low, high = (points(end, places) for end in difference.interval)
    significant = "significant" if difference.real else "not significant"
    return f"{points(difference.top1, places)} ({low} to {high}), {significant} ({probability(difference.p)})"
