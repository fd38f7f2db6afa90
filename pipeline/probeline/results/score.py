"""Scores: how a method with one seed performs on the test images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from probeline.disk import path_name
from probeline.identity import SCORE_VERSION
from probeline.results.methods import method_info
from probeline.results.store import RecordKind

_LONGEST_WEIGHTS = 80
"""Weights may be named by a long file name; folder names have a limit of 255 bytes."""


@dataclass(frozen=True)
class Score:
    """The result of one method on one backbone with one seed, scored on test once."""

    dataset: str
    backbone: str
    weights: str
    method: str
    key: str
    """sha256 over everything that could change the score's numbers."""
    splits: str
    """sha256 over the rows of every role, with their labels: scores that agree in it are of the same images."""
    options: Mapping[str, Any]
    """All options of the method but its seed, and the version of its code: scores with equal options are the seeds of
    one row of a report."""
    image_size: int
    """Pixels."""
    precision: str
    tap: str = field(default="penultimate", kw_only=True)
    """``a+b`` means the concatenated features of two taps."""
    views: int = field(default=0, kw_only=True)
    """Augmented views per train image that were used for fitting in addition."""
    seed: int | None
    """None if nothing is random."""
    n_train: int
    n_val: int
    n_test: int
    class_names: tuple[str, ...]
    """[K]"""
    top1: float
    """Test accuracy, in [0, 1]."""
    macro: float
    """The mean of the classes' accuracies, in [0, 1]."""
    interval: tuple[float, float]
    """Wilson's 95 % interval of `top1` for the sampling of the test images."""
    val_top1: float
    """Validation accuracy of the selected hyper-parameters."""
    top5: float | None
    """Top-5 accuracy; None for few classes."""
    temperature: float
    """What the logits are divided by, fitted on val logits alone (out-of-fold if folds select; a head that is refit on
    train and val keeps the temperature of the head before)."""
    nll: float
    """Mean negative log-likelihood (nats) on test with that temperature, like `brier` and `ece`."""
    brier: float
    """Brier's score in [0, 2]."""
    ece: float
    """Expected calibration error in [0, 1]."""
    raw_nll: float
    """At temperature 1, like `raw_ece`."""
    raw_ece: float
    bins: tuple[tuple[int, float, float], ...]
    """[15] Reliability with that temperature: per bin the number of test images, their mean confidence and their top-1
    accuracy."""
    raw_bins: tuple[tuple[int, float, float], ...]
    """The same at temperature 1."""
    predictions: tuple[int, ...]
    """[n_test] Predicted classes, in the row order of the test split."""
    labels: tuple[int, ...]
    """[n_test] True classes."""
    chosen: Mapping[str, Any]
    """The selected hyper-parameters, for example ``{"l2": 0.001}``."""
    chosen_by: str
    """What selected them, for example ``val (n=5000)``."""
    trainable: int
    """Parameters that were trained."""
    total: int
    """Parameters of the whole predictor."""
    warm_seconds: float
    """Time to fit all candidates, select and score, with cached features."""
    cold_seconds: float
    """The same with feature extraction."""
    converged: bool
    """False if a fit stopped before its tolerance."""
    optimism: float | None = None
    """How much selecting on the test set would have inflated accuracy: test top-1 of the candidate that is best on test
    minus that of the selected one, in [0, 1]. Never used for selection; None if there was nothing to select, or if the
    other candidates were not kept, such as the epochs of a training."""
    certificate: Mapping[str, Any] = field(default_factory=dict)
    """What proves the fit, for example gradient norm and objective."""
    history: tuple[Mapping[str, Any], ...] = ()
    """Per epoch, if there are epochs."""
    path: tuple[Mapping[str, Any], ...] = ()
    """Per candidate: its hyper-parameters and val score, and for a head its test score, computed after selection."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    """Hardware and versions."""


def _file_name(backbone: str, weights: str, method: str, seed: int | None, key: str) -> str:
    net = f"{path_name(backbone, portable=True)}-{path_name(weights, portable=True)[:_LONGEST_WEIGHTS]}"
    run = "seedless" if seed is None else f"seed{seed}"
    return f"scores/{net}/{method_info(method).name}-{run}-{key[:12]}.json"


SCORES = RecordKind("score", SCORE_VERSION, Score, _file_name, ("scores/*/*.json",))
