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
    """The learning-rate range test of one strategy on one backbone: a training's first steps at rising rates.

    Attributes
    ----------
    dataset, backbone, weights, method, precision : str
        As in a score of that training.
    key : str
        sha256 over everything that could change its numbers.
    splits : str
        sha256 over the rows of every role, with their labels; only train rows are read.
    options : mapping
        All options of the training but its seed, and those of the test.
    image_size : int
        Pixels.
    n_train : int
        Images of the whole train set, of which the steps may use only some.
    seed : int
    rates : tuple of float
        Of each step, as ``--lr`` gives it; stages of the net may have a fraction of it.
    losses : tuple of float
        Of each step's batch, before the step was taken.
    ended : StopReason
    seconds : float
        Duration of the steps.
    environment : mapping
        Hardware and versions.
    """

    dataset: str
    backbone: str
    weights: str
    method: str
    precision: str
    key: str
    splits: str
    options: Mapping[str, Any]
    image_size: int
    n_train: int
    seed: int
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    ended: StopReason
    seconds: float
    environment: Mapping[str, Any] = field(default_factory=dict)


def _file_name(backbone: str, method: str, key: str) -> str:
    return f"lr/{path_name(backbone, portable=True)}-{method_info(method).name}-{key[:12]}.json"


RANGE_TESTS = RecordKind("range test", RANGE_VERSION, RangeTest, _file_name, ("lr/*.json",), newest_last=True)
