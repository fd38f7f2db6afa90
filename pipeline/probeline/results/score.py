"""One row of a report with one seed: what a method gave on the test images."""

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
    """One row of a report: one method, on one backbone, with one seed, read on test once.

    Attributes
    ----------
    dataset, backbone, weights, method : str
    key : str
        sha256 over everything that could change the row's numbers.
    splits : str
        sha256 over the rows of every role, with their labels: scores that agree in it are of the same images.
    options : mapping
        All that was asked of the method but for its seed, and the version of its code: scores that agree in it are
        the seeds of one row.
    image_size : int
    precision : str
    tap : str
        Where the features were read; ``a+b`` for two taps side by side.
    views : int
        Augmented views of each train image that were fitted on beside it.
    seed : int or None
        None where nothing is random.
    n_train, n_val, n_test : int
        Images that it was fitted on, that only chose, and that it was read on.
    class_names : tuple of str [K]
    top1, macro : float
        Test accuracy and the mean of the classes' accuracies, in [0, 1].
    top5 : float or None
        The share of test images whose class is among the five most probable; None where there are few classes.
    interval : tuple of 2 floats
        Wilson's 95 % interval of `top1` for the sampling of the test images.
    temperature : float
        What the logits are divided by, fitted on the val rows' logits alone (out of fold where folds choose; a head
        that is refit on train and val takes that of the head before).
    nll, brier, ece : float
        Of the test images with that temperature: mean negative log-likelihood (nats), Brier's score in [0, 2] and the
        expected calibration error in [0, 1].
    raw_nll, raw_ece : float
        The same at temperature 1.
    bins, raw_bins : tuple of (int, float, float) [15]
        What the calibration errors are made of, with that temperature and at 1: of each bin its test images, their
        mean largest probability and top-1 among them.
    optimism : float or None
        Test top-1 of the candidate that is best on test, minus that of the chosen one, in [0, 1]: what choosing on
        test would have pretended. Never used for any choice; None where there was nothing to choose, or where the
        others were not kept, as the epochs of training.
    val_top1 : float
        Of the chosen hyper-parameters, on the rows that chose them.
    predictions : tuple of int [n_test]
        Predicted classes, in the row order of the test split.
    labels : tuple of int [n_test]
        The true ones.
    chosen : mapping
        The hyper-parameters that were chosen, for example ``{"l2": 0.001}``.
    chosen_by : str
        By what, for example ``val (n=5000)``.
    trainable, total : int
        Parameters that were trained, and parameters of the whole predictor.
    warm_seconds : float
        Fitting every candidate, choosing and reading test with them, with the features at hand.
    cold_seconds : float
        The same with the extraction of the features it needs.
    converged : bool
        False where a fit stopped before its tolerance.
    certificate : mapping
        What proves the fit, for example gradient norm and objective.
    history : tuple of mappings
        Per epoch, where there are epochs.
    path : tuple of mappings
        Per candidate hyper-parameter: its value and val score, and of a head what test says of it, read when the
        choice stood.
    environment : mapping
        Hardware and versions.
    """

    dataset: str
    backbone: str
    weights: str
    method: str
    key: str
    splits: str
    options: Mapping[str, Any]
    image_size: int
    precision: str
    tap: str = field(default="penultimate", kw_only=True)
    views: int = field(default=0, kw_only=True)
    seed: int | None
    n_train: int
    n_val: int
    n_test: int
    class_names: tuple[str, ...]
    top1: float
    macro: float
    interval: tuple[float, float]
    val_top1: float
    top5: float | None
    temperature: float
    nll: float
    brier: float
    ece: float
    raw_nll: float
    raw_ece: float
    bins: tuple[tuple[int, float, float], ...]
    raw_bins: tuple[tuple[int, float, float], ...]
    predictions: tuple[int, ...]
    labels: tuple[int, ...]
    chosen: Mapping[str, Any]
    chosen_by: str
    trainable: int
    total: int
    warm_seconds: float
    cold_seconds: float
    converged: bool
    optimism: float | None = None
    certificate: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[Mapping[str, Any], ...] = ()
    path: tuple[Mapping[str, Any], ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)


def _file_name(backbone: str, weights: str, method: str, seed: int | None, key: str) -> str:
    net = f"{path_name(backbone, portable=True)}-{path_name(weights, portable=True)[:_LONGEST_WEIGHTS]}"
    run = "seedless" if seed is None else f"seed{seed}"
    return f"scores/{net}/{method_info(method).name}-{run}-{key[:12]}.json"


SCORES = RecordKind("score", SCORE_VERSION, Score, _file_name, ("scores/*/*.json",))
