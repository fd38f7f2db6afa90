"""The extraction engine: one frozen net on one device, fed by threads, its shards written as they are finished."""

from __future__ import annotations

import functools
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from probeline.environment import commit, environment
from probeline.errors import BadData, Diverged
from probeline.images.decode import resize_crop
from probeline.images.reading import Unreadable, ordered, read_batch
from probeline.records import Backbone, FloatArray, ImageArray, IntArray, PixelArray
from probeline.stages.inputs import Inputs
from probeline.store import entry as store
from probeline.store.claims import Claims
from probeline.store.reuse import Known

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from probeline.backbones.frozen import Frozen
    from probeline.backbones.resolve import Loaded

_CPU_BATCH, _GPU_BATCH = 16, 256
"""Images a forward pass: on a CPU few, so that activations stay in its caches."""


def title(entry: store.Entry) -> str:
    """Return what a line about an entry calls it."""
    return f"{entry.dataset}/{entry.part} x {entry.inputs['backbone']}"


@dataclass(frozen=True)
class _Batch:
    shard: int
    rows: IntArray
    last: bool = True
    """Of its shard."""


@dataclass
class _Shard:
    """A shard under way: blocks of rows with their features, as the device gives them."""

    blocks: list[tuple[IntArray, Tensor]] = field(default_factory=list)
    spoilt: bool = False


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

    def embed(self, entry: store.Entry, rows: IntArray) -> FloatArray:
        """Return the features float32 [n, D] of some rows; nothing is written.

        Raises
        ------
        BadData
            The first image that cannot be read.
        OutOfMemory
        """
        from probeline.backbones.device import exact_float32

        batches = (_Batch(0, rows[start : start + self.batch_size]) for start in range(0, len(rows), self.batch_size))
        found = []
        with exact_float32(self._inputs.config.precision):
            for _, features in self._features(entry, batches):
                if isinstance(features, Unreadable):
                    raise features.errors[0]
                found.append(features.cpu().numpy())
        return np.concatenate(found)

    def fill(self, entry: store.Entry, shards: list[int], known: Known | None = None) -> None:
        """Extract the shards that are missing and write each as soon as it is whole.

        What another process is at work on is left to it, and waited for at the end.

        Parameters
        ----------
        entry : Entry
        shards : list of int
        known : Known, optional
            Rows that need no pass.

        Raises
        ------
        BadData
            Images that cannot be read; their shards are left out, all others written.
        CannotWrite, OutOfMemory
        """
        from probeline.backbones.device import exact_float32

        console = self._inputs.config.console
        store.begin(entry)
        todo = {shard: _unknown(entry.shards[shard], known) for shard in shards}
        total = sum(map(len, todo.values()))
        unreadable: list[BadData] = []
        with (
            exact_float32(self._inputs.config.precision),
            Claims(entry, shards) as claims,
            console.bar(f"extract {title(entry)}", total, "img") as bar,
            ThreadPoolExecutor(1, thread_name_prefix="write") as writer,
        ):
            writing: deque[Future[None]] = deque()
            started = last = time.perf_counter()
            done = 0
            told = False
            while claims.left:
                under_way = _Shard()
                batches = (batch for shard in claims.take() for batch in self._split(shard, todo[shard]))
                for number, (batch, features) in enumerate(self._features(entry, batches)):
                    if isinstance(features, Unreadable):
                        unreadable += features.errors
                        under_way.spoilt = True
                    else:
                        under_way.blocks.append((batch.rows, features))
                    done += len(batch.rows)
                    bar.update(len(batch.rows))
                    if not told and (number == 2 * self.threads or done == total):
                        told = True
                        rate = done / (time.perf_counter() - started)
                        console.say(
                            f"extract: {title(entry)}: {total:,} images on {self.device_name}, about "
                            f"{math.ceil((total - done) / rate):,} s at {rate:.0f} images/s, "
                            f"{total * entry.dim * 4 / 1e6:.1f} MB"
                        )
                    if not batch.last:
                        continue
                    if under_way.spoilt:
                        claims.release(batch.shard)
                    else:
                        now = time.perf_counter()
                        provenance = self._provenance(now - last)
                        last = now
                        task = functools.partial(_write, entry, batch.shard, under_way.blocks, known, provenance)
                        writing.append(writer.submit(_then, task, functools.partial(claims.release, batch.shard)))
                        while len(writing) > 2:
                            writing.popleft().result()
                    under_way = _Shard()
                while writing:
                    writing.popleft().result()
                if claims.left:
                    console.say(f"extract: {title(entry)}: other processes have the rest in hand; waiting for them")
                for shard in claims.wait():
                    bar.update(len(todo[shard]))
        if unreadable:
            raise BadData(
                "an image cannot be read" if len(unreadable) == 1 else f"{len(unreadable)} images cannot be read",
                where="; ".join(f"{error.where} ({error.got})" for error in unreadable[:5])
                + ("; ..." if len(unreadable) > 5 else ""),
                remedy="replace or remove them, then run extract again: finished shards are kept",
            )

    def _split(self, shard: int, rows: IntArray) -> Iterator[_Batch]:
        for start in range(0, len(rows), self.batch_size):
            stop = start + self.batch_size
            yield _Batch(shard, rows[start:stop], last=stop >= len(rows))

    def pixels(self, part: str, rows: IntArray) -> PixelArray | Unreadable:
        """Return what the device is given of a part: uint8 [n, H, W, 3], resized unless the device does that."""
        images = self._inputs.dataset.images[part]
        if isinstance(images, ImageArray) and not self._on_cpu and self.device.type != "mps":
            return images.pixels[rows]
        preprocess = self._backbone.preprocess
        return read_batch(images, rows, lambda image, _: resize_crop(image, preprocess), preprocess.crop)

    def _features(self, entry: store.Entry, batches: Iterable[_Batch]) -> Iterator[tuple[_Batch, Tensor | Unreadable]]:
        import torch

        def load(batch: _Batch) -> Tensor | Unreadable:
            pixels = self.pixels(entry.part, batch.rows)
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


def _unknown(rows: range, known: Known | None) -> IntArray:
    """Return the rows of a shard that must go through the net."""
    every = np.arange(rows.start, rows.stop)
    return every if known is None else np.setdiff1d(every, known.rows, assume_unique=True)


def _then(task: Callable[[], object], always: Callable[[], object]) -> None:
    try:
        task()
    finally:
        always()


def _write(
    entry: store.Entry,
    shard: int,
    blocks: list[tuple[IntArray, Tensor]],
    known: Known | None,
    provenance: dict[str, Any],
) -> None:
    rows = entry.shards[shard]
    features = np.empty((len(rows), entry.dim), np.float32)
    for places, block in blocks:
        features[places - rows.start] = block.cpu().numpy()
    if known is not None:
        provenance = known.copy_into(features, rows, provenance)
    if not np.isfinite(features).all():
        raise Diverged(
            "the net gives features that are not finite",
            where=f"shard {shard} of {entry.folder}",
            remedy="use --precision fp32 or bf16, or other --weights",
        )
    store.write_shard(entry, shard, features, provenance)
