"""Fold each BatchNorm into the convolution before it: fewer passes over memory, equal outputs but for rounding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from probeline.backbones.inner_taps import InnerTap, attach, hooked


def _replace(net: nn.Module, path: str, module: nn.Module) -> None:
    owner, _, leaf = path.rpartition(".")
    setattr(net.get_submodule(owner), leaf, module)


def _pairs(net: nn.Module, image: Tensor, taps: Sequence[InnerTap]) -> list[tuple[str, str]]:
    """Return (conv, norm) paths where the norm's one input was the very output of the conv, in one pass.

    Left out is a conv whose output a tap reads, and a norm inside which one does.
    """
    outputs: dict[int, str] = {}
    kept: list[Tensor] = []
    calls: dict[str, int] = {}
    pairs: list[tuple[str, str]] = []
    read: set[int] = set()

    def after_conv(path: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(_: nn.Module, __: Any, output: Tensor) -> None:
            calls[path] = calls.get(path, 0) + 1
            outputs[id(output)] = path
            kept.append(output)  # an id is only unique while its tensor lives

        return hook

    def before_norm(path: str) -> Callable[[nn.Module, Any], None]:
        def hook(_: nn.Module, arguments: Any) -> None:
            calls[path] = calls.get(path, 0) + 1
            if id(arguments[0]) in outputs:
                pairs.append((outputs[id(arguments[0])], path))

        return hook

    def mark(values: Tensor) -> None:
        read.add(id(values))
        kept.append(values)

    outwards = {tap.module for tap in taps if tap.reading != "input"}
    inwards = {tap.module for tap in taps if tap.reading == "input"}

    hooks = []
    for path, module in net.named_modules():
        if path in outwards:
            hooks.append(module.register_forward_hook(lambda _, __, output: mark(output)))
        if path in inwards:
            hooks.append(module.register_forward_pre_hook(lambda _, arguments: mark(arguments[0])))
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(after_conv(path)))
        elif isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
            hooks.append(module.register_forward_pre_hook(before_norm(path)))
    with hooked(hooks):
        net(image)
    kept_apart = {path for number, path in outputs.items() if number in read}
    return [
        (conv, norm)
        for conv, norm in pairs
        if calls[conv] == calls[norm] == 1
        and conv not in kept_apart
        and not any(path.startswith(norm + ".") for path in outwards | inwards)
    ]


def _remainder(norm: nn.Module) -> nn.Module:
    # timm's norm modules carry the activation that follows.
    rest = [child for child in norm.children() if not isinstance(child, nn.Identity)]
    return nn.Sequential(*rest) if len(rest) > 1 else rest[0] if rest else nn.Identity()


def fold_batchnorm(net: nn.Module, image_size: int, taps: Sequence[InnerTap] = ()) -> int:
    """Fold in place what can be folded, in eval mode, and return how many BatchNorms went.

    The result is held against the original on a random image, at the output and at every tap; where one differs by
    more than the rounding of a deep net (1e-3 of the largest value), everything is put back and 0 returned.
    """
    image = torch.randn(1, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))

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
            _replace(net, conv_path, fuse_conv_bn_eval(conv, norm))
            _replace(net, norm_path, _remainder(norm))
        pairs = zip(outputs(), before, strict=True)
        if all((now - then).abs().max() <= 1e-3 * then.abs().max() for now, then in pairs):
            return len(originals) // 2
        for path, module in originals:
            _replace(net, path, module)
    return 0
