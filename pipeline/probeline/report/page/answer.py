"""The first screen: what is recommended and why, the rows to compare it with, the caveats, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from probeline.format import listing, percent, plural, points, probability, seconds
from probeline.report.figures.sheet import span
from probeline.report.model.advice import advice
from probeline.report.model.conditions import PARTS
from probeline.report.model.content import ReportContent
from probeline.report.model.recommendation import Candidate, Recommendation, recommend
from probeline.report.model.verdict import verdict
from probeline.report.palette import class_of_colour
from probeline.report.records.findings import leakage
from probeline.report.sections.scores.groups import group_caveats
from probeline.results.methods import method_info

_HEADS = (
    "Row",
    "Test top-1 % (95 % interval)",
    "Difference from the probe",
    "Validation %",
    "Cold time, s",
    "Warm time, s",
)
"""Of the table, after the role of each row."""


class SummaryRow(NamedTuple):
    """A row of the table: why it is shown, its name, the class of its colour, and cells under `_HEADS`."""

    roles: str
    name: str
    colour: str
    cells: tuple[str, ...]
    is_recommended: bool


def view(content: ReportContent) -> Mapping[str, Any]:
    """Return the first screen."""
    blocks, curves = content.blocks, content.curves
    words = verdict(blocks, curves)
    names = [score.dataset for titled in content.titled for score in titled.scores]
    names += [curve.dataset for curve in curves] + [test.dataset for test in content.range_tests]
    nets = {row.backbone for row in content.rows} | {curve.backbone for curve in curves}
    question = "is" if len(nets) == 1 else "which backbone, and is"
    return {
        "title": f"{names[0]}: {question} training worth it?" if names else "Nothing has been scored yet",
        "headline": words.answer,
        "heads": _HEADS,
        "rows": summary(recommend(blocks, curves)),
        "caption": _caption(content),
        "caveats": [*_leaked(content), *group_caveats(content), *words.caveats, *content.conditions.get(PARTS, ())],
        "advice": advice(blocks, curves),
        "scope": _scope(content),
        "footer": "Every number on this page comes from the records in its folder; report.json holds them all.",
    }


def _caption(content: ReportContent) -> str:
    """Return the conditions of the table's numbers."""
    if not content.rows:
        return ""
    n_test = span(row.n_test for row in content.rows)
    return (
        f"n = {n_test} test images. The cold time includes feature extraction, the warm time uses cached features. "
        "Significance is of a paired test, adjusted for the number of comparisons."
    )


def _leaked(content: ReportContent) -> list[str]:
    """Return what the leaked test images do to the best row and to the probe; empty if the doctor found none."""
    if content.findings is None:
        return []
    leaks = [leak for leak in leakage(content.findings, content.blocks) if leak.without_both.top1 is not None]
    best = max(leaks, key=lambda leak: leak.all.top1 or 0.0, default=None)
    if best is None or best.all.n == best.without_both.n:
        return []
    shown = [best, *(leak for leak in leaks if leak.reference and leak is not best)]
    without = [
        f"{leak.row} of {leak.backbone} has {percent(leak.without_both.top1 or 0, content.places)} %" for leak in shown
    ]
    n = best.all.n - best.without_both.n
    duplicates, them = content.findings.duplicates, "them" if n > 1 else "it"
    if content.findings.has_lookalikes and duplicates.leaked_near:
        images, most = duplicates.search.copied, content.findings.outliers.neighbours
        found = (
            f"{n:,} test image{'s look like images' if n > 1 else ' looks like an image'} of train or val. They may be "
            f"duplicates, or images of things that are alike, since {images:,} images have {most} such partners or more"
        )
    else:
        found = f"{n:,} test image{'s are' if n > 1 else ' is'} in train or val too, exactly or nearly"
    return [f"{found}; without {them} {listing(without)}."]


def _scope(content: ReportContent) -> list[str]:
    """Return the counts of rows, backbones, classes and test images."""
    if not content.rows:
        return []
    score = content.titled[0].scores[0]
    return [
        plural(len(content.rows), "row"),
        plural(len({row.backbone for row in content.rows}), "backbone"),
        f"{len(score.class_names)} class{'es' if len(score.class_names) != 1 else ''}",
        f"{score.n_test:,} test images",
    ]


def summary(decision: Recommendation) -> list[SummaryRow]:
    """Return the recommended row, the linear probe, the best on validation, the highest on test and the best fine-tune.

    A row that is several of these comes once: they are four at most.
    """
    candidates_by_role = (
        ("recommended", decision.recommended),
        ("linear probe", decision.reference),
        ("best on validation", decision.best_on_validation),
        ("highest on test", decision.highest_on_test),
        ("best fine-tune", decision.best_trained),
    )
    roles: dict[int, list[str]] = {}
    for role, candidate in candidates_by_role:
        if candidate is not None:
            roles.setdefault(decision.candidates.index(candidate), []).append(role)
    return [_summary_row(names, decision.candidates[i], decision) for i, names in roles.items()]


def _summary_row(roles: list[str], candidate: Candidate, decision: Recommendation) -> SummaryRow:
    row, places = candidate.row, decision.places
    low, high = (percent(end, places) for end in row.interval)
    cells = (
        f"{percent(row.top1, places)} ({low}–{high})",
        _difference(candidate, decision),
        row.on_validation(places).removesuffix(" %"),
        seconds(row.cold_seconds, row.waited),
        seconds(row.warm_seconds, row.waited),
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
