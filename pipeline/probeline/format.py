"""Numbers as people read them. A percent sign belongs to reports only; everywhere else top-1 lies in [0, 1]."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from probeline.text import printable

_FINE_N = 1000
"""From so many test images on, one image moves top-1 by at most 0.1 %, so a second decimal means something."""


def decimals(n_test: Iterable[int]) -> int:
    """Return how many decimals percentages of these test sets deserve."""
    return 2 if min(n_test, default=0) >= _FINE_N else 1


def percent(share: float, places: int) -> str:
    """Return a share in [0, 1] as percent, without the sign: ``78.35``."""
    return f"{100 * share:.{places}f}"


def points(difference: float, places: int) -> str:
    """Return a difference of two shares in percentage points, signed: ``+3.10``, ``−0.25``, ``0.00``."""
    return signed(f"{100 * difference:+.{places}f}")


def signed(text: str) -> str:
    """Return a formatted number with a minus sign for its hyphen; a zero has no sign: ``+0.0`` is ``0.0``."""
    return text[1:] if text[:1] in ("+", "-") and not text.strip("+-0.,") else text.replace("-", "−")


def probability(p: float) -> str:
    """Return a p-value with its sign of relation: ``p < 0.001``, ``p = 0.0123``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3g}"


_BUSY = 0.1
"""Share of waiting from which seconds are marked."""


def were_cores_missing(waited: float | None) -> bool:
    """Return whether seconds need a mark, given the share in [0, 1] of waiting for a core; None if it is not known."""
    return waited is not None and waited >= _BUSY


def seconds(value: float, waited: float | None = None) -> str:
    """Return seconds with three digits at least: ``0.0421``, ``12.6``, ``4,512``.

    They are marked, as in ``≈ 12.6``, if `waited`, the share of them without a core, is too large.
    """
    text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"≈ {text}" if were_cores_missing(waited) else text


def count(value: int) -> str:
    """Return a number of parameters in three digits: ``650``, ``12.8k``, ``2.24M``."""
    for letter, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if value >= 0.9995 * size:
            return f"{value / size:.3g}{letter}"
    return str(value)


def option(name: str, value: object, *, exactly: bool = False) -> str:
    """Return a hyper-parameter and its value, or the values of its grid: ``lr 0.001``, ``l2 1e-06 to 1e+05 (45)``.

    With `exactly`, every value is included, with all digits.
    """
    name = name.replace("_", " ")
    if isinstance(value, bool | None):
        return name if value else f"no {name}"
    brief = value_in_words if exactly else _brief
    if not isinstance(value, list | tuple):
        return f"{name} {brief(value)}"
    if len(value) > _FEW and not exactly and all(isinstance(item, int | float) for item in value):
        return f"{name} {brief(min(value))} to {brief(max(value))} ({len(value)})"
    return f"{name} {'/'.join(map(brief, value))}"


_FEW = 3
"""Of longer grids only the ends are shown."""


def _brief(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else value_in_words(value)


def value_in_words(value: object) -> str:
    """Return any value of a record as text, with all digits: what is missing is ``none``, and values are listed."""
    if isinstance(value, list | tuple):
        return "/".join(map(value_in_words, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {value_in_words(item)}" for name, item in value.items())
    return "none" if value is None else str(value)


def listing(items: Sequence[str]) -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(items[:-1]), items[-1]))) if items else ""


def few(items: Sequence[str], most: int = 5, *, between: str = "; ") -> str:
    """Return the first of several items, and how many more there are: ``a; b; and 7 more``."""
    more = [f"and {len(items) - most:,} more"] if len(items) > most else []
    return between.join([*items[:most], *more])


def abridge(text: str, most: int = 80) -> str:
    """Return text of at most so many characters: of a longer one the beginning and the end."""
    half = (most - 3) // 2
    return text if len(text) <= most else f"{text[:half]}...{text[-half:]}"


_MARKUP = r"[\\`*|]|<(?=[\w/!?])|\](?=[(\[:])|(?<!\w)_|_(?!\w)|~~|^[#+>-](?= )|&(?=[#\w]+;)"
"""What Markdown would read as markup."""


def escape(text: str) -> str:
    """Return text that Markdown shows as it is, on one line, printable."""
    return re.sub(_MARKUP, r"\\\g<0>", printable(" ".join(text.split())))


def plural(number: int, noun: str, many: str = "") -> str:
    """Return a count with its noun: ``1 file``, ``1,024 shards``, ``2 entries``."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def megabytes(size: int) -> str:
    """Return a number of bytes in megabytes: ``1,234.5 MB``."""
    return f"{size / 1e6:,.1f} MB"


def age(seconds: float) -> str:
    """Return how old something is in the largest unit of which it has two: ``3 days old``, ``45 seconds old``."""
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} old"
    return f"{max(seconds, 0):.0f} seconds old"


def describe_input(image_size: int) -> str:
    """Return the size of a net's input, ``224 x 224 px``, or where features without one are from."""
    return f"{image_size} x {image_size} px" if image_size else "embeddings from elsewhere"
