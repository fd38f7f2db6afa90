"""Confusion matrices of a few rows."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from probeline.format import decimals, percent
from probeline.report.model.confusion_rows import ConfusionRow, select_confusion_rows
from probeline.report.model.content import ReportContent
from probeline.report.palette import LEVELS
from probeline.report.sections.section import ERRORS, Section, View

_MAX_CLASSES = 20
"""A matrix of more classes has no room for its counts."""

_PAIRS = 28
"""Confusions that are listed in its place."""

_UPRIGHT = 4
"""Longer class names are turned at the head of a column."""


@dataclass(frozen=True)
class ShadedCell:
    """A cell with a shade: 0 is none, `LEVELS` the darkest."""

    text: str
    below: str
    level: int


@dataclass(frozen=True)
class ConfusionMatrix:
    """The confusion matrix of one row, or its figure if there are many classes, and the most frequent confusions.

    Attributes
    ----------
    title, caption : str
    classes : tuple of str
        Empty without a matrix.
    turned : bool
        Whether the names of its columns are.
    lines : tuple of (str, tuple of ShadedCell)
        A true class, and its images by predicted class.
    svg : str
        Empty with a matrix.
    pairs : tuple of (str, str, str)
        A true class, a predicted class, and the number of images.
    """

    title: str
    caption: str
    classes: tuple[str, ...]
    turned: bool
    lines: tuple[tuple[str, tuple[ShadedCell, ...]], ...]
    svg: str
    pairs: tuple[tuple[str, str, str], ...]


class ConfusionMatrices(Section):
    name, title, group = "confusions", "Confusion matrix", ERRORS

    def view(self, content: ReportContent) -> View | None:
        matrices = [_matrix(content, row) for row in select_confusion_rows(content.blocks)]
        return View("confusions.html", {"matrices": matrices}) if matrices else None


def _matrix(content: ReportContent, confusion_row: ConfusionRow) -> ConfusionMatrix:
    row, score = confusion_row.row, confusion_row.score
    names = score.class_names
    counts = Counter(zip(score.labels, score.predictions, strict=True))
    totals = Counter(score.labels)
    has_room = len(names) <= _MAX_CLASSES
    classes = range(len(names)) if has_room else ()
    lines = tuple(
        (names[true], tuple(_shade_count(counts[true, predicted], totals[true]) for predicted in classes))
        for true in classes
    )
    errors = ((-count, true, predicted) for (true, predicted), count in counts.items() if true != predicted)
    figure = content.figures.get(confusion_row.figure)
    seed = means = ""
    if row.seeds > 1:
        own, mean = (percent(top1, decimals([row.n_test])) for top1 in (score.top1, row.top1))
        seed = f", seed {score.seed} of {row.seeds}"
        means = f" Top-1 of this seed is {own} %, the mean of all {row.seeds} is {mean} %."
    cell = " In a cell: images, and their share of the true class." if has_room else ""
    return ConfusionMatrix(
        title=f"{row.short} on {confusion_row.title}{seed}",
        caption=f"n = {row.n_test:,} test images. Shade: share of the true class.{cell}{means}",
        classes=names if has_room else (),
        turned=max(map(len, names)) > _UPRIGHT,
        lines=lines,
        svg=figure.svg if figure is not None and not has_room else "",
        pairs=tuple((names[true], names[predicted], f"{-n:,}") for n, true, predicted in sorted(errors)[:_PAIRS]),
    )


def _shade_count(count: int, total: int) -> ShadedCell:
    share = count / max(total, 1)
    # The root spreads the low end, where the errors are.
    level = math.ceil(LEVELS * math.sqrt(share))
    return ShadedCell(f"{count:,}" if count else "", f"{percent(share, 1)} %" if count else "", level)
