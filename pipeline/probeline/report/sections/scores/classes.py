"""Accuracy per class, the rows of one backbone and tap side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from probeline.format import decimals, percent
from probeline.report.model.content import ReportContent
from probeline.report.model.row import Row, reference_block
from probeline.report.palette import LEVELS
from probeline.report.sections.scores.confusions import ShadedCell
from probeline.report.sections.section import ERRORS, Section, View


class AccuracyPerClass(Section):
    name, title, group = "classes", "Accuracy per class", ERRORS

    def view(self, content: ReportContent) -> View | None:
        if not content.blocks:
            return None
        block = reference_block(content.blocks)
        score = block.scores[0][0]
        names, images = score.class_names, Counter(score.labels)
        tested = [label for label in range(len(names)) if images[label]]
        places = decimals(row.n_test for row in block.rows)
        lines = [
            (
                names[label],
                f"{images[label]:,}",
                tuple(_shade_share(row.per_class[label], places) for row in block.rows),
            )
            for label in sorted(tested, key=lambda label: fmean(_shares(block.rows, label)))
        ]
        caption = "Accuracy in percent on each class's test images, the hardest class first."
        if any(row.seeds > 1 for row in block.rows):
            caption += " Means over seeds."
        if len(tested) < len(names):
            caption += f" {len(names) - len(tested)} of {len(names)} classes have no test image."
        heads = [row.short for row in block.rows]
        return View("classes.html", {"title": block.title, "heads": heads, "lines": lines, "caption": caption})


def _shade_share(share: float | None, places: int) -> ShadedCell:
    # The square spreads the high end, where the shares are.
    return (
        ShadedCell("", "", 0)
        if share is None
        else ShadedCell(percent(share, places), "", round(LEVELS * share * share))
    )


def _shares(rows: Sequence[Row], label: int) -> list[float]:
    """Return one class's accuracy by each row that has test images of it."""
    return [share for share in (row.per_class[label] for row in rows) if share is not None]
