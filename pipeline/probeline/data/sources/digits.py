"""The handwritten digits that ship with scikit-learn: 1,797 images of 8 x 8, no download."""

from __future__ import annotations

import numpy as np

from probeline.data.source import LoadRequest
from probeline.identity import digest_bytes
from probeline.types import DataSet, ImageArray, Part

SPEC = "digits"


def load(_: str, request: LoadRequest) -> DataSet:
    """Return the data set, one part ``all``.

    Grey values 0 to 16 become round(v * 255 / 16) in all three channels. A sample's content hash is the sha256 of
    ``8x8:`` and its 64 grey bytes, row by row.
    """
    from sklearn.datasets import load_digits

    digits, subset = load_digits(), request.subset
    labels = digits.target.astype(np.int64)
    rows = subset.rows(labels, classes=10)
    grey = np.rint(digits.images[rows] * (255 / 16)).astype(np.uint8)
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
