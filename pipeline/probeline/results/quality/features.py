"""What cached features alone say of a backbone at one tap: one record for each, and its predictors of accuracy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated, Any

from probeline.disk import path_name
from probeline.files.limits import (
    Count,
    Length,
    Name,
    NotNegative,
    Number,
    Pixels,
    Positive,
    Seconds,
    Sha256,
    Share,
    Within,
    check_interval,
    check_lengths,
)
from probeline.identity import QUALITY_VERSION
from probeline.results.members import Environment
from probeline.results.store import RecordKind

Rank = Annotated[float, Within(1 - 1e-6, 1e12)]
Cosine = Annotated[float, Within(-1 - 1e-6, 1 + 1e-6)]


@dataclass(frozen=True)
class SpectrumFacts:
    """How many directions the features of `n` images use; None if all features are equal."""

    n: Positive
    effective_rank: Rank | None
    """Of the centred features: at most the smaller of n - 1 and D."""
    rankme: Rank | None
    """Of the features as they are: at most the smaller of n and D, but for its epsilon."""


@dataclass(frozen=True)
class DimensionFacts:
    """The intrinsic dimension of the features of `n` different images."""

    n: Count
    equal: Count
    """Further images of the sample that were left out, as their features equal another's."""
    two_nn: Annotated[float, Within(0, 1e6)] | None
    """None if there are too few different ones, or if their distances do not show it."""


@dataclass(frozen=True)
class TransferFacts:
    """How far the features of the `n` train images tell the `classes` classes apart that have any."""

    n: Positive
    classes: Positive
    between: Share | None
    """Share of the variance that is between classes; None if all features are equal."""
    shuffled: Share | None
    """What that is on average if the labels are shuffled."""
    h_score: NotNegative | None
    shrinkage: Share | None
    """Of the covariance in the H-score."""
    log_me: Number | None
    """None if the evidence has no maximum."""


@dataclass(frozen=True)
class RecallAt:
    """The share of queries of which one of the `k` nearest images is right, with Wilson's 95 % interval."""

    k: Positive
    value: Share
    interval: tuple[Share, Share]

    def __post_init__(self) -> None:
        check_interval(f"recall at {self.k}", self.interval, self.value)


@dataclass(frozen=True)
class RetrievalFacts:
    """Test images searched among the train images by cosine."""

    gallery: Positive
    """Train images."""
    queries: Positive
    """Test images that were searched, of `test`."""
    test: Positive
    unanswerable: Count
    """Queries of classes without a train image, in none of the numbers."""
    recall: Annotated[tuple[RecallAt, ...], Length(1, 100)]
    mean_precision: Share
    """The mean over the queries of the average precision over the whole gallery."""
    precision_interval: tuple[Share, Share]
    draws: Positive
    """Of the bootstrap over the queries that `precision_interval` is from."""
    seed: Count

    def __post_init__(self) -> None:
        check_interval("mean average precision", self.precision_interval, self.mean_precision)
        if not self.unanswerable < self.queries <= self.test:
            raise ValueError(f"{self.queries} queries of {self.test}, {self.unanswerable} of them without an answer")


@dataclass(frozen=True)
class ClusterFacts:
    """How k-means with as many clusters as classes agrees with the labels, for each seed."""

    n: Positive
    clusters: Positive
    seeds: Annotated[tuple[Count, ...], Length(1, 1000)]
    nmi: tuple[Annotated[float, Within(-1e-9, 1 + 1e-9)], ...]
    ari: tuple[Cosine, ...]

    def __post_init__(self) -> None:
        check_lengths(seeds=self.seeds, nmi=self.nmi, ari=self.ari)


@dataclass(frozen=True)
class FeatureQuality:
    """What the features of one backbone at one tap say of themselves.

    `transfer`, `retrieval` and `clusters` need labels; each is None without labels or of one class, and `retrieval`
    also if no test image has its class in train.
    """

    dataset: Name
    backbone: Name
    weights: Name
    tap: Name
    """Several that are concatenated are joined by ``+``."""
    precision: Name
    image_size: Pixels
    key: Sha256
    """sha256 of `of`."""
    of: Mapping[str, Any]
    """Everything that it was computed from, as JSON values."""
    rows: Sha256
    """Of the rows and their labels; see :func:`probeline.types.splits_digest`."""
    dim: Positive
    """D."""
    data_seed: Count
    """Of the samples of images, where not all were used."""
    spectrum: SpectrumFacts
    dimension: DimensionFacts
    transfer: TransferFacts | None
    retrieval: RetrievalFacts | None
    clusters: ClusterFacts | None
    seconds: Seconds
    environment: Environment

    @property
    def net(self) -> tuple[str, str, str, int, str]:
        """Backbone, weights, tap, image size and precision."""
        return self.backbone, self.weights, self.tap, self.image_size, self.precision


def _file_name(backbone: str, tap: str, key: str) -> str:
    net = f"{path_name(backbone, portable=True)}-{path_name(tap, portable=True)}"
    return f"quality/features-{net[:180]}-{key[:12]}.json"


QUALITIES = RecordKind(
    "quality", QUALITY_VERSION, FeatureQuality, _file_name, ("quality/features-*.json",), newest_last=True
)

PREDICTORS = ("effective_rank", "rankme", "two_nn", "between", "h_score", "log_me", "nmi", "ari")
"""What may predict the accuracy of a probe: numbers of train images alone, so without retrieval."""


def predictor_values(quality: FeatureQuality) -> dict[str, float]:
    """Return the values of a record's `PREDICTORS` by name, without those that it has none of; clusters as means."""
    spectrum, transfer, clusters = quality.spectrum, quality.transfer, quality.clusters
    values: dict[str, float | None] = {
        "effective_rank": spectrum.effective_rank,
        "rankme": spectrum.rankme,
        "two_nn": quality.dimension.two_nn,
    }
    if transfer is not None:
        values |= {"between": transfer.between, "h_score": transfer.h_score, "log_me": transfer.log_me}
    if clusters is not None:
        values |= {"nmi": fmean(clusters.nmi), "ari": fmean(clusters.ari)}
    return {name: value for name in PREDICTORS if (value := values.get(name)) is not None}


def find_predictors(
    qualities: Iterable[FeatureQuality],
    dataset: str,
    backbone: str,
    weights: str,
    tap: str,
    image_size: int,
    precision: str,
) -> dict[str, float]:
    """Return the predictors of some features by name, by the last record of them; empty if there is none.

    `qualities` are records as `QUALITIES.load` returns them, the newest last; the other values are those of a score.
    """
    net = (backbone, weights, tap, image_size, precision)
    own = [quality for quality in qualities if quality.dataset == dataset and quality.net == net]
    return predictor_values(own[-1]) if own else {}
