"""The colours of a page in its light and dark theme: those of the figures, adjusted for contrast."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from probeline.results.methods import METHODS, method_info

LIGHT = {
    "page": "#f4f6f8",
    "ground": "#ffffff",
    "ink": "#1a1a1a",
    "muted": "#585d64",
    "faint": "#d9d9d9",
    "line": "#c9ced6",
    "accent": "#0b559f",
}
DARK = {
    "page": "#101317",
    "ground": "#191d22",
    "ink": "#eceff2",
    "muted": "#aab2bc",
    "faint": "#3b424b",
    "line": "#434b55",
    "accent": "#85bdff",
}
"""By their names in the style sheet; figures have ground, ink, muted and faint too."""

MARK, LETTER = 3.0, 4.5
"""The contrast that WCAG 2.2 requires at level AA of meaningful marks and of letters."""

LEVELS = 10
"""Shades of a share in a table's cell; 0 has none."""

_STAGES = 8
"""Strategies ``last-1``, ``last-2`` and so on whose colours are adjusted; later ones are nearly black."""

_SHADE = "#08519c"
_STEP = 0.01
_FAINT = 2.0


@cache
def colours() -> str:
    """Return the style sheet of all colours: the reader's theme, else the device's; light in print."""
    light, dark = _variables(LIGHT), _variables(DARK)
    rules = [
        f":root{{color-scheme:light;{light}}}",
        f"@media (prefers-color-scheme:dark){{:root{{color-scheme:dark;{dark}}}}}",
        f":root[data-theme=light]{{color-scheme:light;{light}}}",
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}",
        f"@media print{{:root,:root[data-theme]{{color-scheme:light;{light}}}}}",
    ]
    for name in ("ink", "muted", "faint", "ground"):
        rules += [f".f-{name},.t-{name}{{fill:var(--{name})}}", f".s-{name}{{stroke:var(--{name})}}"]
    for name in _names():
        rules += [f".f-{name}{{fill:var(--c-{name})}}", f".s-{name}{{stroke:var(--c-{name})}}"]
        rules.append(f".t-{name}{{fill:var(--t-{name})}}")
    rules += [f".h{level}{{background:var(--h{level});color:var(--k{level})}}" for level in range(1, LEVELS + 1)]
    return "\n".join(rules) + "\n"


def class_of_colour(colour: str) -> str:
    """Return the name of a method's colour in the classes of the style sheet."""
    return colour.lower().removeprefix("#")


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two sRGB colours, in [1, 21], as WCAG 2.2 defines it."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def readable(colour: str, ground: str, ratio: float) -> str:
    """Return a colour, mixed with black or white until its contrast with `ground` is at least `ratio`.

    A colour with little contrast gets half as much again, so that it differs from those that just pass; black or white
    without contrast becomes the other, since a grey could be mistaken for another method.
    """
    away = "#000000" if _luminance(ground) > 0.5 else "#ffffff"
    if contrast(colour, ground) < 1.5 and max(_levels(colour)) - min(_levels(colour)) < 0.05:
        return _mixed(colour, away, 0.92)
    if contrast(colour, ground) < _FAINT:
        ratio *= 1.5
    share = 0.0
    while contrast(_mixed(colour, away, share), ground) < ratio:
        share += _STEP
    return _mixed(colour, away, share)


def _names() -> dict[str, str]:
    names = [method.name for method in METHODS if method.name != "last-K"]
    names += [f"last-{k}" for k in range(1, _STAGES + 1)]
    return {class_of_colour(colour): colour for colour in (method_info(name).colour for name in names)}


def _variables(theme: Mapping[str, str]) -> str:
    ground = theme["ground"]
    variables = dict(theme)
    for name, colour in _names().items():
        variables[f"c-{name}"] = readable(colour, ground, MARK)
        variables[f"t-{name}"] = readable(colour, ground, LETTER)
    for level in range(1, LEVELS + 1):
        shade = _mixed(ground, _SHADE if theme is LIGHT else "#6baed6", level / LEVELS)
        variables[f"h{level}"] = shade
        black, white = (contrast(ink, shade) for ink in ("#000000", "#ffffff"))
        variables[f"k{level}"] = "#000000" if black > white else "#ffffff"
    return ";".join(f"--{name}:{value}" for name, value in variables.items())


def _levels(colour: str) -> list[float]:
    """Return red, green and blue in [0, 1]."""
    return [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]


def _mixed(one: str, other: str, share: float) -> str:
    mixed = (a + (b - a) * min(share, 1.0) for a, b in zip(_levels(one), _levels(other), strict=True))
    return "#" + "".join(f"{round(255 * level):02x}" for level in mixed)


def _luminance(colour: str) -> float:
    red, green, blue = (
        level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4 for level in _levels(colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
