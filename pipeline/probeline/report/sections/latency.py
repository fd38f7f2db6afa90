"""What a forward pass costs: nets that were timed in turn, beside what their probes reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from probeline.environment import describe_environment
from probeline.format import count, decimals, escape, listing, percent, seconds
from probeline.names import PENULTIMATE
from probeline.report.sections.grid import bullets, ruled
from probeline.results.latency import Latency, TimedPasses
from probeline.results.ranking import best_by_validation
from probeline.results.score import Score

_PROBE = "The probe is the exact one at the penultimate tap, without views, at the same size and precision."


@dataclass(frozen=True)
class Cost:
    """A line of the table: one net with one size of batch.

    Attributes
    ----------
    backbone, weights : str
    image_size, parameters, batch : int
    median, low, high : float
        Seconds of a pass, and the 5th and 95th percentile of them.
    images_per_second : float
        At the median.
    ratio : float
        Median over the turns of its seconds over those of the fastest net of its session.
    peak_bytes : int or None
    top1, top5 : float or None
        Of the net's exact probe on test, in [0, 1].
    n_test : int or None
        Images that these were read on.
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
    """Return the nets that were timed in turn, together; the session of the most nets first."""
    together: dict[str, list[Latency]] = {}
    for latency in latencies:
        together.setdefault(latency.session, []).append(latency)
    return sorted(together.values(), key=lambda nets: (-len(nets), nets[0].environment.get("device", ""), nets[0].key))


def costs(nets: Sequence[Latency], scores: Sequence[Score] = ()) -> list[Cost]:
    """Return the lines of one session, batch by batch, the fastest net of each first."""
    found = []
    for batch in sorted({one.batch for net in nets for one in net.passes}):
        timed = [(net, one) for net in nets for one in net.passes if one.batch == batch]
        fastest = min((one for _, one in timed), key=lambda one: median(one.seconds))
        lines = [_cost(net, one, fastest, scores) for net, one in timed]
        found += sorted(lines, key=lambda line: (line.median, line.title))
    return found


def _cost(net: Latency, passes: TimedPasses, fastest: TimedPasses, scores: Sequence[Score]) -> Cost:
    low, middle, high = (float(value) for value in np.percentile(passes.seconds, (5, 50, 95)))
    probe = _probe(net, scores)
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


def _probe(net: Latency, scores: Sequence[Score]) -> Score | None:
    """Return the score of the exact probe on just this net's embeddings; of several, the one val prefers."""

    def fits(score: Score) -> bool:
        asked = (score.weights, score.image_size, score.precision, score.method, score.tap, score.views)
        return asked == (net.weights, net.image_size, net.precision, "probe", PENULTIMATE, 0)

    row = best_by_validation(score for score in scores if score.backbone == net.backbone and fits(score))
    return row[0] if row else None


def hardware(nets: Sequence[Latency]) -> str:
    """Return in words what the nets of a session were timed on."""
    first = nets[0]
    threads = f"{first.threads} thread{'s' if first.threads > 1 else ''}"
    return f"{threads}, {first.precision}: {describe_environment(first.environment)}"


def table(lines: Sequence[Cost]) -> str:
    """Return the lines of one session as a Markdown table."""
    cells = grid(lines)
    return ruled([[escape(cell) for cell in line] for line in cells], [place == 0 for place in range(len(cells[0]))])


def grid(lines: Sequence[Cost]) -> list[list[str]]:
    """Return the head and the cells of the lines of one session; what no line can tell has no column."""
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
    filled = [(head, cells) for head, cells in columns if any(cells)]
    return [list(line) for line in zip(*([head, *cells] for head, cells in filled), strict=True)]


def notes(nets: Sequence[Latency]) -> list[str]:
    """Return what a reader of the tables has to know, of the nets of all sessions."""
    first = nets[0]
    norms = dict.fromkeys(f"{net.folded} of {net.norms} of {net.backbone}" for net in nets if net.norms)
    without = dict.fromkeys(net.backbone for net in nets if not net.norms)
    folded = "; ".join([*norms, *(f"{name} has none" for name in without)])
    sizes = listing([str(size) for size in sorted({one.batch for net in nets for one in net.passes})])
    lines = [
        f"A forward pass of the whole net, its own head included, on batches of {sizes} that lie on the device: no "
        f"reading, decoding or resizing. {first.warm_up} passes to warm up, then {len(first.passes[0].seconds)} that "
        "are timed one by one, each until the device has finished; nets of one table take turns, a pass each.",
        *(
            ["Times the fastest is the median, over the turns, of a pass's seconds over those of the fastest net's."]
            if len(nets) > 1
            else []
        ),
        "The nets stand as extraction runs them: eval mode, inference mode, channels last, and BatchNorm folded into "
        f"the convolution before it where that changes nothing but rounding ({folded}).",
    ]
    if any(one.peak_bytes is not None for net in nets for one in net.passes):
        lines.append("Peak MB (a million bytes): weights, input, and the most that a pass holds beside them.")
    return lines


def told(latencies: Sequence[Latency], scores: Sequence[Score]) -> tuple[list[tuple[str, list[Cost]]], list[str]]:
    """Return what each session ran on and its lines, and what a reader of them has to know."""
    found, remarks = [], notes(latencies)
    for nets in sessions(latencies):
        lines = costs(nets, scores)
        found.append((f"On {hardware(nets)}.", lines))
        if _PROBE not in remarks and any(line.top1 is not None for line in lines):
            remarks.append(_PROBE)
    return found, remarks


def section(latencies: Sequence[Latency], scores: Sequence[Score]) -> list[str]:
    """Return the paragraphs of a report's section, without its heading: a table for each session, and what to know."""
    found, remarks = told(latencies, scores)
    return [*(part for ran_on, lines in found for part in (escape(ran_on), table(lines))), bullets(remarks)]
