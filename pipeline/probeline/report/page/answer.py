"""The first screen: what is best, whether that is real, what it costs, what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from probeline.format import listing, percent
from probeline.report.model.advice import advice
from probeline.report.model.conditions import PARTS
from probeline.report.model.content import ReportContent
from probeline.report.model.verdict import verdict
from probeline.report.page.cards import cards
from probeline.report.records.leakage import leakage


def view(content: ReportContent) -> Mapping[str, Any]:
    """Return the first screen."""
    told = verdict(content.blocks, content.curves)
    dataset = _dataset(content)
    nets = {row.backbone for row in content.rows} | {curve.backbone for curve in content.curves}
    asked = "is" if len(nets) == 1 else "which backbone, and is"
    return {
        "dataset": dataset or "Probeline",
        "title": f"{dataset}: {asked} training worth it?" if dataset else "Nothing has been scored yet",
        "headline": told.answer,
        "said": [*_leaked(content), *told.remarks, *content.conditions.get(PARTS, ())],
        "cards": cards(content),
        "advice": advice(content.blocks, content.curves),
        "scope": _scope(content),
    }


def _leaked(content: ReportContent) -> list[str]:
    """Say what the leaked test images do to the best row and to the probe, where the doctor found any."""
    if content.findings is None:
        return []
    leaks = [leak for leak in leakage(content.findings, content.blocks) if leak.without_both.top1 is not None]
    best = max(leaks, key=lambda leak: leak.all.top1 or 0.0, default=None)
    if best is None or best.all.n == best.without_both.n:
        return []
    shown = [best, *(leak for leak in leaks if leak.reference and leak is not best)]
    told = [
        f"{leak.row} of {leak.backbone} has {percent(leak.without_both.top1 or 0, content.places)} %" for leak in shown
    ]
    n = best.all.n - best.without_both.n
    are = "test images are" if n > 1 else "test image is"
    return [f"{n:,} {are} in train or val too, or nearly so; without {'them' if n > 1 else 'it'} {listing(told)}."]


def _dataset(content: ReportContent) -> str:
    names = [score.dataset for _, _, scores in content.titled for score in scores]
    names += [curve.dataset for curve in content.curves] + [test.dataset for test in content.range_tests]
    return names[0] if names else ""


def _scope(content: ReportContent) -> list[str]:
    """Say in a few words what the numbers are of."""
    if not content.rows:
        return []
    score = content.titled[0][2][0]
    nets = {row.backbone for row in content.rows}
    return [
        f"{len(content.rows)} row{'s' if len(content.rows) > 1 else ''}",
        f"{len(nets)} backbone{'s' if len(nets) > 1 else ''}",
        f"{len(score.class_names)} class{'es' if len(score.class_names) != 1 else ''}",
        f"{score.n_test:,} test images",
    ]
