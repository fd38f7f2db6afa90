"""The head of a score, fitted again: scores keep what a head said, not the head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from probeline.errors import BadOption
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.minibatch import mlp_heads, sgd_heads
from probeline.heads.linear import Linear
from probeline.heads.standardize import Scaler
from probeline.names import Method
from probeline.options.grids import MLP, SGD, Axis, Grid
from probeline.results.score import Score
from probeline.types import FloatArray, IntArray


@dataclass(frozen=True)
class Refitted:
    """A head as arrays.

    Attributes
    ----------
    tensors : mapping of str to float32 array
        ``mean`` and ``std`` [D] of the rows it was fitted on, ``weight`` [K, D or W] and ``bias`` [K]; of a head with a
        hidden layer of W units ``hidden_weight`` [W, D] and ``hidden_bias`` [W]. Of a vote of neighbours, in place of
        layers, ``rows`` [n, D] of unit length, their ``labels`` int64 [n] and ``k`` int64 [1].
    activation : str or None
        Of the hidden layer.
    """

    tensors: Mapping[str, FloatArray | IntArray]
    activation: str | None = None


def refit(task: CachedFeatures, score: Score) -> Refitted:
    """Fit the head of a score again, on the rows and with the company that it had.

    Raises
    ------
    BadOption
        The centroids of fewer classes than there are.
    ProbelineError
    """
    options, chosen = score.options, score.chosen
    held = task.load_refit_fold() if score.method == Method.PROBE_REFIT else task.load_selection_folds()[0]
    X, y, seed = held.X, held.y, score.seed or 0
    if score.method in (Method.PROBE, Method.PROBE_REFIT):
        from probeline.heads.logistic.path import fit_path

        l2s = options["l2"]
        return _linear(fit_path(X, y, task.classes, l2s)[l2s.index(chosen["l2"])], held.scaler)
    if score.method == Method.LOGISTIC:
        from probeline.heads.logistic.reference import fit_reference

        return _linear(fit_reference(X, y, chosen["l2"]), held.scaler)
    if score.method == Method.RIDGE:
        from probeline.heads.ridge import fit_ridge

        return _linear(fit_ridge(X, y, task.classes, [chosen["l2"]])[0], held.scaler)
    if score.method == Method.KNN:
        rows = X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-12)
        return Refitted({**_scaling(held.scaler), "rows": rows, "labels": y, "k": np.array([chosen["k"]])})
    if score.method == Method.CENTROID:
        from probeline.heads.neighbours import centroid_layer

        try:
            return _layer(*centroid_layer(X, y, classes=task.classes), held.scaler)
        except ValueError as error:  # a class without train images is infinitely far, which no layer says
            raise BadOption("centroid cannot be exported", got=str(error), remedy="choose another row") from error
    wanted = _grid(options, SGD if score.method == Method.PROBE_SGD else MLP)
    place = wanted.candidates().index(dict(chosen))
    if score.method == Method.PROBE_SGD:
        return _linear(sgd_heads(held, task.classes, wanted, seed)[place], held.scaler)
    head = mlp_heads(held, task.classes, wanted, seed)[place]
    hidden = {"hidden_weight": head.hidden_weight, "hidden_bias": head.hidden_bias}
    return Refitted({**hidden, **_linear(head, held.scaler).tensors}, head.activation)


def _grid(options: Mapping[str, Any], axes: Mapping[str, Axis]) -> Grid:
    return Grid({name: tuple(options[name]) for name in axes}, axes)


def _linear(head: Linear, scaler: Scaler) -> Refitted:
    """Return a linear head with a row for each class, also where one logit decides between two."""
    weight, bias = head.weight, head.bias
    if len(weight) == 1:
        weight, bias = np.vstack([np.zeros_like(weight), weight]), np.concatenate([np.zeros_like(bias), bias])
    return _layer(weight, bias, scaler)


def _layer(weight: FloatArray, bias: FloatArray, scaler: Scaler) -> Refitted:
    return Refitted({**_scaling(scaler), "weight": weight, "bias": bias})


def _scaling(scaler: Scaler) -> dict[str, FloatArray]:
    return {"mean": scaler.mean, "std": scaler.std}
