"""Candidates of a hyper-parameter grid, and the selection of one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from probeline.types import FloatArray, IntArray

Candidate = Mapping[str, Any]
"""The names and values of the hyper-parameters that are compared."""

Head = TypeVar("Head")


@dataclass(frozen=True)
class Candidates:
    """What is compared on validation.

    Attributes
    ----------
    values : tuple of mappings
        An empty mapping if there is nothing to select.
    strengths : tuple of float
        How strongly each candidate regularises; of equally good ones the strongest is selected. All equal if they
        have no order.
    """

    values: tuple[Candidate, ...]
    strengths: tuple[float, ...]

    @classmethod
    def of(cls, name: str, values: Sequence[float]) -> Candidates:
        """Return the candidates of one hyper-parameter whose larger values regularise more."""
        return cls(tuple({name: value} for value in values), tuple(values))

    @classmethod
    def unordered(cls, values: Sequence[Candidate]) -> Candidates:
        """Return candidates without an order."""
        return cls(tuple(values), (0.0,) * len(values))

    def subset(self, indices: Sequence[int]) -> Candidates:
        """Return some of the candidates."""
        return Candidates(tuple(self.values[i] for i in indices), tuple(self.strengths[i] for i in indices))


@dataclass(frozen=True)
class Selection(Generic[Head]):
    """The best candidate on validation, selected without the test rows.

    Attributes
    ----------
    candidates : Candidates
        Those whose fit diverged in no fold.
    path : tuple of mappings
        Each candidate with its val ``top1`` and loss, averaged over the held-out rows of all folds.
    index : int
        Of the selected candidate.
    is_at_edge : bool
        Whether its strength is at an edge of the grid.
    y_val : int64 [n]
        Labels of the held-out rows, fold after fold.
    val_logits : float32 [n, K]
        Of the selected candidate for these rows, by fits without them.
    heads : sequence of Head
        Of all candidates, fitted on the train rows, which are those of the first fold.
    diverged : tuple of mappings
        The candidates whose training diverged.
    """

    candidates: Candidates
    path: tuple[Candidate, ...]
    index: int
    is_at_edge: bool
    y_val: IntArray
    val_logits: FloatArray
    heads: Sequence[Head]
    diverged: tuple[Candidate, ...] = ()

    @property
    def selected(self) -> Candidate:
        """The hyper-parameters of the best candidate."""
        return self.candidates.values[self.index]

    @property
    def head(self) -> Head:
        """The head of the best candidate, fitted on the train rows."""
        return self.heads[self.index]
