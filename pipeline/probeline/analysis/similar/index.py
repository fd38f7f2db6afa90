"""An approximate index of features in memory, for many queries on many images; candidates are then ranked exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType

import numpy as np

from probeline.errors import MissingExtra
from probeline.metrics.features.nearest import Nearest, rank_rows
from probeline.metrics.features.rows import BLOCK, unit_rows
from probeline.types import FloatArray

_PER_LIST = 39
"""Rows that faiss wants at least for each list's centre."""

_SEARCHED = 8
"""A list in so many is searched."""

_TRAINED = 64
"""Rows for each list that its centre is learnt from."""

_MORE = 50
"""Candidates beyond four for each image that is asked for."""


class ApproximateIndex:
    """The rows in lists around centres, with 8 bits for each value; a query looks into the nearest lists alone.

    The inverted file of Jégou, Douze and Schmid 2011, "Product quantization for nearest neighbor search", in faiss:
    Johnson, Douze and Jégou 2019, "Billion-scale similarity search with GPUs".

    Parameters
    ----------
    blocks : sequence of float32 [n, D]
        The rows, numbered through all blocks.

    Raises
    ------
    MissingExtra
        faiss is not installed.
    """

    def __init__(self, blocks: Sequence[FloatArray]) -> None:
        faiss = _faiss()
        count, columns = sum(map(len, blocks)), blocks[0].shape[1]
        lists = max(1, min(round(2 * math.sqrt(count)), count // _PER_LIST))
        self._blocks = blocks
        self._centres = faiss.IndexFlatIP(columns)
        self._index = faiss.IndexIVFScalarQuantizer(
            self._centres, columns, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        )
        self._index.nprobe = max(1, lists // _SEARCHED)
        # Every so manieth row: rows are often sorted by class.
        step = max(1, count // (_TRAINED * lists))
        self._index.train(np.concatenate([unit_rows(block[::step]) for block in blocks]))
        for block in blocks:
            for start in range(0, len(block), BLOCK):
                self._index.add(unit_rows(block[start : start + BLOCK]))

    def nearest(self, query: FloatArray, k: int, own: int | None = None) -> Nearest:
        """Return the k rows nearest to a query float32 [D], or some of them and next ones, with exact distances.

        `own` is the row that the query is, which is left out.
        """
        _, found = self._index.search(unit_rows(query[None]), 4 * k + _MORE)
        rows = np.sort(found[0][(found[0] >= 0) & (found[0] != (-1 if own is None else own))])
        return rank_rows(self._blocks, query, rows, k)


def _faiss() -> ModuleType:
    try:
        import faiss
    except ImportError as error:
        raise MissingExtra(
            "an approximate search needs faiss", remedy='pip install "probeline[search]", or search exactly'
        ) from error
    module: ModuleType = faiss
    return module
