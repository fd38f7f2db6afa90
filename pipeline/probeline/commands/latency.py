"""Latency: time the forward passes of each backbone on the device, the nets in turn."""

from __future__ import annotations

from typing import Any

from probeline.analysis.latency import Passes, measure_latency
from probeline.format import seconds
from probeline.report.sections.scores.latency import costs, hardware
from probeline.results.latency import LATENCIES
from probeline.session import Session

_FIELDS = ("batch", "median", "low", "high", "images_per_second", "ratio", "peak_bytes")
"""In ``--json``, per net and batch size."""


def run(session: Session, passes: Passes | None = None) -> list[dict[str, Any]]:
    """Time the forward passes of every backbone, unless they were timed together under the same conditions before.

    Returns per backbone its file, and per batch size the seconds and the ratio to the fastest.
    """
    say, result = session.console.say, session.console.result
    latencies, is_new = measure_latency(session, passes or Passes())
    lines = costs(latencies)
    if is_new:
        result(f"latency: on {hardware(latencies)}")
        for line in lines:
            peak = "" if line.peak_bytes is None else f", peak {line.peak_bytes / 1e6:,.0f} MB"
            result(
                f"latency: {line.title}, batch {line.batch}: {seconds(1000 * line.median)} ms "
                f"({seconds(1000 * line.low)} to {seconds(1000 * line.high)}), "
                f"{seconds(line.images_per_second)} images/s, {line.ratio:.2f} times the fastest{peak}"
            )
    else:
        for latency in latencies:
            say(f"latency: {latency.backbone}: up to date, skipped; timed on {hardware([latency])}")
    return [
        {
            "backbone": latency.backbone,
            "weights": latency.weights,
            "parameters": latency.parameters,
            "passes": [
                {name: getattr(line, name) for name in _FIELDS}
                for line in lines
                if (line.backbone, line.weights) == (latency.backbone, latency.weights)
            ],
            "file": str(LATENCIES.path(session.reports, latency.backbone, latency.key)),
        }
        for latency in latencies
    ]
