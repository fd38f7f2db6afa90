"""Figures of reports as tests need them: sketched, which takes no time, or drawn as users get them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from probeline.report.figures import sheet
from probeline.report.figures.sheet import Sheet

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="72pt" height="36pt" viewBox="0 0 72 36"/>'
PNG = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\0\0\0\0:~\x9bU"
    b"\0\0\0\nIDATx\x9cc\xf8\x0f\0\1\1\1\0\xb18\xf6\x14\0\0\0\0IEND\xaeB`\x82"
)
"""A white pixel."""


@contextmanager
def sketched() -> Iterator[None]:
    """Compose the figures of reports and boards from their data, but render none."""
    with _rendered_by(lambda _: SVG, lambda _: PNG):
        yield


@contextmanager
def drawn() -> Iterator[None]:
    """Lay out and render the figures of reports and boards, within `sketched`."""
    with _rendered_by(sheet.svg, sheet.png):
        yield


@contextmanager
def _rendered_by(svg: Callable[[Sheet], str], png: Callable[[Sheet], bytes]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for room in ("probeline.report.figures", "probeline.report.board.figures"):
            patch.setattr(f"{room}.svg", svg)
            patch.setattr(f"{room}.png", png)
        yield
