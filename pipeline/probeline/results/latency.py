"""What a forward pass costs: one record for each net and the conditions it was timed under."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from probeline.disk import path_name
from probeline.files.limits import Count, Length, Name, Pixels, Positive, Sha256, Within
from probeline.identity import LATENCY_VERSION
from probeline.results.members import Environment
from probeline.results.store import RecordKind


@dataclass(frozen=True)
class TimedPasses:
    """The timed forward passes of one net with one batch size."""

    batch: Positive
    """Images per pass."""
    seconds: Annotated[tuple[Annotated[float, Within(1e-9, 1e9)], ...], Length(1, 1 << 20)]
    """Of each pass, in order. The i-th passes of all nets of a session were run one after the other."""
    peak_bytes: Count | None
    """Weights, input and the peak of what a pass allocated; None if the device does not report it."""


@dataclass(frozen=True)
class Latency:
    """What a forward pass of one net costs on one device."""

    backbone: Name
    weights: Name
    precision: Name
    key: Sha256
    """sha256 over the net, the device and all options."""
    session: Name
    """Shared by the nets whose passes were interleaved."""
    image_size: Pixels
    parameters: Count
    """Of the original net with its head."""
    norms: Count
    """BatchNorm layers of the net."""
    folded: Count
    """How many of them were folded into the preceding convolution."""
    threads: Positive
    """Of torch."""
    warm_up: Count
    """Passes of each batch size before the timed ones."""
    passes: Annotated[tuple[TimedPasses, ...], Length(1, 1000)]
    """By ascending batch size; sizes that do not fit the device are missing."""
    environment: Environment

    def __post_init__(self) -> None:
        if any(after.batch <= before.batch for before, after in pairwise(self.passes)):
            raise ValueError("batch sizes that do not ascend")
        if len({len(passes.seconds) for passes in self.passes}) > 1:
            raise ValueError("batch sizes with different numbers of passes")


def _file_name(backbone: str, key: str) -> str:
    return f"latency-{path_name(backbone, portable=True)}-{key[:12]}.json"


LATENCIES = RecordKind("latency", LATENCY_VERSION, Latency, _file_name, ("latency-*.json",), newest_last=True)
