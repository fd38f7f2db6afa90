"""Speed of extraction compared with a plain loop and with bare forward passes, in turn, in one process."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probeline.cache.entry import locate_entry
from probeline.cache.reading import missing_shards
from probeline.console import Silence
from probeline.data.pixels.loading import open_image, ordered
from probeline.environment import cores, environment
from probeline.extraction.engine import Engine
from probeline.extraction.requests import ShardRequest
from probeline.session import Session
from probeline.types import Backbone, Part

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

_IMAGES, _BATCHES, _ROUNDS = 192, 6, 4
"""Least images per round, least batches of a device that is fed by the CPU, and rounds that are measured."""


def measure_extraction(session: Session, backbone: Backbone) -> dict[str, Any]:
    """Return the speed of a backbone's extraction on the first images of the train part, and its limits, in images/s.

    The plain loop is that of a tutorial: a DataLoader with a worker per thread, but no more than there are processors,
    Pillow transforms, and the stock net in NCHW. Bare passes run the net of the extraction with the same batch size on
    one resident batch: once with torch's own threads, once with one thread per batch. Reading alone decodes and resizes
    on all threads, without a net. The ceiling follows from the faster bare passes and reading: the slower of the two if
    the net has a device of its own, both in turn if they share the cores. Values are medians over the rounds, ratios
    medians of those within a round.
    """
    from probeline.backbones.device import finish

    precision = session.settings.nets.precision
    engine = Engine(Session(replace(session.settings, console=Silence())), backbone)
    on_cpu = engine.device.type == "cpu"
    train = session.dataset.parts[session.dataset.train]
    first = slice(_IMAGES if on_cpu else max(_IMAGES, _BATCHES * engine.batch_size))
    part = replace(train, sample_ids=train.sample_ids[first], content=train.content[first], labels=train.labels[first])
    stock_net = session.net_of(backbone).net.to(engine.device).eval()
    contenders: dict[str, Callable[[], int]] = {
        "ours": lambda: _extract(engine, part, backbone, precision),
        "bare": lambda: _run_bare(engine, precision, len(part), threads=1),
        "bare, one thread per batch": lambda: _run_bare(engine, precision, len(part), threads=engine.threads),
        "reading alone": lambda: _read(engine, part),
        "plain": lambda: _run_plain_loop(session, part, backbone, stock_net, engine),
    }
    if not on_cpu:
        del contenders["bare, one thread per batch"]
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(_ROUNDS + 1):
        for name, contender in contenders.items():
            started = time.perf_counter()
            images = contender()
            finish(engine.device)
            if turn:  # the first round warms up caches and kernels
                rates[name].append(images / (time.perf_counter() - started))
    rates["ceiling"] = [
        1 / (1 / max(bare) + 1 / reading) if on_cpu else min(max(bare), reading)
        for *bare, reading in zip(
            *(rates[name] for name in contenders if name.startswith("bare")), rates["reading alone"], strict=True
        )
    ]
    ratios = {
        name: statistics.median(ours / other for ours, other in zip(rates["ours"], rates[name], strict=True))
        for name in rates
        if name != "ours"
    }
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, ratio in ratios.items():
        session.console.result(
            f"bench: {session.dataset.name} x {backbone.name} at {backbone.preprocess.crop}: "
            f"ours {medians['ours']:.1f} images/s, {name} {medians[name]:.1f}, ratio {ratio:.2f}"
        )
    return {
        "images": len(part),
        "rounds": _ROUNDS,
        "batch_size": engine.batch_size,
        "image_size": backbone.preprocess.crop,
        "precision": precision,
        "images_per_second": medians,
        "ratio_of_ours": ratios,
        "every_round": rates,
        "environment": environment(engine.device_name),
    }


def _extract(engine: Engine, part: Part, backbone: Backbone, precision: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        entry = locate_entry(Path(folder), part, backbone, precision)
        engine.fill(ShardRequest(entry, missing_shards(entry)))
    return len(part)


def _read(engine: Engine, part: Part) -> int:
    every_row = np.arange(len(part))
    batches = (every_row[start : start + engine.batch_size] for start in range(0, len(part), engine.batch_size))
    return sum(len(rows) for rows, _ in ordered(lambda rows: engine.pixels(part.name, rows), batches, engine.threads))


def _run_bare(engine: Engine, precision: str, images: int, *, threads: int) -> int:
    import torch

    from probeline.backbones.device import exact_float32

    size = engine.frozen.image_size
    pixels = torch.randint(0, 256, (engine.batch_size, size, size, 3), dtype=torch.uint8)
    batch = engine.frozen.prepare(pixels)

    @torch.inference_mode()
    def passes(count: int) -> None:
        if threads > 1:
            torch.set_num_threads(1)
        for _ in range(count):
            engine.frozen.net(batch)

    count = max(1, images // engine.batch_size // threads)
    with exact_float32(precision):
        if threads == 1:
            passes(count)
        else:
            before = torch.get_num_threads()
            try:
                with ThreadPoolExecutor(threads) as pool:
                    list(pool.map(passes, [count] * threads))
            finally:
                torch.set_num_threads(before)
    return count * threads * engine.batch_size


class _Photos:
    """A map-style data set, as in a tutorial."""

    def __init__(self, session: Session, part: Part, view: Callable[[Image.Image], Tensor]) -> None:
        self._images, self._length, self._view = session.dataset.images[part.name], len(part), view

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, row: int) -> Tensor:
        return self._view(open_image(self._images, row))


def _run_plain_loop(session: Session, part: Part, backbone: Backbone, net: Any, engine: Engine) -> int:
    import torch
    from torch.utils.data import DataLoader
    from torchvision import transforms

    record = backbone.preprocess
    view = transforms.Compose(
        [
            transforms.Resize(record.resize if record.resize_mode == "shorter" else (record.resize,) * 2),
            transforms.CenterCrop(record.crop),
            transforms.ToTensor(),
            transforms.Normalize(record.mean, record.std),
        ]
    )
    loader: DataLoader[Tensor] = DataLoader(
        _Photos(session, part, view),  # type: ignore[arg-type]
        batch_size=engine.batch_size,
        num_workers=min(engine.threads, cores()),  # of more, torch warns
    )
    with torch.inference_mode():
        for batch in loader:
            net(batch.to(engine.device))
    return len(part)
