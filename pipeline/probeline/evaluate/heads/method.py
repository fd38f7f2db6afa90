"""The seam of heads: what a method of fitting heads on cached features provides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from probeline.errors import BadOption
from probeline.evaluate.candidates import Candidate, Candidates, Selection
from probeline.evaluate.folds import Fold
from probeline.evaluate.heads.certificates import Certificate
from probeline.evaluate.task import Loss, Task
from probeline.heads.linear import Linear
from probeline.heads.standardize import Scaler
from probeline.options.settings import HeadOptions
from probeline.types import FloatArray, IntArray

Head = TypeVar("Head")


@dataclass(frozen=True)
class FitSettings:
    """What a fit depends on besides its rows.

    Attributes
    ----------
    options : mapping
        Of the score, see :meth:`HeadMethod.options`.
    classes : int
        K.
    seed : int
        0 for methods without seeds.
    """

    options: Mapping[str, Any]
    classes: int
    seed: int = 0


@dataclass(frozen=True)
class ExportedHead:
    """A head as arrays.

    Attributes
    ----------
    tensors : mapping of str to array
        ``mean`` and ``std`` float32 [D] of the rows it was fitted on, ``weight`` float32 [K, D or W] and ``bias`` [K];
        with a hidden layer of W units also ``hidden_weight`` [W, D] and ``hidden_bias`` [W]. For k-NN, in place of
        layers: ``rows`` float32 [n, D] of unit length, their ``labels`` int64 [n] and ``k`` int64 [1].
    activation : str or None
        Of the hidden layer.
    """

    tensors: Mapping[str, FloatArray | IntArray]
    activation: str | None = None


class HeadMethod(Protocol[Head]):
    """A method of fitting heads; its scores are rows of the report.

    A subclass gives `name`, `candidates`, `fit` and `logits`, and what else differs from the defaults below.

    Attributes
    ----------
    name : str
        The method of its scores: letters, digits and hyphens.
    verb : str
        Which verb fits it, ``probe`` or ``baselines``.
    is_seeded : bool
        Whether it is fitted once for each seed.
    is_refit : bool
        Whether the selected candidate is fitted again on train and val before test is scored.
    are_independent : bool
        Whether each candidate's fit is the same without the other candidates.
    """

    name: str
    verb: str = "probe"
    is_seeded: bool = False
    is_refit: bool = False
    are_independent: bool = False

    @property
    def selection_name(self) -> str:
        """Methods with the same selection name and options share one selection."""
        return self.name

    def is_requested(self, options: HeadOptions) -> bool:
        """Return whether the command line asks for the method."""
        return True

    def options(self, options: HeadOptions) -> dict[str, Any]:
        """Return everything that changes the method's numbers, as JSON values: they are part of a score's key."""
        return {}

    def candidates(self, settings: FitSettings, rows: int) -> Candidates:
        """Return what is compared on validation.

        Parameters
        ----------
        settings : FitSettings
        rows : int
            The fewest rows that any fold is fitted on.
        """
        ...

    def fit(self, fold: Fold, settings: FitSettings, candidates: Candidates) -> Sequence[Head]:
        """Return one head per candidate, fitted on ``fold.X`` and ``fold.y``; held-out rows may only be monitored."""
        ...

    def logits(self, heads: Sequence[Head], X: FloatArray) -> Iterable[FloatArray]:
        """Yield the logits float32 [m, K] of each head for standardised rows float32 [m, D]."""
        ...

    def loss(self, task: Task) -> Loss:
        """Return what selects between candidates of equal selection score."""
        return task.loss

    def has_converged(self, head: Head) -> bool | None:
        """Return whether a fit met its tolerance; None if it has none."""
        return None

    def has_diverged(self, head: Head) -> bool:
        """Return whether a head is of no use because its training diverged."""
        return False

    def certificate(
        self,
        head: Head,
        selection: Selection[Head],
        settings: FitSettings,
    ) -> Certificate | None:
        """Return what proves the fit of the selected head."""
        return None

    def history(self, head: Head) -> tuple[dict[str, Any], ...]:
        """Return one mapping per epoch, if there are epochs."""
        return ()

    def count_parameters(self, head: Head) -> int:
        """Return the number of trained values: those in the head's arrays."""
        return sum(part.size for part in vars(head).values() if isinstance(part, np.ndarray))

    def export(self, head: Head, fold: Fold, settings: FitSettings) -> ExportedHead:
        """Return a head as arrays.

        Raises
        ------
        BadOption
            The method cannot be exported.
        """
        raise BadOption(f"{self.name} cannot be exported", expected="a method that has layers", got=self.name)

    def refit(self, fold: Fold, settings: FitSettings, selected: Candidate) -> Head:
        """Return the head of a score, fitted again as it was the first time."""
        if self.are_independent:
            strength = next(iter(selected.values()), 0.0)
            alone = Candidates((selected,), (strength,))
            return self.fit(fold, settings, alone)[0]
        candidates = self.candidates(settings, len(fold.y))
        return self.fit(fold, settings, candidates)[candidates.values.index(dict(selected))]


def export_linear(head: Linear, scaler: Scaler) -> ExportedHead:
    """Return a linear head with one row per class, also if one logit decides between two."""
    weight, bias = head.weight, head.bias
    if len(weight) == 1:
        weight, bias = np.vstack([np.zeros_like(weight), weight]), np.concatenate([np.zeros_like(bias), bias])
    return ExportedHead({**scaling(scaler), "weight": weight, "bias": bias})


def scaling(scaler: Scaler) -> dict[str, FloatArray]:
    """Return what standardises features, by the names of an exported head."""
    return {"mean": scaler.mean, "std": scaler.std}
