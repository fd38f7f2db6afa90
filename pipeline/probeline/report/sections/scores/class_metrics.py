"""Metrics beyond top-1: macro accuracy, F1, the area under the ROC curve, and the rates of two classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from probeline.format import decimals, percent
from probeline.report.model.content import ReportContent
from probeline.report.model.row import Row, uneven
from probeline.report.model.two_classes import Rate, TwoClasses
from probeline.report.sections.section import RESULTS, Section, View
from probeline.report.sections.tables import Column, bullets, join_parts, page_table, row_table

_AUROC_OF_TWO = (
    "AUROC, the area under the ROC curve, is the share of pairs of a positive and a negative image in which the first "
    "has the higher probability to be positive; a half is chance."
)
_AUROC = (
    "AUROC, the area under the ROC curve, is the share of pairs, of an image of a class and one of another, in which "
    "the first has the higher probability of that class; it is the mean over the tested classes, and a half is chance."
)

_ORDERED = (
    "Classes off is by how many classes of their order predictions are off on average. Kappa is Cohen's with quadratic "
    "weights: 1 if all predictions are right, 0 if they agree with the labels as chance does; an error counts by the "
    "square of how many classes it is off. Its interval is a bootstrap's over the test images."
)


class ClassMetrics(Section):
    name, title, group = "metrics", "Further metrics", RESULTS

    def markdown(self, content: ReportContent) -> str | None:
        if not content.blocks:
            return None
        table = row_table(content.blocks, metric_columns(content.rows))
        return join_parts(table.markdown(), bullets(metric_notes(content.rows)))

    def view(self, content: ReportContent) -> View | None:
        if not content.rows:
            return None
        table, notes = page_table(content, metric_columns(content.rows)), metric_notes(content.rows)
        return View("rows.html", {"table": table, "notes": notes, "figures": []})


def metric_columns(rows: Sequence[Row]) -> list[Column]:
    """Return the columns after the backbone's, without those that are empty in all rows."""
    places = decimals(row.n_test for row in rows)

    def rate(head: str, of: Callable[[TwoClasses], Rate | None]) -> Column:
        def found_in(row: Row) -> Rate | None:
            return of(row.two_classes) if row.two_classes else None

        def value(row: Row) -> float | None:
            return found.share if (found := found_in(row)) else None

        def cell(row: Row) -> str:
            if (found := found_in(row)) is None:
                return ""
            low, high = (percent(end, places) for end in found.interval)
            return f"{percent(found.share, places)} ({low}–{high})"

        return Column(f"{head} % (95 % interval)", cell, value=value)

    def share(head: str, value: Callable[[Row], float | None]) -> Column:
        def cell(row: Row) -> str:
            return "" if (found := value(row)) is None else percent(found, places)

        return Column(head, cell, value=value)

    columns = [
        Column("Method", lambda row: row.title, left=True),
        share("Macro %", lambda row: row.macro if uneven(rows) else None),
        share("Macro F1 %", lambda row: row.macro_f1),
        share("AUROC %", lambda row: row.auroc),
        Column("Classes off", _class_error, value=lambda row: row.ordered.error if row.ordered else None),
        Column("Kappa (95 % interval)", _kappa, value=lambda row: row.ordered.kappa if row.ordered else None),
        rate("Sensitivity", lambda two: two.sensitivity),
        rate("Specificity", lambda two: two.specificity),
        share("Precision %", lambda row: row.two_classes.precision if row.two_classes else None),
        share("Weighted F1 %", lambda row: row.weighted_f1),
    ]
    return [column for column in columns if any(column.cell(row) for row in rows)]


def _class_error(row: Row) -> str:
    return f"{row.ordered.error:.3f}" if row.ordered else ""


def _kappa(row: Row) -> str:
    if row.ordered is None or row.ordered.kappa is None:
        return ""
    ends = row.ordered.interval
    return f"{row.ordered.kappa:.3f}" + (f" ({ends[0]:.3f}–{ends[1]:.3f})" if ends else "")


def metric_notes(rows: Sequence[Row]) -> list[str]:
    """Return the notes that the table of these rows needs."""
    notes = []
    if uneven(rows):
        notes.append("Macro, or balanced accuracy, is the mean accuracy of the classes, rare or frequent.")
    notes.append(
        "F1 is the harmonic mean of a class's precision and sensitivity, and 0 if nothing of the class is right. Macro "
        "F1 is its mean over the classes that are true or predicted anywhere; weighted F1 counts each class by its "
        "test images."
    )
    if any(row.ordered for row in rows):
        notes.append(_ORDERED)
    if any(row.two_classes for row in rows):
        notes += _notes_of_two([row.two_classes for row in rows if row.two_classes])
    if any(row.auroc is not None for row in rows):
        notes.append(_AUROC_OF_TWO if len(rows[0].per_class) == 2 else _AUROC)
    if any(row.auroc is None for row in rows) and sum(n is not None for n in rows[0].per_class) > 1:
        notes.append(
            "A row has no AUROC if a score of it is of an earlier version, or of predictions without probabilities. To "
            "have the first kind again, delete its file and run its command."
        )
    if any(row.seeds > 1 for row in rows):
        notes.append("With several seeds all numbers are means over them.")
    return notes


def _notes_of_two(rows: Sequence[TwoClasses]) -> list[str]:
    images = {
        (two.sensitivity.n if two.sensitivity else 0, two.specificity.n if two.specificity else 0) for two in rows
    }
    counted = f" ({' and '.join(f'{n:,}' for n in images.pop())} test images)" if len(images) == 1 else ""
    return [
        f"The positive class is {rows[0].positive!r}: the one with fewer test images, or the second class if both have "
        "as many. Sensitivity is the share of its images that is predicted positive; specificity is the share of the "
        f"other class's images that is predicted negative{counted}. Their intervals are Wilson's.",
        "Precision is the share of the images predicted positive that are, and 0 if none is predicted so.",
    ]
