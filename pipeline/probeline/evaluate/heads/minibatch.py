"""Heads that are trained in minibatches: a linear layer, and one hidden layer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from probeline.evaluate.heads.method import (
    Candidate,
    Candidates,
    Certificate,
    ExportedHead,
    FitSettings,
    Fold,
    FoldOf,
    HeadMethod,
    LinearMethod,
    MethodOf,
    Rows,
    Selection,
    describe_candidate,
    linear_tensors,
)
from probeline.names import Method
from probeline.options.grids import MLP, SGD, Axis, Grid, grid
from probeline.options.groups.fitting import HeadOptions
from probeline.types import FloatArray

if TYPE_CHECKING:
    from probeline.heads.minibatch.mlp import MlpHead
    from probeline.heads.minibatch.training import TrainedHead

Trained = TypeVar("Trained", bound="TrainedHead")


@dataclass(frozen=True)
class MinibatchCertificate(Certificate):
    """Of a head that was trained in minibatches; `diverged` are the candidates whose training did, in words."""

    diverged: tuple[str, ...]


def requested_values(option_name: str, axes: Mapping[str, Axis], words: Sequence[str]) -> dict[str, list[Any]]:
    """Return the values of each axis that an option's words request, as options of a score."""
    return {name: list(values) for name, values in grid(option_name, axes, words).values.items()}


def saved_grid(axes: Mapping[str, Axis], options: Mapping[str, Any]) -> Grid:
    """Return the grid that a score's options describe."""
    return Grid({name: tuple(options[name]) for name in axes}, axes)


def training_of(
    requested: Grid, candidates: Candidates, own: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the settings of each candidate's head, with what is their own, and those of the training they share."""
    shared = requested.fixed()
    training = {name: shared.pop(name) for name in ("epochs", "batch_size")}
    return [{**candidate, **shared, **own} for candidate in candidates.values], training


class MinibatchMethod(MethodOf[Trained, Rows]):
    """What all trained heads share: a grid of several hyper-parameters, seeds, and runs that may diverge.

    Attributes
    ----------
    axes : mapping from str to Axis
        Of the grid.
    option_name : str
        The option that changes the grid.
    """

    is_seeded = True
    weighs_classes = True
    axes: ClassVar[Mapping[str, Axis]]
    option_name: ClassVar[str]

    def options(self, options: HeadOptions) -> dict[str, Any]:
        return requested_values(self.option_name, self.axes, getattr(options, self.option_name))

    def grid(self, settings: FitSettings) -> Grid:
        """Return the grid that a score's options describe."""
        return saved_grid(self.axes, settings.options)

    def candidates(self, settings: FitSettings, rows: int) -> Candidates:
        return Candidates.unordered(self.grid(settings).candidates())

    def fit(self, fold: FoldOf[Rows], settings: FitSettings, candidates: Candidates) -> list[Trained]:
        """Return the heads of all candidates after their last epoch."""
        weights = settings.row_weights(fold.y)
        own = {"seed": settings.seed, "row_weights": None if weights is None else weights.astype(np.float32)}
        heads, training = training_of(self.grid(settings), candidates, own)
        training["validation"] = fold.X_heldout, fold.y_heldout
        return settings.device.run(self.train, fold, settings.classes, heads, training)

    @abstractmethod
    def train(
        self, fold: FoldOf[Rows], classes: int, heads: Sequence[Candidate], training: Mapping[str, Any], *, device: str
    ) -> list[Trained]:
        """Return heads trained on a device with the settings of each and those of `training`, which they share."""

    def has_diverged(self, head: Trained) -> bool:
        return head.diverged is not None

    def certificate(self, head: Trained, selection: Selection[Trained], settings: FitSettings) -> MinibatchCertificate:
        diverged = tuple(describe_candidate(candidate) for candidate in selection.diverged)
        return MinibatchCertificate(self.grid(settings).edge(selection.selected), diverged)

    def history(self, head: Trained) -> tuple[dict[str, Any], ...]:
        return head.history


class LinearBySgd(MinibatchMethod["TrainedHead", FloatArray], LinearMethod["TrainedHead"]):
    """A linear layer; candidates that read the same minibatches are trained in one pass."""

    name = Method.PROBE_SGD
    axes = SGD
    option_name = "sgd"

    def train(
        self, fold: Fold, classes: int, heads: Sequence[Candidate], training: Mapping[str, Any], *, device: str
    ) -> list[TrainedHead]:
        from probeline.heads.minibatch.sgd import Setting, fit_sgd

        return fit_sgd(fold.X, fold.y, classes, [Setting(**head) for head in heads], **training, device=device)


class OneHiddenLayer(MinibatchMethod["MlpHead", FloatArray], HeadMethod["MlpHead"]):
    """A hidden layer and a linear one; fitted only if ``--mlp`` is given."""

    name = Method.PROBE_MLP
    axes = MLP
    option_name = "mlp"

    def is_requested(self, options: HeadOptions) -> bool:
        return bool(options.mlp)

    def train(
        self, fold: Fold, classes: int, heads: Sequence[Candidate], training: Mapping[str, Any], *, device: str
    ) -> list[MlpHead]:
        from probeline.heads.minibatch.mlp import MlpSettings, fit_mlp

        X, y = fold.X, fold.y
        return [fit_mlp(X, y, classes, MlpSettings(**head), **training, device=device) for head in heads]

    def logits(self, heads: Sequence[MlpHead], X: FloatArray) -> Iterable[FloatArray]:
        from probeline.heads.minibatch.mlp import mlp_decision

        return (mlp_decision(head, X) for head in heads)

    def export(self, head: MlpHead, fold: Fold, settings: FitSettings) -> ExportedHead:
        layer = linear_tensors(fold.scaler, head.weight, head.bias)
        hidden = {"hidden_weight": head.hidden_weight, "hidden_bias": head.hidden_bias}
        return ExportedHead({**hidden, **layer}, head.activation)


PROBE_SGD = LinearBySgd()
PROBE_MLP = OneHiddenLayer()
