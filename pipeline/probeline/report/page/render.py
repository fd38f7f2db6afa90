"""The page of a report: one HTML file that loads nothing.

Python turns rows and records into text; the templates only place it. The page includes all it needs: style and script,
whose sha256 its Content-Security-Policy names, figures as SVG, pictures as data.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from itertools import groupby
from typing import Any, Protocol

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from probeline.report.model.content import ReportContent
from probeline.report.page import answer
from probeline.report.palette import colours
from probeline.report.sections.section import Section, View
from probeline.text import printable_lines

MAX_BYTES = 5_000_000
"""Of a page; galleries and maps are left out to stay below it."""


class Heading(Protocol):
    """What a page says of a section: its anchor, its title, and where its contents list it."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def group(self) -> str: ...


def render(content: ReportContent, sections: Sequence[Section]) -> bytes:
    """Return the page of a report as UTF-8, with the galleries and maps of as many backbones as fit."""
    page = _render(content, sections)
    for nets in range(content.nets - 1, -1, -1):
        if len(page) <= MAX_BYTES:
            break
        page = _render(content.with_nets(nets), sections)
    return page


def _render(content: ReportContent, sections: Sequence[Section]) -> bytes:
    return render_page(answer.view(content), [(section, section.view(content)) for section in sections])


def render_page(first_screen: Mapping[str, Any], sections: Sequence[tuple[Heading, View | None]]) -> bytes:
    """Return a page as UTF-8: its first screen, values of ``answer.html``, and what its sections show."""
    style, script = colours() + _text("style.css"), _text("script.js")
    shown = [(section, view.template, view.values) for section, view in sections if view is not None]
    groups = groupby((section for section, _, _ in shown), key=lambda section: section.group)
    page = _environment().get_template("page.html")
    html = page.render(
        answer=first_screen,
        sections=shown,
        groups=[(group, list(members)) for group, members in groups],
        style=_trusted(style),
        script=_trusted(script),
        policy=f"default-src 'none'; img-src data:; style-src '{_sha256(style)}'; script-src '{_sha256(script)}'; "
        "base-uri 'none'; form-action 'none'",
    )
    return printable_lines(html).encode()


@cache
def _environment() -> Environment:
    loader = PackageLoader("probeline.report.page")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["trusted"] = _trusted
    return environment


def _text(name: str) -> str:
    return resources.files("probeline.report.page").joinpath(name).read_text(encoding="utf-8")


def _trusted(text: str) -> Markup:
    """Return style, script, a figure or a section's own HTML unchanged: in a figure, names are escaped already."""
    return Markup(text)  # noqa: S704


def _sha256(text: str) -> str:
    """Return the hash of a text in the form of a Content-Security-Policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
