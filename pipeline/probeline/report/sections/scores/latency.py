"""Latency of forward passes: nets timed in the same session, with the accuracy of their probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np

from probeline.environment import describe_environment
from probeline.format import count, decimals, listing, percent, plural, seconds
from probeline.names import PENULTIMATE
from probeline.report.model.content import ReportContent
from probeline.report.sections.section import RESULTS, Tables, TableSection
from probeline.report.sections.tables import TextTable, text_table
from probeline.results.latency import Latency, TimedPasses
from probeline.results.ranking import best_probe
from probeline.results.score import Score


@dataclass(frozen=True)
class Cost:
    """The forward passes of one net with one batch size.

    Attributes
    ----------
    median, low, high : float
        Seconds of a pass: median (of which `images_per_second` is), 5th and 95th percentile.
    ratio : float
        Median over the turns of its seconds over those of the fastest net of its session.
    top1, top5, n_test : float, float and int, or None
        Of the net's exact probe on test.
    """

    backbone: str
    weights: str
    image_size: int
    parameters: int
    batch: int
    median: float
    low: float
    high: float
    images_per_second: float
    ratio: float
    peak_bytes: int | None
    top1: float | None
    top5: float | None
    n_test: int | None

    @property
    def title(self) -> str:
        """The backbone, and whether its weights are random."""
        return f"{self.backbone}, untrained" if self.weights == "none" else self.backbone


def sessions(latencies: Sequence[Latency]) -> list[list[Latency]]:
    """Return the nets of each session, the session of the most nets first."""
    nets_of: dict[tuple[str, int], list[Latency]] = {}
    for latency in latencies:  # nets that took turns have as many passes
        nets_of.setdefault((latency.session, len(latency.passes[0].seconds)), []).append(latency)
    return sorted(nets_of.values(), key=lambda nets: (-len(nets), nets[0].environment.get("device", ""), nets[0].key))


def costs(nets: Sequence[Latency], scores: Sequence[Score] = ()) -> list[Cost]:
    """Return the costs of one session by batch size, the fastest net first."""
    result = []
    for batch in sorted({passes.batch for net in nets for passes in net.passes}):
        timed = [(net, passes) for net in nets for passes in net.passes if passes.batch == batch]
        fastest = min((passes for _, passes in timed), key=lambda passes: median(passes.seconds))
        of_batch = [_cost(net, passes, fastest, scores) for net, passes in timed]
        result += sorted(of_batch, key=lambda cost: (cost.median, cost.title))
    return result


def _cost(net: Latency, passes: TimedPasses, fastest: TimedPasses, scores: Sequence[Score]) -> Cost:
    low, middle, high = (float(value) for value in np.percentile(passes.seconds, (5, 50, 95)))
    features = (net.backbone, net.weights, net.image_size, net.precision, PENULTIMATE, 0)
    probe = best_probe(
        score
        for score in scores
        if (score.backbone, score.weights, score.image_size, score.precision, score.tap, score.views) == features
    )
    return Cost(
        backbone=net.backbone,
        weights=net.weights,
        image_size=net.image_size,
        parameters=net.parameters,
        batch=passes.batch,
        median=middle,
        low=low,
        high=high,
        images_per_second=passes.batch / middle,
        ratio=median(own / its for own, its in zip(passes.seconds, fastest.seconds, strict=True)),
        peak_bytes=passes.peak_bytes,
        top1=probe.top1 if probe else None,
        top5=probe.top5 if probe else None,
        n_test=probe.n_test if probe else None,
    )


def hardware(nets: Sequence[Latency]) -> str:
    """Return in words what the nets of a session were timed on."""
    first = nets[0]
    return f"{plural(first.threads, 'thread')}, {first.precision}: {describe_environment(first.environment)}"


class LatencySection(TableSection):
    name, title, group = "latency", "Latency", RESULTS

    def tables(self, content: ReportContent) -> Tables | None:
        nets, scores = content.latencies, content.scores
        tables = [cost_table(costs(timed, scores), f"On {hardware(timed)}.") for timed in sessions(nets)]
        return (tables, latency_notes(nets, scores)) if nets else None

    def record(self, content: ReportContent) -> Mapping[str, Any]:
        return {
            "latencies": [
                {
                    "hardware": hardware(nets),
                    "keys": [net.key for net in nets],
                    "rows": [asdict(cost) for cost in costs(nets, content.scores)],
                }
                for nets in sessions(content.latencies)
            ]
        }


def cost_table(lines: Sequence[Cost], title: str = "") -> TextTable:
    """Return the costs of one session, without columns that are empty in all lines."""
    places = decimals(line.n_test for line in lines if line.n_test is not None)
    several = len({line.title for line in lines}) > 1

    def share(value: float | None) -> str:
        return "" if value is None else percent(value, places)

    columns = [
        ("Backbone", [line.title for line in lines]),
        ("Parameters (with head)", [count(line.parameters) for line in lines]),
        ("Input px", [str(line.image_size) for line in lines]),
        ("Batch", [str(line.batch) for line in lines]),
        ("Median ms", [seconds(1000 * line.median) for line in lines]),
        ("5th–95th percentile", [f"{seconds(1000 * line.low)}–{seconds(1000 * line.high)}" for line in lines]),
        ("Images/s", [seconds(line.images_per_second) for line in lines]),
        ("Times the fastest", [f"{line.ratio:.2f}" if several else "" for line in lines]),
        ("Peak MB", ["" if line.peak_bytes is None else f"{line.peak_bytes / 1e6:,.0f}" for line in lines]),
        ("Probe top-1 %", [share(line.top1) for line in lines]),
        ("Probe top-5 %", [share(line.top5) for line in lines]),
    ]
    return text_table(columns, 1, title)


def latency_notes(nets: Sequence[Latency], scores: Sequence[Score] = ()) -> list[str]:
    """Return notes on the tables of all sessions."""
    first = nets[0]
    norms = dict.fromkeys(f"{net.folded} of {net.norms} of {net.backbone}" for net in nets if net.norms)
    without = dict.fromkeys(net.backbone for net in nets if not net.norms)
    folded = "; ".join([*norms, *(f"{name} has none" for name in without)])
    sizes = listing([str(size) for size in sorted({passes.batch for net in nets for passes in net.passes})])
    notes = [
        f"A forward pass of the whole net with its own head, on batches of {sizes} that are on the device already: no "
        f"reading, decoding or resizing. {first.warm_up} warm-up passes, then {len(first.passes[0].seconds)} that are "
        "timed one by one, each until the device has finished; the nets of a table take turns.",
    ]
    if len(nets) > 1:
        notes.append("Times the fastest: median over the turns of a pass's seconds over those of the fastest net.")
    notes.append(
        "The nets are as in extraction: eval mode, inference mode, channels last, and BatchNorm folded into the "
        f"preceding convolution if that changes nothing but rounding ({folded}).",
    )
    if any(passes.peak_bytes is not None for net in nets for passes in net.passes):
        notes.append("Peak MB (a million bytes): weights, input, and the peak of what a pass allocates.")
    if any(cost.top1 is not None for session in sessions(nets) for cost in costs(session, scores)):
        notes.append(
            "The probe is the exact one at the penultimate tap, without views, at the same size and precision."
        )
    return notes
