"""The extraction engine: one frozen net on one device, fed by threads, its shards written as they are finished."""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probeline.cache.entry import Entry, entry_of_rows
from probeline.cache.writing import write_entry, write_shard
from probeline.data.pixels.functions import apply_function, refuse_function
from probeline.data.pixels.loading import Unreadable, ordered, read_batch
from probeline.data.pixels.processes import DecodingProcesses, count_processes
from probeline.data.pixels.views import view_by
from probeline.data.unreadable import record_unreadable
from probeline.environment import commit, environment
from probeline.errors import BadData, Diverged
from probeline.extraction.confirm import WEIGHTS_FACTS, describe_weights, require_same
from probeline.extraction.odd_pixels import OddImages
from probeline.extraction.requests import ShardRequest, rows_to_run
from probeline.extraction.turns import Claims
from probeline.images import ImageArray, Images, PixelArray, Sight
from probeline.options.command_line import command_line
from probeline.options.share import Share
from probeline.session import Session
from probeline.types import Backbone, FloatArray, IntArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from probeline.backbones.frozen import Frozen
    from probeline.backbones.resolve import Loaded

_STORE_WRITERS = 4
"""Shards that are written at once to a store, which may take long to answer."""

_CPU_BATCH, _GPU_BATCH = 16, 256
"""Images per forward pass: few on a CPU, so that activations stay in its caches."""

_LONG = 60
"""Seconds that an extraction must take for a faster precision to be worth measuring."""


@dataclass(frozen=True)
class _Job:
    """A request, and the locks of this process on its shards."""

    request: ShardRequest
    locks: Claims


@dataclass(frozen=True)
class _Batch:
    shard: int
    rows: IntArray
    is_last: bool = True
    """Of its shard."""
    jobs: tuple[_Job, ...] = ()
    """Those whose shard this process has locked."""


class Engine:
    """One frozen net at one or more taps on one device, fed by threads.

    On a CPU each thread decodes a batch and runs it through the net, on one core. On a GPU threads decode ahead, or
    processes if there is much to do; the caller's thread launches, and another copies finished shards from the device;
    but on MPS, which is used from one thread alone, the caller's copies too.
    """

    def __init__(self, session: Session, *backbones: Backbone, loaded: Loaded | None = None) -> None:
        from probeline.backbones import device
        from probeline.backbones.frozen import Frozen

        settings = session.settings
        self._session = session
        self._backbone = backbones[0]
        self.device: torch.device = device.choose(settings.compute.device)
        self.device_name = device.describe(self.device)
        taps = [backbone.tap for backbone in backbones]
        net = loaded or session.net_of(backbones[0], taps)
        require_same(session, backbones, net)
        self.frozen: Frozen = Frozen(net, self.device, settings.nets.precision, taps)
        self._on_cpu = self.device.type == "cpu"
        self.batch_size = settings.compute.batch_size or (_CPU_BATCH if self._on_cpu else _GPU_BATCH)
        self.threads = device.decoding_threads(self.device, settings.compute.workers)
        self._weights = describe_weights(session, net.backbone, net.files)

    def embed(self, entry: Entry, rows: IntArray) -> FloatArray:
        """Return the features float32 [n, D] of some rows; BadData of the first image that cannot be read."""
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

    def fill(self, *requests: ShardRequest, share: Share | None = None) -> None:
        """Extract shards of entries that differ only in their tap, and write each as soon as it is complete.

        A shard goes through the net once for all entries that need it. Shards that another process works on are left to
        it, and waited for at the end. With a share nothing is locked and waited for: this process takes all shards that
        are not written when their turn comes.

        Raises
        ------
        FoundUnreadable, BadData
            Images that cannot be read; their shards are left out, all others are written.
        CannotWrite, OutOfMemory
        """
        from probeline.backbones.device import exact_float32, finish, note_work

        console = self._session.console
        for request in requests:
            write_entry(request.entry)
        shards = sorted({shard for request in requests for shard in request.shards})
        if share is not None:
            shards = share.order(shards)
        writers = 1 if requests[0].shared is None else _STORE_WRITERS
        todo = {shard: rows_to_run(requests, shard) for shard in shards}
        total = sum(map(len, todo.values()))
        title = requests[0].entry.title + (f", {len(requests)} taps" if len(requests) > 1 else "")
        unreadable: dict[str, BadData] = {}
        odd = OddImages()
        with (
            exact_float32(self._session.settings.nets.precision),
            contextlib.ExitStack() as locked,
            console.bar(f"extract {title}", total, "img") as bar,
            ThreadPoolExecutor(writers, thread_name_prefix="write") as writer,
            ThreadPoolExecutor(1, thread_name_prefix="clock") as clock,
        ):
            decoders = self._start_decoders(requests[0].entry, total)
            if decoders is not None:
                locked.enter_context(decoders)
            jobs = [_Job(request, locked.enter_context(request.claim(share))) for request in requests]
            writing: deque[Future[None]] = deque()
            started = time.perf_counter()
            stopwatch = _Stopwatch(started)
            done = 0
            is_announced = False
            while any(job.locks.are_pending for job in jobs):
                blocks: list[tuple[IntArray, Tensor]] = []
                errors: dict[str, BadData] = {}
                batches = (batch for shard in todo for batch in self._split(shard, jobs))
                for number, (batch, features) in enumerate(self._features(requests[0].entry, batches, odd, decoders)):
                    if isinstance(features, Unreadable):
                        contents = (requests[0].entry.content[row] for row in features.rows)
                        errors |= dict(zip(contents, features.errors, strict=True))
                    else:
                        blocks.append((batch.rows, features))
                    done += len(batch.rows)
                    bar.update(len(batch.rows))
                    if not is_announced and (number == 2 * self.threads or done == total):
                        is_announced = True
                        finish(self.device)
                        rate = done / (time.perf_counter() - started)
                        size = total * sum(request.entry.row_bytes for request in requests)
                        console.say(
                            f"extract: {title}: {total:,} images on {self.device_name}, about "
                            f"{math.ceil((total - done) / rate):,} s at {rate:.0f} images/s, "
                            f"{size / 1e6:.1f} MB"
                        )
                        self._advise((total - done) / rate)
                    if not batch.is_last:
                        continue
                    # Another thread waits for the device and reads the clock, so that this one can go on.
                    seconds = clock.submit(stopwatch.lap, note_work(self.device))
                    computed = [row for rows, _ in blocks for row in rows.tolist()]
                    facts = odd.take(computed if errors else requests[0].entry.shards[batch.shard])
                    provenance = {**self._provenance([job.request.entry.tap for job in batch.jobs]), **facts}
                    if decoders is not None:
                        provenance |= {"workers": len(decoders), "decoding": "processes"}
                    for job in batch.jobs:
                        columns = self.frozen.columns[job.request.entry.tap]
                        own_blocks = [(rows, features[:, columns]) for rows, features in blocks]
                        if errors:
                            self._session.abandoned.append(job.request.entry.folder)
                            job.locks.release(batch.shard)
                            if rescued := _write_apart(job.request.entry, own_blocks, provenance, seconds):
                                self._session.abandoned.append(rescued)
                        else:
                            writing.append(writer.submit(_write, job, batch.shard, own_blocks, provenance, seconds))
                    while len(writing) > (writers + 1) * len(requests):
                        writing.popleft().result()
                    unreadable |= errors
                    blocks, errors = [], {}
                while writing:
                    writing.popleft().result()
                if any(job.locks.are_pending for job in jobs):
                    console.say(f"extract: {title}: the rest is being processed by another process; waiting for it")
                finished = {shard for job in jobs for shard in job.locks.wait()}
                bar.update(sum(len(todo[shard]) for shard in finished))
        if unreadable:
            record_unreadable(self._session.verdicts, unreadable)

    def _advise(self, seconds: float) -> None:
        """Say once how to measure what another precision gains, if a GPU will compute in fp32 for long."""
        settings = self._session.settings
        if self.device.type == "cuda" and settings.nets.precision == "fp32" and seconds > _LONG:
            bench = command_line(settings, "bench", precision="fp16")
            line = f"extract: fp16 may be faster on this GPU, with slightly other features; to measure it, run: {bench}"
            self._session.note_once(line)

    def _split(self, shard: int, jobs: list[_Job]) -> Iterator[_Batch]:
        """Lock a shard of each entry if it is free, and yield its batches."""
        locked = tuple(job for job in jobs if job.locks.lock(shard))
        rows = rows_to_run([job.request for job in locked], shard)
        for start in range(0, len(rows), self.batch_size):
            stop = start + self.batch_size
            yield _Batch(shard, rows[start:stop], stop >= len(rows), locked)

    def pixels(
        self, part: str, rows: IntArray, view: Sight | None = None, notice: OddImages | None = None
    ) -> PixelArray | Unreadable:
        """Return the pixels of some rows for the device: uint8 [n, H, W, 3], resized unless the device does it."""
        dataset = self._session.dataset
        return self.read(dataset.images[part], dataset.parts[part].content, rows, view, notice)

    def read(
        self,
        images: Images,
        content: Sequence[str],
        rows: IntArray,
        view: Sight | None = None,
        notice: OddImages | None = None,
    ) -> PixelArray | Unreadable:
        """Return the pixels of some rows of any images, whose sha256 are `content`, as :meth:`pixels` does."""
        preprocess = self._backbone.preprocess
        if preprocess.function:
            if view is not None:
                refuse_function(preprocess, "--views or --corruption")
            return read_batch(images, rows, lambda image, _: apply_function(image, preprocess), preprocess)
        if view is None and isinstance(images, ImageArray) and not self._on_cpu and self.device.type != "mps":
            return images.pixels[rows]
        prepare = view_by(preprocess, view, content)
        return read_batch(images, rows, prepare, preprocess, notice if view is None else None)

    def _start_decoders(self, entry: Entry, count: int) -> DecodingProcesses | None:
        """Return processes to decode so many images of an entry, unless threads serve as well."""
        images, preprocess = self._session.dataset.images[entry.images], self._backbone.preprocess
        workers = min(self.threads, math.ceil(count / self.batch_size))
        processes = 0 if self._on_cpu else count_processes(images, preprocess, count, workers)
        if not processes:
            return None
        try:
            return DecodingProcesses(processes, self.batch_size, preprocess, entry.view)
        except OSError as error:
            self._session.console.warn(f"threads decode instead of {processes} processes, which cannot start: {error}")
            return None

    def _features(
        self,
        entry: Entry,
        batches: Iterable[_Batch],
        notice: OddImages | None = None,
        decoders: DecodingProcesses | None = None,
    ) -> Iterator[tuple[_Batch, Tensor | Unreadable]]:
        import torch

        from probeline.backbones.device import copy_for, pin

        def load(batch: _Batch) -> Tensor | Unreadable:
            pixels = self.pixels(entry.images, batch.rows, entry.view, notice)
            if isinstance(pixels, Unreadable):
                return pixels
            return pin(torch.from_numpy(pixels), self.device)

        def load_from(decoders: DecodingProcesses, batch: _Batch) -> Tensor | Unreadable:
            images = self._session.dataset.images[entry.images]
            add = notice.add if notice is not None and entry.view is None else lambda *_: None
            with decoders.read(images, batch.rows, add) as pixels:
                return pixels if isinstance(pixels, Unreadable) else copy_for(torch.from_numpy(pixels), self.device)

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
        if decoders is None:
            loaded = ordered(load, batches, self.threads)
        else:
            loaded = ordered(partial(load_from, decoders), batches, len(decoders), stop=decoders.stop)
        for batch, pixels in loaded:
            for line in decoders.take_deaths() if decoders is not None else ():
                self._session.console.warn(line)
            if isinstance(pixels, Unreadable):
                yield batch, pixels
            else:
                features = self.frozen.embed(pixels)
                yield batch, features.cpu() if self.device.type == "mps" else features

    def _provenance(self, taps: list[str]) -> dict[str, Any]:
        return {
            **environment(self.device_name),
            "batch_size": self.batch_size,
            "workers": self.threads,
            "folded_batchnorms": self.frozen.folded,
            "memory_layout": "channels_last",
            "commit": commit(),
            "taps": taps,
            WEIGHTS_FACTS: self._weights,
        }


class _Stopwatch:
    """The time between the ends of shards on the device, one after the other."""

    def __init__(self, started: float) -> None:
        self._last = started

    def lap(self, wait: Callable[[], None]) -> float:
        """Return the seconds since the last shard's end, after a wait for this one's."""
        wait()
        before, self._last = self._last, time.perf_counter()
        return self._last - before


def _write_apart(
    entry: Entry, blocks: list[tuple[IntArray, Tensor]], provenance: dict[str, Any], seconds: Future[float]
) -> Path | None:
    """Write the rows of a shard that cannot be completed as an entry of their own, and return its folder.

    The data set will be loaded again without the unreadable images: their neighbours are then found there.
    """
    if not blocks:
        return None
    rows = np.concatenate([block_rows for block_rows, _ in blocks])
    features = np.concatenate([block.cpu().numpy() for _, block in blocks])
    if not np.isfinite(features).all():
        return None
    apart = entry_of_rows(entry, rows.tolist())
    write_entry(apart)
    write_shard(apart, 0, features, {**provenance, "seconds": seconds.result()})
    return apart.folder


def _write(
    job: _Job,
    shard: int,
    blocks: list[tuple[IntArray, Tensor]],
    provenance: dict[str, Any],
    seconds: Future[float],
) -> None:
    """Write a shard of the features of its blocks and of known rows, and release its lock."""
    entry, known = job.request.entry, job.request.known
    rows = entry.shards[shard]
    features = np.empty((len(rows), entry.dim), np.float32)
    try:
        provenance = {**provenance, "seconds": seconds.result()}
        for block_rows, block in blocks:
            features[block_rows - rows.start] = block.cpu().numpy()
        if known is not None:
            provenance = known.copy_into(features, rows, provenance)
        if not np.isfinite(features).all():
            raise Diverged(
                "the net gives features that are not finite",
                where=f"shard {shard} of {entry.folder}",
                remedy="use --precision fp32 or bf16, or other --weights",
            )
        job.request.write(shard, features, provenance)
    finally:
        job.locks.release(shard)
