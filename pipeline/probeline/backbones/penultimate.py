"""The penultimate tap: the input of the last Linear or Conv2d that runs in an eval forward pass.

It is found by watching one pass, and verified: the head applied to it gives the net's logits, and the net without its
head gives it. There is no table of names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from probeline.backbones.forward_pass import buffers_of, graph, hook_modules, hooked, parameters_in, random_images
from probeline.errors import BadOption, BadWeights


@dataclass(frozen=True)
class Tap:
    """The penultimate tap of a net whose head has the path `head`.

    `pooling` is ``avg`` if the head's input is a map [N, D, H, W] whose spatial mean is stored, and ``none`` otherwise;
    `dim` is D. `tensors` are the names of the parameters and buffers that the embedding depends on.
    """

    head: str
    pooling: str
    dim: int
    tensors: tuple[str, ...]


def _is_close(a: Tensor, b: Tensor) -> bool:
    # Two float32 evaluations of one expression: a few hundred roundings of 6e-8, relative to the largest value.
    return a.shape == b.shape and bool((a - b).abs().max() <= 1e-4 * b.abs().max().clamp(min=1e-6))


def find_tap(net: nn.Module, image_size: int, name: str) -> Tap:
    """Return the penultimate tap of `net`, verified on random images of `image_size` pixels.

    The net is put into eval mode; its tensors and the global random state stay as they are.

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

    def enter(path: str, first: Any) -> None:
        entered.add(path)
        if isinstance(net.get_submodule(path), nn.Linear | nn.Conv2d):
            calls.append((path, first))

    images = random_images(2, image_size)
    try:
        with hooked(hook_modules(net, enter)):
            logits = net(images)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadOption(
            f"{name} cannot take images of {image_size} pixels", got=reason, remedy="choose another --image-size"
        ) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or not calls:
        raise BadOption(f"{name} is no classification net", expected="logits [N, K]", got=type(logits).__name__)
    if not bool(logits.isfinite().all()):
        raise BadWeights(f"{name} gives logits that are not finite", remedy="use other --weights")

    head, reaching = calls[-1]
    is_map = reaching.ndim == 4
    embedding = reaching.mean((2, 3)) if is_map else reaching
    with torch.no_grad():
        again = net.get_submodule(head)(reaching)
        candidates = [again.mean((2, 3)), again.relu().mean((2, 3))] if is_map else [again]
    if not any(_is_close(candidate, logits) for candidate in candidates) or embedding.ndim != 2:
        raise BadOption(f"{name} has no penultimate tap: its logits are not its last layer's output ({head})")
    used = parameters_in(net, graph(embedding)[1]) | buffers_of(net, entered)
    tensors = tuple(sorted(name for name in used if not name.startswith(head + ".")))
    tap = Tap(head, "avg" if is_map else "none", embedding.shape[1], tensors)
    net.requires_grad_(False)
    original = net.get_submodule(head)
    set_head(net, tap, nn.Identity())
    with torch.no_grad():
        without = net(images)
    set_head(net, tap, original)
    if not _is_close(without, embedding):
        raise BadOption(f"{name} has no penultimate tap: without {head} it does not give that layer's input")
    return tap


def set_head(net: nn.Module, tap: Tap, head: nn.Module) -> None:
    """Replace the net's head; with ``nn.Identity()`` the net gives embeddings [N, D]."""
    net.set_submodule(tap.head, head)
