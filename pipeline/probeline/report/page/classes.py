"""Classes: what they are taken for, and how many of each are recognised by whom."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from probeline.format import decimals, percent
from probeline.report.model.confusion_rows import Confused, confused
from probeline.report.model.rows import Row
from probeline.report.page.content import Content, View
from probeline.report.page.palette import LEVELS

_LISTED = 20
"""Up to so many classes, a matrix has room for all its counts."""

_PAIRS = 28
"""How many of the most frequent confusions are listed where it has not."""

_UPRIGHT = 4
"""Up to so many letters, names of columns stand as they are read."""


@dataclass(frozen=True)
class Shaded:
    """A cell with a shade: 0 is none, `LEVELS` the darkest."""

    text: str
    below: str
    level: int


@dataclass(frozen=True)
class Confusions:
    """Of one row: its matrix where the classes are few, else its figure; and the most frequent confusions.

    Attributes
    ----------
    title, caption : str
    classes : tuple of str
        Empty where there is no matrix.
    turned : bool
        Whether the names of its columns are.
    lines : tuple of (str, tuple of Shaded)
        A true class, and its images by predicted class.
    svg : str
        Empty where there is a matrix.
    pairs : tuple of (str, str, str)
        A true class, what it was taken for, and how many images were.
    """

    title: str
    caption: str
    classes: tuple[str, ...]
    turned: bool
    lines: tuple[tuple[str, tuple[Shaded, ...]], ...]
    svg: str
    pairs: tuple[tuple[str, str, str], ...]


def confusions_view(content: Content) -> View | None:
    """Return the confusions of the rows of `confused`; None where there are none."""
    shown = [_confusions(content, one) for one in confused(content.blocks)]
    return {"matrices": shown} if shown else None


def _confusions(content: Content, one: Confused) -> Confusions:
    row, score = one.row, one.score
    names = score.class_names
    counts = Counter(zip(score.labels, score.predictions, strict=True))
    totals = Counter(score.labels)
    few = len(names) <= _LISTED
    lines = (
        [
            (names[true], tuple(_counted(counts[true, said], totals[true]) for said in range(len(names))))
            for true in range(len(names))
        ]
        if few
        else []
    )
    wrong = sorted((-count, true, said) for (true, said), count in counts.items() if true != said)[:_PAIRS]
    figure = content.figures.get(one.figure)
    seed = means = ""
    if row.seeds > 1:
        alone, mean = (percent(top1, decimals([row.n_test])) for top1 in (score.top1, row.top1))
        seed = f", seed {score.seed} of {row.seeds}"
        means = f" This seed alone has {alone} %, all {row.seeds} on average {mean} %."
    cell = " In a cell: images, and their share of the true class's." if few else ""
    return Confusions(
        title=f"{row.short} on {one.title}{seed}",
        caption=f"n = {row.n_test:,} test images. Shade: share of the true class's images.{cell}{means}",
        classes=tuple(names) if few else (),
        turned=max(map(len, names)) > _UPRIGHT,
        lines=tuple(lines),
        svg=figure.svg if figure is not None and not few else "",
        pairs=tuple((names[true], names[said], f"{-count:,}") for count, true, said in wrong),
    )


def _counted(count: int, total: int) -> Shaded:
    share = count / max(total, 1)
    # The root spreads the low end, where the errors are.
    level = math.ceil(LEVELS * math.sqrt(share))
    return Shaded(f"{count:,}" if count else "", f"{percent(share, 1)} %" if count else "", level)


def per_class_view(content: Content) -> View | None:
    """Return each class's accuracy, the rows of the reference probe's backbone and tap side by side."""
    if not content.blocks:
        return None
    of_reference = (block for block in content.blocks if any(row.reference for row in block.rows))
    block = next(of_reference, content.blocks[0]).leading()
    score = block.scores[0][0]
    images = Counter(score.labels)
    tested = [number for number in range(len(score.class_names)) if images[number]]
    hardest = sorted(tested, key=lambda number: fmean(_shares(block.rows, number)))
    places = decimals(row.n_test for row in block.rows)
    lines = [
        (
            score.class_names[number],
            f"{images[number]:,}",
            tuple(_recognised(row.per_class[number], places) for row in block.rows),
        )
        for number in hardest
    ]
    caption = "Percent of each class's test images that are recognised, the hardest class first."
    if any(row.seeds > 1 for row in block.rows):
        caption += " Means over seeds."
    if len(tested) < len(score.class_names):
        caption += f" {len(score.class_names) - len(tested)} of {len(score.class_names)} classes have no test image."
    return {"title": block.title, "heads": [row.short for row in block.rows], "lines": lines, "caption": caption}


def _recognised(share: float | None, places: int) -> Shaded:
    # The square spreads the high end, where the shares are.
    return Shaded("", "", 0) if share is None else Shaded(percent(share, places), "", round(LEVELS * share * share))


def _shares(rows: Sequence[Row], number: int) -> list[float]:
    """Return one class's accuracy by each row that has test images of it."""
    return [share for share in (row.per_class[number] for row in rows) if share is not None]
