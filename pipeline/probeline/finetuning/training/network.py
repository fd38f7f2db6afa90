"""The net of a training on its device: its outputs for what a feed gives, whole or from a stage on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from probeline.backbones.device import DTYPES, is_out_of_memory, pin
from probeline.backbones.frozen import Normalize, in_halves
from probeline.backbones.stages import Stage, run_above, shape_below
from probeline.images import Preprocess
from probeline.types import AnyArray


def norms(net: nn.Module) -> Iterator[nn.modules.batchnorm._BatchNorm]:
    """Yield the BatchNorm layers of a net."""
    return (module for module in net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))


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

    def ahead(self, batches: Iterable[Sequence[AnyArray]]) -> Iterator[Sequence[Tensor]]:
        """Yield the arrays of each batch as tensors, on a CUDA device if that is the network's.

        There each batch is copied while the one before is worked on: from page-locked memory, on a stream of its own.
        """
        if self.device.type != "cuda":
            for batch in batches:
                yield [torch.from_numpy(array) for array in batch]
            return
        stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        waiting: list[tuple[list[Tensor], torch.cuda.Event | None]] = []
        for batch in batches:
            waiting.append(self._begin_copy(batch, stream))
            if len(waiting) > 1:
                yield self._end_copy(*waiting.pop(0))
        for copied in waiting:
            yield self._end_copy(*copied)

    def _begin_copy(
        self, batch: Sequence[AnyArray], stream: torch.cuda.Stream
    ) -> tuple[list[Tensor], torch.cuda.Event | None]:
        """Return the tensors of a batch, and what marks the end of their copies; None if the device has no room yet."""
        tensors = [pin(torch.from_numpy(array), self.device) for array in batch]
        try:
            with torch.cuda.stream(stream):
                copies = [tensor.to(self.device, non_blocking=True) for tensor in tensors]
                copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
                copied.record(stream)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        else:
            return copies, copied
        return tensors, None

    def _end_copy(self, tensors: list[Tensor], copied: torch.cuda.Event | None) -> list[Tensor]:
        """Let the device wait for the copies before what is launched from now on."""
        if copied is not None:
            stream = torch.cuda.current_stream(self.device)
            stream.wait_event(copied)
            for tensor in tensors:
                tensor.record_stream(stream)  # its memory is in use there, until what is launched has run
        return tensors

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the output float32 [b, K] for a batch as a feed gives it, on the device."""
        values = inputs.to(self.device)
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
            for (inputs,) in self.ahead([batch] for batch in batches):
                pieces = inputs.tensor_split(min(parts, len(inputs)))
                outputs += [in_halves(lambda half: self.forward(half).cpu(), piece, self.device) for piece in pieces]
        return torch.cat(outputs)
