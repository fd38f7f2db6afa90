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
    """Two images that are one.

    Attributes
    ----------
    first, second : ImageReference
        Train before val before test.
    kind : {"exact", "near"}
        Of equal content, or alike in features and pixels.
    features : float
        Cosine of their centred embeddings.
    pixels : float
        Correlation of their grey levels at a small size.
    mirrored : bool
        Whether that is of one with the other's mirror image.
    """

    first: ImageReference
    second: ImageReference
    kind: Literal["exact", "near"]
    features: float
    pixels: float
    mirrored: bool

    @property
    def score(self) -> float:
        """By which pairs are ranked: `features` x `pixels`, 1 for equal contents."""
        return self.features * self.pixels

    @property
    def conflict(self) -> bool:
        """Whether they bear different labels."""
        return self.first.label != self.second.label


@dataclass(frozen=True)
class PairCounts:
    """Pairs of images of some roles; of g equal images each counts with the first, as g - 1 pairs.

    Attributes
    ----------
    exact, near : int
        Pairs.
    conflicts : int
        Those of both whose labels differ.
    """

    exact: int
    near: int
    conflicts: int


@dataclass(frozen=True)
class Duplicates:
    """Images that are there more than once.

    Attributes
    ----------
    regions : mapping of str to PairCounts
        ``known`` within train and val, ``across`` between these and test, ``test`` within test.
    leaked_exact, leaked_near : tuple of int
        Places in the test split of images that are in train or val too: of equal content, or else nearly. No place is
        in both.
    compared : int
        Pairs of neighbours whose pixels were compared.
    pairs : tuple of DuplicatePair
        At most so many as are listed: those across first, and the most alike first.
    """

    regions: Mapping[str, PairCounts]
    leaked_exact: tuple[int, ...]
    leaked_near: tuple[int, ...]
    compared: int
    pairs: tuple[DuplicatePair, ...]


@dataclass(frozen=True)
class SuspectLabel:
    """An image whose label is doubted.

    Attributes
    ----------
    image : ImageReference
    suggested : int
        The class that the probe confidently holds for it.
    chance_label, chance_suggested : float
        What the probe gives either, calibrated, by a fit that did not see the image.
    disagreement : float
        Share of its neighbours with another label.
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
    """Labels that are likely wrong.

    Attributes
    ----------
    judged, flagged : mapping of str to int
        Images of each role whose label was judged, and those that the rule flags.
    expected : float
        Flags among train and val, were every label a fair draw from the probe's chances.
    planted : int
        Images of train and val that were given a wrong label for a trial.
    planted_flagged : float
        Share of them that the rule flags.
    planted_rank : int or None
        How many of the true labels of train and val that are flagged score as high as the median planted one; None
        where half of the planted ones are not flagged.
    l2, temperature, top1 : float
        Of the probe; its top-1 on the judged images of train and val, by fits that did not see them.
    folds : int
    converged : bool
    neighbours : int
    suspects : tuple of SuspectLabel
        At most so many as are listed, by score.
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
    """An image far from all that is fitted on.

    Attributes
    ----------
    image : ImageReference
    distance : float
        Mean of 1 - cosine to the nearest images of train and val.
    p : float
        Share of these, with itself, that are as far from their own.
    """

    image: ImageReference
    distance: float
    p: float


@dataclass(frozen=True)
class Outliers:
    """Images unlike the others.

    Attributes
    ----------
    level : float
        Share of train and val that counts as outliers.
    threshold : float
        The distance that this makes.
    flagged, images : mapping of str to int
        Of each role: those with p up to `level`, and all.
    neighbours : int
    remote : tuple of Outlier
        At most so many as are listed, the furthest first.
    """

    level: float
    threshold: float
    flagged: Mapping[str, int]
    images: Mapping[str, int]
    neighbours: int
    remote: tuple[Outlier, ...]


@dataclass(frozen=True)
class ClassCounts:
    """How the images of a role are spread over the classes; see :class:`probeline.analysis.balance.Balance`."""

    counts: tuple[int, ...]
    ratio: float
    effective: float
    empty: tuple[int, ...]


@dataclass(frozen=True)
class DecodingNote:
    """Images that needed the same help.

    Attributes
    ----------
    kind, told : str
    counts : mapping of str to int
        Images of each role.
    examples : tuple of str
        The first of them, as ``part:row``.
    """

    kind: str
    told: str
    counts: Mapping[str, int]
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Findings:
    """What the doctor found in a data set with the embeddings of one backbone.

    Attributes
    ----------
    backbone, weights, precision : str
    image_size : int
        Pixels.
    key : str
        sha256 of `of`.
    of : mapping
        All that it was made from, as JSON values.
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
        Of the images that are ranked first, by their names.
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
