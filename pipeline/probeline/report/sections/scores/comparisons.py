"""Comparisons of rows on the same test images: all pairwise differences, and where predictions disagree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from probeline.format import decimals, percent, plural, points, probability
from probeline.report.model.content import ReportContent
from probeline.report.model.differences import LEVEL
from probeline.report.model.pairs import Matrix
from probeline.report.model.row import row_naming
from probeline.report.sections.section import (
    ERRORS,
    RESULTS,
    Section,
    Tables,
    TableSection,
    View,
    tables_view,
)
from probeline.report.sections.tables import TextTable
from probeline.results.score import Score

_FEWEST = 3
"""Rows; the only pair of two rows is in the table of results."""


class Pairs(TableSection):
    name, title, group = "pairs", "Pairwise comparisons", RESULTS

    def tables(self, content: ReportContent) -> Tables | None:
        pairs = content.pairs
        return ([matrix_table(pairs)], matrix_notes(pairs)) if len(pairs.rows) >= _FEWEST else None

    def record(self, content: ReportContent) -> Mapping[str, Any]:
        pairs = content.pairs
        rows = [{"block": compared.title, "row": compared.row.title} for compared in pairs.rows]
        differences = [{"row": i, "minus": j, **asdict(difference)} for (i, j), difference in pairs.differences.items()]
        return {"pairs": {"rows": rows, "differences": differences, "left_out": pairs.left_out}}


def matrix_table(pairs: Matrix) -> TextTable:
    """Return the lower triangle of all differences: each row minus each of the rows above it."""
    places = decimals(compared.row.n_test for compared in pairs.rows)
    several = len({compared.title for compared in pairs.rows}) > 1

    def cell(i: int, j: int) -> str:
        difference = pairs.differences.get((i, j))
        if difference is None or j >= i:
            return ""
        p = probability(difference.p).removeprefix("p ").removeprefix("= ")
        return points(difference.top1, places) + (f" ({p})" if difference.real else "")

    columns = range(len(pairs.rows) - 1)
    grid = [["No.", "Row", *(f"− no. {j + 1}" for j in columns)]]
    for i, compared in enumerate(pairs.rows):
        row = compared.row
        name = ", ".join(filter(None, (row.short, row.where, compared.title if several else "")))
        grid.append([str(i + 1), name, *(cell(i, j) for j in columns)])
    return TextTable(grid, [column == 1 for column in range(len(grid[0]))])


def matrix_notes(pairs: Matrix) -> list[str]:
    """Return notes on :func:`matrix_table`."""
    significant = sum(difference.real for difference in pairs.differences.values())
    notes = [
        f"{significant or 'None'} of the {plural(len(pairs.differences), 'difference')} "
        f"{'is' if significant < 2 else 'are'} significant, with the adjusted p, below {LEVEL}, in brackets.",
        "Top-1 of the row minus top-1 of the column, in percentage points. p is adjusted for all these pairs, which "
        "are more than in the table of results, so that p is higher for the same two rows.",
    ]
    if pairs.left_out:
        notes.append(
            f"Only the {len(pairs.rows)} rows that are best on validation are compared; {pairs.left_out} are left out."
        )
    if any((i, j) not in pairs.differences for i in range(len(pairs.rows)) for j in range(i)):
        notes.append("Rows with different test images are not compared.")
    return notes


_CLASSES = 3
"""Named on each side."""

HEADS = ("Row", "Both right", "Only this", "Only the other", "Both wrong", "Gains most", "Loses most")


@dataclass(frozen=True)
class Agreement:
    """How many test images both of two rows are right on, only the first, only the second, and neither.

    `net` has by class the images that only the first is right on minus those that only the second is; classes of 0 are
    missing.
    """

    both: int
    one: int
    other: int
    neither: int
    net: dict[int, int]


class Disagreement(Section):
    name, title, group = "disagreement", "Disagreement between methods", ERRORS

    def view(self, content: ReportContent) -> View | None:
        rows = content.titled
        if not rows:
            return None
        best = min(rows, key=lambda titled: titled.row.rank)
        base = next((titled for titled in rows if titled.row.reference), best)
        base_score, name = base.scores[0], row_naming(content.blocks)
        same_images = [titled for titled in rows if titled.scores[0].splits == base_score.splits]
        others = [titled for titled in same_images if titled.row is not base.row]
        if not others:
            return None
        grid = [list(HEADS)]
        for other in others:
            agreement = compare_predictions(other.scores[0], base_score)
            counts = (agreement.both, agreement.one, agreement.other, agreement.neither)
            changes = (_largest_changes(agreement, base_score.class_names, sign) for sign in (1, -1))
            grid.append([name(other), *(f"{count:,}" for count in counts), *changes])
        right, wrong = count_unanimous([base_score, *(other.scores[0] for other in others)])
        n = base.row.n_test
        notes = [
            f"'The other' is {name(base)}. Counts are of the {n:,} test images, with each row's first seed; McNemar's "
            "test uses only the two columns in the middle.",
            f"All {len(others) + 1} rows are right on {right:,} images ({percent(right / n, content.places)} %), "
            f"and no row is right on {wrong:,}.",
            "Gains and losses: the classes with the largest difference between images that only this row has right and "
            "images that only the other has right.",
        ]
        return tables_view([TextTable(grid, [True, False, False, False, False, True, True])], notes)


def compare_predictions(first: Score, second: Score) -> Agreement:
    """Return where two scores of the same test images disagree."""
    pairs: Counter[tuple[bool, bool]] = Counter()
    net: Counter[int] = Counter()
    for label, a, b in zip(first.labels, first.predictions, second.predictions, strict=True):
        pairs[a == label, b == label] += 1
        net[label] += (a == label) - (b == label)
    return Agreement(
        both=pairs[True, True],
        one=pairs[True, False],
        other=pairs[False, True],
        neither=pairs[False, False],
        net={label: images for label, images in sorted(net.items()) if images},
    )


def count_unanimous(scores: Sequence[Score]) -> tuple[int, int]:
    """Return on how many test images all scores are right, and on how many none is."""
    right = [
        sum(label == predicted for predicted in predictions)
        for label, *predictions in zip(scores[0].labels, *(score.predictions for score in scores), strict=True)
    ]
    return right.count(len(scores)), right.count(0)


def _largest_changes(agreement: Agreement, names: tuple[str, ...], sign: int) -> str:
    changes = sorted((-sign * net, label) for label, net in agreement.net.items() if sign * net > 0)[:_CLASSES]
    return "; ".join(f"{names[label]}: {'+' if sign > 0 else '−'}{-net:,}" for net, label in changes)
