"""What every contender's head is judged by: one objective in float64, one rule of selection, test rows read once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench_peers.process import Clock

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Head = tuple[DoubleArray, DoubleArray, bool]
"""Weights [K, D], biases [K], and whether the contender itself says that it converged."""

Fit = Callable[[FloatArray, IntArray, int, Sequence[float]], list[Head]]
"""From features, labels, the number of classes and values of C to a head for each."""

NEAR = 1e-4
"""Relative excess over the least objective that any contender reached, up to which a head counts as at the minimum."""


def objective_of(X: FloatArray, y: IntArray, weight: DoubleArray, bias: DoubleArray, C: float) -> float:
    """Return mean cross-entropy + ||W||^2 / (2 C N), computed in float64 from any contender's head."""
    logits = X.astype(np.float64) @ np.asarray(weight, np.float64).T + np.asarray(bias, np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(y)), y]
    return float(losses.mean() + (np.asarray(weight, np.float64) ** 2).sum() / (2 * C * len(y)))


def accuracy(X: FloatArray, y: IntArray, head: Head) -> float:
    weight, bias, _ = head
    return float(((X @ np.asarray(weight, np.float32).T + np.asarray(bias, np.float32)).argmax(axis=1) == y).mean())


def load(folder: Path) -> dict[str, Any]:
    return {path.stem: np.load(path) for path in folder.glob("*.npy")}


def run_protocol(folder: Path, fit: Fit, refit: Fit, powers: tuple[float, float, int]) -> dict[str, Any]:
    """Fit every C on train rows, keep the first of the best on val, refit on both, score it once on test rows.

    Timed are the fits, the selection and the refit; objectives are computed afterwards, for all contenders alike.
    """
    arrays = load(folder)
    X, y, X_val, y_val = (arrays[name] for name in ("X_train", "y_train", "X_val", "y_val"))
    classes, values = int(y.max()) + 1, [float(C) for C in 10 ** np.linspace(*powers)]
    refit(X[:500], y[:500], classes, [1e-3])  # a first small fit, for libraries that load when they are used
    clock = Clock()
    heads = fit(X, y, classes, values)
    path = clock.lap()
    right = [accuracy(X_val, y_val, head) for head in heads]
    best = values[int(np.argmax(right))]
    both, labels = np.concatenate([X, X_val]), np.concatenate([y, y_val])
    (final,) = refit(both, labels, classes, [best])
    rest = clock.lap()
    return {
        "path_seconds": path["seconds"],
        "path_cpu_seconds": path["cpu_seconds"],
        "seconds": path["seconds"] + rest["seconds"],
        "cpu_seconds": path["cpu_seconds"] + rest["cpu_seconds"],
        "fits": len(values),
        "said_converged": sum(converged for _, _, converged in heads),
        "C": best,
        "val_top1": max(right),
        "test_top1": accuracy(arrays["X_test"], arrays["y_test"], final),
        "values": values,
        "objectives": [objective_of(X, y, weight, bias, C) for (weight, bias, _), C in zip(heads, values, strict=True)],
    }


def excesses(runs: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Return for each contender how far its objectives are above the least of any contender, relative to that."""
    if not runs:
        return {}
    least = np.min(list(runs.values()), axis=0)
    found = {}
    for name, objectives in runs.items():
        excess = np.asarray(objectives) / least - 1
        found[name] = {"at_minimum": int((excess <= NEAR).sum()), "worst_excess": float(excess.max())}
    return found
