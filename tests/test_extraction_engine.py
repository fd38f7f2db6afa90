"""The engine on a device that works on its own: what its clock waits for, and which thread copies from it.

No GPU is needed: the net is on the CPU, and only the engine takes it for another device.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from probeline.console import Silence
from probeline.data.pixels import processes
from probeline.errors import FoundUnreadable
from probeline.extraction import engine as engine_module
from probeline.extraction.engine import Engine
from probeline.extraction.requests import ShardRequest
from probeline.files.memory import DECODING
from probeline.session import Session
from small_runs import configuration, make_photos

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.usefixtures("small_shards")]

SLOW = 0.2
"""Seconds that the device needs for its work after it was launched, more than a shard takes here without it."""


def engine_of(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[Session, Engine]:
    """Return an engine that takes its net for one on a device of a kind."""
    session = Session(configuration(tmp_path / "cache", batch_size=8, limit=40, **options))
    engine = Engine(session, session.backbone("squeezenet1_1")[0])
    monkeypatch.setattr(engine, "device", torch.device(kind))
    monkeypatch.setattr(engine, "_on_cpu", False)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    return session, engine


def filled(session: Session, engine: Engine) -> list[dict[str, Any]]:
    """Extract all rows, and return the provenance of each shard."""
    record = session.backbone("squeezenet1_1")[0]
    entry = session.entry(record, "all")
    engine.fill(ShardRequest(entry, list(range(len(entry.shards)))))
    return list(session.features(record, "all").provenance)


def test_seconds_end_when_the_device_has_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch takes no time; the work is done `SLOW` seconds later."""
    waiters: set[str] = set()

    class Event:
        def record(self, _: object) -> None:
            self.ready = time.perf_counter() + SLOW

        def synchronize(self) -> None:
            waiters.add(threading.current_thread().name)
            time.sleep(max(0.0, self.ready - time.perf_counter()))

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: None)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    session, engine = engine_of(tmp_path, "cuda", monkeypatch)
    started = time.perf_counter()
    shards = filled(session, engine)
    lasted = time.perf_counter() - started
    seconds = [shard["seconds"] for shard in shards]
    assert len(seconds) > 1
    assert seconds[0] >= SLOW
    assert SLOW <= sum(seconds) <= lasted, "each second counts once"
    assert waiters
    assert threading.current_thread().name not in waiters, "launching goes on meanwhile"


def test_the_announced_rate_waits_for_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waits.append(time.perf_counter()))
    session, engine = engine_of(tmp_path, "mps", monkeypatch)
    said: list[float] = []
    monkeypatch.setattr(session.console, "say", lambda _: said.append(time.perf_counter()))
    filled(session, engine)
    assert said
    assert waits[0] < said[0]


@pytest.mark.parametrize(("kind", "by_caller"), [("mps", True), ("cuda", False)])
def test_who_copies_from_the_device(
    kind: str, by_caller: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copiers: set[int] = set()
    copy: Callable[[Tensor], Tensor] = Tensor.cpu

    class OnDevice(Tensor):
        def cpu(self) -> Tensor:  # type: ignore[override]
            copiers.add(threading.get_ident())
            return copy(self.as_subclass(Tensor))

    monkeypatch.setattr(torch.mps, "synchronize", lambda: None)
    monkeypatch.setattr("probeline.backbones.device.note_work", lambda _: lambda: None)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    session, engine = engine_of(tmp_path, kind, monkeypatch)
    embed = engine.frozen.embed
    monkeypatch.setattr(engine.frozen, "embed", lambda pixels: embed(pixels).as_subclass(OnDevice))
    filled(session, engine)
    assert copiers
    assert (copiers == {threading.get_ident()}) == by_caller


@pytest.mark.parametrize(
    ("kind", "precision", "long", "is_said"),
    [("cuda", "fp32", 0, True), ("cuda", "fp32", 1e9, False), ("mps", "fp32", 0, False), ("cuda", "bf16", 0, False)],
)
def test_long_fp32_on_a_gpu_is_answered_with_how_to_measure_fp16(
    kind: str, precision: str, long: float, is_said: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "_LONG", long)
    monkeypatch.setattr(torch.mps, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    monkeypatch.setattr("probeline.backbones.device.note_work", lambda _: lambda: None)
    session, engine = engine_of(tmp_path, kind, monkeypatch, precision=precision, workers=1)
    notes: list[str] = []
    monkeypatch.setattr(session.console, "note", notes.append)
    filled(session, engine)
    assert len(notes) == is_said
    assert all("run: probeline bench --dataset digits" in note and "--precision fp16" in note for note in notes)


class Warned(Silence):
    """A console that keeps warnings."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, line: str) -> None:
        self.lines.append(line)


def photo_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str) -> tuple[Session, Engine, Warned]:
    """Return an engine over 40 photos that takes its net for one on a GPU, and asks for six workers."""
    if not (tmp_path / "photos").exists():
        make_photos(tmp_path / "photos", n=20)
    console = Warned()
    dataset = f"folder:{tmp_path / 'photos'}"
    options = {"dataset": dataset, "limit": None, "batch_size": 5, "workers": 6, "console": console}
    session = Session(configuration(tmp_path / cache, **options))
    engine = Engine(session, session.backbone("squeezenet1_1")[0])
    monkeypatch.setattr(torch.mps, "synchronize", lambda: None)
    monkeypatch.setattr(engine, "device", torch.device("mps"))
    monkeypatch.setattr(engine, "_on_cpu", False)
    return session, engine, console


def test_processes_decode_large_jobs_with_the_same_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, engine, _ = photo_engine(tmp_path, monkeypatch, "by threads")
    records = filled(session, engine)
    assert all(record["workers"] == 6 and "decoding" not in record for record in records), "40 images are few"
    backbone = session.backbone("squeezenet1_1")[0]
    expected = session.features(backbone, "all").features

    monkeypatch.setattr(processes, "LEAST_IMAGES", 40)
    monkeypatch.setattr(engine_module, "read_batch", lambda *_: pytest.fail("decoded by a thread"))
    session, engine, console = photo_engine(tmp_path, monkeypatch, "by processes")
    records = filled(session, engine)
    assert all(record["workers"] == 6 and record["decoding"] == "processes" for record in records)
    assert np.array_equal(session.features(backbone, "all").features, expected)
    assert not console.lines


def test_dead_processes_are_reported_and_cost_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LEAST_IMAGES", 40)
    monkeypatch.setattr(processes, "_PROGRAM", "import os; os.kill(os.getpid(), 9)")
    session, engine, console = photo_engine(tmp_path, monkeypatch, "cache")
    filled(session, engine)
    backbone = session.backbone("squeezenet1_1")[0]
    stored = session.features(backbone, "all").features
    pixels = engine.pixels("all", np.arange(40))
    assert isinstance(pixels, np.ndarray)
    assert np.allclose(stored, engine.frozen.embed(torch.from_numpy(pixels)).numpy(), atol=1e-5), "by batch size"
    assert len(console.lines) == 6
    assert "one of 6 processes that decode images ended by signal 9" in console.lines[0]


def test_threads_decode_where_no_process_can_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(processes, "LEAST_IMAGES", 40)
    monkeypatch.setattr(processes.subprocess, "Popen", refuse)
    whole = DECODING.most
    session, engine, console = photo_engine(tmp_path, monkeypatch, "cache")
    records = filled(session, engine)
    assert all("decoding" not in record for record in records)
    assert len(console.lines) == 1
    assert "threads decode instead of 6 processes" in console.lines[0]
    assert DECODING.most == whole, "what was lent is given back"


def test_an_image_that_processes_cannot_read_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LEAST_IMAGES", 40)
    session, engine, _ = photo_engine(tmp_path, monkeypatch, "cache")
    broken = tmp_path / "photos" / "ants" / "broken.png"
    Image.effect_noise((50, 50), 60).save(broken)
    data = broken.read_bytes()
    broken.write_bytes(data[: len(data) // 2] + data[-12:])  # its end is there, so that it looks sound when listed
    session, engine, _ = photo_engine(tmp_path, monkeypatch, "cache")
    with pytest.raises(FoundUnreadable, match=r"broken\.png"):
        filled(session, engine)
