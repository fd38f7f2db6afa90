"""The words of ``--class-weights``: how much each class counts in fitting."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

from probeline.errors import BadOption, UnknownName
from probeline.text import shown_names

Value = TypeVar("Value")

BALANCED: Literal["balanced"] = "balanced"


def parse_class_weights(words: Sequence[str]) -> Literal["balanced"] | dict[str, float]:
    """Return ``balanced``, or the weight of each class in words such as ``bees=2``; empty without words.

    Raises
    ------
    BadOption
        A word is neither, a class comes twice, or a weight is no positive number.
    """
    if tuple(words) == (BALANCED,):
        return BALANCED
    expected = "balanced alone, or CLASS=WEIGHT with a number above 0, each class once"
    return parse_numbers(words, "--class-weights", expected)


def parse_numbers(words: Sequence[str], flag: str, expected: str) -> dict[str, float]:
    """Return the positive number of each class in words such as ``bees=2``, the values of an option.

    Raises
    ------
    BadOption
        A word is none, a class comes twice, or a number is not positive.
    """
    numbers: dict[str, float] = {}
    for word in words:
        name, _, text = word.rpartition("=")
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not name or name in numbers or not 0 < number < math.inf:
            raise BadOption(f"bad {flag}", expected=expected, got=f"{name} twice" if name in numbers else word)
        numbers[name] = number
    return numbers


def name_classes(values: Mapping[str, Value], flag: str, class_names: Sequence[str]) -> dict[str, Value]:
    """Return values by the names of the data set's classes, which may be given as they are shown.

    Raises
    ------
    UnknownName
        A class that the data set does not have.
    """
    known, shown = set(class_names), shown_names(class_names)
    named: dict[str, Value] = {}
    for given, value in values.items():
        name = given if given in known else shown.get(given, given)
        if name not in known:
            raise UnknownName(f"class in {flag}", given, class_names)
        named[name] = value
    return named


def class_weight_options(words: Sequence[str], class_names: Sequence[str]) -> dict[str, Any]:
    """Return what the options of a score say of class weights: nothing if all classes weigh the same.

    Classes of weight 1, which is that of all others, are left out, so that one row has one key.

    Raises
    ------
    UnknownName
        A class that the data set does not have.
    BadOption
    """
    parsed = parse_class_weights(words)
    if parsed == BALANCED:
        return {"class_weights": BALANCED}
    weights = name_classes(parsed, "--class-weights", class_names)
    every = [weights.get(name, 1.0) for name in class_names]
    if len(set(every)) < 2:
        return {}
    return {"class_weights": {name: weight for name, weight in zip(class_names, every, strict=True) if weight != 1}}


def class_weight_words(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the words that request the class weights in the options of a score."""
    weights = options.get("class_weights")
    if weights is None or isinstance(weights, str):
        return () if weights is None else (weights,)
    return tuple(f"{name}={str(float(weight)).removesuffix('.0')}" for name, weight in weights.items())
