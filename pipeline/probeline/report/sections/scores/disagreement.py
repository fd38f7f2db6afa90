"""Disagreement between methods: on which test images one row is right and the other wrong."""

from __future__ import annotations

from probeline.format import percent
from probeline.report.model.content import ReportContent
from probeline.report.model.row import TitledRow, row_naming
from probeline.report.records.agreement import Agreement, compare_predictions, count_unanimous
from probeline.report.sections.section import ERRORS, Section, View, tables_view
from probeline.report.sections.tables import TextTable

_CLASSES = 3
"""Named on each side."""

HEADS = ("Row", "Both right", "Only this", "Only the other", "Both wrong", "Gains most", "Loses most")


class Disagreement(Section):
    name, title, group = "disagreement", "Disagreement between methods", ERRORS

    def view(self, content: ReportContent) -> View | None:
        rows = content.titled
        if not rows:
            return None
        base = next((titled for titled in rows if titled.row.reference), None) or min(rows, key=lambda t: t.row.rank)
        others = [one for one in rows if one.row is not base.row and one.scores[0].splits == base.scores[0].splits]
        return _compare(base, others, content) if others else None


def _compare(base: TitledRow, others: list[TitledRow], content: ReportContent) -> View:
    names, name = base.scores[0].class_names, row_naming(content.blocks)
    grid = [list(HEADS)]
    for other in others:
        agreement = compare_predictions(other.scores[0], base.scores[0])
        counts = (agreement.both, agreement.one, agreement.other, agreement.neither)
        changes = (_largest_changes(agreement, names, sign) for sign in (1, -1))
        grid.append([name(other), *(f"{count:,}" for count in counts), *changes])
    right, wrong = count_unanimous([base.scores[0], *(other.scores[0] for other in others)])
    n = base.row.n_test
    notes = [
        f"The other is {name(base)}. Counts are of the {n:,} test images, with each row's first seed; McNemar's test "
        "uses only the two columns in the middle.",
        f"All {len(others) + 1} rows are right on {right:,} images ({percent(right / n, content.places)} %), none is "
        f"on {wrong:,}.",
        "Gains and losses: the classes with the largest difference between images that only this row has right and "
        "images that only the other has right.",
    ]
    left = [True, False, False, False, False, True, True]
    return tables_view([TextTable(grid, left)], notes)


def _largest_changes(agreement: Agreement, names: tuple[str, ...], sign: int) -> str:
    changes = sorted((-sign * net, label) for label, net in agreement.net.items() if sign * net > 0)[:_CLASSES]
    return "; ".join(f"{names[label]}: {'+' if sign > 0 else '−'}{-net:,}" for net, label in changes)
