"""The filters of a net's first layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from probeline.backbones.forward_pass import run_until
from probeline.types import FloatArray


@dataclass(frozen=True)
class FirstLayer:
    """The first convolution of a net: the path `module`, and kernels float32 [K, 3, h, w] of red, green and blue."""

    module: str
    kernels: FloatArray


@torch.no_grad()
def first_layer(net: nn.Module, image_size: int) -> FirstLayer | None:
    """Return the first layer with weights that an image of `image_size` pixels reaches, in a net on the CPU.

    None if that is no convolution of three channels, such as one of pixels regrouped into more channels, or a matrix on
    flattened patches. The patch embedding of a vision transformer is a convolution like any other.
    """
    paths = {module: path for path, module in net.named_modules() if _has_matrix(module)}
    reached = run_until(net, paths, torch.zeros(1, 3, image_size, image_size))
    if reached is None:
        return None
    module = reached[0]
    weight = module.weight
    if isinstance(module, nn.Conv2d) and isinstance(weight, torch.Tensor) and weight.shape[1] == 3:
        kernels: FloatArray = weight.detach().float().numpy().copy()
        return FirstLayer(paths[module], kernels)
    return None


def _has_matrix(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, nn.Parameter) and weight.ndim > 1
