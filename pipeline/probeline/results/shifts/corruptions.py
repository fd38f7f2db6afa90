"""Robustness: how one head, fitted on clean images, scores on corrupted copies of the test images."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import Annotated

from probeline.disk import path_name
from probeline.files.limits import Count, Length, Name, Pixels, Positive, Seconds, Sha256, Within
from probeline.identity import ROBUSTNESS_VERSION
from probeline.names import CORRUPTIONS, SEVERITIES
from probeline.results.members import Environment
from probeline.results.store import RecordKind

_Difference = Annotated[float, Within(-1, 1)]


@dataclass(frozen=True)
class CorruptedScore:
    """The test images under one corruption: how many of them are right."""

    corruption: Name
    severity: Annotated[int, Within(1, len(SEVERITIES))]
    right: Count

    def __post_init__(self) -> None:
        if self.corruption not in CORRUPTIONS:
            raise ValueError(f"unknown corruption {self.corruption!r:.80}")


@dataclass(frozen=True)
class Robustness:
    """One head on clean and on corrupted test images."""

    dataset: Name
    splits: Sha256
    backbone: Name
    weights: Name
    image_size: Pixels
    precision: Name
    tap: Name
    method: Name
    score: Sha256
    """Key of the score whose head this is."""
    key: Sha256
    """sha256 over the score and the features of all corrupted images."""
    seed: Count
    """Of the corruptions' random numbers."""
    n_test: Positive
    clean_right: Count
    """Clean test images that are right by the head as it was fitted again for this record."""
    corrupted: Annotated[tuple[CorruptedScore, ...], Length(1, len(CORRUPTIONS) * len(SEVERITIES))]
    """In the order of the names, then by severity."""
    drop_interval: tuple[_Difference, _Difference]
    """95 % interval of `drop` by the paired bootstrap over the test images."""
    seconds: Seconds
    """Of all extractions of corrupted images."""
    environment: Environment

    def __post_init__(self) -> None:
        if max(self.clean_right, *(score.right for score in self.corrupted)) > self.n_test:
            raise ValueError(f"more images are right than the {self.n_test:,} tested")
        places = [(score.corruption, score.severity) for score in self.corrupted]
        if len(set(places)) < len(places):
            raise ValueError("a corruption twice at one severity")
        low, high = self.drop_interval
        if low > high:
            raise ValueError(f"an interval from {low} to {high}")

    @property
    def clean(self) -> float:
        """Top-1 on clean test images, in [0, 1]."""
        return self.clean_right / self.n_test

    @property
    def mean(self) -> float:
        """Mean top-1 over all corruptions and severities of the record, in [0, 1]."""
        return fmean(score.right for score in self.corrupted) / self.n_test

    @property
    def drop(self) -> float:
        """Clean top-1 minus the mean under corruptions: the relative corruption error that is not normalised."""
        return self.clean - self.mean

    def top1(self, corruption: str, severity: int) -> float | None:
        """Return top-1 under a corruption in [0, 1]; None if it was not measured."""
        found = (s.right for s in self.corrupted if (s.corruption, s.severity) == (corruption, severity))
        right = next(found, None)
        return None if right is None else right / self.n_test


def _file_name(backbone: str, key: str) -> str:
    return f"robustness/{path_name(backbone, portable=True)}-{key[:12]}.json"


ROBUSTNESS = RecordKind(
    "robustness", ROBUSTNESS_VERSION, Robustness, _file_name, ("robustness/*.json",), newest_last=True
)
