"""What all figures share: the look, the sheet with its title and caption, the PNG and the SVG."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from io import BytesIO, StringIO

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text

from probeline.report.figures.style import DPI, FAMILY, LINE, MUTED, RC, SMALL, TITLE
from probeline.text import printable, printable_lines

_NAME_LENGTH = 22
"""Characters of a class name in a figure; longer ones are cut."""

_LEGEND_LENGTH = 32
"""Characters per line of a legend: less than half of a figure's width."""

_PAD = 0.08
"""Inches around what the layout places."""

TOOLTIP = "tooltip:"
"""The prefix of a mark's name that is a tooltip."""


@contextmanager
def default_look() -> Iterator[None]:
    """Draw with matplotlib's defaults and ours, not the user's, which are restored afterwards."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(RC)
        yield


class Sheet(Figure):
    """A figure of `width` x `height` inches with `title` above and `caption` below, which a page shows itself."""

    def __init__(
        self, width: float, height: float, title: str, caption: str = "", alt: str = "", *, square: bool = False
    ) -> None:
        self.layout = ConstrainedLayoutEngine(w_pad=_PAD, h_pad=_PAD, compress=square)
        super().__init__(figsize=(width, height), dpi=DPI, layout=self.layout)
        FigureCanvasAgg(self)
        title, caption = printable(title), printable(caption)
        self.headline, self.caption, self.alt = title, caption, printable(alt) or title
        self.passes = 2 if square else 1  # of the layout, until it settles
        left = 0.1 / width
        self.surrounding = [self.suptitle(title, x=left, ha="left", fontsize=TITLE, fontweight="bold")]
        if caption:
            self.surrounding.append(self.supxlabel(caption, x=left, ha="left", fontsize=SMALL, color=MUTED))
        for text in self.surrounding:
            _wrap(text, DPI * (width - 0.2))

    def _repr_png_(self) -> bytes:
        """Return the figure as notebooks show it."""
        with default_look():
            return png(self)


def png(figure: Sheet) -> bytes:
    """Return the figure as a PNG file, without the name of the software that would change its bytes."""
    data = BytesIO()
    with _settled_layout(figure):
        FigureCanvasAgg(figure).print_png(data, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return data.getvalue()


def svg(figure: Sheet) -> str:
    """Return the figure as an SVG file without background, title and caption; equal figures give equal text.

    Letters stay letters, in the reader's font: DejaVu Sans, which the layout is made for, is a wide one.
    """
    whole = figure.get_figheight()
    freed = sum(text.get_window_extent().height / DPI + 2 * _PAD for text in figure.surrounding)
    for text in figure.surrounding:
        text.set(visible=False, in_layout=False)
    figure.set_figheight(whole - freed)
    data = StringIO()
    with _settled_layout(figure):
        figure.savefig(data, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    figure.set_figheight(whole)
    for text in figure.surrounding:
        text.set(visible=True, in_layout=True)
    return data.getvalue()


def set_tooltip(mark: Artist, text: str) -> None:
    """Give a mark a tooltip on the page."""
    mark.set_gid(TOOLTIP + printable(" ".join(text.split())))


def names(class_names: Sequence[str]) -> list[str]:
    """Return class names for a figure: long ones cut, and numbers for those with letters that the font lacks."""
    shown = []
    for number, name in enumerate(map(printable, class_names)):
        text = name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 1] + "…"
        shown.append(text if is_drawable(text) else f"class {number}")
    return shown


def is_drawable(text: str) -> bool:
    """Return whether a text has letters, and the font has all of them."""
    letters = _letters()
    return bool(text) and all(ord(letter) in letters for letter in text)


def legend_label(title: str) -> str:
    """Return a block's title in short lines, so that a legend leaves room for the axes."""
    return textwrap.fill(re.sub(r"(?<=\bat) |(?<=\d) (?=px|view)", "\u00a0", printable(title)), _LEGEND_LENGTH)


def span(values: Iterable[int]) -> str:
    """Return ``10,000``, or ``900 to 10,000`` if the values differ."""
    ends = sorted(set(values))
    return f"{ends[0]:,}" if len(ends) == 1 else f"{ends[0]:,} to {ends[-1]:,}"


def legend_height(labels: Iterable[str]) -> float:
    """Return the inches that the lines of a legend take."""
    return LINE * sum(label.count("\n") + 1 for label in labels)


@contextmanager
def _settled_layout(figure: Sheet) -> Iterator[None]:
    """Lay the figure out now and not again while it is drawn, which takes as long as drawing."""
    _write_out(figure)
    for _ in range(figure.passes):
        figure.layout.execute(figure)
    figure.set_layout_engine("none")
    yield
    figure.set_layout_engine(figure.layout)


def _write_out(figure: Figure) -> None:
    """Make every text of a figure printable, the labels of its axes too."""
    for text in figure.findobj(Text):
        text.set_text(printable_lines(text.get_text()))
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            labels = [label.get_text() for label in axis.get_ticklabels()]
            shown = list(map(printable_lines, labels))
            if shown != labels:
                axis.set_ticklabels(shown)


def _wrap(text: Text, room: float) -> None:
    """Break a text into lines of as many characters as fit into `room` pixels."""
    whole = text.get_text()
    if text.get_window_extent().width <= room:
        return
    fits, too_long = 1, len(whole)
    while too_long - fits > 1:
        length = (fits + too_long) // 2
        text.set_text(textwrap.fill(whole, length))
        fits, too_long = (length, too_long) if text.get_window_extent().width <= room else (fits, length)
    text.set_text(textwrap.fill(whole, fits))


@cache
def _letters() -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties(family=FAMILY))).get_charmap())
