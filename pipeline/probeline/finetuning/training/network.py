"""The net of a training on its device: its outputs for what a feed gives, whole or from a stage on."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from probeline.backbones.device import DTYPES
from probeline.backbones.frozen import Normalize, in_halves
from probeline.backbones.stages import Stage, run_above, shape_below
from probeline.images import Preprocess
from probeline.types import AnyArray


class Network:
    """A net on its device, moved there in place and run in a precision.

    The feeds give the input of the stage `cut`, or pixels if it is None.
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
                output = self.net(self._normalize(values))
            else:
                output = run_above(self.net, self._cut, values.view(-1, *self._shape), self._size)
        # GoogLeNet and Inception give a tuple while they train, the logits first.
        logits: Tensor = output if isinstance(output, Tensor) else output[0]
        return logits.float()

    def predict(self, batches: Iterable[AnyArray], parts: int) -> Tensor:
        """Return the output float32 [n, K] on the CPU, in eval mode, each batch in so many parts.

        A part that memory does not hold is halved; `OutOfMemory` if one image is too much.
        """
        self.net.eval()
        outputs = []
        with torch.inference_mode():
            for inputs in batches:
                pieces = np.array_split(inputs, min(parts, len(inputs)))
                outputs += [in_halves(lambda half: self.forward(half).cpu(), piece, self.device) for piece in pieces]
        return torch.cat(outputs)
