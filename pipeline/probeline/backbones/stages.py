"""The stages of a net, from the image up to the head, found by watching one pass.

A stage begins where one tensor alone carries everything that came before, so that what lies below can be run once and
kept. Such tensors are told from autograd's graph. Which of them bound a stage is a matter of resolution: modules that
give maps of one size are one stage, and where a transformer keeps its tokens each of its blocks is one. Nothing is
tabulated by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from probeline.backbones.inner_taps import blocks_of_tokens, hooked
from probeline.backbones.penultimate import Tap

_LAYERS = 2
"""A stage has at least as many layers with weights; what has fewer belongs to its neighbour."""


@dataclass(frozen=True)
class Stage:
    """Part of a net that can be trained above frozen ones.

    Attributes
    ----------
    module : str
        Path of its first module, whose first argument is all that it gets from below.
    parameters : tuple of str
        Names of its parameters, without the head's.
    modules : tuple of str
        Paths of the modules that run in it and in no other stage.
    """

    module: str
    parameters: tuple[str, ...]
    modules: tuple[str, ...]


@dataclass
class _Pass:
    """One pass with gradients: in which order the modules ran, what they got and what they gave."""

    order: list[str] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)
    entry: dict[str, Any] = field(default_factory=dict)
    """Of each module, the node of its first argument in autograd's graph; None for the image."""
    size: dict[str, tuple[int | None, int | None]] = field(default_factory=dict)
    """Of each module, the resolutions of what it got and what it gave."""


def _resolution(values: object) -> int | None:
    """Return how fine a tensor is: the side of a map, the number of tokens, 0 for a vector; None for anything else."""
    if not isinstance(values, Tensor) or not 2 <= values.ndim <= 4:
        return None
    # The third axis is a position in [N, C, H, W] and in [N, H, W, C].
    return {2: 0, 3: values.shape[1], 4: values.shape[-2]}[values.ndim]


def _watch(net: nn.Module, image: Tensor) -> tuple[_Pass, Tensor]:
    trace = _Pass()

    def before(path: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(_: nn.Module, arguments: tuple[Any, ...]) -> None:
            trace.calls[path] = trace.calls.get(path, 0) + 1
            trace.order.append(path)
            first = arguments[0] if arguments else None
            if isinstance(first, Tensor):
                trace.entry[path] = first.grad_fn
            trace.size[path] = (_resolution(first), None)

        return hook

    def after(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            trace.size[path] = (trace.size[path][0], _resolution(output))

        return hook

    handles = []
    for path, module in net.named_modules():
        handles += [module.register_forward_pre_hook(before(path)), module.register_forward_hook(after(path))]
    with hooked(handles):
        logits = net(image)
    return trace, logits


def _next(node: Any) -> Iterator[Any]:
    return (following for following, _ in node.next_functions if following is not None)


def _topological(root: Any) -> list[Any]:
    """Return all nodes below `root`, each before those that it was computed from."""
    done: list[Any] = []
    state: dict[Any, bool] = {}
    stack = [(root, _next(root))]
    state[root] = True
    while stack:
        node, following = stack[-1]
        for other in following:
            if other not in state:
                state[other] = True
                stack.append((other, _next(other)))
                break
        else:
            stack.pop()
            done.append(node)
    return done[::-1]


def _narrows(logits: Tensor, image: Tensor) -> set[Any]:
    """Return the nodes that every way from the image to the logits passes.

    In an order in which each node stands before what it was computed from, a node is one of them if no edge between
    nodes that lead to the image leaps over it.
    """
    order = _topological(logits.grad_fn)
    leads: set[Any] = set()
    for node in reversed(order):
        if getattr(node, "variable", None) is image or any(other in leads for other in _next(node)):
            leads.add(node)
    ways = [node for node in order if node in leads]
    index = {node: i for i, node in enumerate(ways)}
    furthest, bridges = 0, set()
    for i, node in enumerate(ways):
        if furthest <= i:
            bridges.add(node)
        furthest = max([furthest, *(index[other] for other in _next(node) if other in index)])
    return bridges


def _parameters_above(logits: Tensor, node: Any) -> set[int]:
    """Return the ids of the parameters that the logits need beside what `node` computed; all of them for None."""
    found: set[int] = set()
    met: set[Any] = {node}
    waiting: list[Any] = [logits.grad_fn]
    while waiting:
        one = waiting.pop()
        if one in met:
            continue
        met.add(one)
        if hasattr(one, "variable"):
            found.add(id(one.variable))
        waiting += _next(one)
    return found


def find_stages(net: nn.Module, tap: Tap, image_size: int) -> tuple[Stage, ...]:
    """Return the stages of a net, the one nearest to the image first.

    The first one's parameters are all that lie below the second. The net is left in eval mode without gradients; its
    tensors and the global random state stay as they are.

    Parameters
    ----------
    net : nn.Module
        With any head at `tap`.
    tap : Tap
    image_size : int
    """
    was = {name: parameter.requires_grad for name, parameter in net.named_parameters()}
    net.eval().requires_grad_(True)
    image = torch.randn(2, 3, image_size, image_size, generator=torch.Generator().manual_seed(0)).requires_grad_()
    trace, logits = _watch(net, image)
    narrow = _narrows(logits, image)
    blocks = set(blocks_of_tokens(net, image_size))
    starts = _starts(net, trace, list(_units(net, tap, trace, narrow, blocks)), blocks)
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    in_use = set(tap.tensors)
    above = [_parameters_above(logits, trace.entry[start]) for start in starts] + [set()]
    above[0] = _parameters_above(logits, None)
    ends = [0, *(trace.order.index(start) for start in starts[1:]), len(trace.order)]
    stages = []
    for i, start in enumerate(starts):
        own = sorted(name for key, name in names.items() if key in above[i] - above[i + 1] and name in in_use)
        ran = dict.fromkeys(trace.order[ends[i] : ends[i + 1]])
        stages.append(Stage(start, tuple(own), tuple(path for path in ran if not _holds(path, (*starts, tap.head)))))
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(was[name])
    return tuple(stages)


def _holds(path: str, others: Sequence[str]) -> bool:
    """Say whether a module is one of these, or holds one, but for a stage's first module itself."""
    return not path or any(other.startswith(path + ".") for other in others) or path == others[-1]


def _units(net: nn.Module, tap: Tap, trace: _Pass, narrow: set[Any], blocks: set[str]) -> Iterator[str]:
    """Yield the modules, in the order in which they run, that no stage parts.

    A module is taken apart where its children run one after the other and it halves its map more than once, or where
    it holds the blocks of a transformer.
    """

    def children(path: str) -> list[str]:
        module = net.get_submodule(path)
        paths = [f"{path}.{leaf}" if path else leaf for leaf, _ in module.named_children()]
        inner = []
        for child in paths:
            if child in trace.calls:
                inner += [child] if child != tap.head and _has_weights(net, child) else []
            else:
                inner += children(child)  # a list of modules, which does not run itself
        return sorted(inner, key=trace.order.index)

    def is_entry(path: str) -> bool:
        node = trace.entry.get(path, path)
        return trace.calls[path] == 1 and (node is None or node in narrow)

    def apart(path: str) -> bool:
        got, gave = trace.size.get(path, (None, None))
        if path in blocks:
            return False
        if not path or any(block.startswith(path + ".") for block in blocks) or tap.head.startswith(path + "."):
            return True
        sides = {trace.size[child][1] for child in children(path)}
        return got is not None and gave is not None and got > 2 * max(gave, 1) + 1 and len(sides) > 1

    waiting = [""]
    while waiting:
        path = waiting.pop(0)
        # What gets more than one tensor from below belongs to what ran before it.
        entries = [child for child in children(path) if is_entry(child)]
        if apart(path) and entries:
            waiting = entries + waiting
        elif path:
            yield path


def _has_weights(net: nn.Module, path: str) -> bool:
    return next(net.get_submodule(path).parameters(), None) is not None


def _starts(net: nn.Module, trace: _Pass, units: Sequence[str], blocks: set[str]) -> list[str]:
    """Return the units with which a stage begins."""
    groups: list[tuple[object, list[str]]] = []
    for unit in units:
        kind: object = unit if unit in blocks else trace.size[unit][1]
        if groups and groups[-1][0] == kind:
            groups[-1][1].append(unit)
        else:
            groups.append((kind, [unit]))
    merged: list[list[str]] = []
    for _, group in groups:
        short_before = bool(merged) and _layers(net, merged[-1]) < _LAYERS
        if merged and (short_before or _layers(net, group) < _LAYERS):
            merged[-1] += group
        else:
            merged.append(list(group))
    return [group[0] for group in merged]


def _layers(net: nn.Module, units: Sequence[str]) -> int:
    """Return how many of the units' parameters are matrices or convolutions."""
    return sum(parameter.ndim > 1 for unit in units for parameter in net.get_submodule(unit).parameters())
