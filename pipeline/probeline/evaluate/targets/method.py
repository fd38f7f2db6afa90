"""The seam of heads of several labels or of numbers: what a method is given and provides."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from probeline.evaluate.heads.fit_device import FitDevice
from probeline.evaluate.heads.method import Candidate, Candidates
from probeline.evaluate.targets.folds import TargetFold
from probeline.options.groups.fitting import HeadOptions
from probeline.types import DoubleArray, FloatArray

Head = TypeVar("Head")


@dataclass(frozen=True)
class TargetFit:
    """What a fit depends on in addition to its rows: the options of its score, its seed and the device.

    The seed is None for methods without seeds.
    """

    options: Mapping[str, Any]
    seed: int | None = None
    device: FitDevice = field(default_factory=FitDevice, compare=False)


@dataclass(frozen=True)
class TargetSelection(Generic[Head]):
    """The best candidate on validation, selected without the test rows.

    Attributes
    ----------
    candidates : Candidates
        Those whose fit diverged in no fold.
    path : tuple of mappings
        Each candidate with its metric and loss on the held-out rows of all folds together.
    index : int
        Of the selected candidate.
    is_at_edge : bool
        Whether it is at an edge of the grid.
    Y_val : float64 [n, T]
        Targets of the held-out rows, fold after fold.
    val_outputs : float64 [n, T]
        Of the selected candidate for these rows, by fits without them.
    heads : sequence of Head
        Of all candidates, fitted on the train rows.
    diverged : tuple of mappings
        The candidates whose training diverged.
    """

    candidates: Candidates
    path: tuple[Mapping[str, Any], ...]
    index: int
    is_at_edge: bool
    Y_val: DoubleArray
    val_outputs: DoubleArray
    heads: Sequence[Head]
    diverged: tuple[Candidate, ...] = ()

    @property
    def selected(self) -> Candidate:
        """The hyper-parameters of the best candidate."""
        return self.candidates.values[self.index]


class TargetMethod(Protocol[Head]):
    """A method of fitting heads of several labels or of numbers; its scores are rows of the report.

    Attributes
    ----------
    name : str
        The method of its scores.
    task : str
        ``multi-label`` or ``regression``.
    verb : str
        Which verb fits it, ``probe`` or ``baselines``.
    is_seeded : bool
        Whether it is fitted once for each seed.
    is_refit : bool
        Whether the selected candidate is fitted again, alone, on train and val before test is scored.
    """

    name: str
    task: str
    verb: str = "probe"
    is_seeded: bool = False
    is_refit: bool = False

    def is_requested(self, options: HeadOptions) -> bool:
        """Return whether the command line asks for the method."""
        return True

    @abstractmethod
    def options(self, options: HeadOptions) -> dict[str, Any]:
        """Return everything that changes the method's numbers, as JSON values: they are part of a score's key."""

    @abstractmethod
    def candidates(self, fit: TargetFit, rows: int) -> Candidates:
        """Return what is compared on validation; `rows` are the fewest that any fold is fitted on."""

    @abstractmethod
    def fit(self, fold: TargetFold, fit: TargetFit, candidates: Candidates) -> Sequence[Head]:
        """Return one head per candidate, fitted on ``fold.X`` and ``fold.Y``."""

    @abstractmethod
    def outputs(self, head: Head, X: FloatArray) -> DoubleArray:
        """Return logits, or numbers, float64 [m, T] for standardised rows float32 [m, D]."""

    def leave_one_out(self, fold: TargetFold, candidates: Candidates) -> Sequence[DoubleArray] | None:
        """Return the outputs float64 [n, T] of each candidate for each row by a fit without it; None if not exact."""
        return None

    def is_at_edge(self, fit: TargetFit, candidate: Candidate) -> bool:
        """Return whether a candidate is at an edge of a grid that has no order of strengths."""
        return False

    def has_diverged(self, head: Head) -> bool:
        """Return whether a head is of no use because its training diverged."""
        return False

    def history(self, head: Head) -> tuple[Mapping[str, Any], ...]:
        """Return one mapping per epoch, if there are epochs."""
        return ()

    def has_converged(self, head: Head) -> bool:
        """Return whether a fit met its tolerance."""
        return True

    def certificate(self, head: Head) -> Mapping[str, Any]:
        """Return what proves a fit."""
        return {}

    def count_parameters(self, head: Head) -> int:
        """Return the number of trained values: those in the head's arrays."""
        return sum(part.size for part in vars(head).values() if isinstance(part, np.ndarray))
