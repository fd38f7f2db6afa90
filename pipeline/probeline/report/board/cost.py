"""What a net costs on a board: seconds, parameters, memory, and which nets no other beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from probeline.report.board.entries import Net
from probeline.report.board.standing import NetStanding, Standing
from probeline.results.latency import Latency


@dataclass(frozen=True)
class Cost:
    """A kind of cost of the nets of a standing."""

    name: str
    unit: str
    values: tuple[float, ...]
    """Of each net, in the order of the standing."""
    front: tuple[int, ...]
    """Indices of the nets that no other beats in both accuracy and this cost, the cheapest first."""


def costs(standing: Standing, latencies: Sequence[Latency]) -> list[Cost]:
    """Return the costs that are known of all nets under the same conditions.

    Seconds are those of the shown rows, summed over the data sets, if all were measured on the same hardware. Memory is
    the peak of a forward pass, at the largest batch that all nets were timed with on one device.
    """
    nets = standing.nets
    known: list[tuple[str, str, list[float]]] = []
    if len(hardware(standing)) == 1:
        known.append(("cold time", "s", [one.cold_seconds for one in nets]))
        known.append(("warm time", "s", [one.warm_seconds for one in nets]))
    if all(one.parameters for one in nets):
        known.append(("parameters", "", [float(one.parameters) for one in nets]))
    if memory := peak_memory([one.net for one in nets], latencies):
        known.append(("memory", "MB", [memory[one.net] / 1e6 for one in nets]))
    return [Cost(name, unit, tuple(values), front(nets, values)) for name, unit, values in known]


def hardware(standing: Standing) -> list[str]:
    """Return the hardware that the rows of a standing were measured on, each kind once."""
    kinds = {
        ", ".join(
            f"{facts[name]} cores" if name == "cores" else str(facts[name])
            for name in ("machine", "processor", "cores", "device")
            if name in facts
        )
        for one in standing.nets
        for entry in one.entries
        for facts in (score.environment for score in entry.scores)
    }
    return sorted(kinds)


def front(nets: Sequence[NetStanding], values: Sequence[float]) -> tuple[int, ...]:
    """Return the indices of the nets that no other beats in both normalised accuracy and a cost, cheapest first."""
    chosen: list[int] = []
    for i in sorted(range(len(nets)), key=lambda i: (values[i], -nets[i].normalised)):
        if not chosen or nets[i].normalised > nets[chosen[-1]].normalised:
            chosen.append(i)
    return tuple(chosen)


def peak_memory(nets: Sequence[Net], latencies: Sequence[Latency]) -> dict[Net, int]:
    """Return the bytes of a pass of each net with one batch on one device; nothing if a net lacks it."""
    by_device: dict[tuple[str, int], dict[Net, int]] = {}
    for latency in latencies:
        for net in nets:
            if (latency.backbone, latency.weights, latency.image_size) == (net.backbone, net.weights, net.image_size):
                for passes in latency.passes:
                    if passes.peak_bytes is not None:
                        where = str(latency.environment.get("device", "")), passes.batch
                        by_device.setdefault(where, {})[net] = passes.peak_bytes
    whole = {where: found for where, found in by_device.items() if len(found) == len(nets)}
    return whole[max(whole, key=lambda where: (where[1], where[0]))] if whole else {}
