"""Logistic regression on the same features: each protocol as it is published, and Probeline's solver on the same job.

``dinov2`` and ``dinov3`` have one protocol: 45 values of C from 1e-6 to 1e5, features as they are, float64, a tolerance
of 1e-12 and at most 1,000 iterations, the best on validation rows refitted on train and val. DINOv2 fits with cuML on a
GPU, DINOv3 with scikit-learn, patched by scikit-learn-intelex where that is installed. It is written anew here from
the published settings. torchgeo-bench fits 40 values from 1e-6 to 1e4 by torch's L-BFGS in float32, with a tolerance
of 1e-6, at most 2,000 iterations and 4,000 for the refit: its own class, in the loop as published.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from functools import partial
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np

from bench_peers.objective import Fit, FloatArray, Head, IntArray, load, run_protocol
from bench_peers.process import Clock

DINO, TORCHGEO = (-6.0, 5.0, 45), (-6.0, 4.0, 40)


def _fit_probeline(X: FloatArray, y: IntArray, classes: int, values: Sequence[float]) -> list[Head]:
    from probeline.heads.logistic.path import fit_path

    heads = fit_path(X, y, classes, [1 / (C * len(X)) for C in values])
    return [(head.weight, head.bias, head.certificate.converged) for head in heads]


def probeline_dino(folder: Path) -> dict[str, Any]:
    """Probeline's solver on the 45 values."""
    return run_protocol(folder, _fit_probeline, _fit_probeline, DINO)


def probeline_torchgeo(folder: Path) -> dict[str, Any]:
    """Probeline's solver on the 40 values."""
    return run_protocol(folder, _fit_probeline, _fit_probeline, TORCHGEO)


def probeline_whole(folder: Path) -> dict[str, Any]:
    """Probeline's `probe-refit` as users have it: features standardised, its own 45 values of l2, a temperature."""
    import probeline

    arrays = load(folder)
    X, y = (np.concatenate([arrays[f"{name}_train"], arrays[f"{name}_val"]]) for name in ("X", "y"))
    val = np.arange(len(X)) >= len(arrays["X_train"])
    clock = Clock()
    result = probeline.probe(X, y, test=(arrays["X_test"], arrays["y_test"]), val=val, method="probe-refit")
    work = clock.lap()
    score = result.scores[0]
    right = np.asarray(score.predictions) == np.asarray(score.labels)
    return {**work, "fits": 45, "test_top1": float(right.mean()), "chosen": dict(score.chosen)}


def _fit_sklearn(X: FloatArray, y: IntArray, classes: int, values: Sequence[float]) -> list[Head]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    heads, double = [], X.astype(np.float64)
    for C in values:
        model = LogisticRegression(C=C, max_iter=1000, tol=1e-12)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(double, y)
        stopped = any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
        heads.append((model.coef_, model.intercept_, not stopped))
    return heads


def dinov3(folder: Path) -> dict[str, Any]:
    """The protocol of DINOv3 on plain scikit-learn."""
    return run_protocol(folder, _fit_sklearn, _fit_sklearn, DINO)


def dinov3_intelex(folder: Path) -> dict[str, Any]:
    """The protocol of DINOv3 on scikit-learn as scikit-learn-intelex patches it, which DINOv3 does if it can."""
    from sklearnex import patch_sklearn

    patch_sklearn(verbose=False)
    return run_protocol(folder, _fit_sklearn, _fit_sklearn, DINO)


def _torchgeo_class() -> Any:
    """Return torchgeo-bench's own class from its file: the package asks for a newer Python and for data sets."""
    path = distribution("torchgeo-bench").locate_file("torchgeo_bench/linear.py")
    spec = importlib.util.spec_from_file_location("torchgeo_bench_linear", str(path))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.LogisticRegression


def _fit_torchgeo(
    model_class: Any, iterations: int, X: FloatArray, y: IntArray, classes: int, values: Sequence[float]
) -> list[Head]:
    import torch

    features, labels, heads = torch.from_numpy(X), torch.from_numpy(y), []
    for C in values:
        model = model_class(C=C, max_iter=iterations, tol=1e-6, random_state=0, device="cpu")
        model.fit(features, labels)
        heads.append((model.coef_, model.intercept_, model.n_iter_ < iterations))
    return heads


def torchgeo(folder: Path) -> dict[str, Any]:
    """torchgeo-bench's L-BFGS path."""
    model_class = _torchgeo_class()
    fit: Fit = partial(_fit_torchgeo, model_class, 2000)
    refit: Fit = partial(_fit_torchgeo, model_class, 4000)
    return run_protocol(folder, fit, refit, TORCHGEO)


def split_rows(folder: Path, source: str, val: int, test: int, seed: int) -> dict[str, Any]:
    """Write rows of cached features as train, val and test arrays, with the labels that are right."""
    X, y = np.load(Path(source) / "X.npy"), np.load(Path(source) / "truth.npy")
    order = np.random.default_rng(seed).permutation(len(X))
    roles = {"test": order[:test], "val": order[test : test + val], "train": order[test + val :]}
    for role, rows in roles.items():
        np.save(folder / f"X_{role}.npy", X[rows])
        np.save(folder / f"y_{role}.npy", y[rows])
    return {role: len(rows) for role, rows in roles.items()}
