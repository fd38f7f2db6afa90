"""The l2 path on features larger than memory: X is read again for each pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from probeline.heads.checks import check_features, check_labels
from probeline.heads.linear import Head
from probeline.heads.logistic.cross_entropy import Rows
from probeline.heads.logistic.memory import MEMORY
from probeline.heads.logistic.path import MAX_ITERATIONS, TOLERANCE, in_order, solve_path
from probeline.heads.standardize import Scaler, apply, scaler_of
from probeline.heads.tensors import resident
from probeline.types import FloatArray, IntArray


def fit_path_streamed(
    blocks: Callable[[], Iterable[FloatArray]],
    y: IntArray,
    classes: int,
    l2s: Sequence[float],
    *,
    device: str | torch.device = "cpu",
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
    memory: int = MEMORY,
) -> tuple[list[Head], Scaler]:
    """Fit what :func:`probeline.heads.logistic.path.fit_path` fits, on rows that are standardised as they are read.

    Memory holds one block, some matrices [D, D], and 12 to 28 bytes per row, class and head solved at once; of more
    than 32 classes at most `memory` bytes of those.

    Parameters
    ----------
    blocks : callable
        Yields all rows in their order as float32 [n, D], the same ones each time. Blocks of some thousand rows do
        best: ``lambda: (features[start:start + 4096] for start in range(0, len(features), 4096))``.
    y : int64 [N]
        Classes in [0, classes).
    classes : int
        K, at least 2.
    l2s, device, tolerance, max_iterations
        As for :func:`probeline.heads.logistic.path.fit_path`.
    memory : int
        Bytes that logits of more than 32 classes may take. If they need more, they are computed again at each product
        with the Hessian.

    Returns
    -------
    heads : list of Head
        In the order of `l2s`.
    scaler : Scaler
        Standardises other rows for them.

    Raises
    ------
    ValueError
        An array or an l2 is not as described, or a pass yields another number of rows or columns.
    """

    def checked() -> Iterator[FloatArray]:
        rows = 0
        for block in blocks():
            check_features(block, columns=columns[0] if columns else None)
            columns[:] = block.shape[1:]
            rows += len(block)
            if rows > len(y):
                break
            yield block
        if rows != len(y):
            more = "or more " if rows > len(y) else ""
            raise ValueError(f"{rows} {more}rows of features for {len(y)} labels")

    columns: list[int] = []
    check_labels(y, len(y), classes)
    home = "cpu" if torch.device(device).type == "mps" else device
    scaler = scaler_of(checked)

    def standardised() -> Iterator[Tensor]:
        return (resident(apply(scaler, block), home) for block in checked())

    rows = Rows(standardised, columns[0], resident(y, home), 1 if classes == 2 else classes)
    walk = solve_path(rows, l2s, tolerance=tolerance, max_iterations=max_iterations, memory=memory)
    return in_order(walk, l2s), scaler
