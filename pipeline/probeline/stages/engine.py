"""The extraction engine: one frozen net on one device, fed by threads, its shards written as they are finished."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from probeline.environment import commit, environment
from probeline.errors import BadData, Diverged
from probeline.images.decode import resize_crop
from probeline.images.reading import Unreadable, ordered, read_batch
from probeline.records import Backbone, ImageArray, IntArray, PixelArray
from probeline.stages.inputs import Inputs
from probeline.store import entry as store

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from probeline.backbones.frozen import Frozen
    from probeline.backbones.resolve import Loaded

_CPU_BATCH, _GPU_BATCH = 16, 256
"""Images a forward pass: on a CPU few, so that activations stay in its caches."""


def title(entry: store.Entry, backbone: Backbone) -> str:
    """Return what a line about an entry calls it."""
    return f"{entry.part.dataset}/{entry.part.name} x {backbone.name}"


@dataclass(frozen=True)
class _Batch:
    shard: int
    rows: IntArray


class Engine:
    """One frozen net on one device, fed by threads.

    On a CPU each thread decodes a batch and runs it through the net by itself, with one core: no thread waits for
    another, and decoding costs what it costs. On a GPU threads decode ahead, this thread launches, and finished
    shards leave the device in a third.

    Parameters
    ----------
    inputs : Inputs
    backbone : Backbone
    loaded : Loaded, optional
        The net, where it is built already.
    """

    def __init__(self, inputs: Inputs, backbone: Backbone, loaded: Loaded | None = None) -> None:
        import torch

        from probeline.backbones import device
        from probeline.backbones.frozen import Frozen

        config = inputs.config
        self._inputs = inputs
        self._backbone = backbone
        self.device: torch.device = device.choose(config.device)
        self.device_name = device.describe(self.device)
        self.frozen: Frozen = Frozen(loaded or inputs.net(backbone.name), self.device, config.precision)
        on_cpu = self.device.type == "cpu"
        self.batch_size = config.batch_size or (_CPU_BATCH if on_cpu else _GPU_BATCH)
        self.threads = config.workers or torch.get_num_threads()
        self._on_cpu = on_cpu

    def fill(self, entry: store.Entry, shards: list[int]) -> None:
        """Extract the shards that are missing and write each as soon as it is whole.

        Raises
        ------
        BadData
            Images that cannot be read; their shards are left out, all others written.
        CannotWrite, OutOfMemory
        """
        from probeline.backbones.device import exact_float32

        console = self._inputs.config.console
        store.begin(entry)
        batches = [batch for shard in shards for batch in self._split(shard, entry.shards[shard])]
        total = sum(len(batch.rows) for batch in batches)
        unreadable: list[BadData] = []
        started = last = time.perf_counter()
        done = 0
        with (
            exact_float32(self._inputs.config.precision),
            console.bar(f"extract {title(entry, self._backbone)}", total, "img") as bar,
            ThreadPoolExecutor(1, thread_name_prefix="write") as writer,
        ):
            writing: list[Future[None]] = []
            pending: list[Tensor] = []
            spoilt = False
            for number, (batch, features) in enumerate(self._features(entry, batches)):
                if isinstance(features, Unreadable):
                    unreadable += features.errors
                    spoilt = True
                else:
                    pending.append(features)
                done += len(batch.rows)
                bar.update(len(batch.rows))
                if number == min(2 * self.threads, len(batches) - 1):
                    rate = done / (time.perf_counter() - started)
                    console.say(
                        f"extract: {title(entry, self._backbone)}: {total:,} images on {self.device_name}, about "
                        f"{math.ceil((total - done) / rate):,} s at {rate:.0f} images/s, "
                        f"{total * entry.dim * 4 / 1e6:.1f} MB"
                    )
                if number + 1 == len(batches) or batches[number + 1].shard != batch.shard:
                    if not spoilt:
                        now = time.perf_counter()
                        provenance = self._provenance(now - last)
                        last = now
                        writing.append(writer.submit(_write, entry, batch.shard, pending, provenance))
                        for earlier in writing[:-2]:
                            earlier.result()
                    pending, spoilt = [], False
            for future in writing:
                future.result()
        if unreadable:
            raise BadData(
                f"{len(unreadable)} images cannot be read",
                where="; ".join(str(error) for error in unreadable[:5]) + ("; ..." if len(unreadable) > 5 else ""),
                remedy="replace or remove them, then run extract again: finished shards are kept",
            )

    def _split(self, shard: int, rows: range) -> Iterator[_Batch]:
        for start in range(rows.start, rows.stop, self.batch_size):
            yield _Batch(shard, np.arange(start, min(start + self.batch_size, rows.stop)))

    def _pixels(self, entry: store.Entry, rows: IntArray) -> PixelArray | Unreadable:
        images = self._inputs.dataset.images[entry.part.name]
        if isinstance(images, ImageArray) and not self._on_cpu and self.device.type != "mps":
            return images.pixels[rows]
        preprocess = self._backbone.preprocess
        return read_batch(images, rows, lambda image, _: resize_crop(image, preprocess), preprocess.crop)

    def _features(self, entry: store.Entry, batches: list[_Batch]) -> Iterator[tuple[_Batch, Tensor | Unreadable]]:
        import torch

        def load(batch: _Batch) -> Tensor | Unreadable:
            pixels = self._pixels(entry, batch.rows)
            if isinstance(pixels, Unreadable):
                return pixels
            tensor = torch.from_numpy(pixels)
            return tensor.pin_memory() if self.device.type == "cuda" else tensor

        def load_and_embed(batch: _Batch) -> Tensor | Unreadable:
            pixels = load(batch)
            return pixels if isinstance(pixels, Unreadable) else self.frozen.embed(pixels)

        if self._on_cpu:
            before = torch.get_num_threads()
            try:
                yield from ordered(load_and_embed, batches, self.threads, initializer=lambda: torch.set_num_threads(1))
            finally:
                torch.set_num_threads(before)
            return
        for batch, pixels in ordered(load, batches, self.threads):
            yield batch, pixels if isinstance(pixels, Unreadable) else self.frozen.embed(pixels)

    def _provenance(self, seconds: float) -> dict[str, Any]:
        return {
            **environment(self.device_name),
            "batch_size": self.batch_size,
            "workers": self.threads,
            "folded_batchnorms": self.frozen.folded,
            "memory_layout": "channels_last",
            "commit": commit(),
            "seconds": seconds,
        }


def _write(entry: store.Entry, shard: int, blocks: list[Tensor], provenance: dict[str, Any]) -> None:
    features = np.concatenate([block.cpu().numpy() for block in blocks])
    if not np.isfinite(features).all():
        raise Diverged(
            "the net gives features that are not finite",
            where=f"shard {shard} of {entry.folder}",
            remedy="use --precision fp32 or bf16, or other --weights",
        )
    store.write_shard(entry, shard, features, provenance)
