"""Latency: what a forward pass of each backbone costs on the device, the nets timed in turn."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from probeline import disk
from probeline.environment import conditions, cores, environment, likely_device
from probeline.errors import OutOfMemory
from probeline.format import seconds
from probeline.identity import LATENCY_VERSION, digest
from probeline.report.records.latency_costs import costs, hardware
from probeline.results.latency import LATENCIES, Latency, TimedPasses
from probeline.results.store import SkippedFile
from probeline.session import Session
from probeline.types import Backbone

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from probeline.backbones.resolve import Loaded

BATCHES = (1, 32)
WARM_UP, TIMED = 10, 100
"""Passes of each net and batch size."""

_TOLD = ("batch", "median", "low", "high", "images_per_second", "ratio", "peak_bytes")
"""Of each line of the table, what ``--json`` tells."""


def run(session: Session) -> list[dict[str, Any]]:
    """Time the forward passes of every backbone, unless they were timed together under these conditions before.

    Passes of all nets take turns, since machines are noisy: what slows a turn down slows all nets of it. So nets that
    are asked for together are timed together, and anew where any of them was not.

    Returns
    -------
    list of mappings
        Per backbone: its file, and of each batch size the seconds and the ratio to the fastest.

    Raises
    ------
    OutOfMemory
        One image does not fit the device.
    ProbelineError
    """
    resolved = [session.backbone(name) for name in session.settings.nets.backbones]
    backbones = [backbone for backbone, _ in resolved]
    found = _timed_before(session, backbones, likely_device(session.settings.compute.device)) or _measured(
        session, resolved
    )
    lines = [(line.backbone, {name: getattr(line, name) for name in _TOLD}) for line in costs(found)]
    return [
        {
            "backbone": one.backbone,
            "weights": one.weights,
            "parameters": one.parameters,
            "passes": [facts for backbone, facts in lines if backbone == one.backbone],
            "file": str(LATENCIES.path(session.reports, one.backbone, one.key)),
        }
        for one in found
    ]


def _threads(session: Session) -> int:
    return session.settings.compute.workers or cores()


def _key(session: Session, backbone: Backbone, device: str) -> str:
    facts = conditions(environment(device))
    return digest(
        {
            "version": LATENCY_VERSION,
            "backbone": backbone.name,
            "weights": backbone.weights_sha256,
            "image_size": backbone.preprocess.crop,
            "precision": session.settings.nets.precision,
            "threads": _threads(session),
            "passes": [list(BATCHES), WARM_UP, TIMED],
            "conditions": facts,
        }
    )


def _timed_before(session: Session, backbones: Sequence[Backbone], device: str) -> list[Latency] | None:
    """Return the latencies of all backbones where they are of one session, and say that they are there."""
    say = session.console.say
    found = [LATENCIES.find(session.reports, one.name, _key(session, one, device)) for one in backbones]
    for one in found:
        if isinstance(one, SkippedFile):
            say(f"latency: made anew, as {one.path.name} {one.reason}")
    there = [one for one in found if isinstance(one, Latency)]
    if len(there) < len(found) or len({one.session for one in there}) > 1:
        return None
    for one in there:
        say(f"latency: {one.backbone}: it is there, of {hardware([one])}")
    return there


@dataclass
class _Contender:
    """A net under the clock, and its timed passes by batch size."""

    backbone: Backbone
    net: nn.Module
    norms: int
    folded: int
    weight_bytes: int
    passes: list[TimedPasses]


def _measured(session: Session, resolved: Sequence[tuple[Backbone, Loaded | None]]) -> list[Latency]:
    import torch

    from probeline.backbones.device import choose, describe, exact_float32

    settings = session.settings
    device = choose(settings.compute.device)
    name = describe(device)
    backbones = [backbone for backbone, _ in resolved]
    if name != likely_device(settings.compute.device) and (found := _timed_before(session, backbones, name)):
        return found
    disk.check_writable(session.reports)
    before = torch.get_num_threads()
    torch.set_num_threads(_threads(session))
    try:
        contenders = [_contender(session, *one, device) for one in resolved]
        with exact_float32(settings.nets.precision), torch.inference_mode():
            for batch in BATCHES:
                _take_turns(session, contenders, batch, device)
    finally:
        torch.set_num_threads(before)
    keys = [_key(session, backbone, name) for backbone in backbones]
    together = digest([keys, time.time_ns()])
    latencies = [
        Latency(
            backbone=one.backbone.name,
            weights=one.backbone.weights,
            precision=settings.nets.precision,
            key=key,
            session=together,
            image_size=one.backbone.preprocess.crop,
            parameters=one.backbone.parameters,
            norms=one.norms,
            folded=one.folded,
            threads=_threads(session),
            warm_up=WARM_UP,
            passes=tuple(one.passes),
            environment=environment(name),
        )
        for one, key in zip(contenders, keys, strict=True)
    ]
    for latency in latencies:
        LATENCIES.save(session.reports, latency)
    settings.console.result(f"latency: on {hardware(latencies)}")
    for line in costs(latencies):
        peak = "" if line.peak_bytes is None else f", peak {line.peak_bytes / 1e6:,.0f} MB"
        settings.console.result(
            f"latency: {line.title}, batch {line.batch}: {seconds(1000 * line.median)} ms "
            f"({seconds(1000 * line.low)} to {seconds(1000 * line.high)}), {seconds(line.images_per_second)} images/s, "
            f"{line.ratio:.2f} times the fastest{peak}"
        )
    return latencies


def _contender(session: Session, backbone: Backbone, loaded: Loaded | None, device: torch.device) -> _Contender:
    from torch import nn

    from probeline.backbones.frozen import make_ready

    stock = (loaded or session.net_of(backbone)).net
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in stock.modules())
    net, folded = make_ready(stock, backbone.preprocess.crop, device, session.settings.nets.precision)
    tensors = [*net.parameters(), *net.buffers()]
    return _Contender(backbone, net, norms, folded, sum(tensor.nbytes for tensor in tensors), [])


def _take_turns(session: Session, contenders: Sequence[_Contender], batch: int, device: torch.device) -> None:
    """Time the passes of all nets that a batch fits, in turn, and add them to the nets' own."""
    console = session.console
    images = {one.backbone.name: _images(one, batch, device) for one in contenders}
    racing = [one for one in contenders if _warm(one, images[one.backbone.name], device)]
    for one in contenders:
        if one not in racing:
            console.say(f"latency: {one.backbone.name}: a batch of {batch} does not fit the device, left out")
    if not racing:
        return
    peaks = {one.backbone.name: _peak(one, images[one.backbone.name], device) for one in racing}
    spent: dict[str, list[float]] = {one.backbone.name: [] for one in racing}
    with console.bar(f"latency, batch {batch}", TIMED * len(racing), "pass") as bar:
        for turn in range(TIMED):
            for one in racing:
                name = one.backbone.name
                spent[name].append(_pass(one, images[name], device))
                bar.update(1)
            if not turn:
                left = (TIMED - 1) * sum(times[0] for times in spent.values())
                nets = f"{len(racing)} net{'s' if len(racing) > 1 else ''}"
                console.say(f"latency: batch {batch}: {nets}, {TIMED} passes each, about {left:.0f} s")
    for one in racing:
        name = one.backbone.name
        one.passes.append(TimedPasses(batch, tuple(spent[name]), peaks[name]))


def _warm(one: _Contender, images: Tensor, device: torch.device) -> bool:
    """Run the first passes and say whether the batch fits the device.

    Raises
    ------
    OutOfMemory
        Where a single image does not.
    """
    from probeline.backbones.frozen import is_out_of_memory

    try:
        for _ in range(WARM_UP):
            _pass(one, images, device)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        if len(images) == 1:
            raise OutOfMemory(
                f"one image does not fit into the memory of {device} beside {one.backbone.name}",
                remedy="time fewer nets at once, or use a smaller --image-size",
            ) from error
        return False
    return True


def _images(one: _Contender, batch: int, device: torch.device) -> Tensor:
    import torch

    size = one.backbone.preprocess.crop
    images = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0))
    like = next(one.net.parameters())
    return images.to(device=device, dtype=like.dtype, memory_format=torch.channels_last)


def _pass(one: _Contender, images: Tensor, device: torch.device) -> float:
    """Return the seconds of a forward pass, until the device has finished it."""
    _finish(device)
    started = time.perf_counter()
    one.net(images)
    _finish(device)
    return time.perf_counter() - started


def _finish(device: torch.device) -> None:
    """Wait until a device has done all that it was told."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _peak(one: _Contender, images: Tensor, device: torch.device) -> int | None:
    """Return the bytes of weights, input and what a pass holds beside them at most; None where none can tell."""
    import torch

    if device.type != "cuda":
        return None
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    _pass(one, images, device)
    return one.weight_bytes + images.nbytes + torch.cuda.max_memory_allocated(device) - before
