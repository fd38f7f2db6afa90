"""The words of ``--ordinal``: the classes from the lowest to the highest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from probeline.errors import BadOption, UnknownName
from probeline.format import listing
from probeline.text import shown_names

NUMERIC = "numeric"
"""In place of names: they are numbers, and these are their order."""

_NAMED = 5
"""Classes that an error names."""


def class_order(words: Sequence[str], class_names: Sequence[str]) -> tuple[str, ...]:
    """Return all classes in the order that the words give; empty without words.

    The words are the classes' names, or one word with commas between them, or ``numeric``.

    Raises
    ------
    UnknownName
        A class that the data set does not have.
    BadOption
        A class comes twice or is missing; or names are no numbers, or two of them equal ones.
    """
    if not words:
        return ()
    if tuple(words) == (NUMERIC,):
        return _by_number(class_names)
    given = words[0].split(",") if len(words) == 1 and words[0] not in class_names else words
    known, shown = set(class_names), shown_names(class_names)
    names = [name if name in known else shown.get(name, name) for name in given]
    for name in names:
        if name not in known:
            raise UnknownName("class in --ordinal", name, class_names)
        if names.count(name) > 1:
            raise BadOption("bad --ordinal", expected="each class once", got=f"{name} twice")
    if missing := [name for name in class_names if name not in names]:
        expected = "all classes of the data set, from the lowest to the highest"
        raise BadOption("bad --ordinal", expected=expected, got=f"an order without {_some(missing)}")
    return tuple(names)


def _by_number(class_names: Sequence[str]) -> tuple[str, ...]:
    numbers: dict[str, float] = {}
    for name in class_names:
        try:
            numbers[name] = float(name)
        except ValueError:
            numbers[name] = math.nan
    remedy = "name the classes from the lowest to the highest: --ordinal small medium large"
    if others := [name for name, number in numbers.items() if not math.isfinite(number)]:
        expected = "classes whose names are numbers"
        raise BadOption(f"--ordinal {NUMERIC} without numbers", expected=expected, got=_some(others), remedy=remedy)
    ordered = sorted(class_names, key=numbers.__getitem__)
    for name, following in pairwise(ordered):
        if numbers[name] == numbers[following]:
            got = f"{name} and {following}"
            raise BadOption(f"--ordinal {NUMERIC} has no order", expected="other numbers", got=got, remedy=remedy)
    return tuple(ordered)


def _some(names: Sequence[str]) -> str:
    return listing([*names[:_NAMED], *([f"{len(names) - _NAMED} more"] if len(names) > _NAMED else [])])
