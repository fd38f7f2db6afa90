"""A net by name and image size, with weights from its source, a wheel or a file, or with random ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from probeline.backbones.penultimate import find_tap
from probeline.backbones.registry import find, names_code
from probeline.backbones.source import CLASSIC, BackboneSource, Built, ReadsFiles, StatesPreprocess, no_categories
from probeline.backbones.weights.checkpoint import load_checkpoint
from probeline.backbones.weights.image_size import options_for, why_not
from probeline.backbones.weights.state_dict import load_state, read_state, shards_of
from probeline.backbones.weights.wheel import from_wheel
from probeline.errors import BadOption, BadWeights
from probeline.names import is_weights_file

RANDOM_SEED = 0
"""Of ``--weights none``, which always gives the same net."""


def build(name: str, weights: str, image_size: int | None = None) -> Built:
    """Return the net `name` with `weights`, for images of `image_size` pixels or, if None, of its weights' own size.

    `weights` are ``DEFAULT``, another name that the source knows, ``none``, ``wheel`` or the path of a checkpoint. The
    preprocessing is that of the weights, at their own size. The global random state stays as it is.

    Raises
    ------
    UnknownName
        No such net, or no such weights for it.
    MissingData, DownloadFailed
        The weights are not on this machine and could not be fetched.
    BadWeights
        The file has no weights of this net, or its hash is not that of its name.
    BadOption
        The net cannot take images of this size.
    """
    source, bare_name = find(name)
    _NAMED.add(name)
    with torch.random.fork_rng(devices=[]):
        if is_weights_file(weights) and isinstance(source, ReadsFiles):
            built = source.from_file(bare_name, Path(weights))
        elif is_weights_file(weights):
            return _from_file(source, name, bare_name, Path(weights), image_size)
        elif weights == "none":
            return _random(source, name, bare_name, image_size)
        elif weights == "wheel":
            built = from_wheel(source, name, bare_name)
        else:
            built = source.pretrained(bare_name, weights)
            built = replace(built, options=source.options(bare_name, weights))
        if image_size is None or image_size == built.preprocess.crop:
            return built
        return _at_size(source, name, bare_name, built, image_size)


def _random(source: BackboneSource, name: str, bare_name: str, image_size: int | None) -> Built:
    net = random_net(name, RANDOM_SEED)
    own = source.preprocess(net) if isinstance(source, StatesPreprocess) else None
    if own is not None:
        built = Built(net, "none", own, ())
        return built if image_size in (None, own.crop) else _at_size(source, name, bare_name, built, image_size)
    if image_size is None:
        fits = why_not(net, CLASSIC.crop) is None
        return Built(net, "none", CLASSIC if fits else CLASSIC.at(source.preprocess(net).crop), ())
    options = options_for(source, name, bare_name, net, image_size, {})
    net = random_net(name, RANDOM_SEED, options) if options else net
    return Built(net, "none", CLASSIC, (), options)


def _from_file(source: BackboneSource, name: str, bare_name: str, path: Path, image_size: int | None) -> Built:
    tensors = read_state(path)
    own = source.create(bare_name, {})
    preprocess = source.preprocess(own)

    def fill(net: nn.Module, size: int) -> tuple[str, ...]:
        tap, adapt = partial(find_tap, net, size, name), getattr(source, "adapt", None)
        notes = load_checkpoint(net, tensors, where=path, find_tap=tap, adapt=adapt)
        return (f"{path.name}: {'; '.join(notes)}",) if notes else ()

    size = preprocess.crop if image_size is None else image_size
    options = {} if image_size is None else options_for(source, name, bare_name, own, size, {})
    net = source.create(bare_name, options) if options else own
    try:
        notes = fill(net, size)
    except BadWeights as error:
        if options:
            fill(own, preprocess.crop)  # which raises for weights of another net
            raise _not_fitted(path, size, preprocess.crop, error) from error
        raise
    return Built(net, path.name, preprocess, (path, *shards_of(path)), options, notes)


def _not_fitted(weights: object, size: int, own: int, error: BadWeights) -> BadOption:
    what, remedy = f"these weights cannot be fitted to images of {size} pixels", "leave out --image-size"
    return BadOption(what, where=weights, expected=f"{own} pixels", got=error.got, remedy=remedy)


def _at_size(source: BackboneSource, name: str, bare_name: str, built: Built, image_size: int) -> Built:
    """Return a net of a source's weights for images of `image_size` pixels: itself if it takes them."""
    options = options_for(source, name, bare_name, built.net, image_size, built.options)
    if options == built.options:
        return built
    net = source.create(bare_name, options)
    state, adapt = built.net.state_dict(), getattr(source, "adapt", None)
    try:
        load_state(net, state if adapt is None else adapt(net, state), where=name)
    except BadWeights as error:
        raise _not_fitted(name, image_size, built.preprocess.crop, error) from error
    return replace(built, net=net, options=options)


_NAMED: set[str] = set()
"""The nets that somebody named in this process."""


def bare_net(name: str, options: Mapping[str, Any]) -> nn.Module:
    """Return the net in eval mode, built with `options` of :class:`Built`, its tensors yet to be filled.

    The global random state stays as it is. Options that no net is built with are a ValueError. A net that is a user's
    code is built if this process built it by its name before: an artifact alone does not have code run.
    """
    if names_code(name) and name not in _NAMED:
        raise BadOption(
            "the net of this artifact is code, which is not run for an artifact alone",
            where=name,
            remedy=f"in Python: probeline.backbones.build.build({name!r}, 'DEFAULT'), then load the artifact",
        )
    source, bare_name = find(name)
    known = {"image_size": int, "transform_input": bool}
    if any(type(value) is not known.get(option) for option, value in options.items()):
        raise ValueError(f"a net built with {dict(options)}")
    with torch.random.fork_rng(devices=[]):
        return source.create(bare_name, options).eval()


def random_net(name: str, seed: int, options: Mapping[str, Any] | None = None) -> nn.Module:
    """Return the net with its authors' random initialisation; the global random state stays as it is."""
    source, bare_name = find(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return source.create(bare_name, options or {}, init=True)


def categories(name: str, weights: str) -> tuple[str, ...]:
    """Return the class names of a net's own head; BadOption if its source has none for these weights."""
    source, bare_name = find(name)
    if not _are_of_source(weights):
        raise no_categories(name, weights)
    return source.categories(bare_name, weights)


def _are_of_source(weights: str) -> bool:
    return not is_weights_file(weights) and weights not in ("none", "wheel")
