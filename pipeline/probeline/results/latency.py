"""What a forward pass costs: one record for each net and the conditions it was timed under."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from probeline.disk import path_name
from probeline.identity import LATENCY_VERSION
from probeline.results.store import RecordKind


@dataclass(frozen=True)
class TimedPasses:
    """The timed forward passes of one net with one batch size."""

    batch: int
    """Images per pass."""
    seconds: tuple[float, ...]
    """Of each pass, in order. The i-th passes of all nets of a session were run one after the other."""
    peak_bytes: int | None
    """Weights, input and the peak of what a pass allocated; None if the device does not report it."""


@dataclass(frozen=True)
class Latency:
    """What a forward pass of one net costs on one device."""

    backbone: str
    weights: str
    precision: str
    key: str
    """sha256 over the net, the device and all options."""
    session: str
    """Shared by the nets whose passes were interleaved."""
    image_size: int
    parameters: int
    """Of the original net with its head."""
    norms: int
    """BatchNorm layers of the net."""
    folded: int
    """How many of them were folded into the preceding convolution."""
    threads: int
    """Of torch."""
    warm_up: int
    """Passes of each batch size before the timed ones."""
    passes: tuple[TimedPasses, ...]
    """By ascending batch size; sizes that do not fit the device are missing."""
    environment: Mapping[str, Any]


def _file_name(backbone: str, key: str) -> str:
    return f"latency-{path_name(backbone, portable=True)}-{key[:12]}.json"


LATENCIES = RecordKind("latency", LATENCY_VERSION, Latency, _file_name, ("latency-*.json",), newest_last=True)
