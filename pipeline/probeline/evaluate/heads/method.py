"""The seam of heads: what a method of fitting heads on cached features is given and provides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import numpy as np

from probeline.errors import BadOption
from probeline.evaluate.heads.fit_device import FitDevice
from probeline.evaluate.task import Loss, Task
from probeline.format import option
from probeline.heads.class_weights import ClassWeights, row_weights
from probeline.heads.linear import Linear, decision
from probeline.heads.standardize import Scaler, apply, fit_scaler
from probeline.options.groups.fitting import HeadOptions
from probeline.results.texts import TextFeatures
from probeline.types import DoubleArray, FloatArray, IntArray

Candidate = Mapping[str, Any]
"""The names and values of the hyper-parameters that are compared."""

Head = TypeVar("Head")
Watched = TypeVar("Watched", contravariant=True)
Rows = TypeVar("Rows")
"""What a head reads: vectors float32 [n, D], or tokens that are read when they are needed."""
LinearHead = TypeVar("LinearHead", bound=Linear)


@dataclass(frozen=True)
class FoldOf(Generic[Rows]):
    """Rows to fit on and held-out rows; vectors are standardised by the rows to fit on, tokens when they are read.

    Attributes
    ----------
    X : float32 [n, D] or tokens [n, T, D]
    y : int64 [n]
    X_heldout : float32 [m, D] or tokens [m, T, D]
    y_heldout : int64 [m]
    scaler : Scaler
        Mean and std of each column, or of each channel of all tokens, of the rows to fit on.
    """

    X: Rows
    y: IntArray
    X_heldout: Rows
    y_heldout: IntArray
    scaler: Scaler


Fold: TypeAlias = FoldOf[FloatArray]
"""Of vectors."""


def make_fold(X: FloatArray, y: IntArray, X_heldout: FloatArray, y_heldout: IntArray) -> Fold:
    """Return a fold of features that are not standardised yet."""
    scaler = fit_scaler(X)
    return Fold(apply(scaler, X), y, apply(scaler, X_heldout), y_heldout, scaler)


class Watch(Protocol[Watched]):
    """Watches heads that are fitted in order, from the strongest regularisation to the weakest."""

    def start(self) -> None:
        """Begin; a fit that is repeated on another device begins again."""
        ...

    def is_over(self, head: Watched) -> bool:
        """Return whether the heads that follow this one may be left out."""
        ...


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


def describe_candidate(candidate: Candidate) -> str:
    """Return hyper-parameters in words, such as ``lr 0.001``."""
    return " ".join(option(name, value) for name, value in candidate.items())


@dataclass(frozen=True)
class Selection(Generic[Head]):
    """The best candidate on validation, selected without the test rows.

    Attributes
    ----------
    candidates : Candidates
        Those that were fitted, and whose fit diverged in no fold.
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


def no_texts() -> TextFeatures:
    """Raise BadOption: the features are of no net with a text tower."""
    raise BadOption("no text tower", expected="features of a net that has one")


@dataclass(frozen=True)
class FitSettings:
    """What a fit depends on in addition to its rows.

    Attributes
    ----------
    options : mapping
        Of the score, see :meth:`HeadMethod.options`.
    classes : int
        K.
    seed : int
        0 for methods without seeds.
    device : FitDevice
        Runs a fit on the session's device, if the method has a use for it; the score says which one it was.
    class_weights : ClassWeights or None
        How much each class counts in fitting; None if all count the same.
    texts : callable
        Returns what the net's text tower gives for the classes, for methods that read texts.
    order : tuple of int
        The classes from the lowest to the highest; empty if they have no order.
    full_path : bool
        Whether all candidates are fitted, also those that cannot be selected.
    """

    options: Mapping[str, Any]
    classes: int
    seed: int = 0
    device: FitDevice = field(default_factory=FitDevice, compare=False)
    class_weights: ClassWeights | None = None
    texts: Callable[[], TextFeatures] = field(default=no_texts, compare=False)
    order: tuple[int, ...] = ()
    full_path: bool = False

    def row_weights(self, y: IntArray) -> DoubleArray | None:
        """Return the weights float64 [n], of mean 1, of rows to fit on with labels int64 [n]; None if all are 1."""
        return None if self.class_weights is None else row_weights(y, self.classes, self.class_weights)


@dataclass(frozen=True)
class Certificate:
    """What proves a fit, written into its score as JSON; methods with more to say extend it.

    Attributes
    ----------
    edge : bool
        Whether the selected candidate is at an edge of its grid, beyond which a better one may lie.
    """

    edge: bool


@dataclass(frozen=True)
class ExportedHead:
    """A head as arrays.

    Attributes
    ----------
    tensors : mapping of str to array
        ``mean`` and ``std`` float32 [D] of the rows it was fitted on, ``weight`` float32 [K, D or W] and ``bias`` [K];
        with a hidden layer of W units also ``hidden_weight`` [W, D] and ``hidden_bias`` [W]. For k-NN, in place of
        layers: ``rows`` float32 [n, D] of unit length, their ``labels`` int64 [n] and ``k`` int64 [1]; if its votes
        are weighted also their ``temperature`` float32 [1].
    activation : str or None
        Of the hidden layer.
    """

    tensors: Mapping[str, FloatArray | IntArray]
    activation: str | None = None


class MethodOf(Protocol[Head, Rows]):
    """A method of fitting heads on rows of a kind; its scores are rows of the report.

    A subclass gives `name`, `candidates`, `fit` and `logits`, and what else differs from the defaults below. Those that
    read vectors, as most do, are a :class:`HeadMethod`.

    Attributes
    ----------
    name : str
        The method of its scores: letters, digits and hyphens.
    verb : str
        Which verb fits it, ``probe`` or ``baselines``.
    is_seeded : bool
        Whether it is fitted once for each seed.
    is_refit : bool
        Whether the selected candidate is fitted again, alone, on train and val before test is scored.
    are_independent : bool
        Whether each candidate's fit is the same without the other candidates.
    weighs_classes : bool
        Whether `fit` uses :meth:`FitSettings.row_weights`. If not, ``--class-weights`` does not concern the method.
    orders_classes : bool
        Whether `fit` uses :attr:`FitSettings.order`, which ``--ordinal`` gives.
    reads_tokens : bool
        Whether its rows are all tokens of a layer, as of the taps ``MODULE:tokens``, and no vectors.
    reads_texts : bool
        Whether it uses :attr:`FitSettings.texts`, so that its rows are in the space that images and texts share.
    uses_train : bool
        Whether a fit depends on its rows.
    """

    name: str
    verb: str = "probe"
    is_seeded: bool = False
    is_refit: bool = False
    are_independent: bool = False
    weighs_classes: bool = False
    orders_classes: bool = False
    reads_tokens: bool = False
    reads_texts: bool = False
    uses_train: bool = True

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

    def fit(self, fold: FoldOf[Rows], settings: FitSettings, candidates: Candidates) -> Sequence[Head]:
        """Return one head per candidate, fitted on ``fold.X`` and ``fold.y``; held-out rows may only be monitored."""
        ...

    def fit_until(
        self, fold: FoldOf[Rows], settings: FitSettings, candidates: Candidates, watch: Watch[Head]
    ) -> Sequence[Head | None]:
        """Return what `fit` does, with None for candidates that are left out as the watch says that they may be."""
        return self.fit(fold, settings, candidates)

    def logits(self, heads: Sequence[Head], X: Rows) -> Iterable[FloatArray]:
        """Yield the logits float32 [m, K] of each head for rows as a fold has them."""
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

    def certificate(self, head: Head, selection: Selection[Head], settings: FitSettings) -> Certificate | None:
        """Return what proves the fit of the selected head."""
        return None

    def history(self, head: Head) -> tuple[dict[str, Any], ...]:
        """Return one mapping per epoch, if there are epochs."""
        return ()

    def count_parameters(self, head: Head) -> int:
        """Return the number of trained values: those in the head's arrays."""
        return sum(part.size for part in vars(head).values() if isinstance(part, np.ndarray))

    def export(self, head: Head, fold: FoldOf[Rows], settings: FitSettings) -> ExportedHead:
        """Return a head as arrays.

        Raises
        ------
        BadOption
            The method cannot be exported.
        """
        raise BadOption(f"{self.name} cannot be exported", expected="a method that has layers", got=self.name)

    def refit(self, fold: FoldOf[Rows], settings: FitSettings, selected: Candidate, *, alone: bool = False) -> Head:
        """Return the head of a score, fitted again as it was the first time: `alone`, or with the other candidates."""
        if alone or self.are_independent:
            strength = next(iter(selected.values()), 0.0)
            return self.fit(fold, settings, Candidates((selected,), (strength,)))[0]
        candidates = self.candidates(settings, len(fold.y))
        return self.fit(fold, settings, candidates)[candidates.values.index(dict(selected))]


class HeadMethod(MethodOf[Head, FloatArray], Protocol[Head]):
    """A method of fitting heads on vectors: its folds and `logits` have float32 [n, D], standardised."""


class LinearMethod(HeadMethod[LinearHead]):
    """A method whose heads are linear maps."""

    def logits(self, heads: Sequence[LinearHead], X: FloatArray) -> Iterable[FloatArray]:
        return (decision(head, X) for head in heads)

    def export(self, head: LinearHead, fold: Fold, settings: FitSettings) -> ExportedHead:
        return ExportedHead(linear_tensors(fold.scaler, head.weight, head.bias))


def linear_tensors(scaler: Scaler, weight: FloatArray, bias: FloatArray) -> dict[str, FloatArray]:
    """Return the tensors of an exported linear map, with one row per class also if one logit decides between two."""
    weight, bias = expand_two_classes(weight, bias)
    return {"mean": scaler.mean, "std": scaler.std, "weight": weight, "bias": bias}


def expand_two_classes(weight: FloatArray, bias: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return a linear map with one row per class: a single row is the second class's, and the first one's is 0."""
    if len(weight) > 1:
        return weight, bias
    return np.vstack([np.zeros_like(weight), weight]), np.concatenate([np.zeros_like(bias), bias])
