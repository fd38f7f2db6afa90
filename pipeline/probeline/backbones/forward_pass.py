"""Watching a forward pass: hooks on modules, what went in and out of them, and what a result depends on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

Shape = tuple[int, ...] | None
"""Of a tensor of real numbers; None for anything else."""

Watcher = Callable[[str, Any], None]
"""Gets a module's path, and its first argument or its output."""


def random_images(count: int, size: int) -> Tensor:
    """Return the same images float32 [count, 3, size, size] each time; the global random state stays as it is."""
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


@contextmanager
def hooked(handles: list[RemovableHandle]) -> Iterator[None]:
    """Remove hooks at the end of a block."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def hook_modules(net: nn.Module, before: Watcher, after: Watcher = lambda *_: None) -> list[RemovableHandle]:
    """Call `before` and `after` around each module that runs, with None for a missing first argument."""

    def enter(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        before(paths[module], arguments[0] if arguments else None)

    def leave(module: nn.Module, _: Any, output: Any) -> None:
        after(paths[module], output)

    paths = {module: path for path, module in net.named_modules()}
    handles = [module.register_forward_pre_hook(enter) for module in paths]
    return handles + [module.register_forward_hook(leave) for module in paths]


class _Reached(Exception):
    """The pass has reached a module, and the rest of it is not needed."""


def run_until(net: nn.Module, modules: Iterable[nn.Module], images: Tensor) -> tuple[nn.Module, Tensor] | None:
    """Return the first of `modules` that a pass reaches and its first argument; None if it reaches none."""

    def stop(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        raise _Reached(module, arguments[0] if arguments else None)

    try:
        with hooked([module.register_forward_pre_hook(stop) for module in modules]):
            net(images)
    except _Reached as reached:
        return reached.args
    return None


@dataclass
class ForwardPass:
    """What a pass of two images recorded of each module, by its path; of its last call if it ran more than once."""

    order: list[str] = field(default_factory=list)
    """Paths in the order in which the modules began, each call."""
    calls: Counter[str] = field(default_factory=Counter)
    inputs: dict[str, Shape] = field(default_factory=dict)
    outputs: dict[str, Shape] = field(default_factory=dict)
    nodes: dict[str, Any] = field(default_factory=dict)
    """The first argument's node in autograd's graph; None for the images."""
    fixed: dict[int, list[int]] = field(default_factory=dict)
    """By length of a token sequence, the positions that were equal for both images where it first occurred."""

    def enter(self, path: str, first: Any) -> None:
        """Record the beginning of a module."""
        self.order.append(path)
        self.calls[path] += 1
        if isinstance(first, Tensor):
            self.nodes[path] = first.grad_fn
        self.inputs[path] = self._shape(first)
        self.outputs[path] = None

    def leave(self, path: str, output: Any) -> None:
        """Record the end of a module."""
        self.outputs[path] = self._shape(output)

    def _shape(self, values: Any) -> Shape:
        if not isinstance(values, Tensor) or not values.is_floating_point():
            return None
        if values.ndim == 3 and len(values) == 2:
            same = (values[0] == values[1]).all(-1)
            self.fixed.setdefault(values.shape[1], torch.nonzero(same).flatten().tolist())
        return tuple(values.shape)


def watch(net: nn.Module, images: Tensor) -> tuple[ForwardPass, Any]:
    """Return the record of a pass and the net's output."""
    record = ForwardPass()
    with hooked(hook_modules(net, record.enter, record.leave)):
        output = net(images)
    return record, output


def blocks_of_tokens(net: nn.Module, watched: ForwardPass) -> list[str]:
    """Return the longest sequence of modules of one kind whose outputs are tokens of one shape: transformer blocks."""
    best: list[str] = []
    for path, module in net.named_modules():
        if not isinstance(module, nn.Sequential | nn.ModuleList) or len(module) < 2:
            continue
        paths = [f"{path}.{leaf}" if path else leaf for leaf, _ in module.named_children()]
        shapes = {watched.outputs.get(child) for child in paths}
        shape = next(iter(shapes))
        same = len(shapes) == 1 and len({type(child) for child in module.children()}) == 1
        once = all(watched.calls[child] == 1 for child in paths)
        if same and once and shape is not None and len(shape) == 3 and shape[0] == 2 and len(paths) > len(best):
            best = paths
    return best


def following_nodes(node: Any) -> Iterator[Any]:
    """Yield the nodes of autograd's graph that a node was computed from."""
    return (following for following, _ in node.next_functions if following is not None)


def graph(result: Tensor, below: Any = None) -> tuple[set[Any], set[int]]:
    """Return the nodes of autograd's graph that led to `result`, and the ids of the parameters among them.

    Nodes that lead there only through `below` are left out.
    """
    nodes: set[Any] = {below, None}
    parameters: set[int] = set()
    waiting: list[Any] = [result.grad_fn]
    while waiting:
        node = waiting.pop()
        if node not in nodes:
            nodes.add(node)
            waiting += following_nodes(node)
            if hasattr(node, "variable"):
                parameters.add(id(node.variable))
    return nodes - {None}, parameters


def parameters_in(net: nn.Module, ids: set[int]) -> set[str]:
    """Return the names of the parameters with these ids, shared ones by all their names."""
    return {name for name, parameter in net.named_parameters(remove_duplicate=False) if id(parameter) in ids}


def buffers_of(net: nn.Module, modules: set[str]) -> set[str]:
    """Return the names of the buffers of the modules with these paths, without BatchNorm's counts of batches."""
    names = (name.rpartition(".") for name, _ in net.named_buffers(remove_duplicate=False))
    return {owner + dot + leaf for owner, dot, leaf in names if owner in modules and leaf != "num_batches_tracked"}
