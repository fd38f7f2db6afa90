"""A net without memory for its tensors: what it would need, known before anything is allocated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from probeline.backbones.build import bare_net
from probeline.backbones.forward_pass import hook_modules, hooked
from probeline.backbones.registry import runs_code

_BYTES_PER_PIXEL = 1024
"""Assumed if a net does not say; 14 nets of all families were measured to take 111 to 776."""

_PEAK = 2
"""Peak memory of a pass of one image, relative to the largest input and output of one of its modules. Measured on the
same nets with images of 448 to 2,048 pixels: 0.9 to 2.1, and more only where the peak is below 140 MB."""


def outline_of(name: str, options: Mapping[str, Any]) -> nn.Module | None:
    """Return the net that :func:`bare_net` builds, on torch's ``meta`` device: with shapes and without values.

    None if its code needs values, or is the user's own.

    Raises
    ------
    BadOption, UnknownName, ValueError
        As :func:`bare_net`.
    """
    if runs_code(name):
        return None
    try:
        with torch.device("meta"):
            net = bare_net(name, options)
    except RuntimeError:  # such as torchvision's RegNet, which counts with tensors
        return None
    return net if all(tensor.is_meta for tensor in net.state_dict().values()) else None


def bytes_of_pass(outline: nn.Module | None, image_size: int) -> int:
    """Return about how many bytes of memory a pass of one image of `image_size` pixels takes, without its tensors."""
    assumed = _BYTES_PER_PIXEL * image_size**2
    if outline is None:
        return assumed
    first: dict[str, int] = {}
    largest = 0

    def leave(path: str, output: Any) -> None:
        nonlocal largest
        largest = max(largest, first[path] + _bytes_of(output))

    def enter(path: str, argument: Any) -> None:
        first[path] = _bytes_of(argument)

    try:
        with hooked(hook_modules(outline, enter, leave)), torch.no_grad():
            outline(torch.empty(1, 3, image_size, image_size, device="meta"))
    except Exception:  # the net's code needs values, or it takes no such image, which its own pass will say
        return assumed
    return _PEAK * largest


def _bytes_of(values: Any) -> int:
    if isinstance(values, Tensor):
        return values.numel() * values.element_size()
    parts = values.values() if isinstance(values, dict) else values if isinstance(values, tuple | list) else ()
    return sum(map(_bytes_of, parts))
