"""Taps inside a net: the output of any module, pooled to a vector or as tokens, or all of its input.

The blocks of a transformer, the tokens before the patches and the axis of the channels are found by watching passes
over random images. There is no table of names.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from probeline.backbones.forward_pass import (
    Shape,
    blocks_of_tokens,
    buffers_of,
    graph,
    hook_modules,
    hooked,
    parameters_in,
    random_images,
    watch,
)
from probeline.errors import BadOption, UnknownName
from probeline.names import LAST_K, TOKENS, TapReading

CLASS_TOKENS = ("cls_token", "class_token", "class_embedding")
"""Names of the parameter that is the first token."""

_POOLING: dict[TapReading, str] = {
    "vector": "none",
    "map": "avg",
    "map-last": "avg",
    "cls": "cls",
    "mean": "mean",
    "input": "flat",
    "tokens": "tokens",
    "map-tokens": "tokens",
    "map-last-tokens": "tokens",
}
"""By reading, the word of the cache key."""

_WITH_TOKENS: dict[TapReading, TapReading] = {"map": "map-tokens", "map-last": "map-last-tokens"}


@dataclass(frozen=True)
class InnerTap:
    """The output of one module, or its input, read as a row of `dim` values.

    The output is [N, D]; a map [N, D, H, W] or, for ``map-last``, [N, H, W, D] that is averaged over its positions; or
    tokens [N, T, D], of which the class token is read or the mean of the patches, which follow `prefix` other tokens.
    ``tokens`` keeps all T of them in their order, ``map-tokens`` and ``map-last-tokens`` the H x W positions of a map,
    row by row; `tokens` is T then, else 0. ``input`` is the first argument, flattened. `tensors` are the names of the
    parameters and buffers that the embedding depends on.
    """

    module: str
    reading: TapReading
    prefix: int = 0
    dim: int = 0
    tensors: tuple[str, ...] = ()
    tokens: int = 0

    @property
    def name(self) -> str:
        """The tap as in ``--tap``: ``layer3``, ``layer4:input``, ``blocks.11:cls``, ``layer4:tokens``."""
        if self.pooling == "tokens":
            return self.module + TOKENS
        return f"{self.module}:{self.reading}" if self.reading in ("cls", "mean", "input") else self.module

    @property
    def pooling(self) -> str:
        """The pooling as a word of the cache key."""
        return _POOLING[self.reading]

    def read(self, output: Tensor) -> Tensor:
        """Return float32 [N, D], or of tokens [N, T x D], a copy, because later modules may work in place."""
        values = output.float()
        match self.reading:
            case "map":
                return values.mean((2, 3))
            case "map-last":
                return values.mean((1, 2))
            case "cls":
                return values[:, 0].clone()
            case "mean":
                return values[:, self.prefix :].mean(1)
            case "input" | "tokens" | "map-last-tokens":
                return values.flatten(1).clone()
            case "map-tokens":
                return values.permute(0, 2, 3, 1).flatten(1).clone()
        return values.clone()


def attach(net: nn.Module, taps: Iterable[InnerTap], keep: Callable[[str, Tensor], None]) -> list[RemovableHandle]:
    """Call `keep` in every pass of `net` with each tap's name and what it reads."""

    def read(tap: InnerTap, _: nn.Module, arguments: tuple[Any, ...], output: Tensor | None = None) -> None:
        keep(tap.name, tap.read(arguments[0] if output is None else output))

    handles = []
    for tap in taps:
        module = net.get_submodule(tap.module)
        if tap.reading == "input":
            # Before other hooks, so that those of the module itself have not begun.
            handles.append(module.register_forward_pre_hook(partial(read, tap), prepend=True))
        else:
            handles.append(module.register_forward_hook(partial(read, tap)))
    return handles


class _Finder:
    """Finds the taps of one net from a recorded pass."""

    def __init__(self, net: nn.Module, image_size: int, name: str) -> None:
        self.net, self.size, self.name = net, image_size, name
        self.images = random_images(2, image_size)
        with torch.no_grad():
            self.watched, _ = watch(net, self.images)
        names = (path.rpartition(".")[2] for path, _ in net.named_parameters())
        self.has_class_token = any(name in CLASS_TOKENS for name in names)

    def expand(self, term: str) -> list[InnerTap]:
        """Return the taps that a term stands for; their width and tensors are not known yet."""
        if last := LAST_K.fullmatch(term):
            return self._last(int(last[1]))
        module, _, pooling = term.partition(":")
        self._check_runs_once(module)
        if pooling == "input":
            shape = self.watched.inputs[module]
            if shape is None or shape[0] != 2 or len(shape) < 2:
                raise self._refused(term, "one tensor of features", shape)
            return [InnerTap(module, "input")]
        shape = self.watched.outputs[module]
        if shape is None or shape[0] != 2 or not 2 <= len(shape) <= 4:
            raise self._refused(term, "one tensor of features: [N, D], a map or tokens", shape)
        if pooling == "tokens":
            return [self._all_tokens(term, module, shape)]
        if len(shape) == 3:
            if not pooling:
                raise self._refused(
                    term, f"{module}:cls or {module}:mean, or all {module}:tokens", f"tokens {list(shape)}"
                )
            return [self._token(module, "cls" if pooling == "cls" else "mean", shape[1])]
        if pooling:
            raise self._refused(term, f"{module} alone", f"no tokens but {list(shape)}")
        return [InnerTap(module, "vector" if len(shape) == 2 else self._map(module, shape))]

    def _check_runs_once(self, module: str) -> None:
        names = [path for path, _ in self.net.named_modules() if path]
        if module not in names:
            near = difflib.get_close_matches(module, names, n=12, cutoff=0.5)
            near += [path for path, _ in self.net.named_children() if path not in near]
            known = ["penultimate", "last-K", *near, f"and others of its {len(names)} modules"]
            raise UnknownName(f"tap of {self.name}", module, known)
        if (calls := self.watched.calls[module]) != 1:
            times = "not at all" if not calls else f"{calls} times"
            raise self._refused(module, "a module that runs once in a forward pass", f"one that runs {times}")

    def _refused(self, term: str, expected: str, got: Shape | list[int] | str) -> BadOption:
        got = "no tensor" if got is None else list(got) if isinstance(got, tuple) else got
        return BadOption(f"no features at this --tap of {self.name}", where=term, expected=expected, got=got)

    def _token(self, module: str, reading: TapReading, tokens: int) -> InnerTap:
        fixed = self.watched.fixed[tokens]
        prefix = len(fixed)
        if fixed != list(range(prefix)) or prefix == tokens:
            raise self._refused(f"{module}:{reading}", "class and register tokens first, then patches", fixed)
        if reading == "cls" and not (prefix and self.has_class_token):
            raise self._refused(f"{module}:cls", f"{module}:mean", "a net without class token")
        return InnerTap(module, reading, prefix)

    def _all_tokens(self, term: str, module: str, shape: tuple[int, ...]) -> InnerTap:
        """Return the tap of all tokens [N, T, D], or of all positions of a map."""
        if len(shape) == 2:
            raise self._refused(term, f"{module} alone", f"no tokens but {list(shape)}")
        if len(shape) == 3:
            return InnerTap(module, "tokens", tokens=shape[1])
        reading = self._map(module, shape)
        height, width = shape[2:] if reading == "map" else shape[1:3]
        return InnerTap(module, _WITH_TOKENS[reading], tokens=height * width)

    def _map(self, module: str, shape: tuple[int, ...]) -> TapReading:
        """Return how a map is read. Images are square, so both axes of positions have the same length."""
        if len(set(shape[1:])) == 1 and shape[1] > 1:
            return self._map_at_another_size(module, shape)
        if shape[2] == shape[3]:
            return "map"
        if shape[1] == shape[2]:
            return "map-last"
        raise self._refused(module, "a map of square images: [N, C, H, H] or [N, H, H, C]", shape)

    def _map_at_another_size(self, module: str, shape: tuple[int, ...]) -> TapReading:
        try:
            with torch.no_grad():
                other = watch(self.net, random_images(2, self.size + 32))[0].outputs[module]
        except (RuntimeError, AssertionError, ValueError, KeyError):  # a net of one size
            other = None
        if other is not None and len(other) == 4:
            if other[1] == shape[1] and other[3] != shape[3]:
                return "map"
            if other[3] == shape[3] and other[1] != shape[1]:
                return "map-last"
        raise self._refused(module, "channels that can be distinguished from positions", shape)

    def _last(self, count: int) -> list[InnerTap]:
        blocks = blocks_of_tokens(self.net, self.watched)
        if not 1 <= count <= len(blocks):
            valid = f"last-1 to last-{len(blocks)}" if blocks else "a net with a sequence of blocks of tokens"
            raise BadOption(f"bad --tap of {self.name}", expected=valid, got=f"last-{count}")
        taps = []
        for block in blocks[-count:]:
            tokens = (self.watched.outputs[block] or (0, 0))[1]
            prefix = len(self.watched.fixed[tokens])
            readings: tuple[TapReading, ...] = ("cls", "mean") if prefix and self.has_class_token else ("mean",)
            taps += [self._token(block, reading, tokens) for reading in readings]
        return taps


@dataclass
class _Trace:
    """What one pass with gradients recorded of each tap, and of each module that ended."""

    readings: dict[str, Tensor] = field(default_factory=dict)
    running: list[str] = field(default_factory=list)
    """Modules that have begun and not ended, outermost first."""
    around: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The modules that were running when a tap was read."""
    nodes: dict[str, list[Any]] = field(default_factory=dict)
    """The nodes of a module's outputs in autograd's graph."""

    def keep(self, name: str, values: Tensor) -> None:
        self.readings[name] = values
        self.around[name] = tuple(self.running)

    def enter(self, path: str, _: Any) -> None:
        self.running.append(path)

    def leave(self, path: str, output: Any) -> None:
        self.running.remove(path)
        self.nodes.setdefault(path, []).extend(_nodes(output))


def _nodes(output: object) -> list[Any]:
    if isinstance(output, Tensor):
        return [output.grad_fn]
    parts = output.values() if isinstance(output, dict) else output if isinstance(output, tuple | list) else ()
    return [node for part in parts for node in _nodes(part)]


def _dependencies(net: nn.Module, trace: _Trace, tap: str) -> tuple[str, ...]:
    """Return the names of the tensors that a tap depends on.

    Autograd shows the parameters. A buffer counts if a parameter of its module does, if an output of its module is part
    of the graph, or if its module was running when the tap was read.
    """
    nodes, ids = graph(trace.readings[tap])
    used = parameters_in(net, ids)
    owners = {name.rpartition(".")[0] for name in used} | set(trace.around[tap])
    owners |= {path for path, ends in trace.nodes.items() if any(node in nodes for node in ends)}
    return tuple(sorted(used | buffers_of(net, owners)))


def find_inner(
    net: nn.Module, head: str, image_size: int, terms: Sequence[str], name: str
) -> dict[str, tuple[InnerTap, ...]]:
    """Return the taps that each term stands for, verified on random images of `image_size` pixels.

    Terms are ``layer3``, ``blocks.11:cls``, ``blocks.11:mean``, ``blocks.11:tokens`` or ``last-4``; `head` is the path
    of the net's head, which extraction removes, and `name` the net's name in messages. The net is put into eval mode;
    its tensors and the global random state stay as they are.

    Raises
    ------
    UnknownName
        No such module; lists those with a similar name.
    BadOption
        The module does not run exactly once, its output is no vector, map or tokens, it needs the head, or the features
        of an image depend on the other images of a batch.
    """
    net.eval().requires_grad_(True)
    finder = _Finder(net, image_size, name)
    by_term = {term: finder.expand(term) for term in terms}
    bare = {tap.name: tap for taps in by_term.values() for tap in taps}
    trace = _Trace()
    with hooked([*hook_modules(net, trace.enter, trace.leave), *attach(net, bare.values(), trace.keep)]):
        net(finder.images)
    alone: dict[str, Tensor] = {}
    with hooked(attach(net, bare.values(), alone.__setitem__)), torch.no_grad():
        net(finder.images[:1])
    net.requires_grad_(False)
    verified: dict[str, InnerTap] = {}
    for tap in bare.values():
        tensors = _dependencies(net, trace, tap.name)
        _verify(tap, tensors, trace.readings[tap.name].detach(), alone[tap.name], head, name)
        verified[tap.name] = replace(tap, dim=alone[tap.name].shape[1], tensors=tensors)
    return {term: tuple(verified[tap.name] for tap in taps) for term, taps in by_term.items()}


def _verify(tap: InnerTap, tensors: tuple[str, ...], of_two: Tensor, alone: Tensor, head: str, name: str) -> None:
    what = f"no features at this --tap of {name}"
    if any(tensor.startswith(head + ".") for tensor in tensors):
        raise BadOption(what, where=tap.name, expected="a module before the head", got=f"one that needs {head}")
    # Two float32 evaluations of one expression: a few hundred roundings of 6e-8, relative to the largest value.
    if alone.shape != of_two[:1].shape or (alone - of_two[:1]).abs().max() > 1e-4 * of_two.abs().max():
        raise BadOption(what, where=tap.name, expected="a row for each image", got="one that depends on the others")
