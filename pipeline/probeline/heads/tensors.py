"""Arrays as tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def resident(array: npt.NDArray[Any], device: str | torch.device = "cpu") -> Tensor:
    """Return the array on the device.

    On the CPU it is shared and not copied, unless it is read-only, which torch has no notion of.
    """
    return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(device)
