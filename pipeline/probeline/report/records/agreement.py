"""Where two rows disagree: the images, by class, on which only one of them is right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from probeline.results.score import Score


@dataclass(frozen=True)
class Agreement:
    """How many test images each of two rows is right on.

    Attributes
    ----------
    both, one, other, neither : int
        Images that both are right on, only the first, only the second, and neither.
    net : mapping of int to int
        By class: images that only the first is right on minus those that only the second is; classes of 0 are missing.
    """

    both: int
    one: int
    other: int
    neither: int
    net: dict[int, int]


def compare_predictions(first: Score, second: Score) -> Agreement:
    """Return where two scores of the same test images disagree."""
    pairs: Counter[tuple[bool, bool]] = Counter()
    net: Counter[int] = Counter()
    for label, a, b in zip(first.labels, first.predictions, second.predictions, strict=True):
        pairs[a == label, b == label] += 1
        net[label] += (a == label) - (b == label)
    return Agreement(
        both=pairs[True, True],
        one=pairs[True, False],
        other=pairs[False, True],
        neither=pairs[False, False],
        net={label: images for label, images in sorted(net.items()) if images},
    )


def count_unanimous(scores: Sequence[Score]) -> tuple[int, int]:
    """Return on how many test images all scores are right, and on how many none is."""
    right = [
        sum(label == predicted for predicted in predictions)
        for label, *predictions in zip(scores[0].labels, *(score.predictions for score in scores), strict=True)
    ]
    return right.count(len(scores)), right.count(0)
