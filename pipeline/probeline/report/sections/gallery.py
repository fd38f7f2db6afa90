"""What a gallery shows and says, settled from scores alone: which images, and whether it is still theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probeline.format import option
from probeline.identity import digest
from probeline.names import describe_tap
from probeline.report.model.rows import blocks
from probeline.results.decode import encode
from probeline.results.gallery import Gallery
from probeline.results.ranking import best_probe, rank_by_validation
from probeline.results.score import Score
from probeline.types import IntArray

MOST_IMAGES = 24

NEIGHBOURS = 3
"""Train images that are shown for each."""

MOST_BYTES = 1_000_000
"""Of a record: a page holds several."""


@dataclass(frozen=True)
class Shared:
    """Which test images the rows of a backbone have wrong.

    Attributes
    ----------
    places : int64 [n]
        In the test split, those first that most rows have wrong, then in row order.
    shown : int64 [m]
        Of these, the first few; what one row alone has wrong tells of that row, so it is not among them where others
        are wrong together.
    counts : int64 [n_test]
        How many rows have each test image wrong.
    """

    places: IntArray
    shown: IntArray
    counts: IntArray


def shared(rows: Sequence[Sequence[Score]]) -> Shared:
    """Return what the first seeds of some rows, all of the same test images, have wrong."""
    labels = np.array(rows[0][0].labels, np.int64)
    counts = np.zeros(len(labels), np.int64)
    for row in rows:
        counts += np.array(row[0].predictions, np.int64) != labels
    order = np.argsort(-counts, kind="stable")
    places = order[counts[order] > 0]
    together = order[counts[order] > 1]
    return Shared(places, (together if len(together) else places)[:MOST_IMAGES], counts)


def gallery_of(rows: Sequence[Sequence[Score]], probe: Score) -> dict[str, Any]:
    """Return what a gallery is made of: rows ranked by val, and the probe among them."""
    return {"rows": [[row[0].key, digest(list(row[0].predictions))] for row in rows], "probe": probe.key}


def row_titles(scores: Sequence[Score]) -> dict[str, str]:
    """Return what tells each row of one backbone from the others, by the key of its first score."""
    table = blocks(scores)
    return {
        row.keys[0]: row.title + (f" ({block.title})" if len(table) > 1 else "")
        for block in table
        for row in block.rows
    }


def gallery_words(
    backbone: str, probe: Score, found: Shared, rows: int, refit: Mapping[str, Any], neighbours: int
) -> tuple[str, str]:
    """Return a gallery's title and caption."""
    wrong, shown, together = len(found.places), len(found.shown), int((found.counts > 1).sum())
    n_test, by_all = len(found.counts), int((found.counts == rows).sum())
    where = describe_tap(probe.tap, probe.views)
    which = f"the exact linear probe{' ' * bool(where)}{where}"
    by = f"at least one of {rows} rows, {by_all:,} by all, each row by its first seed" if rows > 1 else which
    order = "those first that most rows have wrong" if rows > 1 else "in the order of the data set"
    if shown == together < wrong:
        order = f"all that more than one row has wrong, {order}"
    lines = [
        f"{wrong:,} of {n_test:,} test images {'are' if wrong > 1 else 'is'} taken for another class by {by}.",
        f"Shown: {'all' if shown == wrong else shown}, {order}.",
    ]
    fit = f"{which}, {option('l2', refit['l2'])}, fitted again on the cached embeddings"
    same = f"{refit['same']:,} of its {refit['n_test']:,} predictions came out the same"
    if refit["held"]:
        lines.append(f"Chances are those of {fit}, at its temperature of {refit['temperature']:.3g}: {same}.")
    else:
        lines.append(f"No chances are told: {fit}, is not what its score tells of, as {same}.")
    near = "the nearest train image" if neighbours == 1 else f"the {neighbours} nearest train images"
    lines.append(f"Below each {near}, by the cosine of the standardised features that this probe reads.")
    return f"What {backbone} is most often wrong about", " ".join(lines)


def outdated_gallery(gallery: Gallery, scores: Sequence[Score]) -> str | None:
    """Say why a gallery does not belong to the scores at hand; None where it does."""
    own = [score for score in scores if score.backbone == gallery.backbone]
    probe = best_probe(own)
    if probe is None:
        return "its exact probe is gone"
    rows = rank_by_validation(own)
    return None if gallery.of == gallery_of(rows, probe) else "its scores have changed"


def gallery_facts(gallery: Gallery) -> dict[str, Any]:
    """Return all that a gallery tells as JSON values, without its images."""
    left_out = ("of", "thumbnails")
    return {name: value for name, value in encode(gallery).items() if name not in left_out}
