"""What the data doctor found in a data set, by the embeddings of one backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from probeline.disk import path_name
from probeline.files.decode import Members
from probeline.files.limits import (
    Count,
    Length,
    Name,
    NotNegative,
    Number,
    Pixels,
    Seconds,
    Sha256,
    Share,
    check_classes,
)
from probeline.identity import DOCTOR_VERSION
from probeline.results.illustrations.picture import Thumbnail
from probeline.results.members import Environment, Role, RoleCounts
from probeline.results.store import RecordKind


@dataclass(frozen=True)
class ImageReference:
    """An image that a finding is about."""

    name: str
    """``part:row``, as ``probeline show`` takes it; also the name of its thumbnail."""
    sample_id: str
    role: Role
    label: Count


@dataclass(frozen=True)
class DuplicatePair:
    """A pair of duplicate images: train comes before val, and val before test."""

    first: ImageReference
    second: ImageReference
    kind: Literal["exact", "near"]
    """Equal content, or similar pixels, with or without similar features."""
    features: Number
    """Cosine of their centred embeddings."""
    pixels: Number
    """Correlation of their grey levels at a small size."""
    mirrored: bool
    """Whether `pixels` compares one image with the mirror image of the other."""
    score: Number
    """What pairs are ranked by: `pixels` if they suffice alone, or features x pixels; 1 for equal content."""


@dataclass(frozen=True)
class PairCounts:
    """How many duplicate pairs some roles have; g equal images count as g - 1 pairs."""

    exact: Count
    near: Count
    conflicts: Count
    """Pairs of either kind whose labels differ."""


@dataclass(frozen=True)
class RegionMembers:
    """The regions of a data set that pairs are counted in."""

    known: PairCounts
    across: PairCounts
    test: PairCounts


@dataclass(frozen=True)
class NearSearch:
    """How near duplicates were searched; the defaults are those of a data set without images."""

    compared: Count = 0
    """Pairs whose pixels were compared."""
    by_hash: Count = 0
    """Of these, how many only their hashes suggested, not their features."""
    crowded: Count = 0
    """Images whose hash is near those of more images than were compared."""
    pixels: Number = 1.0
    """The correlation of pixels that suffices without the features."""
    copied: Count = 0
    """Images with as many near duplicates as each has neighbours, or more."""


@dataclass(frozen=True)
class Duplicates:
    """Duplicate images of a data set."""

    regions: Annotated[Mapping[str, PairCounts], Members(RegionMembers)]
    """``known``: within train and val; ``across``: between train or val and test; ``test``: within test."""
    leaked_exact: tuple[int, ...]
    """Positions in the test split of images with an exact duplicate in train or val."""
    leaked_near: tuple[int, ...]
    """The same for images with only a near one."""
    search: NearSearch
    pairs: tuple[DuplicatePair, ...]
    """The listed pairs: those of ``across`` first, then by score."""


@dataclass(frozen=True)
class SuspectLabel:
    """An image whose label is probably wrong; probabilities are calibrated and out-of-fold."""

    image: ImageReference
    suggested: Count
    """The class that the probe predicts with confidence."""
    chance_label: Share
    """Probability of the image's label."""
    chance_suggested: Share
    disagreement: Share
    """Share of its nearest images with another label."""
    score: Number
    """(1 - chance_label) x disagreement."""


@dataclass(frozen=True)
class LabelErrors:
    """Labels that are probably wrong."""

    judged: RoleCounts
    """Images of each role whose label was checked."""
    flagged: RoleCounts
    """Of these, how many were flagged."""
    expected: NotNegative
    """Expected flags among train and val if each label were sampled from the probe's probabilities."""
    planted: Count
    """Images of train and val that were given a wrong label to test the method."""
    planted_flagged: Share
    """Share of them that were flagged."""
    planted_rank: Count | None
    """How many flagged original labels of train and val score at least as high as the median planted one; None if half
    of the planted ones are not flagged."""
    l2: NotNegative
    """Of the probe, like `temperature`, `top1`, `folds` and `converged`."""
    temperature: NotNegative
    top1: Share
    """Out-of-fold accuracy on the checked images of train and val, in [0, 1]."""
    folds: Count
    converged: bool
    neighbours: Count
    suspects: tuple[SuspectLabel, ...]
    """The listed ones, by score."""


@dataclass(frozen=True)
class Outlier:
    """An image far from all of train and val."""

    image: ImageReference
    distance: Number
    """Mean of 1 - cosine to the nearest images of train and val."""
    p: Share
    """Share of train and val, with the image itself, that are as far from their nearest images."""


@dataclass(frozen=True)
class Outliers:
    """Images that are unlike the others."""

    level: Share
    """Share of train and val that counts as outliers."""
    threshold: Number
    """The distance at which an image becomes an outlier."""
    flagged: RoleCounts
    """Images of each role with p up to `level`."""
    images: RoleCounts
    """All images of each role."""
    neighbours: Count
    remote: tuple[Outlier, ...]
    """The listed ones, the furthest first."""


@dataclass(frozen=True)
class ClassCounts:
    """How many images of a role each class has; see :func:`probeline.analysis.data_checks.measure_balance`."""

    counts: tuple[Count, ...]
    ratio: NotNegative
    effective: NotNegative
    empty: tuple[int, ...]


@dataclass(frozen=True)
class DecodingNote:
    """Images that were converted in the same way when decoded."""

    kind: str
    told: str
    """What was converted, in words."""
    counts: RoleCounts
    """Images of each role."""
    examples: Annotated[tuple[str, ...], Length(1, 1000)]
    """The first few, as ``part:row``."""


@dataclass(frozen=True)
class OptionMembers:
    """The thresholds of the search for duplicates."""

    alike: Number
    bits: Count
    shift: Count


@dataclass(frozen=True)
class SourceMembers:
    """What findings were computed from, as far as that is more than compared."""

    options: Annotated[Mapping[str, Any], Members(OptionMembers)]


@dataclass(frozen=True)
class BalanceMembers:
    """Class counts of each role."""

    train: ClassCounts
    val: ClassCounts
    test: ClassCounts


@dataclass(frozen=True)
class Findings:
    """What the data doctor found in a data set, using the embeddings of one backbone."""

    backbone: Name
    weights: Name
    precision: Name
    image_size: Pixels
    key: Sha256
    """sha256 of `of`."""
    of: Annotated[Mapping[str, Any], Members(SourceMembers)]
    """Everything that they were computed from, as JSON values."""
    class_names: Annotated[tuple[str, ...], Length(1, 1 << 20)]
    images: RoleCounts
    """Of train, val and test."""
    duplicates: Duplicates
    labels: LabelErrors
    outliers: Outliers
    balance: Annotated[Mapping[str, ClassCounts], Members(BalanceMembers)]
    """Of each role."""
    helped: tuple[DecodingNote, ...]
    thumbnails: Mapping[str, Thumbnail]
    """By name, of the images ranked first."""
    seconds: Seconds
    environment: Environment

    @property
    def has_lookalikes(self) -> bool:
        """Whether more than one image in a hundred has so many near duplicates that most of them may be none."""
        return self.duplicates.search.copied > sum(self.images.values()) / 100

    def __post_init__(self) -> None:
        classes, test = len(self.class_names), self.images["test"]
        if not test:
            raise ValueError("no test images")
        leaked = (*self.duplicates.leaked_exact, *self.duplicates.leaked_near)
        if leaked and not 0 <= min(leaked) <= max(leaked) < test:
            raise ValueError(f"leaked test images at {min(leaked)} to {max(leaked)} of {test:,}")
        listed = [image for pair in self.duplicates.pairs for image in (pair.first, pair.second)]
        listed += [suspect.image for suspect in self.labels.suspects]
        listed += [outlier.image for outlier in self.outliers.remote]
        check_classes("labels", [image.label for image in listed], classes)
        check_classes("suggested", [suspect.suggested for suspect in self.labels.suspects], classes)
        for role, spread in self.balance.items():
            if len(spread.counts) != classes:
                raise ValueError(f"{len(spread.counts)} counts of {role}, where there are {classes:,} classes")
            check_classes("empty", spread.empty, classes)
        for flagged, images in (
            (self.labels.flagged, self.labels.judged),
            (self.outliers.flagged, self.outliers.images),
        ):
            if any(flagged[role] > images[role] for role in flagged):
                raise ValueError("more images flagged than examined")
        if not self.outliers.images["test"]:
            raise ValueError("no test images among those of the outliers")


def _file_name(backbone: str, key: str) -> str:
    return f"doctor-{path_name(backbone, portable=True)}-{key[:12]}.json"


FINDINGS = RecordKind("doctor", DOCTOR_VERSION, Findings, _file_name, ("doctor-*.json",), newest_last=True)
