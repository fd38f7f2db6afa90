"""Sections that are one figure each, and in Markdown the list of all figures."""

from __future__ import annotations

from pathlib import PurePosixPath

from probeline.format import escape
from probeline.report.model.content import ReportContent
from probeline.report.sections.section import REPRODUCIBILITY, Section, View, figure_view


class FigureSection(Section):
    """The figure of that name; on the page only."""

    def __init__(self, group: str, name: str, title: str) -> None:
        self.group, self.name, self.title = group, name, title

    def view(self, content: ReportContent) -> View | None:
        figure = content.figures.get(self.name)
        return figure_view(figure) if figure else None


class AllFigures(Section):
    """All figures; in Markdown only."""

    name, title, group = "figures", "Figures", REPRODUCIBILITY

    def markdown(self, content: ReportContent) -> str | None:
        paths = [figure.path.relative_to(content.folder).as_posix() for figure in content.figures.values()]
        return "\n\n".join(f"![{escape(PurePosixPath(path).stem)}]({path})" for path in paths) or None
