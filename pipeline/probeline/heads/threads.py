"""Small fits on one thread, whose work is less than what waiting for others may cost."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

SMALL_PRODUCT = 1e8
"""Operations of a product with the Hessian up to which one thread does it.

A core does them in some milliseconds. Each of the product's dozens of steps ends when its last thread does, and on a
busy machine a thread may not run for a time slice, some milliseconds too. On a quiet one two threads save half a
product: 45 values on 195 rows of 1,280 columns took 0.14 s on two threads and 0.13 s on one.
"""

SMALL_STEP = 2e7
"""Operations of a minibatch step up to which one thread does it: a fraction of a millisecond."""


@contextlib.contextmanager
def few_threads(operations: float, most: float = SMALL_PRODUCT) -> Iterator[None]:
    """Use one thread of the processor for work that repeats at most so many operations, and restore the number."""
    before = torch.get_num_threads()
    if before == 1 or operations > most:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def hessian_operations(rows: int, columns: int, logits: int) -> float:
    """Return the operations of a product with the Hessian for so many logits of all heads.

    Fewer rows than columns count as columns, as they do once the rows are turned into their span.
    """
    return 4.0 * rows * min(rows, columns) * logits
