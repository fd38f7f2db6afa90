"""The rows of an entry as a torch data set, joined with labels; the one file of this room that imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from probeline.errors import BadOption
from probeline.types import AnyArray, AnyFloatArray, IntArray

Labels: TypeAlias = Mapping[str, int] | Sequence[int] | AnyArray
Item: TypeAlias = Tensor | tuple[Tensor, int]


class RowsDataset(Dataset[Item]):
    """Rows with or without labels; see `EntryFeatures.torch_dataset`.

    `read` gives rows float32 [n, D], or tokens float16 [n, T, D], by their numbers.
    """

    def __init__(
        self, read: Callable[[list[int]], AnyFloatArray], sample_ids: Sequence[str], labels: Labels | None
    ) -> None:
        self._read = read
        self._count = len(sample_ids)
        self._labels = None if labels is None else _join_labels(labels, sample_ids)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, row: int) -> Item:
        """Return the row [D], with its label if there are labels."""
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: list[int]) -> list[Item]:
        """Return the items of one batch; a loader calls this, so that a shuffled batch reads no shard twice."""
        values = torch.from_numpy(self._read(rows)).unbind()
        return list(values) if self._labels is None else list(zip(values, self._labels[rows].tolist(), strict=True))


def _join_labels(labels: Labels, sample_ids: Sequence[str]) -> IntArray:
    """Return labels int64 [N] in row order."""
    # A pandas Series is no Mapping but has keys; by position its order could silently be another.
    if hasattr(labels, "keys"):
        by_name: Any = labels
        absent = [name for name in sample_ids if name not in by_name]
        if absent:
            raise BadOption(
                "labels lack sample ids",
                expected=f"a label for each of {len(sample_ids):,} sample ids",
                got=f"none for {len(absent):,}, such as {', '.join(absent[:3])}",
                remedy="add them, or give an array of labels in row order",
            )
        labels = [by_name[name] for name in sample_ids]
    array = np.asarray(labels)
    if array.shape != (len(sample_ids),) or not np.issubdtype(array.dtype, np.integer):
        raise BadOption(
            "bad labels", expected=f"integers [{len(sample_ids)}]", got=f"{array.dtype} {list(array.shape)}"
        )
    if len(array) and not -(2**63) <= int(array.min()) <= int(array.max()) < 2**63:
        raise BadOption("bad labels", expected="integers of 64 bits", got=f"{array.min()} to {array.max()}")
    return array.astype(np.int64)
