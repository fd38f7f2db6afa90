"""How alike the features of several backbones and taps are: one record for all that were compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from probeline.files.limits import Count, Length, Name, Pixels, Positive, Sha256, Share, Within
from probeline.identity import QUALITY_VERSION
from probeline.results.members import Environment
from probeline.results.store import RecordKind

MOST = 200
"""Sets of features of one record."""


@dataclass(frozen=True)
class AlignedNet:
    """One of the compared sets of features."""

    backbone: Name
    weights: Name
    tap: Name
    precision: Name
    image_size: Pixels
    dim: Positive

    @property
    def net(self) -> tuple[str, str, str, int, str]:
        """Backbone, weights, tap, image size and precision."""
        return self.backbone, self.weights, self.tap, self.image_size, self.precision


@dataclass(frozen=True)
class AlignedPair:
    """Linear CKA of two of them, by their places; None where it is not defined."""

    first: Count
    second: Count
    biased: Share | None
    unbiased: Annotated[float, Within(-100, 100)] | None


@dataclass(frozen=True)
class FeatureAlignment:
    """Linear CKA of every two of several sets of features, on the same `n` images of `of_images`."""

    dataset: Name
    key: Sha256
    """sha256 of `of`."""
    of: Mapping[str, Any]
    """Everything that it was computed from, as JSON values."""
    rows: Sha256
    n: Positive
    of_images: Positive
    data_seed: Count
    """Of the sample of images, where not all were used."""
    nets: Annotated[tuple[AlignedNet, ...], Length(2, MOST)]
    pairs: tuple[AlignedPair, ...]
    """Every two once, the first before the second."""
    environment: Environment

    def __post_init__(self) -> None:
        count = len(self.nets)
        expected = [(i, j) for i in range(count) for j in range(i + 1, count)]
        if [(pair.first, pair.second) for pair in self.pairs] != expected:
            raise ValueError(f"{len(self.pairs):,} pairs of {count} sets of features, not each two in order")
        if self.n > self.of_images:
            raise ValueError(f"{self.n:,} of {self.of_images:,} images")


def _file_name(key: str) -> str:
    return f"quality/cka-{key[:12]}.json"


ALIGNMENTS = RecordKind(
    "alignment", QUALITY_VERSION, FeatureAlignment, _file_name, ("quality/cka-*.json",), newest_last=True
)
