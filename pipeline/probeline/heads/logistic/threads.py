"""Small fits on one thread, whose work is less than what waiting for others may cost."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

_SMALL = 1e8
"""Operations of a product with the Hessian up to which one thread does it.

A core does them in some milliseconds. Each of the product's dozens of steps ends when its last thread does, and on a
busy machine a thread may not run for a time slice, some milliseconds too. On a quiet one two threads save half a
product: 45 values on 195 rows of 1,280 columns took 0.14 s on two threads and 0.13 s on one.
"""


@contextlib.contextmanager
def few_threads(rows: int, columns: int, logits: int, heads: int) -> Iterator[None]:
    """Use one thread of the processor if a product with the Hessian of so many heads is small, and restore the number.

    Fewer rows than columns count as columns, as they do once the rows are turned into their span.
    """
    before = torch.get_num_threads()
    if before == 1 or not is_small(rows, columns, logits * heads):
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def is_small(rows: int, columns: int, logits: int) -> bool:
    """Return whether a product with the Hessian for so many logits of all heads is small."""
    return 4 * rows * min(rows, columns) * logits <= _SMALL
