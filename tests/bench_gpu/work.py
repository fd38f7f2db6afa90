"""The product's own work: decoding, extraction, heads and training, each with what bounds it or is usual."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from bench_gpu.plan import Plan, Row, attempt
from probeline.backbones.device import DTYPES, choose, copy_for, exact_float32, finish, pin
from probeline.backbones.stages import find_stages
from probeline.cache.entry import locate_entry
from probeline.cache.reading import missing_shards, read_features
from probeline.console import Silence
from probeline.data.pixels.loading import ordered
from probeline.data.pixels.processes import DecodingProcesses
from probeline.extraction.engine import Engine
from probeline.extraction.requests import ShardRequest
from probeline.finetuning.head import fresh_head
from probeline.finetuning.training.losses import CrossEntropy
from probeline.finetuning.training.setup import TrainingOptions, TrainingSetup, ValidationSet
from probeline.finetuning.training.trainer import Trainer
from probeline.finetuning.training.unfreezing import plan_unfreezing
from probeline.heads.logistic.path import TOLERANCE, fit_path
from probeline.heads.minibatch.mlp import MlpSettings, fit_mlp
from probeline.heads.minibatch.sgd import Setting, fit_sgd
from probeline.images import PixelArray
from probeline.options.settings import Settings
from probeline.session import Session
from probeline.types import FloatArray, IntArray

CLASSES = 10


def make_session(plan: Plan, net: str, precision: str, source: str, **options: object) -> Session:
    dataset = f"folder:{plan.jpeg_folder}" if source == "jpeg" else f"arrays:{plan.array_file}"
    settings = Settings.of(
        dataset=dataset,
        backbones=(net,),
        weights="none",
        device=plan.device,
        precision=precision,
        image_size=plan.image_size,
        batch_size=plan.batch_size,
        cache=plan.folder / "cache",
        reports=plan.folder / "reports",
        **options,
    )
    return Session(settings)


def make_engine(plan: Plan, net: str, precision: str, source: str, **options: object) -> Engine:
    session = make_session(plan, net, precision, source, **options)
    return Engine(session, session.backbone(net)[0])


def decode(plan: Plan) -> Iterator[Row]:
    """Yield the images per second of decoding and resizing without a net, by threads and by processes."""
    session = make_session(plan, plan.nets[0], "fp32", "jpeg")
    backbone = session.backbone(plan.nets[0])[0]
    engine = Engine(session, backbone)
    part = session.dataset.train
    images = session.dataset.images[part]

    def batches_for(workers: int) -> list[IntArray]:
        count = min(plan.jpegs, 512 * workers)
        return [np.arange(start, min(start + 32, count)) for start in range(0, count, 32)]

    def threads(workers: int) -> float:
        started = time.perf_counter()
        loaded = ordered(lambda rows: engine.pixels(part, rows), batches_for(workers), workers)
        return sum(len(rows) for rows, _ in loaded) / (time.perf_counter() - started)

    def processes(workers: int) -> float:
        with DecodingProcesses(workers, 32, backbone.preprocess, None) as decoders:

            def load(rows: IntArray) -> torch.Tensor:
                with decoders.read(images, rows, lambda *_: None) as pixels:
                    assert isinstance(pixels, np.ndarray)
                    return copy_for(torch.from_numpy(pixels), engine.device)

            for _ in ordered(load, [np.arange(1)] * 2 * workers, workers):
                pass  # they have started
            started = time.perf_counter()
            loaded = ordered(load, batches_for(workers), workers, stop=decoders.stop)
            return sum(len(rows) for rows, _ in loaded) / (time.perf_counter() - started)

    for workers in plan.workers:
        labels = {"what": "decode", "workers": workers}
        yield attempt(labels, "images/s", partial(threads, workers))
        yield attempt({**labels, "by": "processes"}, "images/s", partial(processes, workers))


def extraction(plan: Plan) -> Iterator[Row]:
    """Yield the images per second of an extraction into an empty cache; ``timed`` is the share that records tell."""
    for precision in plan.precisions:
        for source in ("arrays", "jpeg"):
            for net in plan.nets:
                labels = {"what": "extraction", "source": source, "net": net, "precision": precision}
                yield attempt(labels, "images/s", partial(_extract, plan, source, net, precision))


def _extract(plan: Plan, source: str, net: str, precision: str) -> Row:
    session = make_session(plan, net, precision, source)
    backbone = session.backbone(net)[0]
    engine = Engine(session, backbone)
    part = session.dataset.parts[session.dataset.train]
    with tempfile.TemporaryDirectory(dir=plan.folder) as folder:
        entry = locate_entry(Path(folder), part, backbone, precision)
        engine.embed(entry, np.arange(min(plan.batch_size, len(part))))  # kernels are chosen at the first pass
        finish(engine.device)
        started = time.perf_counter()
        engine.fill(ShardRequest(entry, missing_shards(entry)))
        seconds = time.perf_counter() - started
        return {"value": len(part) / seconds, "timed": read_features(entry).seconds / seconds}


def heads(plan: Plan) -> Iterator[Row]:
    """Yield the seconds of heads on the device and on the CPU, with the objectives that they reach."""
    for rows, columns, classes, l2s in plan.heads:
        X, y = _clusters(rows, columns, classes)
        for kind in ("sgd", "mlp", "exact") if (rows, columns, classes, l2s) == plan.heads[0] else ("exact",):
            for on, where in (("device", plan.device), ("CPU", "cpu")):
                labels = {"what": f"head, {kind}", "rows": rows, "columns": columns, "classes": classes, "on": on}
                yield attempt(labels, "s", partial(_fit, plan, kind, X, y, classes, l2s, where))


def _clusters(rows: int, columns: int, classes: int) -> tuple[FloatArray, IntArray]:
    """Return standardised rows around the means of their classes, which overlap."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, rows)
    X = rng.standard_normal((classes, columns))[y] * 2 / columns**0.5 + rng.standard_normal((rows, columns))
    return ((X - X.mean(0)) / X.std(0)).astype(np.float32), y


def _fit(plan: Plan, kind: str, X: FloatArray, y: IntArray, classes: int, l2s: Sequence[float], where: str) -> Row:
    device = choose(where)
    training = {"epochs": plan.epochs_of_heads, "batch_size": 256, "device": device}

    def fit(X: FloatArray, y: IntArray) -> list[float]:
        if kind == "exact":
            return [head.certificate.objective for head in fit_path(X, y, classes, l2s, device=device)]
        if kind == "sgd":
            grid = [Setting(lr, weight_decay=decay) for lr in (1e-4, 1e-3, 1e-2) for decay in (0.0, 1e-4, 1e-3)]
            return [head.history[-1]["train_loss"] for head in fit_sgd(X, y, classes, grid, **training)]
        return [fit_mlp(X, y, classes, MlpSettings(1e-3), **training).history[-1]["train_loss"]]

    with exact_float32("fp32"):
        if device.type == "cpu":
            few = np.concatenate([np.flatnonzero(y == number)[:2] for number in range(classes)])
            fit(X[few], y[few])  # libraries are loaded
        else:
            fit(X, y)  # and kernels are chosen, by the sizes
        finish(device)
        started = time.perf_counter()
        objectives = fit(X, y)
        finish(device)
        return {"value": time.perf_counter() - started, "objectives": objectives}


def are_equal(kind: str, here: Sequence[float], there: Sequence[float]) -> bool:
    """Return whether objectives are the same within what the solvers promise.

    Exact heads are within the tolerance of their minimum. Trained ones take the same steps in another rounding, which
    a few epochs let grow to a thousandth at most.
    """
    share, floor = (TOLERANCE, 0.01) if kind == "exact" else (1e-3, 0.0)
    return len(here) == len(there) and all(
        abs(a - b) <= share * (max(a, b) + floor) for a, b in zip(here, there, strict=True)
    )


def training(plan: Plan) -> Iterator[Row]:
    """Yield the images per second of the trainer and of a plain loop with autocast, on pixels in memory."""
    for precision in ("bf16", "fp32"):
        for batch_size in plan.training_batches:
            for net in plan.nets:
                for who, rate in (("trainer", _trainer_rate), ("plain loop", _plain_rate)):
                    labels = {"what": who, "net": net, "precision": precision, "batch_size": batch_size}
                    yield attempt(labels, "images/s", partial(rate, plan, net, precision, batch_size))
                if batch_size == plan.training_batches[0] and precision == "bf16":
                    labels = {**labels, "what": "trainer, with checkpoints"}
                    yield attempt(labels, "images/s", partial(_kept_rate, plan, net, precision, batch_size))


def _images(plan: Plan, size: int, batch_size: int) -> tuple[PixelArray, IntArray]:
    rng = np.random.default_rng(0)
    count = plan.batches_of_an_epoch * batch_size
    return rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8), rng.integers(0, CLASSES, count)


def _make_trainer(plan: Plan, net: str, precision: str, batch_size: int) -> Trainer:
    session = make_session(plan, net, precision, "arrays")
    loaded = session.net_of(session.backbone(net)[0])
    record = loaded.backbone.preprocess
    pixels, labels = _images(plan, record.crop, batch_size)
    stages = find_stages(loaded.net, loaded.tap, record.crop)
    fresh_head(loaded.net, loaded.tap, CLASSES, 0)
    options = TrainingOptions(
        epochs=3,
        batch_size=batch_size,
        lr=1e-3,
        body=0.1,
        decay=1.0,
        optimizer="adamw",
        weight_decay=0.01,
        schedule="constant",
        warmup=0.0,
        label_smoothing=0.0,
        clip=0.0,
        dropout=0.0,
        accumulate=1,
        patience=0,
        freeze_batchnorm=False,
        precision=precision,
        seed=0,
    )
    setup = TrainingSetup(
        loaded.net,
        loaded.tap,
        stages,
        plan_unfreezing("full", len(stages), options.epochs, ()),
        record,
        lambda batches, _: (pixels[rows] for rows in batches),
        labels,
        choose(plan.device),
        options,
        CrossEntropy(0.0),
    )
    return Trainer(setup)


def _trainer_rate(plan: Plan, net: str, precision: str, batch_size: int) -> float:
    trainer = _make_trainer(plan, net, precision, batch_size)
    rows = np.arange(len(trainer.setup.labels))
    with exact_float32(precision):
        trainer.run_epoch(rows[: 2 * batch_size], 0, lambda _: None)
        finish(trainer.setup.device)
        started = time.perf_counter()
        trainer.run_epoch(rows, 1, lambda _: None)
        finish(trainer.setup.device)
    return len(rows) / (time.perf_counter() - started)


def _kept_rate(plan: Plan, net: str, precision: str, batch_size: int) -> float:
    """Return the rate of three whole epochs, with validation on a batch and the checkpoints of each."""
    trainer = _make_trainer(plan, net, precision, batch_size)
    rows = np.arange(len(trainer.setup.labels))
    val = ValidationSet(rows[:batch_size], trainer.setup.feed, trainer.setup.labels)
    with exact_float32(precision), tempfile.TemporaryDirectory(dir=plan.folder) as folder:
        trainer.run_epoch(rows[: 2 * batch_size], 0, lambda _: None)
        finish(trainer.setup.device)
        started = time.perf_counter()
        trainer.fit(rows, val, key="a" * 64, folder=Path(folder), console=Silence(), title="bench")
        return trainer.options.epochs * len(rows) / (time.perf_counter() - started)


def _plain_rate(plan: Plan, net: str, precision: str, batch_size: int) -> float:
    """Return the rate of a loop as tutorials have it, with all that is usual to make it fast."""
    session = make_session(plan, net, precision, "arrays")
    loaded = session.net_of(session.backbone(net)[0])
    device, record = choose(plan.device), loaded.backbone.preprocess
    pixels, labels = (torch.from_numpy(array) for array in _images(plan, record.crop, batch_size))
    pixels, labels = pin(pixels, device), labels.to(device)
    fresh_head(loaded.net, loaded.tap, CLASSES, 0)
    model = loaded.net.to(device=device, memory_format=torch.channels_last).train().requires_grad_(True)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.01, fused=device.type == "cuda" or None)
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (record.mean, record.std))
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")

    def epoch(count: int) -> None:
        for start in range(0, count, batch_size):
            images = pixels[start : start + batch_size].to(device, non_blocking=True).permute(0, 3, 1, 2)
            with torch.autocast(device.type, DTYPES[precision], enabled=DTYPES[precision] != torch.float32):
                output = model((images.float() / 255 - mean) / std)
                loss = functional.cross_entropy(output, labels[start : start + batch_size])
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            scaler.step(optimizer)
            scaler.update()

    with exact_float32(precision):
        epoch(2 * batch_size)
        finish(device)
        started = time.perf_counter()
        epoch(len(labels))
        finish(device)
    return len(labels) / (time.perf_counter() - started)
