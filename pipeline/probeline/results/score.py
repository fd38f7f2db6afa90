"""Scores: how a method with one seed performs on the test images."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import eq
from typing import Annotated, Any

from probeline.disk import path_name
from probeline.files.decode import IfKnown
from probeline.files.limits import (
    Count,
    Length,
    Loss,
    Name,
    Pixels,
    Positive,
    Seconds,
    Sha256,
    Share,
    Within,
    check_classes,
    check_interval,
    check_lengths,
)
from probeline.files.packed import Packed, PackedFloats
from probeline.identity import SCORE_VERSION
from probeline.names import Method
from probeline.results.members import Candidate, Certificate, Chosen, Environment, Epoch, Options
from probeline.results.methods import method_info
from probeline.results.store import RecordKind

_LONGEST_WEIGHTS = 80
"""Weights may be named by a long file name; folder names have a limit of 255 bytes."""

_ROUNDING = 1e-6
"""Of a top-1 that was computed in float32."""


@dataclass(frozen=True)
class OddsOfTwo:
    """The log-odds of the second of two classes, with which thresholds can be chosen and tried without a fit."""

    test: Annotated[tuple[float, ...], PackedFloats()]
    """[n_test]"""
    val: Annotated[tuple[float, ...], PackedFloats()]
    """[m] Of rows that selected the hyper-parameters, and that the method was not fitted on."""
    val_labels: Annotated[tuple[int, ...], Packed()]
    """[m]"""

    def __post_init__(self) -> None:
        check_lengths(val=self.val, val_labels=self.val_labels)
        check_classes("val_labels", self.val_labels, 2)
        if any(map(math.isnan, (*self.test, *self.val))):
            raise ValueError("log-odds that are no numbers")


@dataclass(frozen=True)
class Score:
    """The result of one method on one backbone with one seed, scored on test once."""

    dataset: Name
    backbone: Name
    weights: Name
    method: Name
    key: Sha256
    """sha256 over everything that could change the score's numbers."""
    splits: Sha256
    """sha256 over the rows of every role, with their labels: scores that agree in it are of the same images."""
    options: Options
    """All options of the method but its seed, and the version of its code: scores with equal options are the seeds of
    one row of a report."""
    image_size: Pixels
    """Pixels."""
    precision: Name
    tap: Name = field(default="penultimate", kw_only=True)
    """``a+b`` means the concatenated features of two taps."""
    views: Count = field(default=0, kw_only=True)
    """Augmented views per train image that were used for fitting in addition."""
    seed: Count | None
    """None if nothing is random."""
    n_train: Count
    n_val: Count
    n_test: Positive
    class_names: Annotated[tuple[str, ...], Length(1, 1 << 20)]
    """[K]"""
    top1: Share
    """Test accuracy, in [0, 1]."""
    macro: Share
    """The mean of the classes' accuracies, in [0, 1]."""
    interval: tuple[Share, Share]
    """Wilson's 95 % interval of `top1` for the sampling of the test images."""
    val_top1: Share
    """Validation accuracy of the selected hyper-parameters."""
    top5: Share | None
    """Top-5 accuracy; None for few classes."""
    temperature: Annotated[float, Within(1e-6, 1e6)]
    """What the logits are divided by, fitted on val logits alone (out-of-fold if folds select; a head that is refit on
    train and val keeps the temperature of the head before)."""
    nll: Loss
    """Mean negative log-likelihood (nats) on test with that temperature, like `brier` and `ece`."""
    brier: Annotated[float, Within(0, 2.001)]
    """Brier's score in [0, 2]."""
    ece: Share
    """Expected calibration error in [0, 1]."""
    raw_nll: Loss
    """At temperature 1, like `raw_ece`."""
    raw_ece: Share
    bins: Annotated[tuple[tuple[Count, Share, Share], ...], Length(1, 1000)]
    """[15] Reliability with that temperature: per bin the number of test images, their mean confidence and their top-1
    accuracy."""
    raw_bins: tuple[tuple[Count, Share, Share], ...]
    """The same at temperature 1."""
    predictions: Annotated[tuple[int, ...], Packed()]
    """[n_test] Predicted classes, in the row order of the test split."""
    labels: Annotated[tuple[int, ...], Packed()]
    """[n_test] True classes."""
    chosen: Chosen
    """The selected hyper-parameters, for example ``{"l2": 0.001}``."""
    chosen_by: str
    """What selected them, for example ``val (n=5000)``."""
    trainable: Count
    """Parameters that were trained."""
    total: Count
    """Parameters of the whole predictor."""
    warm_seconds: Seconds
    """Time to fit all candidates, select and score, with cached features."""
    cold_seconds: Seconds
    """The same with feature extraction."""
    converged: bool
    """False if a fit stopped before its tolerance."""
    optimism: Share | None = None
    """How much selecting on the test set would have inflated accuracy: test top-1 of the candidate that is best on test
    minus that of the selected one, in [0, 1], or the same of the metric that selects. Never used for selection; None if
    there was nothing to select, or if the other candidates were not kept, such as the epochs of a training."""
    certificate: Certificate = field(default_factory=dict)
    """What proves the fit, for example gradient norm and objective."""
    history: tuple[Epoch, ...] = ()
    """Per epoch, if there are epochs."""
    path: tuple[Candidate, ...] = ()
    """Per candidate: its hyper-parameters and val score, and for a head its test score, computed after selection."""
    environment: Environment = field(default_factory=dict)
    """Hardware and versions."""
    auroc: Annotated[Share | None, IfKnown()] = None
    """Area under the ROC curve of the probabilities with that temperature, in [0, 1]; of several classes the mean over
    each against the rest. None if one class has all test images, if the predictions have no probabilities, and in
    scores of earlier programs."""

    val_score: Annotated[Share | None, IfKnown()] = None
    """The mean value on validation of the metric in ``options["select_by"]``, by which hyper-parameters and rows are
    selected, in [0, 1]; None without it: then `val_top1` selects."""

    odds: Annotated[OddsOfTwo | None, IfKnown()] = None
    """Of two classes, with that temperature; None of more, and in scores of earlier programs."""

    waited: Annotated[Share | None, IfKnown()] = None
    """Share of waiting in the time that its threads wanted a core, in [0, 1], mostly for other programs: on a quiet
    machine `warm_seconds` are fewer. None where the system does not say, and in scores of earlier programs."""

    @property
    def left_out(self) -> int:
        """How many l2 of an exact probe with a path were not fitted, as validation could not select them."""
        grid = self.options.get("l2")
        if self.method != Method.PROBE or not self.path or not isinstance(grid, list | tuple):
            return 0
        return max(0, len(grid) - len(self.path))

    def __post_init__(self) -> None:
        if (self.options.get("select_by") is None) != (self.val_score is None):
            raise ValueError("a metric of selection without val_score, or the other way round")
        weights = self.options.get("class_weights")
        if isinstance(weights, Mapping) and not weights.keys() <= set(self.class_names):
            raise ValueError("class weights of other classes")
        order = self.options.get("order")
        if self.method == Method.ORDINAL and (
            not isinstance(order, list | tuple) or Counter(map(str, order)) != Counter(self.class_names)
        ):
            raise ValueError("an ordinal probe without an order of all classes")
        check_lengths(predictions=self.predictions, labels=self.labels, images=range(self.n_test))
        check_classes("predictions", self.predictions, len(self.class_names))
        check_classes("labels", self.labels, len(self.class_names))
        right = sum(map(eq, self.predictions, self.labels))
        if abs(right / self.n_test - self.top1) > _ROUNDING:
            raise ValueError(f"top1 {self.top1:.6g}, where {right:,} of {self.n_test:,} predictions are right")
        check_interval("interval", self.interval, self.top1)
        if self.auroc is not None and len(set(self.labels)) < 2:
            raise ValueError("auroc of test images of one class")
        if self.odds is not None:
            check_lengths(odds=self.odds.test, images=range(self.n_test))
            check_lengths(two_classes=range(2), class_names=self.class_names)
        check_lengths(bins=self.bins, raw_bins=self.raw_bins)
        for bins in (self.bins, self.raw_bins):
            if (images := sum(n for n, _, _ in bins)) != self.n_test:
                raise ValueError(f"bins of {images:,} images, where test has {self.n_test:,}")
        if self.method in (Method.PROBE, Method.PROBE_REFIT) and self.chosen.get("l2") is None:
            raise ValueError("chosen without l2")
        if self.method == Method.PROBE and not all(map(_is_complete, self.path)):
            raise ValueError("a path whose entries lack l2, top1 or test_top1, or have nll without test_nll")


def _is_complete(candidate: Mapping[str, Any]) -> bool:
    """Return whether a figure can show a candidate of an exact probe."""
    needed = ["l2", "top1", "test_top1"] + (["test_nll"] if candidate.get("nll") is not None else [])
    return all(candidate.get(name) is not None for name in needed)


def _file_name(backbone: str, weights: str, method: str, seed: int | None, key: str) -> str:
    net = f"{path_name(backbone, portable=True)}-{path_name(weights, portable=True)[:_LONGEST_WEIGHTS]}"
    run = "seedless" if seed is None else f"seed{seed}"
    return f"scores/{net}/{method_info(method).name}-{run}-{key[:12]}.json"


SCORES = RecordKind("score", SCORE_VERSION, Score, _file_name, ("scores/*/*.json",))
