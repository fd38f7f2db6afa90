"""A learning-rate range test: the losses of a training's first steps at rising rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from probeline.disk import path_name
from probeline.identity import RANGE_VERSION
from probeline.results.methods import method_info
from probeline.results.store import RecordKind

StopReason = Literal["highest rate", "loss too high", "not finite"]
"""Why a range test took no further step."""


@dataclass(frozen=True)
class RangeTest:
    """The learning-rate range test of one strategy on one backbone.

    Fields that a score has too are as in :class:`probeline.results.score.Score` of the same training.
    """

    dataset: str
    backbone: str
    weights: str
    method: str
    precision: str
    key: str
    splits: str
    options: Mapping[str, Any]
    """All options of the training but its seed, and those of the test."""
    image_size: int
    n_train: int
    """Images of the whole train set, of which the steps may use only some."""
    seed: int
    rates: tuple[float, ...]
    """Of each step, as ``--lr`` gives it; stages of the net may have a fraction of it."""
    losses: tuple[float, ...]
    """Of each step's batch, before the step was taken."""
    ended: StopReason
    seconds: float
    """Duration of the steps."""
    environment: Mapping[str, Any] = field(default_factory=dict)


def _file_name(backbone: str, method: str, key: str) -> str:
    return f"lr/{path_name(backbone, portable=True)}-{method_info(method).name}-{key[:12]}.json"


RANGE_TESTS = RecordKind("range test", RANGE_VERSION, RangeTest, _file_name, ("lr/*.json",), newest_last=True)
