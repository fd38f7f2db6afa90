"""The net that a user's function returns, trained or random, and the preprocessing that its code states for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from probeline.backbones.preprocessing.read import read_preprocess
from probeline.backbones.source import CLASSIC, Built
from probeline.backbones.user_code.calling import SEED, call_factory
from probeline.errors import BadOption, UnknownName
from probeline.images import Preprocess

ASSUMED = (
    "no preprocessing is stated, so images are resized to 256, cropped to 224 and normalised by ImageNet's mean and "
    "std; if that is wrong, give the function, the net or the module an attribute `preprocess`"
)


_STATED: WeakKeyDictionary[nn.Module, tuple[Preprocess, tuple[str, ...]]] = WeakKeyDictionary()


def state_preprocess(net: nn.Module, function: object, *others: object, what: str) -> nn.Module:
    """Return the net, whose preprocessing is then known by :func:`preprocess_of`.

    That is the attribute `preprocess` of the first of the function, the net and `others`, such as its module, that has
    one, or what timm records in the net; otherwise the classic one.
    """
    _STATED[net] = _find_preprocess(net, (function, net, *others), what)
    return net


def preprocess_of(net: nn.Module) -> Preprocess:
    """Return the preprocessing of a net of the user's code."""
    return _STATED[net][0]


def notes_of(net: nn.Module) -> tuple[str, ...]:
    """Return what is assumed of a net of the user's code."""
    return _STATED[net][1]


def _find_preprocess(net: nn.Module, owners: tuple[object, ...], what: str) -> tuple[Preprocess, tuple[str, ...]]:
    for owner in owners:
        stated = getattr(owner, "preprocess", None)
        if stated is not None and not _is_method(stated, owner):
            return read_preprocess(stated, f"the preprocessing of {what}"), ()
    recorded = of_timm(net)
    return (CLASSIC, (ASSUMED,)) if recorded is None else (recorded, ())


def own_preprocess(net: nn.Module, what: str) -> Preprocess | None:
    """Return the preprocessing that a net states itself; None if it does not."""
    record, notes = _find_preprocess(net, (net,), what)
    return None if notes else record


def _is_method(stated: object, owner: object) -> bool:
    """Return whether an attribute is a method, which prepares something else than a picture."""
    return callable(stated) and getattr(stated, "__self__", None) is owner


def of_timm(net: nn.Module) -> Preprocess | None:
    """Return the preprocessing that timm records in its nets; None for other nets."""
    config = getattr(net, "pretrained_cfg", None)
    if not isinstance(config, dict) or not {"input_size", "mean", "std", "interpolation"} <= set(config):
        return None
    from probeline.backbones.sources import timm

    return timm.preprocess(net)


def net_of(factory: Callable[[], Any], module: object, what: str, *, init: bool) -> nn.Module:
    """Return a factory's net with its preprocessing known; with `init` it must depend on torch's random state."""
    net = _random_net_of(factory, what) if init else call_factory(factory, what)
    return state_preprocess(net, factory, module, what=what)


def trained_net_of(create: Callable[[], nn.Module], weights: str, what: str) -> Built:
    """Return what `create` returns with its own weights, which are called ``DEFAULT``."""
    if weights != "DEFAULT":
        raise UnknownName(f"weights of {what}", weights, ["DEFAULT", "none", "PATH of a file"])
    torch.manual_seed(SEED)
    net = create()
    return Built(net, weights, preprocess_of(net), ())


def _random_net_of(factory: Callable[[], Any], what: str) -> nn.Module:
    """Return a factory's net if it is random: another seed must give other tensors.

    Raises
    ------
    BadOption
        The tensors are the same ones for another seed, so that they are trained, or all constant.
    """
    seed = torch.initial_seed()
    net = call_factory(factory, what)
    torch.manual_seed(seed + 1)
    again = dict(call_factory(factory, what).named_parameters())
    same = [name for name, tensor in net.named_parameters() if tensor.ndim > 1 and torch.equal(tensor, again[name])]
    if same or not again:
        raise BadOption(
            f"{what} has no random weights",
            expected="a function whose net depends on torch's random state",
            got=f"{len(same)} equal tensors for two seeds, such as {same[0]}" if same else "a net without parameters",
            remedy="leave --weights none and --strategy scratch out for this net",
        )
    return net
