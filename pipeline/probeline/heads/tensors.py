"""Arrays as tensors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from probeline.types import AnyArray


def resident(array: AnyArray, device: str | torch.device = "cpu") -> Tensor:
    """Return the array on the device.

    On the CPU it is shared and not copied, unless it is read-only, which torch has no notion of.
    """
    return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(device)
