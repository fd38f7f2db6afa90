"""What a section of a report is: the same content in Markdown, on the page and in report.json."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from probeline.report.model.content import ReportContent, ReportFigure
from probeline.report.sections.tables import TextTable, bullets, join_parts

RESULTS, ERRORS, DATA, FITS, REPRODUCIBILITY = "Results", "Errors", "Data", "Fits", "Reproducibility"
GROUPS = (RESULTS, ERRORS, DATA, FITS, REPRODUCIBILITY)
"""The groups of sections in the order of the page; groups of other names come before the last."""


@dataclass(frozen=True)
class View:
    """What a section shows on the page: a file of ``page/templates/sections/``, and the values of its ``view``.

    The templates for any content have functions: `text_view`, `figure_view` and `tables_view`.
    """

    template: str
    values: Mapping[str, Any]


class Section(Protocol):
    """A section of a report. A subclass implements those of the three methods that it has something for.

    Attributes
    ----------
    name : str
        Its anchor on the page; unique.
    title : str
    group : str
        Where the contents of the page list it, see `GROUPS`.
    """

    name: str
    title: str
    group: str

    def markdown(self, content: ReportContent) -> str | None:  # noqa: ARG002
        """Return the section in Markdown, without its heading; None if it has nothing to show."""
        return None

    def view(self, content: ReportContent) -> View | None:  # noqa: ARG002
        """Return what the page shows, without its heading; None if it has nothing to show."""
        return None

    def record(self, content: ReportContent) -> Mapping[str, Any]:  # noqa: ARG002
        """Return members of report.json: JSON values, by names that no other section has."""
        return {}


def text_view(*paragraphs: str, html: str = "") -> View:
    """Return a view of paragraphs of plain text and below them HTML, which is trusted.

    The page forbids scripts, styles of elements, and everything from elsewhere but ``data:`` images.
    """
    return View("text.html", {"paragraphs": paragraphs, "html": html})


def figure_view(*figures: ReportFigure) -> View:
    """Return a view of figures; the headline of the first is left to the section's title."""
    return View("figure.html", {"figures": figures})


def tables_view(tables: Sequence[TextTable], notes: Sequence[str] = (), figure: ReportFigure | None = None) -> View:
    """Return a view of tables, with a figure above them and notes below them."""
    return View("tables.html", {"tables": tables, "notes": notes, "figure": figure})


Tables = tuple[Sequence[TextTable], Sequence[str]]
"""Tables, and the notes below them."""


class TableSection(Section):
    """A section of tables with notes, and on the page with the figure of that name above them."""

    figure = ""

    @abstractmethod
    def tables(self, content: ReportContent) -> Tables | None:
        """Return the tables and their notes; None if there is nothing to show."""

    def markdown(self, content: ReportContent) -> str | None:
        if (shown := self.tables(content)) is None:
            return None
        tables, notes = shown
        return join_parts(*(table.markdown() for table in tables), bullets(notes))

    def view(self, content: ReportContent) -> View | None:
        shown = self.tables(content)
        return tables_view(*shown, content.figures.get(self.figure)) if shown else None
