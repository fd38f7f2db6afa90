"""The page of a report: one HTML file that asks nobody for anything.

Python turns rows and records into words; the templates only place them. What a page needs stands in it: style and
script, whose sha256 its Content-Security-Policy names, figures as SVG, pictures as data.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from functools import cache
from importlib import resources
from itertools import groupby

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from probeline.report.page import answer
from probeline.report.page.content import Content
from probeline.report.page.palette import colours
from probeline.report.page.sections import SECTIONS

ROOM = 5_000_000
"""Bytes of a page, at most, while galleries and maps are there to be left to the records."""


def render(content: Content) -> bytes:
    """Return the page of a report as UTF-8, with the galleries and maps of as many nets as there is room for.

    Parameters
    ----------
    content : Content
        All that the report says.
    """
    page = _rendered(content)
    for nets in range(content.nets - 1, -1, -1):
        if len(page) <= ROOM:
            break
        page = _rendered(replace(content, nets=nets))
    return page


def _rendered(content: Content) -> bytes:
    style, script = colours() + _text("style.css"), _text("script.js")
    built = [(section, section.build(content)) for section in SECTIONS]
    there = [(section, view) for section, view in built if view is not None]
    page = _environment().get_template("page.html")
    html = page.render(
        answer=answer.view(content),
        sections=there,
        groups=[
            (group, [section for section, _ in some]) for group, some in groupby(there, key=lambda one: one[0].group)
        ],
        style=_trusted(style),
        script=_trusted(script),
        policy="; ".join(
            (
                "default-src 'none'",
                "img-src data:",
                f"style-src '{_sha256(style)}'",
                f"script-src '{_sha256(script)}'",
                "base-uri 'none'",
                "form-action 'none'",
            )
        ),
    )
    return html.encode()


@cache
def _environment() -> Environment:
    loader = PackageLoader("probeline.report.page")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["trusted"] = _trusted
    return environment


def _text(name: str) -> str:
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


def _trusted(text: str) -> Markup:
    """Return style, script or a figure of ours as it is: in a figure, names are escaped already."""
    return Markup(text)  # noqa: S704


def _sha256(text: str) -> str:
    """Return the hash of a text as a Content-Security-Policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
