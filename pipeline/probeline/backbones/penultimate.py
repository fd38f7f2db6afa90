"""Where a net's embedding is: the input of the last Linear or Conv2d that runs in an eval forward pass.

The tap is found by watching one pass, and proven on the spot: the head applied to it gives the net's logits, and
the net with its head taken out gives it. Nothing is tabulated by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from probeline.errors import BadOption, BadWeights


@dataclass(frozen=True)
class Tap:
    """The penultimate tap of a net.

    Attributes
    ----------
    head : str
        Path of the head's module within the net.
    pooling : {"none", "avg"}
        ``avg`` where the head's input is a map [N, C, H, W] whose spatial mean is stored.
    dim : int
        D.
    tensors : tuple of str
        Names of the parameters and buffers that the embedding depends on.
    """

    head: str
    pooling: str
    dim: int
    tensors: tuple[str, ...]


def _after_head(pooled: bool) -> dict[str, Callable[[Tensor], Tensor]]:
    if not pooled:
        return {"identity": lambda logits: logits}
    return {
        "mean": lambda logits: logits.mean((2, 3)),
        "relu, mean": lambda logits: logits.relu().mean((2, 3)),
    }


def _close(a: Tensor, b: Tensor) -> bool:
    # Two float32 evaluations of one expression: a few hundred roundings of 6e-8, relative to the largest value.
    return a.shape == b.shape and bool((a - b).abs().max() <= 1e-4 * b.abs().max().clamp(min=1e-6))


def graph(result: Tensor) -> tuple[set[Any], set[int]]:
    """Return the nodes of autograd's graph that a tensor was computed by, and the ids of the parameters among them."""
    nodes: set[Any] = set()
    leaves: set[int] = set()
    waiting = [result.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in nodes:
            continue
        nodes.add(node)
        if hasattr(node, "variable"):
            leaves.add(id(node.variable))
        waiting += [following for following, _ in node.next_functions]
    return nodes, leaves


def _dependencies(net: nn.Module, embedding: Tensor, head: str, entered: set[str]) -> tuple[str, ...]:
    _, leaves = graph(embedding)
    used = {name for name, parameter in net.named_parameters(remove_duplicate=False) if id(parameter) in leaves}
    for name, _ in net.named_buffers(remove_duplicate=False):
        owner, _, leaf = name.rpartition(".")
        if owner in entered and leaf != "num_batches_tracked":
            used.add(name)
    return tuple(sorted(name for name in used if not name.startswith(head + ".")))


def find_tap(net: nn.Module, image_size: int, name: str) -> Tap:
    """Return the penultimate tap of `net`, proven on a random image of `image_size` pixels.

    The net is put into eval mode. Its global random state and its tensors stay as they are.

    Raises
    ------
    BadOption
        The net cannot take this image size, or its logits are no function of its last layer alone.
    BadWeights
        The net's logits are not finite.
    """
    net.eval().requires_grad_(True)
    calls: list[tuple[str, Tensor]] = []
    entered: set[str] = set()

    def watch(path: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def before(module: nn.Module, arguments: tuple[Any, ...]) -> None:
            entered.add(path)
            if isinstance(module, nn.Linear | nn.Conv2d):
                calls.append((path, arguments[0]))

        return before

    hooks = [module.register_forward_pre_hook(watch(path)) for path, module in net.named_modules()]
    image = torch.randn(2, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    try:
        logits = net(image)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadOption(
            f"{name} cannot take images of {image_size} pixels", got=reason, remedy="choose another --image-size"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    if not isinstance(logits, Tensor) or logits.ndim != 2 or not calls:
        raise BadOption(f"{name} is no classification net", expected="logits [N, K]", got=type(logits).__name__)
    if not bool(logits.isfinite().all()):
        raise BadWeights(f"{name} gives logits that are not finite", remedy="use other --weights")

    head, reaching = calls[-1]
    pooled = reaching.ndim == 4
    embedding = reaching.mean((2, 3)) if pooled else reaching
    with torch.no_grad():
        again = net.get_submodule(head)(reaching)
        proven = any(_close(after(again), logits) for after in _after_head(pooled).values())
    if not proven or embedding.ndim != 2:
        raise BadOption(f"{name} has no penultimate tap: its logits are not its last layer's output ({head})")
    tap = Tap(head, "avg" if pooled else "none", embedding.shape[1], _dependencies(net, embedding, head, entered))
    net.requires_grad_(False)
    original = net.get_submodule(head)
    set_head(net, tap, nn.Identity())
    with torch.no_grad():
        without = net(image)
    set_head(net, tap, original)
    if not _close(without, embedding):
        raise BadOption(f"{name} has no penultimate tap: without {head} it does not give that layer's input")
    return tap


def set_head(net: nn.Module, tap: Tap, head: nn.Module) -> None:
    """Put `head` in the place of the net's own; with ``nn.Identity()`` the net gives embeddings [N, D]."""
    owner, _, leaf = tap.head.rpartition(".")
    parent = net.get_submodule(owner)
    if isinstance(parent, nn.Sequential | nn.ModuleList):
        parent[int(leaf) if leaf.isdigit() else list(dict(parent.named_children())).index(leaf)] = head
    else:
        setattr(parent, leaf, head)
