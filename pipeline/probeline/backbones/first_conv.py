"""The filters of a net's first layer: all that it knows to look for in pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from probeline.backbones.inner_taps import hooked
from probeline.types import FloatArray


@dataclass(frozen=True)
class FirstLayer:
    """The first convolution of a net.

    Attributes
    ----------
    module : str
        Its path within the net.
    kernels : float32 [K, 3, h, w]
        Of red, green and blue.
    """

    module: str
    kernels: FloatArray


class _Reached(Exception):
    """The image has met the first layer, and the rest of the pass is not needed."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path


def first_layer(net: nn.Module, image_size: int) -> FirstLayer | None:
    """Return the first layer with weights that an image meets, found by watching a pass.

    None where that is no convolution of three channels, such as of pixels that were gathered into more channels, or a
    matrix on flattened patches. The patch embedding of a vision transformer is a convolution like any other.

    Parameters
    ----------
    net : nn.Module
        In eval mode, on the CPU; stays as it is.
    image_size : int
        Pixels.
    """
    paths = {module: path for path, module in net.named_modules() if _has_matrix(module)}

    def stop(module: nn.Module, _: tuple[Any, ...]) -> None:
        raise _Reached(paths[module])

    try:
        with hooked([module.register_forward_pre_hook(stop) for module in paths]), torch.no_grad():
            net(torch.zeros(1, 3, image_size, image_size))
    except _Reached as reached:
        module = net.get_submodule(reached.path)
        weight = module.weight
        if isinstance(module, nn.Conv2d) and isinstance(weight, torch.Tensor) and weight.shape[1] == 3:
            kernels: FloatArray = weight.detach().float().numpy().copy()
            return FirstLayer(reached.path, kernels)
    return None


def _has_matrix(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, nn.Parameter) and weight.ndim > 1
