"""From a figure's SVG file to an element of a page: without styles, with unique names and an alternative text.

A page that forbids styles inside of elements reads what they say as attributes. Colours become classes as well, which a
style sheet lays over the attributes: so one figure is readable on light and on dark ground.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from probeline.report.figures.sheet import TOOLTIP
from probeline.report.figures.style import FAINT, INK, MUTED, POINTS
from probeline.text import printable, printable_lines

_ROLES = {INK.lower(): "ink", MUTED.lower(): "muted", FAINT.lower(): "faint", "#ffffff": "ground"}
"""The names of colours that are not data in the style sheet."""

_LONG = re.compile(r"-?\d+\.\d{3,}")
_WIDE = 10 * POINTS
"""Points from which on a figure keeps its size on a page, so that its letters stay readable."""


def inline(svg: str, name: str, alt: str) -> str:
    """Return an SVG file of :func:`probeline.report.figures.sheet.svg` as an ``svg`` element of a page.

    `name`, the figure's, begins every name within, so that those of two figures differ. To screen readers the element
    is an image, or with tooltips a group of marks. A figure with pixels keeps its colours, made for white ground.
    """
    root = ElementTree.fromstring(printable_lines(svg).encode())  # noqa: S314  made by matplotlib just now
    for parent in list(root.iter()):
        for child in list(parent):
            if _plain(child.tag) in ("metadata", "style"):
                parent.remove(child)
    elements = list(root.iter())
    pixels = any(_plain(element.tag) == "image" for element in elements)
    for element in elements:
        element.tag = _plain(element.tag)
        _rewrite(element, name, coloured=not pixels)
    tooltips = [element for element in elements if element.get("class") == "told"]
    width, height = (root.attrib.pop(side).removesuffix("pt") for side in ("width", "height"))
    root.attrib.pop("version", None)
    root.attrib |= {
        "class": " ".join(["paper" if pixels else "drawing", *(["wide"] if float(width) > _WIDE else [])]),
        "role": "group" if tooltips else "img",
        "aria-label": printable(" ".join(alt.split())),
        "width": f"{float(width) * 4 / 3:.0f}",
        "height": f"{float(height) * 4 / 3:.0f}",
        "stroke-linejoin": "round",
        "stroke-linecap": "butt",
    }
    return ElementTree.tostring(root, encoding="unicode")


def _plain(tag: str) -> str:
    """Return a name without its name space."""
    return tag.rpartition("}")[2]


def _rewrite(element: Element, name: str, *, coloured: bool) -> None:
    facts = {_plain(key): value for key, value in element.attrib.items()}
    if element.tag != "text":
        element.text = None
    element.tail = None
    own = facts.pop("id", "")
    for declaration in facts.pop("style", "").split(";"):
        key, colon, value = declaration.partition(":")
        if colon and key.strip() != "font-family":
            facts[key.strip()] = value.strip()
    for key in ("d", "x", "y", "width", "height", "transform"):
        if key in facts and "(" not in facts[key].replace("translate(", "").replace("rotate(", ""):  # a scale is small
            facts[key] = _LONG.sub(_short, facts[key])
    for key, value in facts.items():
        if value.startswith("#") and key == "href":
            facts[key] = f"#{name}-{value[1:]}"
        elif value.startswith("url(#"):
            facts[key] = f"url(#{name}-{value[5:]}"
    if facts.get("href", "").startswith("data:"):
        facts["href"] = "".join(facts["href"].split())
    element.attrib = facts
    if coloured:
        _colour(element)
    if own.startswith(TOOLTIP):
        text = own.removeprefix(TOOLTIP)
        element.attrib |= {"class": "told", "tabindex": "0", "role": "img", "aria-label": text}
        title = Element("title")
        title.text = text
        element.insert(0, title)
    elif own and element.tag not in ("g", "svg", "image", "text"):
        element.set("id", f"{name}-{own}")  # what others refer to: clips, markers


def _colour(element: Element) -> None:
    """Add classes of colours to a fill (``f``), a stroke (``s``) or letters (``t``)."""
    classes = []
    for key, kind in (("fill", "f"), ("stroke", "s")):
        colour = element.get(key, "")
        if re.fullmatch("#[0-9a-f]{6}", colour):
            letters = "t" if element.tag == "text" else kind
            classes.append(f"{letters}-{_ROLES.get(colour, colour.removeprefix('#'))}")
    if classes:
        element.set("class", " ".join(classes))


def _short(number: re.Match[str]) -> str:
    """Return a number with at most two decimals."""
    return f"{float(number[0]):z.2f}".rstrip("0").rstrip(".")
