"""Learning curves: the accuracy of a method that is fitted on growing parts of the train rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from probeline.disk import path_name
from probeline.identity import CURVE_VERSION
from probeline.results.store import RecordKind


@dataclass(frozen=True)
class CurvePoint:
    """One point of a learning curve: one fit on some of the train rows."""

    kind: Literal["fraction", "shots"]
    amount: float
    """Percent of the train rows, or images per class."""
    draw: int
    n_train: int
    """Images it was fitted on."""
    short: int
    """For shots: classes with fewer images, of which all are used."""
    l2: float | None
    """Selected on val; None if a net was trained."""
    edge: bool
    """Whether `l2` is at the edge of its grid."""
    val_top1: float
    """Of the selected candidate, in [0, 1], like `test_top1`; no other candidate is scored on test."""
    test_top1: float
    converged: bool
    """Whether the fits of all l2 met their tolerance; True if a net was trained."""
    epoch: int | None = None
    """Selected on val if a net was trained."""


@dataclass(frozen=True)
class Curve:
    """The learning curve of one backbone on one data set: of the exact probe at one tap, or of a training.

    Fields that a score has too are as in :class:`probeline.results.score.Score`.
    """

    dataset: str
    backbone: str
    weights: str
    precision: str
    tap: str = field(default="penultimate", kw_only=True)
    method: str = field(default="probe", kw_only=True)
    options: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    key: str
    splits: str
    image_size: int
    class_names: tuple[str, ...]
    n_train: int
    """Images of the whole train set."""
    n_val: int
    """Images of val, which is the same for every fraction."""
    n_test: int
    draws: int
    data_seed: int
    grouped: bool
    """Whether fractions consist of whole groups."""
    points: tuple[CurvePoint, ...]
    warm_seconds: float
    """Of all fits, with cached features."""
    cold_seconds: float
    """The same with feature extraction."""
    environment: Mapping[str, Any] = field(default_factory=dict)


def _file_name(backbone: str, key: str) -> str:
    return f"curves/{path_name(backbone, portable=True)}-{key[:12]}.json"


CURVES = RecordKind("curve", CURVE_VERSION, Curve, _file_name, ("curves/*.json",), newest_last=True)
