"""Heads that are trained in minibatches: a linear layer, and one hidden layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from probeline.evaluate.candidates import Candidates, Selection
from probeline.evaluate.folds import Fold
from probeline.evaluate.heads.certificates import MinibatchCertificate
from probeline.evaluate.heads.method import ExportedHead, FitSettings, HeadMethod, export_linear
from probeline.format import option
from probeline.heads.linear import decision
from probeline.names import Method
from probeline.options.grids import MLP, SGD, Axis, Grid, grid
from probeline.options.settings import HeadOptions
from probeline.types import FloatArray

if TYPE_CHECKING:
    from probeline.heads.minibatch.mlp import MlpHead
    from probeline.heads.minibatch.sgd import SgdHead

Trained = TypeVar("Trained", "SgdHead", "MlpHead")


class MinibatchMethod(HeadMethod[Trained]):
    """What both trained heads share: a grid of several hyper-parameters, seeds, and runs that may diverge.

    Attributes
    ----------
    axes : mapping from str to Axis
        Of the grid.
    option_name : str
        The option that changes the grid.
    """

    is_seeded = True
    axes: ClassVar[Mapping[str, Axis]]
    option_name: ClassVar[str]

    def options(self, options: HeadOptions) -> dict[str, Any]:
        """Return the values of every axis."""
        requested = grid(self.option_name, self.axes, getattr(options, self.option_name))
        return {name: list(values) for name, values in requested.values.items()}

    def grid(self, settings: FitSettings) -> Grid:
        """Return the grid that a score's options describe."""
        return Grid({name: tuple(settings.options[name]) for name in self.axes}, self.axes)

    def candidates(self, settings: FitSettings, rows: int) -> Candidates:
        """Return every combination of the axes with several values."""
        return Candidates.unordered(self.grid(settings).candidates())

    def has_diverged(self, head: Trained) -> bool:
        """Return whether the loss or a weight became infinite."""
        return head.diverged is not None

    def certificate(
        self,
        head: Trained,
        selection: Selection[Trained],
        settings: FitSettings,
    ) -> MinibatchCertificate:
        """Return whether the grid ends too early, and which candidates diverged."""
        diverged = tuple(
            " ".join(option(name, value) for name, value in candidate.items()) for candidate in selection.diverged
        )
        return MinibatchCertificate(self.grid(settings).edge(selection.selected), diverged)

    def history(self, head: Trained) -> tuple[dict[str, Any], ...]:
        """Return the losses and accuracies of each epoch."""
        return head.history


class LinearBySgd(MinibatchMethod["SgdHead"]):
    """A linear layer; candidates that read the same minibatches are trained in one pass."""

    name = Method.PROBE_SGD
    axes = SGD
    option_name = "sgd"

    def fit(self, fold: Fold, settings: FitSettings, candidates: Candidates) -> list[SgdHead]:
        """Return the heads of all candidates after their last epoch."""
        from probeline.heads.minibatch.sgd import Setting, fit_sgd

        shared = self.grid(settings).fixed()
        training = {name: shared.pop(name) for name in ("epochs", "batch_size")}
        every = [Setting(**candidate, **shared, seed=settings.seed) for candidate in candidates.values]
        return fit_sgd(fold.X, fold.y, settings.classes, every, **training, validation=(fold.X_heldout, fold.y_heldout))

    def logits(self, heads: Sequence[SgdHead], X: FloatArray) -> Iterable[FloatArray]:
        """Yield the logits float32 [m, K] of each head for rows float32 [m, D]."""
        return (decision(head, X) for head in heads)

    def export(self, head: SgdHead, fold: Fold, settings: FitSettings) -> ExportedHead:
        """Return the layer."""
        return export_linear(head, fold.scaler)


class OneHiddenLayer(MinibatchMethod["MlpHead"]):
    """A hidden layer and a linear one; fitted only if ``--mlp`` is given."""

    name = Method.PROBE_MLP
    axes = MLP
    option_name = "mlp"

    def is_requested(self, options: HeadOptions) -> bool:
        """Return whether ``--mlp`` is given."""
        return bool(options.mlp)

    def fit(self, fold: Fold, settings: FitSettings, candidates: Candidates) -> list[MlpHead]:
        """Return the heads of all candidates after their last epoch."""
        from probeline.heads.minibatch.mlp import MlpSettings, fit_mlp

        shared = self.grid(settings).fixed()
        training = {name: shared.pop(name) for name in ("epochs", "batch_size")}
        every = [MlpSettings(**candidate, **shared, seed=settings.seed) for candidate in candidates.values]
        validation = fold.X_heldout, fold.y_heldout
        return [fit_mlp(fold.X, fold.y, settings.classes, one, **training, validation=validation) for one in every]

    def logits(self, heads: Sequence[MlpHead], X: FloatArray) -> Iterable[FloatArray]:
        """Yield the logits float32 [m, K] of each head for rows float32 [m, D]."""
        from probeline.heads.minibatch.mlp import mlp_decision

        return (mlp_decision(head, X) for head in heads)

    def export(self, head: MlpHead, fold: Fold, settings: FitSettings) -> ExportedHead:
        """Return both layers."""
        hidden = {"hidden_weight": head.hidden_weight, "hidden_bias": head.hidden_bias}
        return ExportedHead({**hidden, **export_linear(head, fold.scaler).tensors}, head.activation)


PROBE_SGD = LinearBySgd()
PROBE_MLP = OneHiddenLayer()
