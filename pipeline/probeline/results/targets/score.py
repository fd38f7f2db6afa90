"""Scores of several labels or of numbers: how a method with one seed performs on the test images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from probeline.disk import path_name
from probeline.files.decode import IfKnown
from probeline.files.limits import (
    Count,
    Length,
    Name,
    Number,
    Pixels,
    Positive,
    Seconds,
    Sha256,
    Share,
    check_interval,
    check_lengths,
)
from probeline.files.packed import PackedFloats
from probeline.identity import TARGET_SCORE_VERSION
from probeline.names import MULTI_LABEL
from probeline.results.members import Candidate, Certificate, Chosen, Environment, Options, TargetEpoch
from probeline.results.methods import method_info
from probeline.results.store import RecordKind

_LONGEST_WEIGHTS = 80

_ROUNDING = 1e-6
"""Relative, of a mean error that was computed in another order."""


@dataclass(frozen=True)
class Metric:
    """A number on test; None where it is not defined, such as R² of a target that is the same everywhere."""

    value: Number | None
    interval: tuple[Number, Number] | None = None
    """95 % for the sampling of the test images, by the percentiles of a seeded bootstrap."""

    def __post_init__(self) -> None:
        if self.interval is not None and self.interval[0] > self.interval[1]:
            raise ValueError(f"an interval from {self.interval[0]:.6g} to {self.interval[1]:.6g}")


@dataclass(frozen=True)
class TargetScore:
    """The result of one method on one backbone with one seed, scored on test once."""

    dataset: Name
    backbone: Name
    weights: Name
    method: Name
    key: Sha256
    """sha256 over everything that could change the score's numbers."""
    splits: Sha256
    """sha256 over the rows of every role, with their targets."""
    options: Options
    """All options of the method but its seed, and the version of its code."""
    image_size: Pixels
    """Pixels."""
    precision: Name
    tap: Name
    views: Count
    seed: Count | None
    """None if nothing is random."""
    n_train: Count
    n_val: Count
    n_test: Positive
    task: Literal["multi-label", "regression"]
    target_names: Annotated[tuple[str, ...], Length(1, 1 << 20)]
    """[T]"""
    metrics: Mapping[str, Metric]
    """By name; `selected_by` is one of them."""
    per_target: Mapping[str, tuple[Number | None, ...]]
    """[T] By name, such as ``average precision`` of each label."""
    thresholds: tuple[Number, ...]
    """[T] Probabilities above which an image has a label, chosen on val; empty for numbers."""
    selected_by: Name
    """The metric that val selects by; higher is better."""
    val_score: Number
    """Its value on validation."""
    truth: Annotated[tuple[float, ...], PackedFloats()]
    """[n_test x T] Row by row: 0 or 1, or the number; NaN where unknown."""
    outputs: Annotated[tuple[float, ...], PackedFloats()]
    """[n_test x T] Row by row: the probability of each label, or the predicted number."""
    chosen: Chosen
    chosen_by: str
    """What selected them, for example ``val (n=5000)``."""
    trainable: Count
    """Parameters that were trained."""
    total: Count
    warm_seconds: Seconds
    """Time to fit all candidates, select and score, with cached features."""
    cold_seconds: Seconds
    """The same with feature extraction."""
    converged: bool
    certificate: Certificate = field(default_factory=dict)
    history: tuple[TargetEpoch, ...] = ()
    """Per epoch, if there are epochs: the losses of training and on val, and ``val_score``, the metric that selects."""
    path: tuple[Candidate, ...] = ()
    """Per candidate: its hyper-parameters, and the metrics on val and on test, the latter after the selection."""
    environment: Environment = field(default_factory=dict)
    waited: Annotated[Share | None, IfKnown()] = None
    """As in :class:`probeline.results.score.Score`."""

    def __post_init__(self) -> None:
        check_lengths(truth=self.truth, outputs=self.outputs, values=range(self.n_test * len(self.target_names)))
        if any(map(math.isnan, self.outputs)):
            raise ValueError("an output is not a number")
        if self.selected_by not in self.metrics:
            raise ValueError(f"no metric {self.selected_by!r}, which selects")
        is_multi_label = self.task == MULTI_LABEL
        for name, values in self.per_target.items():
            check_lengths(values=values, target_names=self.target_names)
            if not name:
                raise ValueError("a metric without a name")
        if len(self.thresholds) != (len(self.target_names) if is_multi_label else 0):
            raise ValueError(f"{len(self.thresholds)} thresholds of {len(self.target_names)} targets")
        for name, metric in self.metrics.items():
            if metric.interval is not None and metric.value is not None and name == self.selected_by:
                check_interval(name, metric.interval, _within(metric.value, metric.interval))
        if is_multi_label:
            _check_labels(self)
        else:
            _check_error(self)


def _within(value: float, interval: tuple[float, float]) -> float:
    """Return a value, or the end of an interval that a bootstrap's percentiles may leave it outside of."""
    return min(max(value, interval[0]), interval[1])


def _check_labels(score: TargetScore) -> None:
    """Raise ValueError for labels that are neither 0 nor 1, or outputs that are no probabilities."""
    if any(truth not in (0.0, 1.0) and not math.isnan(truth) for truth in score.truth):
        raise ValueError("a label is neither 0 nor 1")
    if score.outputs and not 0 <= min(score.outputs) <= max(score.outputs) <= 1:
        raise ValueError(f"probabilities from {min(score.outputs):.6g} to {max(score.outputs):.6g}")


def _check_error(score: TargetScore) -> None:
    """Raise ValueError for a mean absolute error that is not that of the outputs."""
    columns = len(score.target_names)
    means = []
    for column in range(columns):
        pairs = zip(score.truth[column::columns], score.outputs[column::columns], strict=True)
        errors = [abs(truth - output) for truth, output in pairs if not math.isnan(truth)]
        if errors:
            means.append(math.fsum(errors) / len(errors))
    stated = score.metrics["mae"].value if "mae" in score.metrics else None
    if not means or stated is None:
        raise ValueError("no mean absolute error, or no known target")
    own = math.fsum(means) / len(means)
    if abs(own - stated) > _ROUNDING * max(1e-9, own):
        raise ValueError(f"mae {stated:.6g}, where that of the outputs is {own:.6g}")


def _file_name(backbone: str, weights: str, method: str, seed: int | None, key: str) -> str:
    net = f"{path_name(backbone, portable=True)}-{path_name(weights, portable=True)[:_LONGEST_WEIGHTS]}"
    run = "seedless" if seed is None else f"seed{seed}"
    return f"targets/{net}/{method_info(method).name}-{run}-{key[:12]}.json"


TARGET_SCORES = RecordKind("target_score", TARGET_SCORE_VERSION, TargetScore, _file_name, ("targets/*/*.json",))
