"""The frozen net that extraction runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cache
from itertools import accumulate
from typing import TypeVar

import torch
from torch import Tensor, nn

from probeline.backbones.device import DTYPES, empty_cache, is_out_of_memory, words_of_refusal
from probeline.backbones.fold import fold_batchnorm
from probeline.backbones.inner_taps import InnerTap, attach
from probeline.backbones.penultimate import set_head
from probeline.backbones.resample import Resample
from probeline.backbones.resolve import Loaded
from probeline.errors import OutOfMemory
from probeline.images import Preprocess
from probeline.names import PENULTIMATE
from probeline.types import AnyArray


class Normalize:
    """uint8 pixels to a net's float input, in one pass over rows of interleaved channels."""

    def __init__(self, preprocess: Preprocess, device: torch.device) -> None:
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (preprocess.mean, preprocess.std))
        self._scale = (1 / (255 * std)).float().repeat(preprocess.crop).to(device)
        self._shift = (-mean / std).float().repeat(preprocess.crop).to(device)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return float32 [B, 3, S, S], channels last, for uint8 [B, S, S, 3]."""
        batch, side = pixels.shape[:2]
        rows = pixels.reshape(batch, side, side * 3).to(torch.float32)
        rows = rows.mul_(self._scale).add_(self._shift)
        return rows.reshape(batch, side, side, 3).permute(0, 3, 1, 2)

    def undo(self, images: Tensor) -> Tensor:
        """Return the pixels float32 [B, S, S, 3], 0 to 255 up to rounding, of a net's input."""
        batch, _, side, _ = images.shape
        rows = images.permute(0, 2, 3, 1).reshape(batch, side, side * 3)
        return rows.sub(self._shift).div_(self._scale).reshape(batch, side, side, 3)


def make_ready(
    net: nn.Module, image_size: int, device: torch.device, precision: str, taps: Sequence[InnerTap] = ()
) -> tuple[nn.Module, int]:
    """Change `net` to what extraction runs, and return it with the number of its folded BatchNorms.

    That is eval mode without gradients, channels last, on the device and in the type of the precision. A BatchNorm is
    folded if that leaves the output and `taps` unchanged.
    """
    net = net.eval().requires_grad_(False)
    folded = fold_batchnorm(net, image_size, taps)
    ready: nn.Module = net.to(device=device, dtype=DTYPES[precision], memory_format=torch.channels_last)  # type: ignore[call-overload]
    return ready, folded


class Frozen:
    """The frozen net, which gives the embeddings of several taps in one pass; `columns` has each tap's.

    The net of `loaded` is changed: its head is replaced by `head`, or removed, and its BatchNorms are folded. `tf32` is
    float32 like `fp32`, but the caller allows TF32.
    """

    def __init__(
        self,
        loaded: Loaded,
        device: torch.device,
        precision: str,
        taps: Sequence[str] = (PENULTIMATE,),
        head: nn.Module | None = None,
    ) -> None:
        set_head(loaded.net, loaded.tap, nn.Identity() if head is None else head)
        inner = [loaded.inner[tap] for tap in taps if tap != PENULTIMATE]
        self._preprocess = loaded.backbone.preprocess
        self.net, self.folded = make_ready(loaded.net, self._preprocess.crop, device, precision, inner)
        dims = {tap: loaded.tap.dim if tap == PENULTIMATE else loaded.inner[tap].dim for tap in taps}
        ends = accumulate(dims.values())
        self.columns = {tap: slice(end - dims[tap], end) for tap, end in zip(dims, ends, strict=True)}
        self._read = threading.local()  # on a CPU many threads run the net at once
        attach(self.net, inner, lambda tap, values: vars(self._read).__setitem__(tap, values))
        self.device = device
        self._dtype = DTYPES[precision]
        self.image_size = self._preprocess.crop
        self._normalize = Normalize(self._preprocess, device)
        self._resampler = cache(lambda height, width: Resample(height, width, self._preprocess, device))

    def embed(self, pixels: Tensor) -> Tensor:
        """Return float32 [B, D] on the device for uint8 [B, H, W, 3] on the CPU or the device.

        Pixels of another size than the crop are resized and cropped on the device as by Pillow. A batch that does not
        fit into memory runs `in_halves`.
        """
        return in_halves(self._forward, pixels, self.device)

    @torch.inference_mode()
    def _forward(self, pixels: Tensor) -> Tensor:
        return self.features(self.prepare(pixels))

    def features(self, images: Tensor) -> Tensor:
        """Return the values of all taps, float32 [B, D], for the net's input [B, 3, S, S]."""
        outputs: dict[str, Tensor] = vars(self._read)
        outputs.clear()
        outputs[PENULTIMATE] = self.net(images).float()
        features = [outputs[tap] for tap in self.columns]
        outputs.clear()
        return torch.cat(features, 1) if len(features) > 1 else features[0]

    def prepare(self, pixels: Tensor) -> Tensor:
        """Return the net's input [B, 3, S, S], on its device and in its type, for uint8 [B, H, W, 3]."""
        # On other devices than CUDA a non-blocking copy may read pixels that have been freed in the meantime.
        pixels = pixels.to(self.device, non_blocking=self.device.type == "cuda")
        if pixels.shape[1:3] != (self.image_size, self.image_size):
            pixels = self._resampler(*pixels.shape[1:3])(pixels)
        return self._normalize(pixels).to(self._dtype)


Batch = TypeVar("Batch", Tensor, AnyArray)


def in_halves(forward: Callable[[Batch], Tensor], batch: Batch, device: torch.device) -> Tensor:
    """Return `forward` of a batch, which is halved as often as necessary to fit into memory.

    Raises
    ------
    OutOfMemory
        A single image does not fit.
    """
    try:
        return forward(batch)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        words = words_of_refusal(error)
    # Outside the handler: the exception's traceback keeps the failed batch's tensors alive.
    empty_cache(device)
    if len(batch) == 1:
        raise OutOfMemory(
            f"one image does not fit into the memory of {device}",
            got=words,
            remedy="use a smaller --image-size or net",
        )
    half = len(batch) // 2
    return torch.cat([in_halves(forward, batch[:half], device), in_halves(forward, batch[half:], device)])
