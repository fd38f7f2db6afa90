"""Fold each BatchNorm into the convolution before it: fewer passes over memory, equal outputs but for rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def _replace(net: nn.Module, path: str, module: nn.Module) -> None:
    owner, _, leaf = path.rpartition(".")
    setattr(net.get_submodule(owner), leaf, module)


def _pairs(net: nn.Module, image: Tensor) -> list[tuple[str, str]]:
    """Return (conv, norm) paths where the norm's one input was the very output of the conv, in one pass."""
    outputs: dict[int, str] = {}
    kept: list[Tensor] = []
    calls: dict[str, int] = {}
    pairs: list[tuple[str, str]] = []

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

    hooks = []
    for path, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(after_conv(path)))
        elif isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
            hooks.append(module.register_forward_pre_hook(before_norm(path)))
    try:
        net(image)
    finally:
        for hook in hooks:
            hook.remove()
    return [(conv, norm) for conv, norm in pairs if calls[conv] == calls[norm] == 1]


def _remainder(norm: nn.Module) -> nn.Module:
    # timm's norm modules carry the activation that follows.
    rest = [child for child in norm.children() if not isinstance(child, nn.Identity)]
    return nn.Sequential(*rest) if len(rest) > 1 else rest[0] if rest else nn.Identity()


def fold_batchnorm(net: nn.Module, image_size: int) -> int:
    """Fold in place what can be folded, in eval mode, and return how many BatchNorms went.

    The result is held against the original on a random image; where they differ by more than the rounding of a
    deep net (1e-3 of the largest output), everything is put back and 0 returned.
    """
    image = torch.randn(1, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = net(image)
        originals = []
        for conv_path, norm_path in _pairs(net, image):
            conv, norm = net.get_submodule(conv_path), net.get_submodule(norm_path)
            if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
                continue
            originals += [(conv_path, conv), (norm_path, norm)]
            _replace(net, conv_path, fuse_conv_bn_eval(conv, norm))
            _replace(net, norm_path, _remainder(norm))
        after = net(image)
        if (after - before).abs().max() <= 1e-3 * before.abs().max():
            return len(originals) // 2
        for path, module in originals:
            _replace(net, path, module)
    return 0
