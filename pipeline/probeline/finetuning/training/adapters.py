"""Adapters of low rank below the head of a net, which are trained in place of its weights, and their merge into these.

Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang and Chen 2022, "LoRA: Low-rank adaptation of large language models", ICLR,
section 4.1: a matrix W [out, in] becomes W + alpha / r B A, of which only A [r, in] and B [out, r] are trained. B is 0
at first, so that training begins with the net as it is. For a convolution [out, in, h, w] the columns are in x h x w.

A layer that the net calls gets the layer of the package peft, which multiplies the input by A and then by B. There are
weights that a net reads without a call of their layer (``torch.nn.MultiheadAttention``, torchvision's Swin, timm's
BEiT), where peft's layer would be passed over, and layers that compute something else with their weight (standardised
weights, padding of their own), where it would differ from the merged weight. Such a weight gets a parametrization with
the same update. So does MultiheadAttention, for which peft adds the update to the weights and subtracts it again in
each pass: rounding would change the frozen weights.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from probeline.backbones import torchvision_import
from probeline.backbones.forward_pass import ForwardPass, random_images, watch
from probeline.backbones.penultimate import Tap
from probeline.backbones.stages import Stage
from probeline.errors import BadOption
from probeline.finetuning.training.steps import draw_seed
from probeline.format import listing
from probeline.names import LORA_OPTIONS
from probeline.results.members import AdapterFacts
from probeline.results.score_words import left_out

_NAME = "default"
"""peft's name of an adapter that is the only one."""

_DRAW = 7
"""Of the random numbers in A: none that an epoch or a part of a batch draws by."""

AUTO, ALL = "auto", "all"


@dataclass(frozen=True)
class AdapterOptions:
    """The hyper-parameters of adapters.

    Attributes
    ----------
    rank : int
        r, the number of rows of A.
    alpha : float
        The update is alpha / r times B A.
    dropout : float
        Share of a layer's input in [0, 1) that its adapter does not see while it trains.
    targets : str
        ``auto``, ``all``, or names of modules, joined by ``+``, whose layers are adapted.
    """

    rank: int
    alpha: float
    dropout: float
    targets: str

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> AdapterOptions:
        """Return those among the options of a training, one value each."""
        return cls(*(options[name] for name in LORA_OPTIONS))


@dataclass(frozen=True)
class Adapted:
    """What a net has become, by its present names.

    The tensors of `tap` are those of the net alone, the parameters of `stages` those of its adapters.
    """

    tap: Tap
    stages: tuple[Stage, ...]
    facts: AdapterFacts


@dataclass(frozen=True)
class _Weight:
    """The weight `name` of the module at `path`: whether it works on tokens, and how it can have an adapter, if so."""

    path: str
    name: str
    shape: tuple[int, ...]
    on_tokens: bool
    by: Literal["peft", "parametrization", "grouped", "shared"]

    @property
    def full_name(self) -> str:
        return f"{self.path}.{self.name}".removeprefix(".")

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def by_peft(self) -> bool:
        return self.by == "peft"

    @property
    def can_be_adapted(self) -> bool:
        return self.by in ("peft", "parametrization")

    @property
    def is_convolution(self) -> bool:
        return len(self.shape) == 4

    @property
    def base(self) -> str:
        """Its name in an adapted net."""
        return f"{self.path}.base_layer.{self.name}" if self.by_peft else f"{self._own}.original"

    @property
    def adapter(self) -> str:
        """What the names of its adapter's parameters begin with."""
        return f"{self.path}.lora_" if self.by_peft else f"{self._own}.0."

    @property
    def _own(self) -> str:
        return f"{self.path}.parametrizations.{self.name}".removeprefix(".")


class LowRank(nn.Module):
    """A parametrization of a weight [out, ...]: the weight plus an update of low rank."""

    def __init__(self, weight: Tensor, options: AdapterOptions) -> None:
        super().__init__()
        self.lora_A = nn.Linear(weight[0].numel(), options.rank, bias=False)
        self.lora_B = nn.Linear(options.rank, len(weight), bias=False)
        self._scale = options.alpha / options.rank

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight with its update, in its own precision also under autocast."""
        with torch.autocast(weight.device.type, enabled=False):
            return weight + self._scale * (self.lora_B.weight @ self.lora_A.weight).view(weight.shape)


def adapt(
    net: nn.Module, tap: Tap, stages: Sequence[Stage], image_size: int, options: AdapterOptions, seed: int
) -> Adapted:
    """Give the layers of a net below its head adapters, in place, and return what it has become.

    By default these are the linear layers that work on tokens, in attention and MLPs alike, if most of the weights are
    theirs (transformers), and else all linear layers and convolutions. Grouped convolutions, whose matrices are small,
    and weights that several modules share are left out. The net's output and the global random state
    stay as they are.

    Raises
    ------
    BadOption
        There is nothing to adapt, no such module, or a dropout where a weight has no input of its own.
    MissingExtra
        The package peft is missing.
    """
    wanted = _choose(_find_weights(net, tap, image_size), options.targets)
    chosen = [weight for weight in wanted if weight.can_be_adapted]
    left = Counter(weight.by for weight in wanted)
    if not chosen:
        raise BadOption(
            "--strategy lora finds no linear layer or convolution to adapt below the head of this net",
            got=left_out(left["grouped"], left["shared"]) or None,
            remedy="use --strategy bitfit or last-1",
        )
    parametrized = [weight for weight in chosen if not weight.by_peft]
    if parametrized and options.dropout:
        raise BadOption(
            "no dropout before weights that the net reads without calling their layer",
            where="--train lora_dropout",
            expected="0, or other lora_targets",
            got=listing(list(dict.fromkeys(map(_leaf, parametrized)))[:3]),
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw_seed(seed, 0, _DRAW))
        _insert(net, chosen, options)
    parameters = dict(net.named_parameters())
    by_name = {weight.full_name: weight for weight in chosen}
    kept = tuple(
        replace(stage, parameters=tuple(_adapters(parameters, [by_name[p] for p in stage.parameters if p in by_name])))
        for stage in stages
    )
    facts = AdapterFacts(
        rank=options.rank,
        linear=sum(weight.by_peft and not weight.is_convolution for weight in chosen),
        convolutions=sum(weight.by_peft and weight.is_convolution for weight in chosen),
        parametrized=len(parametrized),
        grouped=left["grouped"],
        shared=left["shared"],
        parameters=sum(parameters[name].numel() for name in _adapters(parameters, chosen)),
    )
    return Adapted(replace(tap, tensors=_renamed(tap.tensors, chosen)), kept, facts)


def merge(net: nn.Module) -> None:
    """Add the updates of a net's adapters to its weights and take the adapters out, in place."""
    for path, module in list(net.named_modules()):
        if _is_pefts(module):
            module.merge(safe_merge=True)
            net.set_submodule(path, module.get_base_layer())
        elif parametrize.is_parametrized(module):
            own = [name for name, by in module.parametrizations.items() if isinstance(by[0], LowRank)]
            for name in own:
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)


def _is_pefts(module: nn.Module) -> bool:
    """Return whether a module is a layer with peft's adapter; a net without any needs no peft."""
    return type(module).__module__.startswith("peft.") and hasattr(module, "get_base_layer")


def _find_weights(net: nn.Module, tap: Tap, image_size: int) -> list[_Weight]:
    """Return the matrices below the head."""
    net.eval()
    with torch.no_grad():
        trace, _ = watch(net, random_images(2, image_size))
    owners = Counter(id(parameter) for _, parameter in net.named_parameters(remove_duplicate=False))
    in_use = set(tap.tensors)
    found = []
    for path, module in net.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if _is_matrix(module, name, parameter) and f"{path}.{name}".removeprefix(".") in in_use:
                weight = _describe_weight(trace, path, module, name)
                found.append(weight if owners[id(parameter)] == 1 else replace(weight, by="shared"))
    return found


def _is_matrix(module: nn.Module, name: str, parameter: Tensor) -> bool:
    """Return whether a parameter is the matrix of a linear layer, a convolution or an attention."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        return name == "weight" and parameter.is_floating_point()
    return name.endswith("proj_weight") and parameter.ndim == 2  # as nn.MultiheadAttention and its copies have it


def _describe_weight(trace: ForwardPass, path: str, module: nn.Module, name: str) -> _Weight:
    shape = tuple(module.get_parameter(name).shape)
    if isinstance(module, nn.Conv2d) and module.groups > 1:
        return _Weight(path, name, shape, on_tokens=False, by="grouped")
    is_layer = isinstance(module, nn.Linear | nn.Conv2d)
    is_called = is_layer and bool(path) and trace.calls[path] > 0
    inputs = trace.inputs.get(path) or ()
    on_tokens = not isinstance(module, nn.Conv2d) and (not is_called or len(inputs) > 2)
    return _Weight(path, name, shape, on_tokens, "peft" if is_called and _is_plain(module) else "parametrization")


def _is_plain(module: nn.Module) -> bool:
    """Return whether peft's adapter of a layer computes what the layer would with the merged weight."""
    if module._forward_hooks or module._forward_pre_hooks or parametrize.is_parametrized(module):
        return False
    if isinstance(module, nn.Linear):
        return type(module).forward is nn.Linear.forward
    # peft makes a layer of the same class for A, with neither the dilation nor the kind of padding of the first.
    return type(module) is nn.Conv2d and set(module.dilation) == {1} and module.padding_mode == "zeros"


def _leaf(weight: _Weight) -> str:
    """Return the name by which users know a layer."""
    return weight.path.rpartition(".")[2]


def _choose(weights: Sequence[_Weight], targets: str) -> list[_Weight]:
    if targets == ALL:
        return list(weights)
    tokens = [weight for weight in weights if weight.on_tokens]
    if targets == AUTO:
        mostly = sum(weight.size for weight in tokens) > sum(weight.size for weight in weights if weight.is_convolution)
        return tokens if mostly else list(weights)
    chosen: dict[_Weight, None] = {}
    for name in targets.split("+"):
        own = [weight for weight in weights if f".{name}." in f".{weight.path}."]
        if weights and not own:
            known = list(dict.fromkeys(map(_leaf, weights)))
            raise BadOption(
                "no layer that can be adapted has this name, or is in a module of this name",
                where="--train lora_targets",
                expected=f"auto, all, or the path or a part of the path of {listing(known[:12])}",
                got=name,
            )
        chosen |= dict.fromkeys(own)
    return [weight for weight in weights if weight in chosen]


def _insert(net: nn.Module, weights: Sequence[_Weight], options: AdapterOptions) -> None:
    """Put adapters into a net: A uniform within 1 / sqrt(its columns), as torch's linear layers begin, and B zero."""
    paths = [re.escape(weight.path) for weight in weights if weight.by_peft]
    peft = torchvision_import.peft()
    if paths:
        config = peft.LoraConfig(
            r=options.rank, lora_alpha=options.alpha, lora_dropout=options.dropout, target_modules="|".join(paths)
        )
        peft.inject_adapter_in_model(config, net, adapter_name=_NAME)
        del net.peft_config
    for weight in weights:
        module = net.get_submodule(weight.path)
        if weight.by_peft:
            first, second = (net.get_submodule(f"{weight.adapter}{which}.{_NAME}") for which in "AB")
        else:
            low_rank = LowRank(module.get_parameter(weight.name), options)
            parametrize.register_parametrization(module, weight.name, low_rank)
            first, second = low_rank.lora_A, low_rank.lora_B
        nn.init.kaiming_uniform_(first.get_parameter("weight"), a=math.sqrt(5))
        nn.init.zeros_(second.get_parameter("weight"))


def _adapters(parameters: Mapping[str, nn.Parameter], weights: Sequence[_Weight]) -> Iterator[str]:
    """Yield the names of the parameters of adapters."""
    for weight in weights:
        yield from (name for name in parameters if name.startswith(weight.adapter))


def _renamed(tensors: Sequence[str], weights: Sequence[_Weight]) -> tuple[str, ...]:
    """Return the names of a net's own tensors after adapters were put in."""
    names = {weight.full_name: weight.base for weight in weights}
    names |= {f"{weight.path}.bias": f"{weight.path}.base_layer.bias" for weight in weights if weight.by_peft}
    return tuple(names.get(name, name) for name in tensors)
