"""The net of a training on its device: its outputs for what a feed gives, whole or from a stage on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from probeline.backbones.device import DTYPES
from probeline.backbones.frozen import Normalize, in_halves
from probeline.backbones.stages import Stage, run_above, shape_below
from probeline.types import AnyArray, Preprocess


class Network:
    """A net on its device, run in a precision.

    Parameters
    ----------
    net : nn.Module
        Moved to the device in place.
    preprocess : Preprocess
    device : torch.device
    precision : {"fp32", "tf32", "bf16", "fp16"}
    cut : Stage, optional
        The stage whose input the feeds give; without it they give pixels.
    """

    def __init__(
        self, net: nn.Module, preprocess: Preprocess, device: torch.device, precision: str, cut: Stage | None
    ) -> None:
        self.net = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = device
        self._dtype = DTYPES[precision]
        self._normalize = Normalize(preprocess, device)
        self._cut, self._size = cut, preprocess.crop
        self._shape = None if cut is None else shape_below(net, cut, preprocess.crop)

    def forward(self, inputs: AnyArray) -> Tensor:
        """Return the output float32 [b, K] for a batch as a feed gives it, on the device."""
        values = torch.from_numpy(inputs).to(self.device)
        with torch.autocast(self.device.type, self._dtype, enabled=self._dtype != torch.float32):
            if self._cut is None or self._shape is None:
                return _logits(self.net(self._normalize(values)))
            return _logits(run_above(self.net, self._cut, values.view(-1, *self._shape), self._size))

    def predict(self, batches: Iterable[AnyArray], parts: int) -> Tensor:
        """Return the output float32 [n, K] on the CPU, in eval mode, each batch in so many parts.

        A part that memory does not hold is halved.

        Raises
        ------
        OutOfMemory
            One image is too much.
        """
        self.net.eval()
        outputs = []
        with torch.inference_mode():
            for inputs in batches:
                pieces = np.array_split(inputs, min(parts, len(inputs)))
                outputs += [in_halves(lambda half: self.forward(half).cpu(), piece, self.device) for piece in pieces]
        return torch.cat(outputs)


def _logits(output: Any) -> Tensor:
    # GoogLeNet and Inception give a tuple while they train, the logits first.
    first: Tensor = output if isinstance(output, Tensor) else output[0]
    return first.float()
