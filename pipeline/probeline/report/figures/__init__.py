"""The figures of a report, as PNG files and as SVG: the only package that imports matplotlib.

Figures are made as objects and drawn by Agg; pyplot is not used. Equal scores give equal bytes with one version of
matplotlib.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from probeline.disk import make_folder, publish
from probeline.report.figures.accuracy import accuracy
from probeline.report.figures.calibration import calibration
from probeline.report.figures.classes import by_class, confusions
from probeline.report.figures.cost import cost
from probeline.report.figures.curves import path, training
from probeline.report.figures.drawn import Drawn
from probeline.report.figures.inline import inline
from probeline.report.figures.ladder import ladder
from probeline.report.figures.learning import learning
from probeline.report.figures.maps import embedding_map
from probeline.report.figures.ranges import range_tests
from probeline.report.figures.reliability import reliability
from probeline.report.figures.sheet import Sheet, look, png, svg
from probeline.report.model.confusion_rows import confused
from probeline.report.model.rows import Block, blocks
from probeline.results.curve import Curve
from probeline.results.embedding_map import EmbeddingMap
from probeline.results.range_test import RangeTest
from probeline.results.score import Score


def draw(
    scores: Sequence[Score],
    folder: Path,
    curves: Sequence[Curve] = (),
    tests: Sequence[RangeTest] = (),
    maps: Sequence[EmbeddingMap] = (),
) -> list[Drawn]:
    """Draw the figures that the scores have data for.

    Parameters
    ----------
    scores : sequence of Score
        Of one data set.
    folder : Path
        Created where it is missing.
    curves : sequence of Curve
        Learning curves of the same data set.
    tests : sequence of RangeTest
        Of the same data set.
    maps : sequence of EmbeddingMap
        Of the same data set.

    Returns
    -------
    list of Drawn
        Whose files are among ``accuracy.png``, ``cost.png`` (two rows and more), ``ladder.png`` (where strategies of
        training are compared), ``per-class.png``, ``calibration.png``, ``reliability.png`` and
        ``confusion-<backbone>-<method>.png`` (the rows of :func:`confused` in both), ``path.png`` and
        ``training.png`` (where scores have a path or a history), ``learning.png`` (where there are curves),
        ``range-tests.png`` (where there are range tests), and ``map-<backbone>.png`` (where there are maps).

    Raises
    ------
    BadData, UnknownName
        Where the scores do not fit one table.
    CannotWrite
        Where the file system refuses.
    """
    table = blocks(scores)
    figures = _of_scores(table) if table else {}
    if curves:
        figures["learning"] = partial(learning, curves)
    if tests:
        figures["range-tests"] = partial(range_tests, tests)
    for one in maps:
        figures[one.figure] = partial(embedding_map, one)
    found = []
    with look():
        for name, make in figures.items():
            figure = make()
            if figure is not None:
                make_folder(folder)
                file = folder / f"{name}.png"
                publish(file, png(figure), replace=True)
                drawn = inline(svg(figure), name, figure.alt)
                found.append(Drawn(name, file, figure.headline, figure.caption, drawn))
    return found


def _of_scores(table: Sequence[Block]) -> dict[str, Callable[[], Sheet | None]]:
    return {
        "accuracy": partial(accuracy, table),
        "cost": partial(cost, table),
        "ladder": partial(ladder, table),
        "per-class": partial(by_class, table),
        **{one.figure: partial(confusions, one.title, one.row, one.score) for one in confused(table)},
        "calibration": partial(calibration, table),
        "reliability": partial(reliability, table),
        "path": partial(path, table),
        "training": partial(training, table),
    }
