"""What a gallery of errors shows and says, decided from scores alone: its images and its text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probeline.format import option
from probeline.names import describe_tap
from probeline.results.score import Score
from probeline.types import IntArray

MAX_IMAGES = 24

NEIGHBOURS = 3
"""Train images that are shown for each test image."""

MAX_BYTES = 1_000_000
"""Of a record: a page holds several."""


@dataclass(frozen=True)
class SharedErrors:
    """Which test images the rows of a backbone misclassify.

    Attributes
    ----------
    errors : int64 [n]
        Indices into the test split of all images that any row misclassifies, the most frequent first, then in order.
    shown : int64 [m]
        The first few of them. An error of one row alone says something about that row only, so it is left out if
        there are images that several rows misclassify.
    counts : int64 [n_test]
        Rows that misclassify each test image.
    """

    errors: IntArray
    shown: IntArray
    counts: IntArray


def count_shared_errors(rows: Sequence[Sequence[Score]]) -> SharedErrors:
    """Return the errors of the first seeds of some rows, all on the same test images."""
    labels = np.array(rows[0][0].labels, np.int64)
    counts = np.zeros(len(labels), np.int64)
    for row in rows:
        counts += np.array(row[0].predictions, np.int64) != labels
    order = np.argsort(-counts, kind="stable")
    errors = order[counts[order] > 0]
    by_several = order[counts[order] > 1]
    return SharedErrors(errors, (by_several if len(by_several) else errors)[:MAX_IMAGES], counts)


def gallery_text(
    probe: Score, shared: SharedErrors, rows: int, refit: Mapping[str, Any], neighbours: int
) -> tuple[str, str]:
    """Return a gallery's title and caption."""
    wrong, shown, by_several = len(shared.errors), len(shared.shown), int((shared.counts > 1).sum())
    n_test, by_all = len(shared.counts), int((shared.counts == rows).sum())
    where = describe_tap(probe.tap, probe.views)
    which = f"the exact linear probe{' ' * bool(where)}{where}"
    by = f"at least one of {rows} rows, {by_all:,} by all (first seed of each row)" if rows > 1 else which
    order = "most frequent errors first" if rows > 1 else "in data set order"
    if shown == by_several < wrong:
        order = f"all images that several rows misclassify, {order}"
    fit = f"{which}, {option('l2', refit['l2'])}, refitted on the cached features"
    same = f"{refit['same']:,} of its {refit['n_test']:,} predictions are the same"
    if refit["held"]:
        probabilities = f"Probabilities are those of {fit}, at temperature {refit['temperature']:.3g}: {same}."
    else:
        probabilities = f"No probabilities: {fit}, does not reproduce its score, as only {same}."
    nearest = "the nearest train image" if neighbours == 1 else f"the {neighbours} nearest train images"
    return f"Most common errors of {probe.backbone}", " ".join(
        (
            f"{wrong:,} of {n_test:,} test images {'are' if wrong > 1 else 'is'} misclassified by {by}.",
            f"Shown: {'all' if shown == wrong else shown}, {order}.",
            probabilities,
            f"Below each image: {nearest}, by cosine similarity of this probe's standardised features.",
        )
    )
