"""Taps inside a net: the output of any module, pooled to a vector, or all that goes into it.

Where the blocks of a transformer are, which tokens are no patches and which axis holds the channels is found by
watching passes over random images. Nothing is tabulated by name.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from probeline.backbones.penultimate import graph
from probeline.errors import BadOption, UnknownName
from probeline.names import LAST_K

Reading = Literal["vector", "map", "map-last", "cls", "mean", "input"]

_POOLING: dict[Reading, str] = {
    "vector": "none",
    "map": "avg",
    "map-last": "avg",
    "cls": "cls",
    "mean": "mean",
    "input": "flat",
}


@dataclass(frozen=True)
class InnerTap:
    """The output of one module, or its input, read as a vector.

    Attributes
    ----------
    module : str
        The module's path within the net.
    reading : {"vector", "map", "map-last", "cls", "mean", "input"}
        The output is [N, D]; a map [N, D, H, W] or [N, H, W, D] that is averaged over its positions; or tokens
        [N, T, D], of which the class token is read or the mean of those that are patches. ``input`` is the whole first
        argument in the order of its axes.
    prefix : int
        Tokens before the patches: class, distillation and register tokens.
    dim : int
        D.
    tensors : tuple of str
        Names of the parameters and buffers that the embedding depends on.
    """

    module: str
    reading: Reading
    prefix: int
    dim: int
    tensors: tuple[str, ...]

    @property
    def name(self) -> str:
        """The tap as it is asked for: ``layer3``, ``layer4:input``, ``blocks.11:cls``."""
        return f"{self.module}:{self.reading}" if self.reading in ("cls", "mean", "input") else self.module

    @property
    def pooling(self) -> str:
        """How the output becomes a vector, as the key has it."""
        return _POOLING[self.reading]

    def read(self, output: Tensor) -> Tensor:
        """Return float32 [N, D], in memory of its own: what follows in the net may work in place."""
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
            case "input":
                return values.flatten(1).clone()
        return values.clone()


def attach(net: nn.Module, taps: Iterable[InnerTap], keep: Callable[[str, Tensor], None]) -> list[RemovableHandle]:
    """Have every pass of `net` hand what each tap reads to `keep`, with the tap's name."""

    def after(tap: InnerTap) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda _, __, output: keep(tap.name, tap.read(output))

    def before(tap: InnerTap) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda _, arguments: keep(tap.name, tap.read(arguments[0]))

    handles = []
    for tap in taps:
        module = net.get_submodule(tap.module)
        if tap.reading == "input":
            # First of all: nothing of the module itself is at work yet.
            handles.append(module.register_forward_pre_hook(before(tap), prepend=True))
        else:
            handles.append(module.register_forward_hook(after(tap)))
    return handles


@contextmanager
def hooked(handles: list[RemovableHandle]) -> Iterator[None]:
    """Remove hooks at the end of a block."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass
class _Watched:
    """What one pass recorded of every module that ran."""

    calls: dict[str, int] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...] | None] = field(default_factory=dict)
    """Of each module's last output; None if that is not a tensor of real numbers."""
    entries: dict[str, tuple[int, ...] | None] = field(default_factory=dict)
    """The same of its first argument."""
    fixed: dict[int, list[int]] = field(default_factory=dict)
    """By length of a token sequence, the positions that were equal for both images where it first occurred."""

    def tokens(self, values: object) -> None:
        if isinstance(values, Tensor) and values.ndim == 3 and len(values) == 2:
            same = (values[0] == values[1]).all(-1)
            self.fixed.setdefault(values.shape[1], torch.nonzero(same).flatten().tolist())


def _shape(values: object) -> tuple[int, ...] | None:
    return tuple(values.shape) if isinstance(values, Tensor) and values.is_floating_point() else None


def _watch(net: nn.Module, image: Tensor) -> _Watched:
    watched = _Watched()

    def before(path: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(_: nn.Module, arguments: tuple[Any, ...]) -> None:
            first = arguments[0] if arguments else None
            watched.entries[path] = _shape(first)
            watched.tokens(first)

        return hook

    def after(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            watched.calls[path] = watched.calls.get(path, 0) + 1
            watched.shapes[path] = _shape(output)
            watched.tokens(output)

        return hook

    handles = []
    for path, module in net.named_modules():
        handles += [module.register_forward_pre_hook(before(path)), module.register_forward_hook(after(path))]
    with hooked(handles), torch.no_grad():
        net(image)
    return watched


class _Finder:
    """What is known of one net while taps are looked for."""

    def __init__(self, net: nn.Module, image_size: int, name: str) -> None:
        self.net, self.size, self.name = net, image_size, name
        self.image = _random(2, image_size)
        self.watched = _watch(net, self.image)
        self.has_class_token = any(
            path.rpartition(".")[2] in ("cls_token", "class_token") for path, _ in net.named_parameters()
        )

    def expand(self, term: str) -> list[InnerTap]:
        """Return the taps that one asked name stands for; their width and tensors are not known yet."""
        if last := LAST_K.fullmatch(term):
            return self._last(int(last[1]))
        module, _, pooling = term.partition(":")
        self._check_runs_once(module)
        if pooling == "input":
            shape = self.watched.entries[module]
            if shape is None or shape[0] != 2 or len(shape) < 2:
                raise self._refused(term, "one tensor of features", "no tensor" if shape is None else list(shape))
            return [_bare(module, "input", 0)]
        shape = self.watched.shapes[module]
        if shape is None or shape[0] != 2 or not 2 <= len(shape) <= 4:
            raise self._refused(
                term, "one tensor of features: [N, D], a map or tokens", "no tensor" if shape is None else list(shape)
            )
        if len(shape) == 3:
            if not pooling:
                raise self._refused(term, f"{module}:cls or {module}:mean", f"tokens {list(shape)}")
            return [self._token(module, "cls" if pooling == "cls" else "mean", shape[1])]
        if pooling:
            raise self._refused(term, f"{module} alone", f"no tokens but {list(shape)}")
        return [_bare(module, "vector" if len(shape) == 2 else self._map(module, shape), 0)]

    def _check_runs_once(self, module: str) -> None:
        names = [path for path, _ in self.net.named_modules() if path]
        if module not in names:
            near = difflib.get_close_matches(module, names, n=12, cutoff=0.5)
            near += [path for path, _ in self.net.named_children() if path not in near]
            known = ["penultimate", "last-K", *near, f"and others of its {len(names)} modules"]
            raise UnknownName(f"tap of {self.name}", module, known)
        if (calls := self.watched.calls.get(module, 0)) != 1:
            times = "not at all" if not calls else f"{calls} times"
            raise self._refused(module, "a module that runs once in a forward pass", f"one that runs {times}")

    def _refused(self, term: str, expected: str, got: object) -> BadOption:
        return BadOption(f"no features at this --tap of {self.name}", where=term, expected=expected, got=got)

    def _token(self, module: str, reading: Reading, tokens: int) -> InnerTap:
        fixed = self.watched.fixed[tokens]
        prefix = len(fixed)
        if fixed != list(range(prefix)) or prefix == tokens:
            raise self._refused(f"{module}:{reading}", "class and register tokens first, then patches", fixed)
        if reading == "cls" and not (prefix and self.has_class_token):
            raise self._refused(f"{module}:cls", f"{module}:mean", "a net without class token")
        return _bare(module, reading, prefix)

    def _map(self, module: str, shape: tuple[int, ...]) -> Reading:
        """Say which axes of a map are its positions. Images are square, so these are as long as each other."""
        if len(set(shape[1:])) == 1 and shape[1] > 1:
            return self._map_at_another_size(module, shape)
        if shape[2] == shape[3]:
            return "map"
        if shape[1] == shape[2]:
            return "map-last"
        raise self._refused(module, "a map of square images: [N, C, H, H] or [N, H, H, C]", list(shape))

    def _map_at_another_size(self, module: str, shape: tuple[int, ...]) -> Reading:
        try:
            other = _watch(self.net, _random(2, self.size + 32)).shapes[module]
        except (RuntimeError, AssertionError, ValueError, KeyError):  # a net of one size
            other = None
        if other is not None and len(other) == 4:
            if other[1] == shape[1] and other[3] != shape[3]:
                return "map"
            if other[3] == shape[3] and other[1] != shape[1]:
                return "map-last"
        raise self._refused(module, "channels that can be told from positions", list(shape))

    def _last(self, count: int) -> list[InnerTap]:
        blocks = _blocks(self.net, self.watched)
        if not 1 <= count <= len(blocks):
            valid = f"last-1 to last-{len(blocks)}" if blocks else "a net with a sequence of blocks that pass on tokens"
            raise BadOption(f"bad --tap of {self.name}", expected=valid, got=f"last-{count}")
        taps = []
        for block in blocks[-count:]:
            shape = self.watched.shapes[block] or (0, 0)
            prefix = len(self.watched.fixed[shape[1]])
            readings: tuple[Reading, ...] = ("cls", "mean") if prefix and self.has_class_token else ("mean",)
            taps += [self._token(block, reading, shape[1]) for reading in readings]
        return taps


def blocks_of_tokens(net: nn.Module, image_size: int) -> list[str]:
    """Return the longest sequence of modules of one kind that each give tokens of one shape: a transformer's blocks."""
    return _blocks(net, _watch(net, _random(2, image_size)))


def _blocks(net: nn.Module, watched: _Watched) -> list[str]:
    best: list[str] = []
    for path, module in net.named_modules():
        if not isinstance(module, nn.Sequential | nn.ModuleList) or len(module) < 2:
            continue
        paths = [f"{path}.{leaf}" if path else leaf for leaf, _ in module.named_children()]
        shapes = {watched.shapes.get(child) for child in paths}
        shape = next(iter(shapes))
        same = len(shapes) == 1 and len({type(child) for child in module.children()}) == 1
        once = all(watched.calls.get(child) == 1 for child in paths)
        if same and once and shape is not None and len(shape) == 3 and shape[0] == 2 and len(paths) > len(best):
            best = paths
    return best


def _bare(module: str, reading: Reading, prefix: int) -> InnerTap:
    return InnerTap(module, reading, prefix, dim=0, tensors=())


def _random(count: int, size: int) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


@dataclass
class _Trace:
    """One pass with gradients: what each tap read, and what led there."""

    readings: dict[str, Tensor] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)
    """Modules that have begun and not ended, outermost first."""
    around: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Of each tap, the modules that were open when it was read."""
    nodes: dict[str, list[Any]] = field(default_factory=dict)
    """Of each module that ended, what its outputs are in autograd's graph."""

    def keep(self, name: str, values: Tensor) -> None:
        self.readings[name] = values
        self.around[name] = tuple(self.open)


def _nodes(output: object) -> list[Any]:
    if isinstance(output, Tensor):
        return [output.grad_fn]
    parts = output.values() if isinstance(output, dict) else output if isinstance(output, tuple | list) else ()
    return [node for part in parts for node in _nodes(part)]


def _trace(net: nn.Module, image: Tensor, taps: Iterable[InnerTap]) -> _Trace:
    trace = _Trace()

    def before(path: str) -> Callable[[nn.Module, Any], None]:
        return lambda _, __: trace.open.append(path)

    def after(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            trace.open.remove(path)
            trace.nodes.setdefault(path, []).extend(_nodes(output))

        return hook

    handles = []
    for path, module in net.named_modules():
        handles += [module.register_forward_pre_hook(before(path)), module.register_forward_hook(after(path))]
    handles += attach(net, taps, trace.keep)
    with hooked(handles):
        net(image)
    return trace


def _dependencies(net: nn.Module, trace: _Trace, tap: str) -> tuple[str, ...]:
    """Return the names of the tensors that a tap depends on.

    Autograd tells of parameters. A buffer counts where a parameter of its module does, where an output of its module
    is part of the graph, and where its module was still at work when the tap was read.
    """
    nodes, leaves = graph(trace.readings[tap])
    used = {name for name, parameter in net.named_parameters(remove_duplicate=False) if id(parameter) in leaves}
    owners = {name.rpartition(".")[0] for name in used} | set(trace.around[tap])
    owners |= {path for path, ends in trace.nodes.items() if any(node in nodes for node in ends)}
    for name, _ in net.named_buffers(remove_duplicate=False):
        owner, _, leaf = name.rpartition(".")
        if owner in owners and leaf != "num_batches_tracked":
            used.add(name)
    return tuple(sorted(used))


def find_inner(
    net: nn.Module, head: str, image_size: int, terms: Sequence[str], name: str
) -> dict[str, tuple[InnerTap, ...]]:
    """Return the taps that each asked name stands for, proven on random images of `image_size` pixels.

    Parameters
    ----------
    net : nn.Module
        In eval mode afterwards, with its tensors and the global random state as they were.
    head : str
        Path of the net's head, which extraction takes away.
    image_size : int
    terms : sequence of str
        ``layer3``, ``blocks.11:cls``, ``blocks.11:mean``, ``last-4``.
    name : str
        Of the net, for messages.

    Raises
    ------
    UnknownName
        No such module; lists those with a similar name.
    BadOption
        The module does not run exactly once, gives nothing that is a vector, a map or tokens, needs the head, or
        gives an image other features in other company.
    """
    net.eval().requires_grad_(True)
    finder = _Finder(net, image_size, name)
    places = {term: finder.expand(term) for term in terms}
    bare = {tap.name: tap for some in places.values() for tap in some}
    trace = _trace(net, finder.image, bare.values())
    alone: dict[str, Tensor] = {}
    with hooked(attach(net, bare.values(), alone.__setitem__)), torch.no_grad():
        net(finder.image[:1])
    net.requires_grad_(False)
    proven: dict[str, InnerTap] = {}
    for tap in bare.values():
        tensors = _dependencies(net, trace, tap.name)
        _prove(tap, tensors, trace.readings[tap.name].detach(), alone[tap.name], head, name)
        proven[tap.name] = replace(tap, dim=alone[tap.name].shape[1], tensors=tensors)
    return {term: tuple(proven[tap.name] for tap in some) for term, some in places.items()}


def _prove(tap: InnerTap, tensors: tuple[str, ...], of_two: Tensor, alone: Tensor, head: str, name: str) -> None:
    what = f"no features at this --tap of {name}"
    if any(tensor.startswith(head + ".") for tensor in tensors):
        raise BadOption(what, where=tap.name, expected="a module before the head", got=f"one that needs {head}")
    # Two float32 evaluations of one expression: a few hundred roundings of 6e-8, relative to the largest value.
    if alone.shape != of_two[:1].shape or (alone - of_two[:1]).abs().max() > 1e-4 * of_two.abs().max():
        raise BadOption(what, where=tap.name, expected="a row for each image", got="one that depends on the others")
