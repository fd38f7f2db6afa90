"""The words of ``--costs``: what it costs to call an image of one of two classes the other."""

from __future__ import annotations

from collections.abc import Sequence

from probeline.errors import BadOption
from probeline.options.class_weights import name_classes, parse_numbers

_FLAG = "--costs"
_LEAST, _MOST = 1e-6, 1e6
_EXPECTED = "CLASS=COST for each of two classes, with numbers from 1e-6 to 1e6"


def parse_costs(words: Sequence[str]) -> dict[str, float]:
    """Return the cost of each class in words such as ``bees=2``; empty without words.

    Raises
    ------
    BadOption
        A word is none, a class comes twice, a cost is no number within 1e-6 to 1e6, or there is one class alone.
    """
    costs = parse_numbers(words, _FLAG, _EXPECTED)
    if costs and (len(costs) != 2 or not all(_LEAST <= cost <= _MOST for cost in costs.values())):
        raise BadOption(f"bad {_FLAG}", expected=_EXPECTED, got=" ".join(words))
    return costs


def costs_of_classes(words: Sequence[str], class_names: Sequence[str]) -> tuple[float, float] | None:
    """Return the costs in the order of two classes; None without words.

    Raises
    ------
    BadOption
        The data set has more classes than two, or fewer.
    UnknownName
        A class that the data set does not have.
    """
    costs = parse_costs(words)
    if not costs:
        return None
    if len(class_names) != 2:
        got = f"{len(class_names):,} classes"
        raise BadOption(f"{_FLAG} is for two classes", expected="a data set of two classes", got=got)
    named = name_classes(costs, _FLAG, class_names)
    first, second = (named[name] for name in class_names)
    return first, second
