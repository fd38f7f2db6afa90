"""What the data doctor found in a data set, by the embeddings of one backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from probeline.disk import path_name
from probeline.identity import DOCTOR_VERSION
from probeline.results.store import RecordKind
from probeline.results.thumbnail import Thumbnail


@dataclass(frozen=True)
class ImageReference:
    """An image that a finding is about.

    Attributes
    ----------
    name : str
        ``part:row``, as ``probeline show`` takes it, and as its thumbnail is called.
    sample_id, role : str
    label : int
        Its class.
    """

    name: str
    sample_id: str
    role: str
    label: int


@dataclass(frozen=True)
class DuplicatePair:
    """A pair of duplicate images.

    Attributes
    ----------
    first, second : ImageReference
        Train comes before val, and val before test.
    kind : {"exact", "near"}
        Equal content, or similar features and pixels.
    features : float
        Cosine of their centred embeddings.
    pixels : float
        Correlation of their grey levels at a small size.
    mirrored : bool
        Whether `pixels` compares one image with the mirror image of the other.
    """

    first: ImageReference
    second: ImageReference
    kind: Literal["exact", "near"]
    features: float
    pixels: float
    mirrored: bool

    @property
    def score(self) -> float:
        """The rank of the pair: `features` x `pixels`, 1 for equal content."""
        return self.features * self.pixels

    @property
    def conflict(self) -> bool:
        """Whether their labels differ."""
        return self.first.label != self.second.label


@dataclass(frozen=True)
class PairCounts:
    """How many duplicate pairs some roles have; g equal images count as g - 1 pairs.

    Attributes
    ----------
    exact, near : int
        Pairs.
    conflicts : int
        Pairs of either kind whose labels differ.
    """

    exact: int
    near: int
    conflicts: int


@dataclass(frozen=True)
class Duplicates:
    """Duplicate images of a data set.

    Attributes
    ----------
    regions : mapping of str to PairCounts
        ``known``: within train and val; ``across``: between train or val and test; ``test``: within test.
    leaked_exact, leaked_near : tuple of int
        Positions in the test split of images with an exact duplicate in train or val, and of those with only a near
        one.
    compared : int
        Pairs of neighbours whose pixels were compared.
    pairs : tuple of DuplicatePair
        The listed pairs: those of ``across`` first, then by score.
    """

    regions: Mapping[str, PairCounts]
    leaked_exact: tuple[int, ...]
    leaked_near: tuple[int, ...]
    compared: int
    pairs: tuple[DuplicatePair, ...]


@dataclass(frozen=True)
class SuspectLabel:
    """An image whose label is probably wrong.

    Attributes
    ----------
    image : ImageReference
    suggested : int
        The class that the probe predicts with confidence.
    chance_label, chance_suggested : float
        Calibrated out-of-fold probabilities of both classes.
    disagreement : float
        Share of its nearest images with another label.
    score : float
        (1 - chance_label) x disagreement.
    """

    image: ImageReference
    suggested: int
    chance_label: float
    chance_suggested: float
    disagreement: float
    score: float


@dataclass(frozen=True)
class LabelErrors:
    """Labels that are probably wrong.

    Attributes
    ----------
    judged, flagged : mapping of str to int
        Images of each role whose label was checked, and those that were flagged.
    expected : float
        Expected flags among train and val if each label were drawn from the probe's probabilities.
    planted : int
        Images of train and val that were given a wrong label to test the method.
    planted_flagged : float
        Share of them that were flagged.
    planted_rank : int or None
        How many flagged original labels of train and val score at least as high as the median planted one; None if
        half of the planted ones are not flagged.
    l2, temperature, top1 : float
        Of the probe; `top1` is its out-of-fold accuracy on the checked images of train and val.
    folds : int
    converged : bool
    neighbours : int
    suspects : tuple of SuspectLabel
        The listed ones, by score.
    """

    judged: Mapping[str, int]
    flagged: Mapping[str, int]
    expected: float
    planted: int
    planted_flagged: float
    planted_rank: int | None
    l2: float
    temperature: float
    top1: float
    folds: int
    converged: bool
    neighbours: int
    suspects: tuple[SuspectLabel, ...]


@dataclass(frozen=True)
class Outlier:
    """An image far from all of train and val.

    Attributes
    ----------
    image : ImageReference
    distance : float
        Mean of 1 - cosine to the nearest images of train and val.
    p : float
        Share of train and val, with the image itself, that are as far from their nearest images.
    """

    image: ImageReference
    distance: float
    p: float


@dataclass(frozen=True)
class Outliers:
    """Images that are unlike the others.

    Attributes
    ----------
    level : float
        Share of train and val that counts as outliers.
    threshold : float
        The distance at which an image becomes an outlier.
    flagged, images : mapping of str to int
        Per role: images with p up to `level`, and all images.
    neighbours : int
    remote : tuple of Outlier
        The listed ones, the furthest first.
    """

    level: float
    threshold: float
    flagged: Mapping[str, int]
    images: Mapping[str, int]
    neighbours: int
    remote: tuple[Outlier, ...]


@dataclass(frozen=True)
class ClassCounts:
    """How many images of a role each class has; see :func:`probeline.analysis.data_checks.measure_balance`."""

    counts: tuple[int, ...]
    ratio: float
    effective: float
    empty: tuple[int, ...]


@dataclass(frozen=True)
class DecodingNote:
    """Images that were converted in the same way when decoded.

    Attributes
    ----------
    kind, told : str
    counts : mapping of str to int
        Images of each role.
    examples : tuple of str
        The first few, as ``part:row``.
    """

    kind: str
    told: str
    counts: Mapping[str, int]
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Findings:
    """What the data doctor found in a data set, using the embeddings of one backbone.

    Attributes
    ----------
    backbone, weights, precision : str
    image_size : int
        Pixels.
    key : str
        sha256 of `of`.
    of : mapping
        Everything that they were computed from, as JSON values.
    class_names : tuple of str [K]
    images : mapping of str to int
        Of train, val and test.
    duplicates : Duplicates
    labels : LabelErrors
    outliers : Outliers
    balance : mapping of str to ClassCounts
        Of each role.
    helped : tuple of DecodingNote
    thumbnails : mapping of str to Thumbnail
        By name, of the images ranked first.
    seconds : float
    environment : mapping
    """

    backbone: str
    weights: str
    precision: str
    image_size: int
    key: str
    of: Mapping[str, Any]
    class_names: tuple[str, ...]
    images: Mapping[str, int]
    duplicates: Duplicates
    labels: LabelErrors
    outliers: Outliers
    balance: Mapping[str, ClassCounts]
    helped: tuple[DecodingNote, ...]
    thumbnails: Mapping[str, Thumbnail]
    seconds: float
    environment: Mapping[str, Any]


def _file_name(backbone: str, key: str) -> str:
    return f"doctor-{path_name(backbone, portable=True)}-{key[:12]}.json"


FINDINGS = RecordKind("doctor", DOCTOR_VERSION, Findings, _file_name, ("doctor-*.json",), newest_last=True)
