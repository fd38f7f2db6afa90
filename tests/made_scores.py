"""Scores for tests: whole tables of them, whose methods differ as real ones do."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from operator import eq
from typing import Any

import numpy as np

from probeline.identity import digest
from probeline.metrics.intervals import wilson
from probeline.metrics.scores import macro, reliability, top1
from probeline.report.model.row import Row
from probeline.report.model.rows import blocks
from probeline.results.score import Score
from probeline.types import IntArray

CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
LONG = "timm:vit_base_patch16_clip_224.openai_ft_in12k_in1k"
OPTIONS: dict[str, dict[str, Any]] = {
    "probe": {"l2": [1e-6, 1e-3, 1.0, 1e5]},
    "probe-sgd": {"lr": [1e-4, 1e-3], "optimizer": ["adam"]},
    "finetune": {"lr": 0.01, "epochs": 20},
}
METHODS = ("probe", "probe-refit", "probe-sgd", "logistic", "ridge", "knn", "centroid", "finetune", "scratch")
RANDOM = ("probe-sgd", "finetune", "scratch")
GAIN = dict(zip(METHODS, (0.0, 0.004, -0.003, 0.0, -0.01, -0.06, -0.09, 0.09, -0.25), strict=True))
SECONDS = dict(zip(METHODS, (12.6, 3.1, 44.0, 71.0, 0.9, 1.9, 0.04, 2900.0, 5200.0), strict=True))
CHOSEN: dict[str, dict[str, Any]] = {
    "probe": {"l2": 0.001},
    "probe-refit": {"l2": 0.001},
    "probe-sgd": {"lr": 0.0003, "epochs": 20},
    "logistic": {"C": 0.02},
    "ridge": {"l2": 0.1},
    "knn": {"k": 20},
    "centroid": {},
    "finetune": {"lr": 0.0003, "epoch": 9},
    "scratch": {"lr": 0.003, "epoch": 10},
}
HERE = {
    "machine": "Linux x86_64",
    "processor": "Xeon",
    "cores": 2,
    "device": "CPU",
    "python": "3.12.3",
    "torch": "2.13.0",
    "numpy": "2.4.1",
}


def aggregate(scores: Sequence[Score]) -> list[Row]:
    return [row for block in blocks(scores) for row in block.rows]


def make_score(
    method: str = "probe",
    backbone: str = "mobilenet_v2",
    accuracy: float = 0.78,
    *,
    seed: int | None = None,
    class_names: Sequence[str] = CIFAR,
    n_test: int = 500,
    draw: int = 0,
    **changes: Any,
) -> Score:
    """Return a score whose predictions are right about as often as `accuracy` says, on images of unequal difficulty.

    The images are the same for all scores of one `draw`, and a hard one is hard for every method: so predictions of
    two methods agree as those of real ones do.
    """
    k = len(class_names)
    images = np.random.default_rng([draw, k, n_test])
    labels = images.permutation(np.arange(n_test) % k)
    difficulty = images.normal(size=n_test) + np.linspace(-0.5, 0.5, k)[labels]
    own = np.random.default_rng([draw, zlib.crc32(f"{backbone}/{method}/{seed}".encode())])
    strength = difficulty + own.normal(scale=0.6, size=n_test)
    wrong = strength > np.quantile(strength, np.clip(accuracy, 0, 1))
    near = (labels + np.where(own.random(n_test) < 0.6, k // 2 or 1, own.integers(1, max(k, 2), n_test))) % k
    predictions = np.where(wrong, near, labels)
    cold = 0 if method == "scratch" else 180.0
    values: dict[str, Any] = {
        "dataset": "cifar10",
        "backbone": backbone,
        "weights": "none" if method == "scratch" else "IMAGENET1K_V1",
        "method": method,
        "image_size": 224,
        "precision": "fp32",
        "seed": seed,
        "n_train": 50_000 if method == "probe-refit" else 45_000,
        "n_val": 0 if method == "probe-refit" else 5_000,
        "n_test": n_test,
        "class_names": tuple(class_names),
        "top1": top1(labels, predictions),
        "macro": macro(labels, predictions, k),
        "interval": wilson(int((labels == predictions).sum()), n_test),
        "val_top1": accuracy,
        "top5": None if k <= 10 else min(1.0, accuracy + 0.1),
        "temperature": 1.5,
        "nll": 1.8 - 1.5 * accuracy,
        "brier": 1.2 - 1.1 * accuracy,
        "ece": 0.02,
        "raw_nll": 2.0 - 1.5 * accuracy,
        "raw_ece": 0.06,
        "bins": _bins(labels, predictions, k, 1.0),
        "raw_bins": _bins(labels, predictions, k, 0.5),
        "optimism": None if method in ("centroid", "finetune", "scratch") else 0.004,
        "splits": digest([draw, n_test, k]),
        "options": {"version": 1, **OPTIONS.get(method, {})},
        "predictions": tuple(predictions.tolist()),
        "labels": tuple(labels.tolist()),
        "chosen": CHOSEN[method],
        "chosen_by": "val (n=5000)",
        "trainable": {"knn": 0, "centroid": 0, "finetune": 2_236_682, "scratch": 2_236_682}.get(method, 12_810),
        "total": 2_236_682,
        "warm_seconds": SECONDS[method],
        "cold_seconds": SECONDS[method] + cold * len(backbone) / 12,
        "converged": True,
        "history": _history(accuracy, own) if method in RANDOM else (),
        "path": _path(accuracy) if method == "probe" else (),
        "environment": HERE,
        **changes,
    }
    key = values.pop("key", None) or digest([method, backbone, seed, draw, repr(sorted(values.items()))])
    return Score(key=key, **values)


def judged(score: Score, **columns: tuple[int, ...]) -> Score:
    """Return a score with other predictions or labels, and the accuracy that follows from them."""
    changed = {"predictions": score.predictions, "labels": score.labels, **columns}
    right = sum(map(eq, *changed.values()))
    return replace(score, **changed, top1=right / score.n_test, interval=wilson(right, score.n_test))


def _bins(labels: IntArray, predictions: IntArray, k: int, power: float) -> tuple[tuple[int, float, float], ...]:
    """Return the bins of chances that are the higher, the oftener the images are right, or the other way round."""
    n = len(labels)
    sure = 1 / k + (1 - 1 / k) * np.random.default_rng([n, k]).random(n) ** power
    chances = np.repeat(((1 - sure) / max(k - 1, 1))[:, None], k, axis=1)
    chances[np.arange(n), predictions] = sure
    return reliability(labels, chances / chances.sum(axis=1, keepdims=True))


def make_scores(
    backbones: Sequence[str] = ("mobilenet_v2",), methods: Sequence[str] = METHODS, *, seeds: int = 1, **changes: Any
) -> list[Score]:
    """Return the scores of a whole table, each backbone a little weaker than the one before."""
    return [
        make_score(
            method,
            backbone,
            0.8 - 0.4 * i / (i + 12) + GAIN[method] * (1 + 0.1 * i) + 0.004 * (seed or 0),
            seed=seed,
            **changes,
        )
        for i, backbone in enumerate(backbones)
        for method in methods
        for seed in (range(seeds) if method in RANDOM else [None])
    ]


def _history(accuracy: float, noise: np.random.Generator) -> tuple[dict[str, float], ...]:
    entries = []
    for epoch in range(1, 11):
        grown = 1 - np.exp(-epoch / 3)
        train, val = accuracy * grown * 1.08, accuracy * grown + noise.normal(scale=0.005)
        losses = {"train_loss": float(2.3 * (1.05 - train)), "val_loss": float(2.3 * (1.1 - val) + 0.01 * epoch)}
        entries.append({"epoch": epoch, "train_top1": float(train), "val_top1": float(val), **losses})
    return tuple(entries)


def _path(accuracy: float) -> tuple[dict[str, float], ...]:
    return tuple(
        {
            "l2": 10.0**power,
            "top1": accuracy - 0.01 * (power + 3) ** 2,
            "nll": 1.8 - 1.5 * accuracy + 0.05 * (power + 3.3) ** 2,
            "test_top1": accuracy - 0.02 - 0.012 * (power + 2.8) ** 2,
            "test_nll": 1.85 - 1.5 * accuracy + 0.06 * (power + 3.1) ** 2,
        }
        for power in range(-7, 1)
    )
