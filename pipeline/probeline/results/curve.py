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
    """One point of a learning curve: one fit on some of the train rows.

    Attributes
    ----------
    kind : {"fraction", "shots"}
    amount : float
        Percent of the train rows, or images per class.
    draw : int
    n_train : int
        Images it was fitted on.
    short : int
        For shots: classes with fewer images, of which all are used.
    l2 : float or None
        Selected on val; None if a net was trained.
    edge : bool
        Whether `l2` is at the edge of its grid.
    val_top1, test_top1 : float
        Accuracy of the selected candidate, in [0, 1]; no other candidate is scored on test.
    converged : bool
        Whether the fits of all l2 met their tolerance; True if a net was trained.
    epoch : int or None
        Selected on val if a net was trained.
    """

    kind: Literal["fraction", "shots"]
    amount: float
    draw: int
    n_train: int
    short: int
    l2: float | None
    edge: bool
    val_top1: float
    test_top1: float
    converged: bool
    epoch: int | None = None


@dataclass(frozen=True)
class Curve:
    """The learning curve of one backbone on one data set: of the exact probe at one tap, or of a training.

    Attributes
    ----------
    dataset, backbone, weights, precision : str
    method : str
        As in scores.
    options : mapping
        All options of the method.
    tap : str
        ``a+b`` means the concatenated features of two taps.
    key : str
        sha256 over everything that could change its numbers.
    splits : str
        sha256 over the rows of every role, with their labels.
    image_size : int
        Pixels.
    class_names : tuple of str [K]
    n_train, n_val, n_test : int
        Images of the whole train set, of val, which is the same for every fraction, and of test.
    draws, data_seed : int
    grouped : bool
        Whether fractions consist of whole groups.
    points : tuple of CurvePoint
    warm_seconds, cold_seconds : float
        Of all fits with cached features; the same with feature extraction.
    environment : mapping
        Hardware and versions.
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
    n_val: int
    n_test: int
    draws: int
    data_seed: int
    grouped: bool
    points: tuple[CurvePoint, ...]
    warm_seconds: float
    cold_seconds: float
    environment: Mapping[str, Any] = field(default_factory=dict)


def _file_name(backbone: str, key: str) -> str:
    return f"curves/{path_name(backbone, portable=True)}-{key[:12]}.json"


CURVES = RecordKind("curve", CURVE_VERSION, Curve, _file_name, ("curves/*.json",), newest_last=True)
