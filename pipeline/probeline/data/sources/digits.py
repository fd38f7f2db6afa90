"""The handwritten digits that ship with scikit-learn: 1,797 images of 8 x 8, no download."""

from __future__ import annotations

from functools import cache
from importlib.metadata import distribution

import numpy as np

from probeline.data.source import LoadRequest
from probeline.identity import digest_bytes
from probeline.images import ImageArray
from probeline.types import DataSet, IntArray, Part

SPEC = "digits"


def load(_: str, request: LoadRequest) -> DataSet:
    """Return the data set, one part ``all``.

    Grey values 0 to 16 become round(v * 255 / 16) in all three channels. A sample's content hash is the sha256 of
    ``8x8:`` and its 64 grey bytes, row by row.
    """
    table, subset = _read_table(), request.subset
    labels = table[:, -1]
    rows = subset.rows(labels, classes=10)
    grey = np.rint(table[rows, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    class_names = tuple(str(digit) for digit in range(10))
    part = Part(
        dataset=subset.name("digits"),
        name="all",
        sample_ids=tuple(f"all/{row:05d}" for row in rows),
        content=tuple(digest_bytes(b"8x8:" + image.tobytes()) for image in grey),
        labels=labels[rows],
        class_names=class_names,
    )
    return DataSet(
        name=part.dataset,
        parts={"all": part},
        images={"all": ImageArray(np.repeat(grey[..., None], 3, axis=3))},
        class_names=class_names,
        train="all",
        test="all",
        flips=False,
    )


@cache
def _read_table() -> IntArray:
    """Return 64 grey values and the label of every image, int64 [1797, 65].

    The file is that of ``sklearn.datasets.load_digits``; importing that takes longer than the rest of a finished run.
    """
    file = distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
    return np.loadtxt(str(file), dtype=np.int64, delimiter=",")
