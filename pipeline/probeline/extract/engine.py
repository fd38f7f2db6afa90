"""The extraction engine: one frozen net on one device, fed by threads, its shards written as they are finished.

One pass of the net fills the entries of several taps.
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from probeline.cache.entry import Entry
from probeline.cache.locks import ShardLocks
from probeline.cache.reuse import KnownRows
from probeline.cache.writing import write_entry, write_shard
from probeline.data.pixels.decode import resize_crop
from probeline.data.pixels.loading import Unreadable, ordered, read_batch
from probeline.data.pixels.views import augment
from probeline.environment import commit, environment
from probeline.errors import BadData, Diverged
from probeline.session import Session
from probeline.types import Backbone, FloatArray, ImageArray, IntArray, PixelArray, View

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor

    from probeline.backbones.frozen import Frozen
    from probeline.backbones.resolve import Loaded

_CPU_BATCH, _GPU_BATCH = 16, 256
"""Images a forward pass: on a CPU few, so that activations stay in its caches."""


@dataclass(frozen=True)
class ShardRequest:
    """The shards of one entry that are to be extracted.

    Attributes
    ----------
    entry : Entry
    shards : list of int
    known : KnownRows, optional
        Rows that need no pass.
    """

    entry: Entry
    shards: list[int]
    known: KnownRows | None = None

    def unknown(self, shard: int) -> IntArray:
        """Return the rows of a shard that must go through the net."""
        rows = self.entry.shards[shard]
        every = np.arange(rows.start, rows.stop)
        return every if self.known is None else np.setdiff1d(every, self.known.rows, assume_unique=True)


@dataclass(frozen=True)
class _Job:
    """A request, and the locks of this process on its shards."""

    request: ShardRequest
    locks: ShardLocks


@dataclass(frozen=True)
class _Batch:
    shard: int
    rows: IntArray
    last: bool = True
    """Of its shard."""
    jobs: tuple[_Job, ...] = ()
    """Those whose shard this process has locked."""


@dataclass
class _Shard:
    """A shard under way: blocks of rows with their features, as the device gives them."""

    blocks: list[tuple[IntArray, Tensor]] = field(default_factory=list)
    is_spoilt: bool = False


class Engine:
    """One frozen net on one device, fed by threads.

    On a CPU each thread decodes a batch and runs it through the net by itself, with one core: no thread waits for
    another, and decoding costs what it costs. On a GPU threads decode ahead, this thread launches, and finished
    shards leave the device in a third.

    Parameters
    ----------
    session : Session
    *backbones : Backbone
        One net at one or more taps.
    loaded : Loaded, optional
        The net, where it is built already.
    """

    def __init__(self, session: Session, *backbones: Backbone, loaded: Loaded | None = None) -> None:
        import torch

        from probeline.backbones import device
        from probeline.backbones.frozen import Frozen

        settings = session.settings
        self._session = session
        self._backbone = backbones[0]
        self.device: torch.device = device.choose(settings.compute.device)
        self.device_name = device.describe(self.device)
        taps = [backbone.tap for backbone in backbones]
        net = loaded or session.net_of(backbones[0], taps)
        if net.backbone.preprocess != backbones[0].preprocess:
            raise ValueError(f"a net for {net.backbone.preprocess}, and a record of {backbones[0].preprocess}")
        self.frozen: Frozen = Frozen(net, self.device, settings.nets.precision, taps)
        on_cpu = self.device.type == "cpu"
        self.batch_size = settings.compute.batch_size or (_CPU_BATCH if on_cpu else _GPU_BATCH)
        self.threads = settings.compute.workers or torch.get_num_threads()
        self._on_cpu = on_cpu

    def embed(self, entry: Entry, rows: IntArray) -> FloatArray:
        """Return the features float32 [n, D] of some rows; nothing is written.

        Raises
        ------
        BadData
            The first image that cannot be read.
        OutOfMemory
        """
        from probeline.backbones.device import exact_float32

        batches = (_Batch(0, rows[start : start + self.batch_size]) for start in range(0, len(rows), self.batch_size))
        columns = self.frozen.columns[entry.tap]
        blocks = []
        with exact_float32(self._session.settings.nets.precision):
            for _, features in self._features(entry, batches):
                if isinstance(features, Unreadable):
                    raise features.errors[0]
                blocks.append(features[:, columns].cpu().numpy())
        return np.concatenate(blocks)

    def fill(self, *requests: ShardRequest) -> None:
        """Extract the shards that are missing and write each as soon as it is whole.

        A shard goes through the net once for all entries that need it. Shards that another process is working on are
        left to it, and waited for at the end.

        Parameters
        ----------
        *requests : ShardRequest
            Of entries that differ in their tap alone.

        Raises
        ------
        BadData
            Images that cannot be read; their shards are left out, all others written.
        CannotWrite, OutOfMemory
        """
        from probeline.backbones.device import exact_float32

        console = self._session.console
        for request in requests:
            write_entry(request.entry)
        shards = sorted({shard for request in requests for shard in request.shards})
        todo = {shard: _rows(requests, shard) for shard in shards}
        total = sum(map(len, todo.values()))
        title = _title(requests)
        unreadable: list[BadData] = []
        with (
            exact_float32(self._session.settings.nets.precision),
            contextlib.ExitStack() as locked,
            console.bar(f"extract {title}", total, "img") as bar,
            ThreadPoolExecutor(1, thread_name_prefix="write") as writer,
        ):
            jobs = [_Job(one, locked.enter_context(ShardLocks(one.entry, one.shards))) for one in requests]
            writing: deque[Future[None]] = deque()
            started = last = time.perf_counter()
            done = 0
            is_announced = False
            while any(job.locks.are_pending for job in jobs):
                under_way = _Shard()
                batches = (batch for shard in todo for batch in self._split(shard, jobs))
                for number, (batch, features) in enumerate(self._features(requests[0].entry, batches)):
                    if isinstance(features, Unreadable):
                        unreadable += features.errors
                        under_way.is_spoilt = True
                    else:
                        under_way.blocks.append((batch.rows, features))
                    done += len(batch.rows)
                    bar.update(len(batch.rows))
                    if not is_announced and (number == 2 * self.threads or done == total):
                        is_announced = True
                        rate = done / (time.perf_counter() - started)
                        dim = sum(request.entry.dim for request in requests)
                        console.say(
                            f"extract: {title}: {total:,} images on {self.device_name}, about "
                            f"{math.ceil((total - done) / rate):,} s at {rate:.0f} images/s, "
                            f"{total * dim * 4 / 1e6:.1f} MB"
                        )
                    if not batch.last:
                        continue
                    if under_way.is_spoilt:
                        for job in batch.jobs:
                            job.locks.release(batch.shard)
                    else:
                        now = time.perf_counter()
                        provenance = self._provenance(now - last, [job.request.entry.tap for job in batch.jobs])
                        last = now
                        for job in batch.jobs:
                            columns = self.frozen.columns[job.request.entry.tap]
                            blocks = [(rows, features[:, columns]) for rows, features in under_way.blocks]
                            task = functools.partial(_write, job.request, batch.shard, blocks, provenance)
                            release = functools.partial(job.locks.release, batch.shard)
                            writing.append(writer.submit(_then, task, release))
                        while len(writing) > 2 * len(requests):
                            writing.popleft().result()
                    under_way = _Shard()
                while writing:
                    writing.popleft().result()
                if any(job.locks.are_pending for job in jobs):
                    console.say(f"extract: {title}: the rest is being processed by another process; waiting for it")
                finished = {shard for job in jobs for shard in job.locks.wait()}
                bar.update(sum(len(todo[shard]) for shard in finished))
        if unreadable:
            raise BadData(
                "an image cannot be read" if len(unreadable) == 1 else f"{len(unreadable)} images cannot be read",
                where="; ".join(f"{error.where} ({error.got})" for error in unreadable[:5])
                + ("; ..." if len(unreadable) > 5 else ""),
                remedy="replace or remove them, then run extract again: finished shards are kept",
            )

    def _split(self, shard: int, jobs: list[_Job]) -> Iterator[_Batch]:
        """Lock a shard of each entry where it is free, and yield its batches."""
        locked = tuple(job for job in jobs if job.locks.lock(shard))
        rows = _rows([job.request for job in locked], shard)
        for start in range(0, len(rows), self.batch_size):
            stop = start + self.batch_size
            yield _Batch(shard, rows[start:stop], stop >= len(rows), locked)

    def pixels(self, part: str, rows: IntArray, view: View | None = None) -> PixelArray | Unreadable:
        """Return the pixels of some rows for the device: uint8 [n, H, W, 3], resized unless the device does that."""
        images = self._session.dataset.images[part]
        if view is None and isinstance(images, ImageArray) and not self._on_cpu and self.device.type != "mps":
            return images.pixels[rows]
        preprocess = self._backbone.preprocess
        content = self._session.dataset.parts[part].content

        def see(image: Image.Image, row: int) -> PixelArray:
            return resize_crop(image, preprocess) if view is None else augment(image, preprocess, view, content[row])

        return read_batch(images, rows, see, preprocess.crop)

    def _features(self, entry: Entry, batches: Iterable[_Batch]) -> Iterator[tuple[_Batch, Tensor | Unreadable]]:
        import torch

        def load(batch: _Batch) -> Tensor | Unreadable:
            pixels = self.pixels(entry.images, batch.rows, entry.view)
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

    def _provenance(self, seconds: float, taps: list[str]) -> dict[str, Any]:
        return {
            **environment(self.device_name),
            "batch_size": self.batch_size,
            "workers": self.threads,
            "folded_batchnorms": self.frozen.folded,
            "memory_layout": "channels_last",
            "commit": commit(),
            "seconds": seconds,
            "taps": taps,
        }


def _rows(requests: Iterable[ShardRequest], shard: int) -> IntArray:
    """Return the rows of a shard that must go through the net for any of some entries."""
    rows = [request.unknown(shard) for request in requests if shard in request.shards]
    return np.unique(np.concatenate([np.empty(0, np.int64), *rows]))


def _title(requests: tuple[ShardRequest, ...]) -> str:
    taps = f", {len(requests)} taps" if len(requests) > 1 else ""
    return requests[0].entry.title + taps


def _then(task: Callable[[], object], always: Callable[[], object]) -> None:
    try:
        task()
    finally:
        always()


def _write(
    request: ShardRequest, shard: int, blocks: list[tuple[IntArray, Tensor]], provenance: dict[str, Any]
) -> None:
    entry, known = request.entry, request.known
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
    write_shard(entry, shard, features, provenance)
