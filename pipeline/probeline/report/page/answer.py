"""The first screen: what is recommended and why, the rows to compare it with, the caveats, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from probeline.format import listing, percent
from probeline.report.figures.sheet import span
from probeline.report.model.advice import advice
from probeline.report.model.conditions import PARTS
from probeline.report.model.content import ReportContent
from probeline.report.model.recommendation import recommend
from probeline.report.model.verdict import verdict
from probeline.report.page.summary import HEADS, summary
from probeline.report.records.findings import leakage


def view(content: ReportContent) -> Mapping[str, Any]:
    """Return the first screen."""
    blocks, curves = content.blocks, content.curves
    words = verdict(blocks, curves)
    dataset = _dataset(content)
    nets = {row.backbone for row in content.rows} | {curve.backbone for curve in curves}
    question = "is" if len(nets) == 1 else "which backbone, and is"
    return {
        "title": f"{dataset}: {question} training worth it?" if dataset else "Nothing has been scored yet",
        "headline": words.answer,
        "heads": HEADS,
        "rows": summary(recommend(blocks, curves)),
        "caption": _caption(content),
        "caveats": [*_leaked(content), *words.caveats, *content.conditions.get(PARTS, ())],
        "advice": advice(blocks, curves),
        "scope": _scope(content),
    }


def _caption(content: ReportContent) -> str:
    """Return what the numbers of the table are of."""
    if not content.rows:
        return ""
    n_test = span(row.n_test for row in content.rows)
    return (
        f"n = {n_test} test images. The cold time includes feature extraction, the warm time uses cached features. "
        "Significance is of a paired test, adjusted for the number of rows."
    )


def _leaked(content: ReportContent) -> list[str]:
    """Return what the leaked test images do to the best row and to the probe, where the doctor found any."""
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
    are = "test images are" if n > 1 else "test image is"
    return [
        f"{n:,} {are} in train or val too, exactly or nearly; without {'them' if n > 1 else 'it'} {listing(without)}."
    ]


def _dataset(content: ReportContent) -> str:
    names = [score.dataset for titled in content.titled for score in titled.scores]
    names += [curve.dataset for curve in content.curves] + [test.dataset for test in content.range_tests]
    return names[0] if names else ""


def _scope(content: ReportContent) -> list[str]:
    """Return in a few words what the numbers are of."""
    if not content.rows:
        return []
    score = content.titled[0].scores[0]
    nets = {row.backbone for row in content.rows}
    return [
        f"{len(content.rows)} row{'s' if len(content.rows) > 1 else ''}",
        f"{len(nets)} backbone{'s' if len(nets) > 1 else ''}",
        f"{len(score.class_names)} class{'es' if len(score.class_names) != 1 else ''}",
        f"{score.n_test:,} test images",
    ]
