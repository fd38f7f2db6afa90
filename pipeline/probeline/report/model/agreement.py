"""Where two rows disagree: on which images one is right and the other is wrong, and of which classes these are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from probeline.results.score import Score


@dataclass(frozen=True)
class Agreement:
    """The test images of two rows, by which of them is right.

    Attributes
    ----------
    both, one, other, neither : int
        Images that both have right, the first alone, the second alone, and none of them.
    net : mapping of int to int
        Of each class with any: the images that the first alone has right minus those that the second alone has.
    """

    both: int
    one: int
    other: int
    neither: int
    net: dict[int, int]


def agreement(one: Score, other: Score) -> Agreement:
    """Return where two scores of the same test images disagree."""
    pairs: Counter[tuple[bool, bool]] = Counter()
    net: Counter[int] = Counter()
    for label, a, b in zip(one.labels, one.predictions, other.predictions, strict=True):
        pairs[a == label, b == label] += 1
        net[label] += (a == label) - (b == label)
    return Agreement(
        both=pairs[True, True],
        one=pairs[True, False],
        other=pairs[False, True],
        neither=pairs[False, False],
        net={label: images for label, images in sorted(net.items()) if images},
    )


def shared(scores: Sequence[Score]) -> tuple[int, int]:
    """Return how many test images all of some scores have right, and how many none of them has."""
    right = [
        sum(label == said for said in predictions)
        for label, *predictions in zip(scores[0].labels, *(score.predictions for score in scores), strict=True)
    ]
    return right.count(len(scores)), right.count(0)
