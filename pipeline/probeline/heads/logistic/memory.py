"""The memory of a fit, which decides what is kept and what is computed again: arithmetic, without arrays."""

from __future__ import annotations

MEMORY = 4 << 30
"""Bytes that logits of more than 32 classes may take, beyond which they are computed again for each product."""

FEW = 32
"""Classes up to which logits are always kept: a row's take no more than some hundred columns of features do."""

MATRICES = 3 << 29
"""Bytes that the classes' matrices and their inverses may take."""

_ARRAYS = 6
"""Arrays of logits that a fit may hold at once: three that last, and those of the biases of many classes."""

_LEAST_ROWS = 256
"""Rows of a block, however little memory there is."""

MANY = 256
"""Classes above which rows may be turned into their eigenbasis, and those without rows are set apart."""

_TURNED = 16
"""Rows per column up to which turning them pays: with more, turning a vector costs little compared with a product."""

_LEADING = 32
"""Most rows of a class that count one by one."""

_LEADING_BYTES = 1 << 28
"""Memory of these rows, and as much again for what is derived from them."""

_VECTORS = 60
"""Float32 arrays of coefficients that a fit may hold: 8 earlier solutions in float64, and those of a Newton step."""

_PAIRS = 6
"""Float64 matrices of pairs of classes that a step of the biases may hold, where logits are not kept."""

_EXACT_ROWS = 2048
"""Rows of a block of the float64 evaluation."""


def keeps_logits(rows: int, logits: int, heads: int, memory: int) -> bool:
    """Return whether the logits of so many heads fit in `memory` bytes."""
    return logits <= FEW or _ARRAYS * 4 * heads * logits * rows <= memory


def block_rows(logits: int, heads: int, memory: int) -> int:
    """Return how many rows' logits fit in `memory` bytes."""
    return max(_LEAST_ROWS, memory // (_ARRAYS * 4 * heads * logits))


def turns_rows(rows: int, columns: int) -> bool:
    """Return whether rows of many classes are copied into the eigenbasis of their covariance."""
    return rows <= _TURNED * columns


def has_matrices(rows: int, columns: int, logits: int, memory: int, most: int) -> bool:
    """Return whether classes may have a matrix each, which with their inverses take `most` bytes."""
    return _matrices(columns, logits) <= most and keeps_logits(rows, logits, 1, memory)


def leading_rows(count: int, columns: int, classes: int) -> int:
    """Return how many rows of each class count one by one: about twice those with its label, if these are few."""
    wanted = min(_LEADING, 2 * (count // classes + 2), count - 1)
    return max(0, min(wanted, _LEADING_BYTES // (4 * classes * (columns + 1))))


def peak_bytes(rows: int, columns: int, classes: int, *, heads: int = 1, memory: int = MEMORY) -> int:
    """Return the most memory that a fit takes in addition to the features, on the device, in bytes.

    Parameters
    ----------
    rows, columns, classes : int
        N, D and K of the features.
    heads : int
        Values of l2 that are solved at once: 2 on a path below the strong ones.
    memory : int
        Bytes for logits, as :func:`probeline.heads.logistic.path.fit_path` takes them.

    Returns
    -------
    int
        An upper bound: what is freed in between counts as if it were held.
    """
    logits, span = 1 if classes == 2 else classes, min(rows, columns)
    kept = _ARRAYS * 4 * heads * logits * rows
    if keeps_logits(rows, logits, heads, memory):
        total = kept
    else:
        total = block_rows(logits, heads, memory) * kept // rows + 8 * _PAIRS * logits**2
    total += _VECTORS * 4 * heads * logits * (columns + 1)
    total += 8 * 6 * span**2 + 4 * min(rows, _EXACT_ROWS) * (3 * columns + 10 * heads * max(2, logits))
    if columns > rows:
        total += 8 * rows * columns * 3
    if classes > MANY and turns_rows(rows, columns):
        total += 2 * 4 * rows * span
    if logits > FEW:
        total += 4 * 4 * logits * leading_rows(rows, span, logits) * (span + 1)
    if has_matrices(rows, span, logits, memory, MATRICES):
        total += _matrices(span, logits)
    return total


def _matrices(columns: int, logits: int) -> int:
    """Return the bytes of the classes' matrices and their inverses."""
    return 2 * 4 * logits * (columns + 1) ** 2
