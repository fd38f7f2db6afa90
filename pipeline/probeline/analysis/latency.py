"""Latency of forward passes: several nets on one device, timed in turn."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from probeline import disk
from probeline.environment import conditions, cores, environment, likely_device
from probeline.errors import OutOfMemory
from probeline.format import plural
from probeline.identity import LATENCY_VERSION, digest
from probeline.results.latency import LATENCIES, Latency, TimedPasses
from probeline.results.store import SkippedFile
from probeline.session import Session
from probeline.types import Backbone

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from probeline.backbones.resolve import Loaded


class Passes(NamedTuple):
    """Passes of each net per batch size: first `warm_up` of them, then `timed` ones."""

    batches: tuple[int, ...] = (1, 32)
    warm_up: int = 10
    timed: int = 100


def measure_latency(session: Session, plan: Passes) -> tuple[list[Latency], bool]:
    """Return the latencies of all backbones, and whether they were timed just now or were up to date.

    The nets take turns pass by pass, since machines are noisy: what slows a turn down slows all nets of it. So all nets
    are timed together, and timed again if any of them was not.

    Raises
    ------
    OutOfMemory
        One image does not fit the device.
    ProbelineError
    """
    resolved = [session.backbone(text) for text in session.settings.nets.backbones]
    backbones = [backbone for backbone, _ in resolved]
    device = likely_device(session.settings.compute.device)
    if latencies := _find_together(session, backbones, device, plan):
        return latencies, False
    from probeline.backbones.device import choose, describe

    exact_device = describe(choose(session.settings.compute.device))
    if exact_device != device and (latencies := _find_together(session, backbones, exact_device, plan)):
        return latencies, False
    return _measure(session, resolved, plan), True


def _threads(session: Session) -> int:
    return session.settings.compute.workers or cores()


def _key(session: Session, backbone: Backbone, device: str, plan: Passes) -> str:
    return digest(
        {
            "version": LATENCY_VERSION,
            "backbone": backbone.name,
            "weights": backbone.weights_sha256,
            "image_size": backbone.preprocess.crop,
            "precision": session.settings.nets.precision,
            "threads": _threads(session),
            "passes": [list(plan.batches), plan.warm_up, plan.timed],
            "conditions": conditions(environment(device)),
        }
    )


def _find_together(session: Session, backbones: Sequence[Backbone], device: str, plan: Passes) -> list[Latency] | None:
    """Return the latencies of all backbones if they were timed together."""
    records = [LATENCIES.find(session.reports, net.name, _key(session, net, device, plan)) for net in backbones]
    for record in records:
        if isinstance(record, SkippedFile):
            session.console.say(f"latency: recomputed, as {record.path.name} {record.reason}")
    latencies = [record for record in records if isinstance(record, Latency)]
    are_together = (
        len(latencies) == len(records) and len({(one.session, len(one.passes[0].seconds)) for one in latencies}) == 1
    )
    return latencies if are_together else None


@dataclass
class TimedNet:
    """A net as extraction runs it; `folded` of its `norms` BatchNorm layers are folded into a convolution."""

    backbone: Backbone
    module: nn.Module
    norms: int
    folded: int
    weight_bytes: int
    passes: list[TimedPasses] = field(default_factory=list)


def _measure(session: Session, resolved: Sequence[tuple[Backbone, Loaded | None]], plan: Passes) -> list[Latency]:
    import torch

    from probeline.backbones.device import choose, describe, exact_float32

    settings = session.settings
    device = choose(settings.compute.device)
    disk.check_writable(session.reports, session.settings.folders.reports)
    before = torch.get_num_threads()
    torch.set_num_threads(_threads(session))
    try:
        nets = [_prepare(session, backbone, loaded, device) for backbone, loaded in resolved]
        with exact_float32(settings.nets.precision), torch.inference_mode():
            for batch in plan.batches:
                _take_turns(session, nets, batch, plan, device)
    finally:
        torch.set_num_threads(before)
    keys = [_key(session, net.backbone, describe(device), plan) for net in nets]
    together = digest([keys, time.time_ns()])
    latencies = [
        Latency(
            backbone=net.backbone.name,
            weights=net.backbone.weights,
            precision=settings.nets.precision,
            key=key,
            session=together,
            image_size=net.backbone.preprocess.crop,
            parameters=net.backbone.parameters,
            norms=net.norms,
            folded=net.folded,
            threads=_threads(session),
            warm_up=plan.warm_up,
            passes=tuple(net.passes),
            environment=environment(describe(device)),
        )
        for net, key in zip(nets, keys, strict=True)
    ]
    for latency in latencies:
        LATENCIES.save(session.reports, latency)
    return latencies


def _prepare(session: Session, backbone: Backbone, loaded: Loaded | None, device: torch.device) -> TimedNet:
    from torch import nn

    from probeline.backbones.frozen import make_ready

    stock = (loaded or session.net_of(backbone)).net
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in stock.modules())
    module, folded = make_ready(stock, backbone.preprocess.crop, device, session.settings.nets.precision)
    tensors = [*module.parameters(), *module.buffers()]
    return TimedNet(backbone, module, norms, folded, sum(tensor.nbytes for tensor in tensors))


def _take_turns(session: Session, nets: list[TimedNet], batch: int, plan: Passes, device: torch.device) -> None:
    """Time the passes of all nets that a batch fits, in turn, and append them to each net's own."""
    console = session.console
    fitting: list[tuple[TimedNet, Tensor]] = []
    prepared = [(net, _random_images(net, batch, device)) for net in nets]
    for net, images in prepared:
        if _warm_up(net, images, plan.warm_up, device):
            fitting.append((net, images))
        else:
            console.say(f"latency: {net.backbone.name}: a batch of {batch} does not fit the device, left out")
    if not fitting:
        return
    peaks = [peak_bytes(net, images, device) for net, images in fitting]
    seconds: list[list[float]] = [[] for _ in fitting]
    with console.bar(f"latency, batch {batch}", plan.timed * len(fitting), "pass") as bar:
        for turn in range(plan.timed):
            for (net, images), own in zip(fitting, seconds, strict=True):
                own.append(_pass(net, images, device))
                bar.update(1)
            if not turn:
                left = (plan.timed - 1) * sum(own[0] for own in seconds)
                count = plural(len(fitting), "net")
                console.say(f"latency: batch {batch}: {count}, {plan.timed} passes each, about {left:.0f} s")
    for (net, _), own, peak in zip(fitting, seconds, peaks, strict=True):
        net.passes.append(TimedPasses(batch, tuple(own), peak))


def _warm_up(net: TimedNet, images: Tensor, passes: int, device: torch.device) -> bool:
    """Run the first passes and return whether the batch fits the device.

    Raises
    ------
    OutOfMemory
        A single image does not fit.
    """
    from probeline.backbones.device import empty_cache, is_out_of_memory, words_of_refusal

    try:
        for _ in range(passes):
            _pass(net, images, device)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        words = words_of_refusal(error)
    else:
        return True
    empty_cache(device)
    if len(images) == 1:
        raise OutOfMemory(
            f"one image does not fit into the memory of {device} with {net.backbone.name}",
            got=words,
            remedy="time fewer nets at once, or use a smaller --image-size",
        )
    return False


def _random_images(net: TimedNet, batch: int, device: torch.device) -> Tensor:
    import torch

    size = net.backbone.preprocess.crop
    images = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0))
    parameter = next(net.module.parameters())
    return images.to(device=device, dtype=parameter.dtype, memory_format=torch.channels_last)


def _pass(net: TimedNet, images: Tensor, device: torch.device) -> float:
    """Return the seconds of a forward pass, until the device has finished it."""
    from probeline.backbones.device import finish

    finish(device)
    started = time.perf_counter()
    net.module(images)
    finish(device)
    return time.perf_counter() - started


def peak_bytes(net: TimedNet, images: Tensor, device: torch.device) -> int | None:
    """Return the peak bytes of a pass, with weights and input; None if the device does not report them."""
    import torch

    if device.type != "cuda":
        return None
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    _pass(net, images, device)
    return net.weight_bytes + images.nbytes + torch.cuda.max_memory_allocated(device) - before
