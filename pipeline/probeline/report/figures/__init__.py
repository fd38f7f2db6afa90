"""The figures of a report, as PNG files and as SVG: the only room that imports matplotlib.

Figures are drawn by Agg without pyplot. Equal scores give equal bytes with one version of matplotlib.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from probeline.disk import make_folder, publish
from probeline.report.figures.images.maps import embedding_map
from probeline.report.figures.inline import inline
from probeline.report.figures.scores.accuracy import accuracy
from probeline.report.figures.scores.calibration import calibration
from probeline.report.figures.scores.classes import by_class, confusions
from probeline.report.figures.scores.cost import cost
from probeline.report.figures.scores.curves import path, training
from probeline.report.figures.scores.ladder import ladder
from probeline.report.figures.scores.learning import learning
from probeline.report.figures.scores.ranges import range_tests
from probeline.report.figures.scores.reliability import reliability
from probeline.report.figures.sheet import Sheet, default_look, png, svg
from probeline.report.model.confusion_rows import select_confusion_rows
from probeline.report.model.content import ReportContent, ReportFigure
from probeline.report.model.row import Block


def draw(content: ReportContent) -> list[ReportFigure]:
    """Draw the figures that the content has data for, into the folder ``figures`` of the report.

    Returns
    -------
    list of ReportFigure
        Of these files: ``accuracy.png``, ``cost.png`` (for two rows or more), ``ladder.png`` (if training strategies
        are compared), ``per-class.png``, ``confusion-<backbone>-<method>.png`` (see `select_confusion_rows`),
        ``calibration.png``, ``reliability.png`` (of the same rows), ``path.png`` and ``training.png`` (if scores have a
        path or a history), ``learning.png``, ``range-tests.png``, and ``map-<backbone>.png``.

    Raises
    ------
    CannotWrite
        The file system refuses.
    """
    figures = _of_scores(content.blocks) if content.blocks else {}
    if content.curves:
        figures["learning"] = partial(learning, content.curves)
    if content.range_tests:
        figures["range-tests"] = partial(range_tests, content.range_tests)
    for record in content.maps:
        figures[record.figure] = partial(embedding_map, record)
    folder = content.folder / "figures"
    result = []
    with default_look():
        for name, make in figures.items():
            sheet = make()
            if sheet is not None:
                make_folder(folder)
                file = folder / f"{name}.png"
                publish(file, png(sheet), replace=True)
                result.append(
                    ReportFigure(name, file, sheet.headline, sheet.caption, inline(svg(sheet), name, sheet.alt))
                )
    return result


def _of_scores(table: Sequence[Block]) -> dict[str, Callable[[], Sheet | None]]:
    return {
        "accuracy": partial(accuracy, table),
        "cost": partial(cost, table),
        "ladder": partial(ladder, table),
        "per-class": partial(by_class, table),
        **{
            confusion.figure: partial(confusions, confusion.title, confusion.row, confusion.score)
            for confusion in select_confusion_rows(table)
        },
        "calibration": partial(calibration, table),
        "reliability": partial(reliability, table),
        "path": partial(path, table),
        "training": partial(training, table),
    }
