"""The stages of a net from the image up to the head, found by watching one pass, and the net split at one of them.

A stage begins where a single tensor carries everything that came before, so that what lies below can be run once and
cached. Autograd's graph shows such tensors. Resolution decides which of them begin a stage: modules whose maps have one
size are one stage, and each block of a transformer that keeps its tokens is one. There is no table of names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from graphlib import TopologicalSorter
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from probeline.backbones.forward_pass import (
    ForwardPass,
    Shape,
    blocks_of_tokens,
    following_nodes,
    graph,
    hooked,
    random_images,
    run_until,
    watch,
)
from probeline.backbones.penultimate import Tap

_LAYERS = 2
"""Least layers with weights of a stage; a smaller one is merged with its neighbour."""


@dataclass(frozen=True)
class Stage:
    """Part of a net that can be trained above frozen ones, by names and paths.

    `module` is its first module, whose first argument is its only input from below; `parameters` are without the
    head's; `modules` run in no other stage.
    """

    module: str
    parameters: tuple[str, ...]
    modules: tuple[str, ...]


def _resolution(shape: Shape) -> int | None:
    """Return the side of a map, the number of tokens, 0 for a vector; None for anything else."""
    if shape is None or not 2 <= len(shape) <= 4:
        return None
    # The third axis is a position in [N, C, H, W] and in [N, H, W, C].
    return {2: 0, 3: shape[1], 4: shape[-2]}[len(shape)]


def _bottlenecks(logits: Tensor, image: Tensor) -> set[Any]:
    """Return the nodes through which all paths from the image to the logits lead.

    In an order in which each node comes before what it was computed from, these are the nodes that no edge between
    nodes that lead to the image passes over.
    """
    sorter = TopologicalSorter({node: list(following_nodes(node)) for node in graph(logits)[0]})
    leads: dict[Any, None] = {}
    for node in sorter.static_order():
        if getattr(node, "variable", None) is image or any(other in leads for other in following_nodes(node)):
            leads[node] = None
    leading = list(reversed(leads))
    index = {node: i for i, node in enumerate(leading)}
    furthest, bridges = 0, set()
    for i, node in enumerate(leading):
        if furthest <= i:
            bridges.add(node)
        furthest = max([furthest, *(index[other] for other in following_nodes(node) if other in index)])
    return bridges


def find_stages(net: nn.Module, tap: Tap, image_size: int) -> tuple[Stage, ...]:
    """Return the stages of a net with any head at `tap`, the one nearest to the image first.

    The first one's parameters are all that lie below the second. The net is left in eval mode without gradients; its
    tensors and the global random state stay as they are.
    """
    was = {name: parameter.requires_grad for name, parameter in net.named_parameters()}
    net.eval().requires_grad_(True)
    images = random_images(2, image_size).requires_grad_()
    trace, logits = watch(net, images)
    blocks = set(blocks_of_tokens(net, trace))
    units = _units(net, tap, trace, _bottlenecks(logits, images), blocks)
    # A net of several branches from the very image on is one stage.
    starts = _starts(net, trace, list(units), blocks) or trace.order[1:2]
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    in_use = set(tap.tensors)
    above = [graph(logits)[1], *(graph(logits, trace.nodes[start])[1] for start in starts[1:]), set()]
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
    """Return whether a module contains one of the others, or is the last of them, the head."""
    return not path or any(other.startswith(path + ".") for other in others) or path == others[-1]


def _units(net: nn.Module, tap: Tap, trace: ForwardPass, bottlenecks: set[Any], blocks: set[str]) -> Iterator[str]:
    """Yield the modules that no stage divides, in the order in which they run.

    A module is divided if its children run one after the other and it halves its map more than once, or if it contains
    the blocks of a transformer.
    """

    def children(path: str) -> list[str]:
        module = net.get_submodule(path)
        paths = [f"{path}.{leaf}" if path else leaf for leaf, _ in module.named_children()]
        inner = []
        for child in paths:
            if child not in trace.calls:
                inner += children(child)  # a list of modules, which does not run itself
            elif child != tap.head and any(True for _ in net.get_submodule(child).parameters()):
                inner.append(child)
        return sorted(inner, key=trace.order.index)

    def is_entry(path: str) -> bool:
        node = trace.nodes.get(path, path)
        return trace.calls[path] == 1 and (node is None or node in bottlenecks)

    def is_divided(path: str) -> bool:
        before, after = _resolution(trace.inputs.get(path)), _resolution(trace.outputs.get(path))
        if path in blocks:
            return False
        if not path or any(block.startswith(path + ".") for block in blocks) or tap.head.startswith(path + "."):
            return True
        sides = {_resolution(trace.outputs[child]) for child in children(path)}
        return before is not None and after is not None and before > 2 * max(after, 1) + 1 and len(sides) > 1

    waiting = [""]
    while waiting:
        path = waiting.pop(0)
        # A child with more than one tensor from below belongs to the one before it.
        entries = [child for child in children(path) if is_entry(child)]
        if is_divided(path) and entries:
            waiting = entries + waiting
        elif path:
            yield path


def _starts(net: nn.Module, trace: ForwardPass, units: Sequence[str], blocks: set[str]) -> list[str]:
    """Return the units with which a stage begins."""

    def kind(unit: str) -> str | int | None:
        return unit if unit in blocks else _resolution(trace.outputs[unit])

    merged: list[list[str]] = []
    for _, units_of_kind in groupby(units, key=kind):
        group = list(units_of_kind)
        if merged and (_layers(net, merged[-1]) < _LAYERS or _layers(net, group) < _LAYERS):
            merged[-1] += group
        else:
            merged.append(group)
    return [group[0] for group in merged]


def _layers(net: nn.Module, units: Sequence[str]) -> int:
    """Return how many of the units' parameters are matrices or convolutions."""
    return sum(parameter.ndim > 1 for unit in units for parameter in net.get_submodule(unit).parameters())


def run_below(net: nn.Module, stage: Stage, images: Tensor) -> Tensor:
    """Return a stage's input from the modules below it, [N, ...]."""
    reached = run_until(net, [net.get_submodule(stage.module)], images)
    if reached is None:
        raise RuntimeError(f"the pass does not reach {stage.module}")
    return reached[1].clone()


def run_above(net: nn.Module, stage: Stage, values: Tensor, image_size: int) -> Tensor:
    """Return the net's output for what :func:`run_below` gave.

    A blank image goes through the lower modules, and `values` replace the stage's input, so that operations outside of
    modules run as usual.
    """

    def swap(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        # A net may work in place on its input.
        layout = torch.channels_last if values.ndim == 4 else torch.contiguous_format
        return (values.clone(memory_format=layout), *arguments[1:])

    blank = torch.zeros(1, 3, image_size, image_size, device=values.device)
    with hooked([net.get_submodule(stage.module).register_forward_pre_hook(swap)]):
        output: Tensor = net(blank)
    return output


@contextmanager
def _evaluating(net: nn.Module) -> Iterator[torch.device]:
    """Run a block in eval mode without gradients, on the device that is given."""
    training = net.training
    net.eval()
    try:
        with torch.no_grad():
            yield next(net.parameters()).device
    finally:
        net.train(training)


def shape_below(net: nn.Module, stage: Stage, image_size: int) -> tuple[int, ...]:
    """Return the shape of a stage's input from below per image."""
    with _evaluating(net) as device:
        return tuple(run_below(net, stage, torch.zeros(1, 3, image_size, image_size, device=device)).shape[1:])


def can_be_split(net: nn.Module, stage: Stage, image_size: int) -> bool:
    """Return whether both halves together give the net's output on random images in eval mode."""
    try:
        with _evaluating(net) as device:
            images = random_images(3, image_size).to(device)
            whole = net(images)
            halves = run_above(net, stage, run_below(net, stage, images), image_size)
    except RuntimeError:  # an operation between the modules depends on the number of images at the start
        return False
    return halves.shape == whole.shape and bool((halves - whole).abs().max() <= 1e-5 * whole.abs().max())
