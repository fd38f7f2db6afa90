"""What forward passes cost: nets timed in the same session, with the accuracy of their probes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from probeline.environment import describe_environment
from probeline.format import plural
from probeline.names import PENULTIMATE
from probeline.results.latency import Latency, TimedPasses
from probeline.results.ranking import best_probe
from probeline.results.score import Score


@dataclass(frozen=True)
class Cost:
    """The forward passes of one net with one batch size.

    Attributes
    ----------
    median, low, high : float
        Seconds of a pass: median, 5th and 95th percentile.
    images_per_second : float
        At the median.
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
    nets_of: dict[str, list[Latency]] = {}
    for latency in latencies:
        nets_of.setdefault(latency.session, []).append(latency)
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
