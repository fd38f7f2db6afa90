"""Methods of fitting heads of several labels or of numbers: linear, with a hidden layer, references, neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from probeline.errors import UnknownName
from probeline.evaluate.heads.exact import REFERENCE_L2, RIDGE_L2
from probeline.evaluate.heads.method import Candidates
from probeline.evaluate.heads.neighbours import NEIGHBOURS
from probeline.evaluate.targets.folds import TargetFold
from probeline.evaluate.targets.limit import LIMIT
from probeline.evaluate.targets.method import TargetFit, TargetMethod
from probeline.evaluate.targets.mlp import TargetMlp
from probeline.heads.linear import Linear
from probeline.heads.select import L2_GRID
from probeline.names import MULTI_LABEL, REGRESSION, Method
from probeline.options.groups.fitting import HeadOptions
from probeline.types import DoubleArray, FloatArray

if TYPE_CHECKING:
    from probeline.heads.logistic.labels import LabelHead
    from probeline.heads.ridge import RidgeHead

LinearHead = TypeVar("LinearHead", bound=Linear)

_SMOOTHING = 1e-3
"""Votes added for and against each label before the logarithm, as among classes."""


class _ByL2(TargetMethod[LinearHead]):
    """A method of linear heads whose l2 is selected on validation."""

    grid: Sequence[float]

    def options(self, options: HeadOptions) -> dict[str, Any]:
        return {"l2": list(self.grid)}

    def candidates(self, fit: TargetFit, rows: int) -> Candidates:
        return Candidates.of("l2", fit.options["l2"])

    def outputs(self, head: LinearHead, X: FloatArray) -> DoubleArray:
        outputs: DoubleArray = X.astype(np.float64) @ head.weight.T.astype(np.float64) + head.bias
        return outputs


class _LabelMethod(_ByL2["LabelHead"]):
    """One logistic regression for each label, with one l2 for all."""

    task = MULTI_LABEL

    def has_converged(self, head: LabelHead) -> bool:
        return head.certificate.converged

    def certificate(self, head: LabelHead) -> Mapping[str, Any]:
        return vars(head.certificate)


@dataclass(frozen=True)
class LabelProbe(_LabelMethod):
    """The exact linear probe of several labels, which share every pass over the rows."""

    name: str = Method.PROBE
    is_refit: bool = False
    grid = L2_GRID

    def fit(self, fold: TargetFold, fit: TargetFit, candidates: Candidates) -> Sequence[LabelHead]:
        from probeline.heads.logistic.labels import fit_label_path

        return fit.device.run(fit_label_path, fold.X, fold.Y.astype(np.float32), candidates.strengths)


class LabelReference(_LabelMethod):
    """scikit-learn's logistic regression of each label, on the rows where it is known."""

    name = Method.LOGISTIC
    verb = "baselines"
    grid = REFERENCE_L2

    def fit(self, fold: TargetFold, fit: TargetFit, candidates: Candidates) -> Sequence[LabelHead]:
        from probeline.heads.logistic.reference import fit_label_reference

        return [fit_label_reference(fold.X, fold.Y.astype(np.float32), l2) for l2 in candidates.strengths]


@dataclass(frozen=True)
class RidgeProbe(_ByL2["RidgeHead"]):
    """The exact linear probe of numbers: ridge regression, every l2 from one eigendecomposition.

    Its features are limited to `LIMIT` standard deviations.
    """

    name: str = Method.PROBE
    is_refit: bool = False
    task = REGRESSION
    grid = RIDGE_L2

    def options(self, options: HeadOptions) -> dict[str, Any]:
        return {**super().options(options), "limit": LIMIT}

    def fit(self, fold: TargetFold, fit: TargetFit, candidates: Candidates) -> Sequence[RidgeHead]:
        return fit_known(fold.X.clip(-LIMIT, LIMIT), fold.Y, candidates.strengths)

    def outputs(self, head: RidgeHead, X: FloatArray) -> DoubleArray:
        return super().outputs(head, X.clip(-LIMIT, LIMIT))

    def leave_one_out(self, fold: TargetFold, candidates: Candidates) -> Sequence[DoubleArray] | None:
        from probeline.heads.ridge import leave_one_out

        if np.isnan(fold.Y).any():  # each target has rows of its own
            return None
        return list(leave_one_out(fold.X.clip(-LIMIT, LIMIT), fold.Y, candidates.strengths))


def fit_known(X: FloatArray, Y: DoubleArray, l2s: Sequence[float]) -> list[RidgeHead]:
    """Return one ridge head per l2, each target fitted on the rows where it is known; equal rows share a fit."""
    from probeline.heads.ridge import RidgeHead, fit_ridge_targets

    known = ~np.isnan(Y)
    if known.all():
        return fit_ridge_targets(X, Y, l2s)
    weights = np.zeros((len(l2s), Y.shape[1], X.shape[1]), np.float32)
    biases = np.zeros((len(l2s), Y.shape[1]), np.float32)
    patterns, which = np.unique(known, axis=1, return_inverse=True)
    for number, rows in enumerate(patterns.T):
        columns = np.flatnonzero(which == number)
        if not rows.any():
            continue
        for place, head in enumerate(fit_ridge_targets(X[rows], Y[np.ix_(rows, columns)], l2s)):
            weights[place, columns], biases[place, columns] = head.weight, head.bias
    return [RidgeHead(weight, bias, l2) for weight, bias, l2 in zip(weights, biases, l2s, strict=True)]


@dataclass(frozen=True)
class StoredTargets:
    """The rows float32 [n, D] and targets float64 [n, T] that predictions are read from, and the neighbours asked."""

    X: FloatArray
    Y: DoubleArray
    k: int


@dataclass(frozen=True)
class NearestTargets(TargetMethod[StoredTargets]):
    """The mean of the k nearest train rows by cosine; of labels the logarithm of the odds of their shares."""

    task: str
    name = Method.KNN
    verb = "baselines"

    def options(self, options: HeadOptions) -> dict[str, Any]:
        return {"k": list(NEIGHBOURS)}

    def candidates(self, fit: TargetFit, rows: int) -> Candidates:
        fitting = [k for k in fit.options["k"] if k <= rows]
        return Candidates.of("k", fitting)

    def fit(self, fold: TargetFold, fit: TargetFit, candidates: Candidates) -> Sequence[StoredTargets]:
        return [StoredTargets(fold.X, fold.Y, int(k)) for k in candidates.strengths]

    def outputs(self, head: StoredTargets, X: FloatArray) -> DoubleArray:
        from probeline.heads.neighbours import nearest

        neighbours = head.Y[nearest(head.X, X, head.k)[0]]  # [m, k, T]
        known = ~np.isnan(neighbours)
        sums, counts = np.where(known, neighbours, 0.0).sum(axis=1), known.sum(axis=1)
        if self.task == REGRESSION:
            unknown = np.nanmean(head.Y, axis=0)  # no neighbour has it
            means: DoubleArray = np.where(counts > 0, sums / np.maximum(counts, 1), unknown)
            return means
        odds: DoubleArray = np.log((sums + _SMOOTHING) / (counts - sums + _SMOOTHING))
        return odds

    def count_parameters(self, head: StoredTargets) -> int:
        return 0


METHODS: tuple[TargetMethod[Any], ...] = (
    LabelProbe(),
    LabelProbe(Method.PROBE_REFIT, is_refit=True),
    TargetMlp(MULTI_LABEL),
    LabelReference(),
    NearestTargets(MULTI_LABEL),
    RidgeProbe(),
    RidgeProbe(Method.PROBE_REFIT, is_refit=True),
    TargetMlp(REGRESSION),
    NearestTargets(REGRESSION),
)
"""In the order of the report."""


def target_methods(verb: str, task: str, options: HeadOptions) -> list[TargetMethod[Any]]:
    """Return the methods that a verb fits for a task."""
    return [own for own in METHODS if own.verb == verb and own.task == task and own.is_requested(options)]


def target_method(name: str, task: str) -> TargetMethod[Any]:
    """Return the method of a task by its name; UnknownName if there is none."""
    known = {str(own.name): own for own in METHODS if own.task == task}
    if name not in known:
        raise UnknownName(f"method of {task}", name, known)
    return known[name]
