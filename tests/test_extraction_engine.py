"""The engine on a device that works on its own: what its clock waits for, and which thread copies from it.

No GPU is needed: the net is on the CPU, and only the engine takes it for another device.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from probeline.extraction.engine import Engine, ShardRequest
from probeline.session import Session
from small_runs import configuration

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.usefixtures("small_shards")]

SLOW = 0.2
"""Seconds that the device needs for its work after it was launched, more than a shard takes here without it."""


def engine_of(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Session, Engine]:
    """Return an engine that takes its net for one on a device of a kind."""
    session = Session(configuration(tmp_path / "cache", batch_size=8, limit=40))
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
