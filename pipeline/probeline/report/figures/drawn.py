"""A figure that was drawn: as a file, and as an element of a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Drawn:
    """A figure of a report.

    Attributes
    ----------
    name : str
        ``accuracy``; of several of a kind, what begins it tells the kind: ``confusion-resnet18-probe``.
    path : Path
        Of its PNG file, in which headline and caption stand too.
    headline, caption : str
    svg : str
        The figure alone as an ``svg`` element, with what it shows in words.
    """

    name: str
    path: Path
    headline: str
    caption: str
    svg: str
