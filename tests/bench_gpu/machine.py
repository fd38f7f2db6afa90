"""The device itself: what it is, what its products and copies reach, and the pass of a net without anything around."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench_gpu.plan import Plan, Row, attempt
from bench_gpu.work import make_engine
from probeline.backbones.device import choose, describe, exact_float32, finish, pin
from probeline.environment import environment
from probeline.extraction.engine import Engine

PRODUCTS = {
    "fp64": torch.float64,
    "fp32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
"""Precisions of a product; those of float64 are what certificates of heads are computed by."""


def hardware(plan: Plan) -> Iterator[Row]:
    """Yield what the figures were measured on."""
    device = choose(plan.device)
    facts: Row = {"what": "hardware", "environment": dict(environment(describe(device)))}
    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device)
        facts |= {
            "memory_bytes": found.total_memory,
            "multiprocessors": found.multi_processor_count,
            "capability": f"{found.major}.{found.minor}",
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        }
    yield {**facts, "value": torch.cuda.device_count() if device.type == "cuda" else 1, "unit": "devices"}


def median_seconds(call: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """Return the median seconds of a call until the device has finished, after three that are not counted."""
    for _ in range(3):
        call()
    taken = []
    for _ in range(repeats):
        finish(device)
        started = time.perf_counter()
        call()
        finish(device)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def ceilings(plan: Plan) -> Iterator[Row]:
    """Yield the rates of matrix products by precision, and of copies."""
    device, side = choose(plan.device), plan.side_of_product

    def product(precision: str) -> float:
        a, b = (torch.randn(side, side, device=device).to(PRODUCTS[precision]) for _ in range(2))
        with exact_float32(precision):
            return 2 * side**3 / median_seconds(lambda: a @ b, device, plan.repeats) / 1e12

    for precision in PRODUCTS:
        yield attempt({"what": "product", "precision": precision}, "TFLOP/s", partial(product, precision))

    def copy(kind: str) -> float:
        host = torch.zeros(plan.copied_bytes, dtype=torch.uint8)
        host = pin(host, device) if "pinned" in kind else host
        there, other = (torch.zeros(plan.copied_bytes, dtype=torch.uint8, device=device) for _ in range(2))
        into, source = {"to": (there, host), "from": (host, there), "on": (other, there)}[kind.split()[0]]
        seconds = median_seconds(lambda: into.copy_(source, non_blocking=True), device, plan.repeats)
        return plan.copied_bytes / seconds / 1e9

    ways = [f"{way} the device, {memory}" for way in ("to", "from") for memory in ("pinned", "pageable")]
    for kind in (*ways, "on the device"):
        yield attempt({"what": f"copy {kind}"}, "GB/s", partial(copy, kind))


def forward(plan: Plan) -> Iterator[Row]:
    """Yield the images per second of the net that extraction runs, on one resident batch; compiling comes last."""
    is_cuda = choose(plan.device).type == "cuda"
    for modes in ({"eager": _eager, **({"graph": _graph} if is_cuda else {})}, {"compiled": _compiled}):
        for precision in plan.precisions:
            for net in plan.nets:
                engine = make_engine(plan, net, precision, "arrays")
                for mode, prepare in modes.items():
                    labels = {"what": "forward", "net": net, "precision": precision, "mode": mode}
                    yield attempt(labels, "images/s", partial(_forward_rate, plan, engine, precision, prepare))


Prepare = Callable[[Plan, torch.nn.Module, Tensor], Callable[[], Any]]


def _forward_rate(plan: Plan, engine: Engine, precision: str, prepare: Prepare) -> float:
    side = engine.frozen.image_size
    pixels = torch.randint(0, 256, (plan.batch_size, side, side, 3), dtype=torch.uint8)
    images = engine.frozen.prepare(pixels)
    with exact_float32(precision), torch.inference_mode():
        call = prepare(plan, engine.frozen.net, images)
        return plan.batch_size / median_seconds(call, engine.device, plan.repeats)


def _eager(_: Plan, net: torch.nn.Module, images: Tensor) -> Callable[[], Any]:
    return lambda: net(images)


def _graph(_: Plan, net: torch.nn.Module, images: Tensor) -> Callable[[], Any]:
    """Return a replay of the net's pass, which is launched at once."""
    stream = torch.cuda.Stream(images.device)
    stream.wait_stream(torch.cuda.current_stream(images.device))
    with torch.cuda.stream(stream):
        for _number in range(3):
            net(images)
    torch.cuda.current_stream(images.device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        net(images)
    return graph.replay


def _compiled(plan: Plan, net: torch.nn.Module, images: Tensor) -> Callable[[], Any]:
    compiled = torch.compile(net, backend=plan.compiler)
    return lambda: compiled(images)
