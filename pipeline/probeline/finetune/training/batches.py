"""How rows are parted into batches, and how a batch becomes what goes into a net. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from probeline.types import AnyArray, IntArray

Feed = Callable[[Sequence[IntArray], int | None], Iterator[AnyArray]]
"""Given batches of row numbers and an epoch, from 0, or None for images as they are, yields what goes into the net:
pixels uint8 [b, S, S, 3], or the input of a stage, each image's flattened, float32 [b, D]."""


def split_batches(rows: IntArray, size: int) -> list[IntArray]:
    """Return the rows in batches of `size`, in their order; the last one may be smaller."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def split_training_batches(rows: IntArray, size: int) -> list[IntArray]:
    """Return the rows in batches of `size`; a last row by itself joins the batch before it."""
    batches = split_batches(rows, size)
    if len(batches) > 1 and len(batches[-1]) == 1:
        # BatchNorm cannot take the statistics of one value.
        batches[-2:] = [np.concatenate(batches[-2:])]
    return batches
