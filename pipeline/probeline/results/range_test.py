"""A learning-rate range test: the losses of a training's first steps at rising rates."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Literal

from probeline.disk import path_name
from probeline.files.limits import Count, Loss, Name, Pixels, Positive, Seconds, Sha256, Within, check_lengths
from probeline.identity import RANGE_VERSION
from probeline.results.members import Environment, Options
from probeline.results.methods import method_info
from probeline.results.store import RecordKind

StopReason = Literal["highest rate", "loss too high", "not finite"]
"""Why a range test took no further step."""

_RISE = 1.001
"""From one rate to the next, at least: those of a test rise by a sixth."""


@dataclass(frozen=True)
class RangeTest:
    """The learning-rate range test of one strategy on one backbone.

    Fields that a score has too are as in :class:`probeline.results.score.Score` of the same training.
    """

    dataset: Name
    backbone: Name
    weights: Name
    method: Name
    precision: Name
    key: Sha256
    splits: Sha256
    options: Options
    """All options of the training but its seed, and those of the test."""
    image_size: Pixels
    n_train: Positive
    """Images of the whole train set, of which the steps may use only some."""
    seed: Count
    rates: tuple[Annotated[float, Within(1e-12, 1e6)], ...]
    """Of each step, as ``--lr`` gives it; stages of the net may have a fraction of it."""
    losses: tuple[Loss, ...]
    """Of each step's batch, before the step was taken."""
    ended: StopReason
    seconds: Seconds
    """Duration of the steps."""
    environment: Environment = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_lengths(rates=self.rates, losses=self.losses)
        if any(after < _RISE * before for before, after in pairwise(self.rates)):
            raise ValueError("rates that do not rise")


def _file_name(backbone: str, method: str, key: str) -> str:
    return f"lr/{path_name(backbone, portable=True)}-{method_info(method).name}-{key[:12]}.json"


RANGE_TESTS = RecordKind("range test", RANGE_VERSION, RangeTest, _file_name, ("lr/*.json",), newest_last=True)
