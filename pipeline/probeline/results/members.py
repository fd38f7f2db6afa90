"""Members of the mappings in records, as far as programs read them; all others are kept as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from probeline.files.decode import Members
from probeline.files.limits import Count, Length, Loss, Name, NotNegative, Number, Positive, Share, Within


@dataclass(frozen=True)
class EnvironmentMembers:
    """Hardware and versions; see :func:`probeline.environment.environment`."""

    machine: str = ""
    processor: str = ""
    device: str = ""
    cores: Positive = 1


Environment = Annotated[Mapping[str, str | int], Members(EnvironmentMembers)]


Weight = Annotated[float, Within(1e-300, 1e100)]
"""Of a class: above 0."""


@dataclass(frozen=True)
class OptionMembers:
    """Options of a method that its command is printed from, or that a note names."""

    version: Count | None = None
    background: Literal["black", "white"] = "black"
    grey_range: Literal["full", "auto", "8", "10", "12", "14", "16"] = "full"
    estimator: Name | None = None
    grid: Mapping[str, tuple[Any, ...]] | None = None
    epochs: Count | tuple[Count, ...] | None = None
    batch_size: Count | tuple[Count, ...] | None = None
    lr: NotNegative | tuple[NotNegative, ...] | None = None
    views: Count = 0
    unfreeze: tuple[Count, ...] = ()
    freeze_batchnorm: bool = False
    teacher: Name | None = None
    alpha: Number | None = None
    temperature: Number | None = None
    second: Name | None = None
    select_by: Name | None = None
    class_weights: Literal["balanced"] | Mapping[str, Weight] | None = None
    lora_r: Positive | tuple[Positive, ...] | None = None
    lora_alpha: NotNegative | tuple[NotNegative, ...] | None = None
    lora_dropout: Share | tuple[Share, ...] | None = None
    lora_targets: Name | tuple[Name, ...] | None = None
    loss: Literal["huber", "mse"] | None = None
    huber_delta: NotNegative | tuple[NotNegative, ...] | None = None
    templates: tuple[Name, ...] = ()
    class_texts: Mapping[str, Name] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.teacher is not None and (self.alpha is None or self.temperature is None):
            raise ValueError("a teacher without alpha and temperature")


Options = Annotated[Mapping[str, Any], Members(OptionMembers)]


@dataclass(frozen=True)
class ChosenMembers:
    """The hyper-parameters that were selected."""

    l2: NotNegative | None = None
    epoch: Positive | None = None
    dropout: Share | None = None
    alpha: Share | None = None
    lora_r: Positive | None = None
    lora_alpha: NotNegative | None = None
    lora_dropout: Share | None = None
    lora_targets: Name | None = None


Chosen = Annotated[Mapping[str, Any], Members(ChosenMembers)]


@dataclass(frozen=True)
class SecondTaskAccuracy:
    """Top-1 of a second head over the `n` images with its label, and Wilson's interval; None if no image has one."""

    n: Count
    top1: Share | None
    interval: tuple[Share, Share] | None

    def __post_init__(self) -> None:
        if (self.n > 0) != (self.top1 is not None):
            raise ValueError(f"top1 {self.top1} of {self.n:,} images")


@dataclass(frozen=True)
class SecondTaskFacts:
    """Classes of a second task, and the accuracy of its head on val and on test."""

    classes: Annotated[tuple[str, ...], Length(1, 1 << 20)]
    val: SecondTaskAccuracy
    test: SecondTaskAccuracy


@dataclass(frozen=True)
class AdapterFacts:
    """Adapters of low rank, by how they are put into a net, and what was left out.

    Attributes
    ----------
    linear, convolutions : int
        Layers with an adapter next to them.
    parametrized : int
        Weights that are read without a call of their layer, or whose layer is of a kind of its own.
    grouped, shared : int
        Grouped convolutions, and weights that several modules share: they have none.
    parameters : int
        Of all adapters.
    """

    rank: Positive
    linear: Count
    convolutions: Count
    parametrized: Count
    grouped: Count
    shared: Count
    parameters: Positive


@dataclass(frozen=True)
class CertificateMembers:
    """What proves a fit, as far as a report words it."""

    edge: bool = False
    diverged: tuple[str, ...] = ()
    cut: Name | None = None
    second: SecondTaskFacts | None = None
    adapters: AdapterFacts | None = None


Certificate = Annotated[Mapping[str, Any], Members(CertificateMembers)]


@dataclass(frozen=True)
class EpochMembers:
    """One epoch of a training."""

    epoch: Positive
    train_loss: Loss | None = None
    train_top1: Share | None = None
    val_loss: Loss | None = None
    val_top1: Share | None = None
    val_score: Share | None = None
    stages: Count | None = None


Epoch = Annotated[Mapping[str, Any], Members(EpochMembers)]


@dataclass(frozen=True)
class TargetEpochMembers:
    """One epoch of a training on labels or numbers."""

    epoch: Positive
    train_loss: Loss | None = None
    val_loss: Loss | None = None
    val_score: Number | None = None
    stages: Count | None = None


TargetEpoch = Annotated[Mapping[str, Any], Members(TargetEpochMembers)]


@dataclass(frozen=True)
class CandidateMembers:
    """One candidate of a selection: its scores on val, and on test if they were computed after the selection."""

    l2: NotNegative | None = None
    alpha: Share | None = None
    top1: Share | None = None
    nll: Loss | None = None
    test_top1: Share | None = None
    test_nll: Loss | None = None


Candidate = Annotated[Mapping[str, Any], Members(CandidateMembers)]

Role = Literal["train", "val", "test"]


@dataclass(frozen=True)
class RoleMembers:
    """A count for each role."""

    train: Count
    val: Count
    test: Count


RoleCounts = Annotated[Mapping[str, Count], Members(RoleMembers)]
