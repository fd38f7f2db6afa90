"""The figures of a report, as PNG and as SVG: the only room that imports matplotlib.

Figures are drawn by Agg without pyplot. Equal scores give equal bytes with one version of matplotlib.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from probeline.report.figures.alignment import alignment_map
from probeline.report.figures.classes import by_class, confusions
from probeline.report.figures.cost import cost
from probeline.report.figures.curves import path, range_tests, training
from probeline.report.figures.inline import inline
from probeline.report.figures.learning import learning
from probeline.report.figures.pictures import embedding_map
from probeline.report.figures.reliability import reliability
from probeline.report.figures.rows import accuracy, calibration, ladder
from probeline.report.figures.sheet import Sheet, default_look, png, svg
from probeline.report.model.confusion_rows import select_confusion_rows
from probeline.report.model.content import ReportContent, ReportFigure


def draw(content: ReportContent) -> list[tuple[ReportFigure, bytes]]:
    """Return the figures that the content has data for, each with the bytes of its PNG file; nothing is written."""
    return draw_sheets(content.folder, _sheets(content))


def draw_sheets(folder: Path, sheets: Iterable[tuple[str, Sheet | None]]) -> list[tuple[ReportFigure, bytes]]:
    """Return the figures of the sheets by name, for a report's folder, each with the bytes of its PNG file."""
    figures = []
    with default_look():
        for name, sheet in sheets:
            if sheet is not None:
                file = folder / "figures" / f"{name}.png"
                element = inline(svg(sheet), name, sheet.alt)
                figures.append((ReportFigure(name, file, sheet.headline, sheet.caption, element), png(sheet)))
    return figures


def _sheets(content: ReportContent) -> Iterator[tuple[str, Sheet | None]]:
    """Yield the figures by name, in the order of the report."""
    if table := content.blocks:
        yield "accuracy", accuracy(table)
        yield "cost", cost(table)
        yield "ladder", ladder(table)
        yield "per-class", by_class(table)
        for confusion in select_confusion_rows(table):
            yield confusion.figure, confusions(confusion.title, confusion.row, confusion.score)
        yield "calibration", calibration(table)
        yield "reliability", reliability(table)
        yield "path", path(table)
        yield "training", training(table)
    if content.curves:
        yield "learning", learning(content.curves)
    if content.range_tests:
        yield "range-tests", range_tests(content.range_tests)
    if content.alignment is not None:
        yield "cka", alignment_map(content.alignment)
    for record in content.maps:
        yield record.figure, embedding_map(record)
