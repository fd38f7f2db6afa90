"""Rows of tokens that are read when they are needed, and the order in which an epoch reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from probeline.heads.standardize import Scaler, scaler_of
from probeline.types import FloatArray, IntArray

HalfArray = npt.NDArray[np.float16]

WINDOW_BYTES = 1 << 30
"""Of the rows that an epoch shuffles together, and of what a reader must keep so that it reads each piece once."""

_CHUNK_VALUES = 1 << 23
"""Values that are float32 at once: 34 MB, and some copies of that while gradients are computed."""


class TokenRows(Protocol):
    """N rows of T tokens with D channels, in pieces that are cheaply read together, such as those of one shard."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """N, T and D."""
        ...

    @property
    def pieces(self) -> Sequence[int]:
        """How many rows each piece has: they follow one another, and sum up to N."""
        ...

    def read(self, rows: IntArray) -> HalfArray:
        """Return the tokens float16 [n, T, D] of some rows, in this order."""
        ...


@dataclass(frozen=True)
class ArrayTokens:
    """Tokens float16 [N, T, D] in memory; `sizes` are those of the pieces, or one piece holds all rows."""

    array: HalfArray
    sizes: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """N, T and D."""
        rows, tokens, dim = self.array.shape
        return rows, tokens, dim

    @property
    def pieces(self) -> Sequence[int]:
        """How many rows each piece has."""
        return self.sizes or (len(self.array),)

    def read(self, rows: IntArray) -> HalfArray:
        """Return the tokens float16 [n, T, D] of some rows."""
        return self.array[rows]


@dataclass(frozen=True)
class LabelledTokens:
    """Rows with their labels int64 [N]."""

    tokens: TokenRows
    y: IntArray

    def check(self, classes: int) -> None:
        """Raise ValueError if there are no rows, or labels that are not those of rows of so many classes."""
        rows, y = self.tokens.shape[0], self.y
        if y.shape != (rows,) or y.dtype != np.int64 or not rows or y.min() < 0 or y.max() >= classes:
            raise ValueError(
                f"labels must be int64 [{rows}], at least one, within [0, {classes}), not {y.dtype} {y.shape}"
            )


def size_of(tokens: TokenRows) -> int:
    """Return the bytes of all rows."""
    rows, count, dim = tokens.shape
    return 2 * rows * count * dim


def epoch_order(tokens: TokenRows, generator: torch.Generator, window_bytes: int | None = None) -> IntArray:
    """Return the order int64 [N] in which an epoch reads all rows.

    The pieces are shuffled, and cut into windows of at most `window_bytes`, by default `WINDOW_BYTES`, but at least one
    piece; the rows of a window are shuffled together. Rows that fit into one window are so shuffled evenly, whatever
    their pieces. The order depends on the pieces and the generator alone, and not on what a reader keeps in memory.
    """
    rows, count, dim = tokens.shape
    most = max(1, (WINDOW_BYTES if window_bytes is None else window_bytes) // (2 * count * dim))
    if rows <= most:
        return torch.randperm(rows, generator=generator).numpy()
    ends = np.cumsum(tokens.pieces)
    starts = ends - tokens.pieces
    windows: list[list[IntArray]] = [[]]
    held = 0
    for piece in torch.randperm(len(starts), generator=generator).tolist():
        own = np.arange(starts[piece], ends[piece], dtype=np.int64)
        if windows[-1] and held + len(own) > most:
            windows.append([])
            held = 0
        windows[-1].append(own)
        held += len(own)
    mixed = (np.concatenate(window) for window in windows)
    return np.concatenate([window[torch.randperm(len(window), generator=generator).numpy()] for window in mixed])


def rows_at_once(tokens: TokenRows) -> int:
    """Return how many rows are converted to float32 at once: at least one."""
    _, count, dim = tokens.shape
    return max(1, _CHUNK_VALUES // (count * dim))


def fit_token_scaler(tokens: TokenRows) -> Scaler:
    """Return mean and std of each channel, float32 [D], over all tokens of all rows; they are read twice."""
    rows, _, dim = tokens.shape
    step = rows_at_once(tokens)

    def blocks() -> Iterator[FloatArray]:
        for start in range(0, rows, step):
            block = tokens.read(np.arange(start, min(start + step, rows)))
            yield block.reshape(-1, dim).astype(np.float32)

    return scaler_of(blocks)


class Standardizer:
    """Tokens as float32 on a device, each channel by the mean and std of the rows that a head is fitted on."""

    def __init__(self, scaler: Scaler, device: str | torch.device) -> None:
        self._mean, self._std = (torch.from_numpy(array.copy()).to(device) for array in (scaler.mean, scaler.std))
        self._device = device

    def __call__(self, tokens: HalfArray) -> Tensor:
        """Return float32 [n, T, D] for tokens float16 [n, T, D]."""
        return torch.from_numpy(tokens).to(self._device).float().sub_(self._mean).div_(self._std)
