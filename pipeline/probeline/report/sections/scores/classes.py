"""Errors by class: confusion matrices of a few rows, and the accuracy per class of all rows of one backbone and tap."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Any, NamedTuple

from probeline.format import decimals, percent
from probeline.report.model.confusion_rows import ConfusionRow, select_confusion_rows
from probeline.report.model.content import ReportContent
from probeline.report.model.row import Row, reference_block
from probeline.report.palette import LEVELS
from probeline.report.sections.section import ERRORS, Section, View

_MAX_CLASSES = 20
"""A matrix of more classes has no room for its counts."""

_PAIRS = 28
"""Confusions that are listed in its place."""

_MOST_LINES = 2000
"""Classes whose accuracy the page lists; with ten rows a line has some 600 bytes."""

_UPRIGHT = 4
"""Longer class names are turned at the head of a column."""


class ShadedCell(NamedTuple):
    """A cell with a shade: 0 is none, `LEVELS` the darkest."""

    text: str
    below: str
    level: int


class ConfusionMatrices(Section):
    name, title, group = "confusions", "Confusion matrix", ERRORS

    def view(self, content: ReportContent) -> View | None:
        rows = select_confusion_rows(content.blocks)
        if not rows:
            return None
        has_room = len(rows[0].score.class_names) <= _MAX_CLASSES
        same_n = len({confusion_row.row.n_test for confusion_row in rows}) == 1
        caption = f"n = {rows[0].row.n_test:,} test images. " if same_n else ""
        caption += "Shade: share of the true class."
        if has_room:
            caption += " In a cell: images, and their share of the true class."
        matrices = [_matrix(content, confusion_row, has_room, not same_n) for confusion_row in rows]
        return View("confusions.html", {"caption": caption, "matrices": matrices})


def _matrix(content: ReportContent, confusion_row: ConfusionRow, has_room: bool, own_n: bool) -> dict[str, Any]:
    """Return a confusion matrix; without room for it, its figure, if any, and the most frequent confusions."""
    row, score = confusion_row.row, confusion_row.score
    names = score.class_names
    counts = Counter(zip(score.labels, score.predictions, strict=True))
    totals = Counter(score.labels)
    classes = range(len(names)) if has_room else ()
    errors = ((-count, true, predicted) for (true, predicted), count in counts.items() if true != predicted)
    figure = content.figures.get(confusion_row.figure)
    notes = [f"n = {row.n_test:,} test images."] if own_n else []
    seed = ""
    if row.seeds > 1:
        own, mean = (percent(top1, decimals([row.n_test])) for top1 in (score.top1, row.top1))
        seed = f", seed {score.seed} of {row.seeds}"
        notes.append(f"Top-1 of this seed is {own} %, the mean of all {row.seeds} is {mean} %.")
    return {
        "title": f"{row.short} on {confusion_row.title}{seed}",
        "caption": " ".join(notes),
        "classes": names if has_room else (),
        "turned": max(map(len, names)) > _UPRIGHT,
        "lines": [
            (names[true], [_shade_count(counts[true, predicted], totals[true]) for predicted in classes])
            for true in classes
        ],
        "svg": figure.svg if figure is not None and not has_room else "",
        "pairs": [(names[true], names[predicted], f"{-n:,}") for n, true, predicted in sorted(errors)[:_PAIRS]],
    }


def _shade_count(count: int, total: int) -> ShadedCell:
    share = count / max(total, 1)
    # The root spreads the low end, where the errors are.
    level = math.ceil(LEVELS * math.sqrt(share))
    return ShadedCell(f"{count:,}" if count else "", f"{percent(share, 1)} %" if count else "", level)


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
        hardest = sorted(tested, key=lambda label: fmean(_shares(block.rows, label)))
        lines = [
            (names[label], f"{images[label]:,}", [_shade_share(row.per_class[label], places) for row in block.rows])
            for label in hardest[:_MOST_LINES]
        ]
        caption = "Accuracy in percent on each class's test images, the hardest class first."
        if any(row.seeds > 1 for row in block.rows):
            caption += " Means over seeds."
        if len(tested) < len(names):
            caption += f" {len(names) - len(tested)} of {len(names)} classes have no test image."
        if len(tested) > _MOST_LINES:
            caption += f" The {_MOST_LINES:,} hardest of {len(tested):,} classes."
        heads = [row.short for row in block.rows]
        return View("classes.html", {"title": block.title, "heads": heads, "lines": lines, "caption": caption})


def _shade_share(share: float | None, places: int) -> ShadedCell:
    if share is None:
        return ShadedCell("", "", 0)
    # The square spreads the high end, where the shares are.
    return ShadedCell(percent(share, places), "", round(LEVELS * share * share))


def _shares(rows: Sequence[Row], label: int) -> list[float]:
    """Return one class's accuracy by each row that has test images of it."""
    return [share for share in (row.per_class[label] for row in rows) if share is not None]
