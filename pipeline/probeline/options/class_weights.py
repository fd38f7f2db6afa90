"""The words of ``--class-weights``: how much each class counts in fitting."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from probeline.errors import BadOption, UnknownName
from probeline.text import shown_names

BALANCED: Literal["balanced"] = "balanced"


def parse_class_weights(words: Sequence[str]) -> Literal["balanced"] | dict[str, float]:
    """Return ``balanced``, or the weight of each class in words such as ``bees=2``; empty without words.

    Raises
    ------
    BadOption
        A word is neither, a class comes twice, or a weight is no positive number.
    """
    expected = "balanced alone, or CLASS=WEIGHT with a number above 0, each class once"
    if tuple(words) == (BALANCED,):
        return BALANCED
    weights: dict[str, float] = {}
    for word in words:
        name, _, number = word.rpartition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not name or name in weights or not 0 < weight < math.inf:
            raise BadOption("bad --class-weights", expected=expected, got=f"{name} twice" if name in weights else word)
        weights[name] = weight
    return weights


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
    known = set(class_names)
    shown = shown_names(class_names)
    weights: dict[str, float] = {}
    for given, weight in parsed.items():
        name = given if given in known else shown.get(given, given)
        if name not in known:
            raise UnknownName("class in --class-weights", given, class_names)
        weights[name] = weight
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
