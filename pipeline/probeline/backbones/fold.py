"""Fold each BatchNorm into the convolution before it: fewer passes over memory, equal outputs but for rounding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from probeline.backbones.forward_pass import hook_modules, hooked, random_images
from probeline.backbones.inner_taps import InnerTap, attach


def _pairs(net: nn.Module, image: Tensor, taps: Sequence[InnerTap]) -> list[tuple[str, str]]:
    """Return the paths (conv, norm) where the norm's only input was the output of the conv, in one pass.

    A conv whose output a tap reads is left out, and a norm inside which a tap reads.
    """
    convs: dict[int, str] = {}
    kept: list[Tensor] = []  # an id is only unique while its tensor lives
    calls: Counter[str] = Counter()
    pairs: list[tuple[str, str]] = []
    read: set[int] = set()
    read_inputs = {tap.module for tap in taps if tap.reading == "input"}
    read_outputs = {tap.module for tap in taps if tap.reading != "input"}

    def enter(path: str, first: Any) -> None:
        module = net.get_submodule(path)
        calls[path] += 1
        if path in read_inputs:
            read.add(id(first))
            kept.append(first)
        if isinstance(module, nn.BatchNorm2d) and module.track_running_stats and id(first) in convs:
            pairs.append((convs[id(first)], path))

    def leave(path: str, output: Any) -> None:
        if path in read_outputs:
            read.add(id(output))
            kept.append(output)
        if isinstance(net.get_submodule(path), nn.Conv2d):
            convs[id(output)] = path
            kept.append(output)

    with hooked(hook_modules(net, enter, leave)):
        net(image)
    kept_apart = {path for number, path in convs.items() if number in read}
    return [
        (conv, norm)
        for conv, norm in pairs
        if calls[conv] == calls[norm] == 1
        and conv not in kept_apart
        and not any(path.startswith(norm + ".") for path in read_inputs | read_outputs)
    ]


def _remainder(norm: nn.Module) -> nn.Module:
    # timm's norm modules carry the activation that follows.
    rest = [child for child in norm.children() if not isinstance(child, nn.Identity)]
    return nn.Sequential(*rest) if len(rest) > 1 else rest[0] if rest else nn.Identity()


def fold_batchnorm(net: nn.Module, image_size: int, taps: Sequence[InnerTap] = ()) -> int:
    """Fold BatchNorms of a net in eval mode in place where possible, and return how many.

    If the output or a tap differs on a random image by more than the rounding of a deep net (1e-3 of the largest
    value), everything is restored and 0 returned.
    """
    image = random_images(1, image_size)

    def outputs() -> list[Tensor]:
        read: list[Tensor] = []
        with hooked(attach(net, taps, lambda _, values: read.append(values))):
            return [net(image), *read]

    with torch.no_grad():
        before = outputs()
        originals = []
        for conv_path, norm_path in _pairs(net, image, taps):
            conv, norm = net.get_submodule(conv_path), net.get_submodule(norm_path)
            if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
                continue
            originals += [(conv_path, conv), (norm_path, norm)]
            net.set_submodule(conv_path, fuse_conv_bn_eval(conv, norm))
            net.set_submodule(norm_path, _remainder(norm))
        pairs = zip(outputs(), before, strict=True)
        if all((now - then).abs().max() <= 1e-3 * then.abs().max() for now, then in pairs):
            return len(originals) // 2
        for path, module in originals:
            net.set_submodule(path, module)
    return 0
