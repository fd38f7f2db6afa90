"""What the data doctor found in a data set, by the embeddings of one backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from probeline.disk import path_name
from probeline.identity import DOCTOR_VERSION
from probeline.results.picture import Thumbnail
from probeline.results.store import RecordKind


@dataclass(frozen=True)
class ImageReference:
    """An image that a finding is about."""

    name: str
    """``part:row``, as ``probeline show`` takes it; also the name of its thumbnail."""
    sample_id: str
    role: str
    label: int


@dataclass(frozen=True)
class DuplicatePair:
    """A pair of duplicate images: train comes before val, and val before test."""

    first: ImageReference
    second: ImageReference
    kind: Literal["exact", "near"]
    """Equal content, or similar features and pixels."""
    features: float
    """Cosine of their centred embeddings."""
    pixels: float
    """Correlation of their grey levels at a small size."""
    mirrored: bool
    """Whether `pixels` compares one image with the mirror image of the other."""

    @property
    def score(self) -> float:
        """What pairs are ranked by; 1 for equal content."""
        return self.features * self.pixels


@dataclass(frozen=True)
class PairCounts:
    """How many duplicate pairs some roles have; g equal images count as g - 1 pairs."""

    exact: int
    near: int
    conflicts: int
    """Pairs of either kind whose labels differ."""


@dataclass(frozen=True)
class Duplicates:
    """Duplicate images of a data set."""

    regions: Mapping[str, PairCounts]
    """``known``: within train and val; ``across``: between train or val and test; ``test``: within test."""
    leaked_exact: tuple[int, ...]
    """Positions in the test split of images with an exact duplicate in train or val."""
    leaked_near: tuple[int, ...]
    """The same for images with only a near one."""
    compared: int
    """Pairs of neighbours whose pixels were compared."""
    pairs: tuple[DuplicatePair, ...]
    """The listed pairs: those of ``across`` first, then by score."""


@dataclass(frozen=True)
class SuspectLabel:
    """An image whose label is probably wrong; probabilities are calibrated and out-of-fold."""

    image: ImageReference
    suggested: int
    """The class that the probe predicts with confidence."""
    chance_label: float
    """Probability of the image's label."""
    chance_suggested: float
    disagreement: float
    """Share of its nearest images with another label."""
    score: float
    """(1 - chance_label) x disagreement."""


@dataclass(frozen=True)
class LabelErrors:
    """Labels that are probably wrong."""

    judged: Mapping[str, int]
    """Images of each role whose label was checked."""
    flagged: Mapping[str, int]
    """Of these, how many were flagged."""
    expected: float
    """Expected flags among train and val if each label were sampled from the probe's probabilities."""
    planted: int
    """Images of train and val that were given a wrong label to test the method."""
    planted_flagged: float
    """Share of them that were flagged."""
    planted_rank: int | None
    """How many flagged original labels of train and val score at least as high as the median planted one; None if half
    of the planted ones are not flagged."""
    l2: float
    """Of the probe, like `temperature`, `top1`, `folds` and `converged`."""
    temperature: float
    top1: float
    """Out-of-fold accuracy on the checked images of train and val, in [0, 1]."""
    folds: int
    converged: bool
    neighbours: int
    suspects: tuple[SuspectLabel, ...]
    """The listed ones, by score."""


@dataclass(frozen=True)
class Outlier:
    """An image far from all of train and val."""

    image: ImageReference
    distance: float
    """Mean of 1 - cosine to the nearest images of train and val."""
    p: float
    """Share of train and val, with the image itself, that are as far from their nearest images."""


@dataclass(frozen=True)
class Outliers:
    """Images that are unlike the others."""

    level: float
    """Share of train and val that counts as outliers."""
    threshold: float
    """The distance at which an image becomes an outlier."""
    flagged: Mapping[str, int]
    """Images of each role with p up to `level`."""
    images: Mapping[str, int]
    """All images of each role."""
    neighbours: int
    remote: tuple[Outlier, ...]
    """The listed ones, the furthest first."""


@dataclass(frozen=True)
class ClassCounts:
    """How many images of a role each class has; see :func:`probeline.analysis.data_checks.measure_balance`."""

    counts: tuple[int, ...]
    ratio: float
    effective: float
    empty: tuple[int, ...]


@dataclass(frozen=True)
class DecodingNote:
    """Images that were converted in the same way when decoded."""

    kind: str
    told: str
    """What was converted, in words."""
    counts: Mapping[str, int]
    """Images of each role."""
    examples: tuple[str, ...]
    """The first few, as ``part:row``."""


@dataclass(frozen=True)
class Findings:
    """What the data doctor found in a data set, using the embeddings of one backbone."""

    backbone: str
    weights: str
    precision: str
    image_size: int
    key: str
    """sha256 of `of`."""
    of: Mapping[str, Any]
    """Everything that they were computed from, as JSON values."""
    class_names: tuple[str, ...]
    images: Mapping[str, int]
    """Of train, val and test."""
    duplicates: Duplicates
    labels: LabelErrors
    outliers: Outliers
    balance: Mapping[str, ClassCounts]
    """Of each role."""
    helped: tuple[DecodingNote, ...]
    thumbnails: Mapping[str, Thumbnail]
    """By name, of the images ranked first."""
    seconds: float
    environment: Mapping[str, Any]


def _file_name(backbone: str, key: str) -> str:
    return f"doctor-{path_name(backbone, portable=True)}-{key[:12]}.json"


FINDINGS = RecordKind("doctor", DOCTOR_VERSION, Findings, _file_name, ("doctor-*.json",), newest_last=True)
