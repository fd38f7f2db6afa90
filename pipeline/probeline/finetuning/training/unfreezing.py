"""Which stages of a net a strategy trains, from which epoch on, and which of their parameters if not all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import nn

from probeline.backbones.stages import Stage
from probeline.errors import BadOption, UnknownName
from probeline.finetuning.training.network import norms
from probeline.names import LAST_K, Strategy


@dataclass(frozen=True)
class UnfreezingPlan:
    """The epoch, from 0, with which the training of each stage begins, or None; that nearest to the image first."""

    begins: tuple[int | None, ...]

    def trained(self, epoch: int) -> tuple[bool, ...]:
        return tuple(begin is not None and begin <= epoch for begin in self.begins)

    @property
    def frozen_stages(self) -> int:
        """How many stages, counted from the image, are never trained."""
        ever = [i for i, begin in enumerate(self.begins) if begin is not None]
        return ever[0] if ever else len(self.begins)


def plan_unfreezing(strategy: str, stages: int, epochs: int, unfreeze: tuple[int, ...] = ()) -> UnfreezingPlan:
    """Return what a strategy trains of a net of so many stages. Its head is trained in every epoch of all of them.

    ``full``, ``scratch``, ``lp-ft``, ``wise-ft``, ``distill``, ``multi-task``: all. ``bitfit`` and ``lora``: all as
    well, a few parameters of each. ``head``, ``distill-head``, ``multi-task-head``: none. ``last-K``: the K stages
    nearest to the head. ``freeze-early`` and ``freeze-middle``: all but the first, or the middle third. ``gradual``:
    the last stage from the first of the epochs `unfreeze` on, the one below it from the second on, and so forth, those
    that are left with the last of them (Howard and Ruder 2018, "Universal language model fine-tuning for text
    classification", section 3.3). Where no epochs are given they stand at equal distances.

    Raises
    ------
    BadOption
        ``last-K`` of more stages than the net has, a strategy that parts more stages than it has, or an epoch that
        the training does not reach.
    """
    if last := LAST_K.fullmatch(strategy):
        count = int(last[1])
        if count > stages:
            raise BadOption("no such --strategy", expected=f"last-1 to last-{stages}", got=strategy)
        return UnfreezingPlan((None,) * (stages - count) + (0,) * count)
    third = max(1, round(stages / 3))
    required: dict[str, int] = {Strategy.FREEZE_EARLY: 2, Strategy.FREEZE_MIDDLE: 3}
    least = required.get(strategy, 1)
    if stages < least:
        raise BadOption(f"no such --strategy of {stages} stages", expected=f"a net of {least} or more", got=strategy)
    match strategy:
        case Strategy.FULL | Strategy.SCRATCH | Strategy.DISTILL | Strategy.MULTI_TASK:
            return UnfreezingPlan((0,) * stages)
        case Strategy.LP_FT | Strategy.WISE_FT | Strategy.BITFIT | Strategy.LORA:
            return UnfreezingPlan((0,) * stages)
        case Strategy.HEAD | Strategy.DISTILL_HEAD | Strategy.MULTI_TASK_HEAD:
            return UnfreezingPlan((None,) * stages)
        case Strategy.FREEZE_EARLY:
            return UnfreezingPlan((None,) * third + (0,) * (stages - third))
        case Strategy.FREEZE_MIDDLE:
            return UnfreezingPlan((0,) * third + (None,) * (stages - 2 * third) + (0,) * third)
        case Strategy.GRADUAL:
            return _gradual(stages, epochs, unfreeze)
    raise UnknownName("strategy", strategy, Strategy)


def only_biases(net: nn.Module, stages: Sequence[Stage], *, without_batchnorm: bool) -> tuple[Stage, ...]:
    """Return stages whose parameters are the biases alone, those of norms among them.

    This is BitFit: Ben Zaken, Ravfogel and Goldberg 2022, "BitFit: Simple parameter-efficient fine-tuning for
    transformer-based masked language-models", ACL. A bias is a vector whose name ends in ``bias``, so that tables of
    position biases are none. Those of BatchNorm can be left out.

    Raises
    ------
    BadOption
        There is none.
    """
    batchnorms = [parameter for norm in norms(net) for parameter in norm.parameters()]
    fixed = {id(parameter) for parameter in batchnorms} if without_batchnorm else set()
    biases = {
        name
        for name, parameter in net.named_parameters()
        if name.endswith("bias") and parameter.ndim == 1 and id(parameter) not in fixed
    }
    kept = tuple(replace(stage, parameters=tuple(p for p in stage.parameters if p in biases)) for stage in stages)
    if not any(stage.parameters for stage in kept):
        raise BadOption(
            "no --strategy bitfit: this net has no bias below its head",
            got="BatchNorm's alone, which --freeze-batchnorm keeps" if without_batchnorm and batchnorms else None,
            remedy="use --strategy last-1 or lora",
        )
    return kept


def _gradual(stages: int, epochs: int, unfreeze: tuple[int, ...]) -> UnfreezingPlan:
    at = unfreeze or tuple(epochs * (i + 1) // (stages + 1) for i in range(stages))
    if max(at) >= epochs or list(at) != sorted(at):
        raise BadOption("bad --unfreeze", expected=f"growing epochs below {epochs}", got=", ".join(map(str, at)))
    from_top = [at[min(i, len(at) - 1)] for i in range(stages)]
    return UnfreezingPlan(tuple(reversed(from_top)))
