"""A figure of a report: as a file, and as an element of the page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ReportFigure:
    """A figure of a report.

    Attributes
    ----------
    name : str
        ``accuracy``, or with the kind first ``confusion-resnet18-probe``.
    path : Path
        Of its PNG file, which includes headline and caption.
    headline, caption : str
    svg : str
        The plain figure as an ``svg`` element, with its alternative text.
    """

    name: str
    path: Path
    headline: str
    caption: str
    svg: str
