"""Learning curves: the accuracy of a method that is fitted on growing parts of the train rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from probeline.disk import path_name
from probeline.files.limits import Count, Length, Name, NotNegative, Pixels, Positive, Seconds, Sha256, Share, Within
from probeline.identity import CURVE_VERSION
from probeline.results.members import Environment, Options
from probeline.results.methods import method_info
from probeline.results.store import RecordKind


@dataclass(frozen=True)
class CurvePoint:
    """One point of a learning curve: one fit on some of the train rows."""

    kind: Literal["fraction", "shots"]
    amount: Annotated[float, Within(1e-6, 1e9)]
    """Percent of the train rows, or images per class."""
    draw: Count
    n_train: Positive
    """Images it was fitted on."""
    short: Count
    """For shots: classes with fewer images, of which all are used."""
    l2: NotNegative | None
    """Selected on val; None if a net was trained."""
    edge: bool
    """Whether `l2` is at the edge of its grid."""
    val_top1: Share
    """Of the selected candidate, in [0, 1], like `test_top1`; no other candidate is scored on test."""
    test_top1: Share
    converged: bool
    """Whether the fits of all l2 met their tolerance; True if a net was trained."""
    epoch: Positive | None = None
    """Selected on val if a net was trained."""

    def __post_init__(self) -> None:
        if self.kind == "fraction" and self.amount > 100:
            raise ValueError(f"a fraction of {self.amount:g} percent")


@dataclass(frozen=True)
class Curve:
    """The learning curve of one backbone on one data set: of the exact probe at one tap, or of a training.

    Fields that a score has too are as in :class:`probeline.results.score.Score`.
    """

    dataset: Name
    backbone: Name
    weights: Name
    precision: Name
    tap: Name = field(default="penultimate", kw_only=True)
    method: Name = field(default="probe", kw_only=True)
    options: Options = field(default_factory=dict, kw_only=True)
    key: Sha256
    splits: Sha256
    image_size: Pixels
    class_names: tuple[str, ...]
    n_train: Positive
    """Images of the whole train set."""
    n_val: Count
    """Images of val, which is the same for every fraction."""
    n_test: Positive
    draws: Positive
    data_seed: Count
    grouped: bool
    """Whether fractions consist of whole groups."""
    points: Annotated[tuple[CurvePoint, ...], Length(1, 1 << 20)]
    warm_seconds: Seconds
    """Of all fits, with cached features."""
    cold_seconds: Seconds
    """The same with feature extraction."""
    environment: Environment = field(default_factory=dict)

    def __post_init__(self) -> None:
        method_info(self.method)


def _file_name(backbone: str, key: str) -> str:
    return f"curves/{path_name(backbone, portable=True)}-{key[:12]}.json"


CURVES = RecordKind("curve", CURVE_VERSION, Curve, _file_name, ("curves/*.json",), newest_last=True)
