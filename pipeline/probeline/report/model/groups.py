"""Accuracy by group of test images: the scores of each row in each group, the worst one, and how far it is behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from probeline.metrics.intervals import holm, wilson
from probeline.metrics.scores import macro, macro_f1
from probeline.metrics.two_samples import fisher, newcombe
from probeline.report.model.differences import LEVEL
from probeline.results.score import Score
from probeline.types import BoolArray, IntArray

LEAST = 30
"""Test images of a group that is compared. With fewer, Wilson's 95 % interval reaches more than 17 points to either
side of a half, and of many such groups one is far below the others by chance alone."""

MOST_GROUPS = 1000
"""Of a column; one with more is a measurement or a name, and no group."""


@dataclass(frozen=True)
class Grouping:
    """A value for each test image: `values` [n_test], empty where an image has none, in the order of `splits`."""

    title: str
    """The column's name."""
    source: str
    """Where the values are from, and what was assumed of them, in words."""
    values: tuple[str, ...]
    splits: str
    """sha256 of the splits that the test images are of."""

    @property
    def missing(self) -> int:
        """Test images without a value."""
        return sum(not value for value in self.values)


@dataclass(frozen=True)
class GroupScore:
    """How a row does on the test images of one group; means over its seeds, shares in [0, 1]."""

    value: str
    """Empty for the images without a value."""
    n: int
    top1: float
    interval: tuple[float, float]
    """Wilson's 95 % interval."""
    macro: float
    """Mean accuracy of the classes that have images in the group."""
    macro_f1: float
    """Mean F1 score of the classes that are true or predicted in the group."""
    classes: int
    """How many these are."""
    difference: float | None
    """Top-1 minus that of all other test images; None if there are no others."""
    first_difference: float | None
    """The same of the first seed alone."""
    p: float | None
    """Of Fisher's exact test against all other test images, on the first seed's predictions; adjusted by Holm's method
    over all groups of all columns that are tested for the row. None for a group that is too small to be compared."""
    worse: bool
    """Whether it is significantly worse than the other test images: `p` is below 0.05, and both the first seed and the
    mean over the seeds are lower."""

    @property
    def name(self) -> str:
        """The value, or what an image without one is called."""
        return self.value or "(no value)"

    @property
    def is_compared(self) -> bool:
        """Whether it has images enough to be called best or worst."""
        return self.n >= LEAST


@dataclass(frozen=True)
class Gap:
    """How far the best of the compared groups is above the worst."""

    best: GroupScore
    worst: GroupScore
    interval: tuple[float, float]
    """Of the difference: Newcombe's, at a confidence at which all pairs of compared groups hold together with 95 %
    (Bonferroni), since best and worst are only known after looking."""

    @property
    def top1(self) -> float:
        """Top-1 of the best minus that of the worst."""
        return self.best.top1 - self.worst.top1


@dataclass(frozen=True)
class ByGroup:
    """The scores of one row by the groups of one column, the largest group first."""

    grouping: Grouping
    groups: tuple[GroupScore, ...]

    @property
    def gap(self) -> Gap | None:
        """The gap between the best and the worst group; None if fewer than two are compared."""
        compared = [group for group in self.groups if group.is_compared]
        if len(compared) < 2:
            return None
        best, worst = max(compared, key=lambda group: group.top1), min(compared, key=lambda group: group.top1)
        pairs = len(compared) * (len(compared) - 1) // 2
        counts = [(group.top1 * group.n, group.n) for group in (best, worst)]
        return Gap(best, worst, newcombe(counts[0], counts[1], 1 - (1 - 0.95) / pairs))


def by_groups(scores: Sequence[Score], groupings: Sequence[Grouping]) -> list[ByGroup]:
    """Return the scores of a row by the groups of each column; `scores` are those of its seeds, of the same splits.

    Raises
    ------
    ValueError
        A column has another number of values than there are test images.
    """
    found = [_groups(scores, grouping) for grouping in groupings]
    tested = [group for groups in found for group in groups if group.p is not None]
    adjusted = dict(zip(map(id, tested), holm([group.p for group in tested if group.p is not None]), strict=True))
    return [
        ByGroup(grouping, tuple(_judge(group, adjusted.get(id(group))) for group in groups))
        for grouping, groups in zip(groupings, found, strict=True)
    ]


def _groups(scores: Sequence[Score], grouping: Grouping) -> list[GroupScore]:
    """Return the groups of a column, the largest first; their p is not adjusted, and none is called worse yet."""
    labels = np.asarray(scores[0].labels, np.int64)
    if len(grouping.values) != len(labels):
        raise ValueError(f"{len(grouping.values):,} values of {grouping.title} for {len(labels):,} test images")
    predictions = np.asarray([score.predictions for score in scores], np.int64)
    names, numbers = np.unique(np.asarray(grouping.values, dtype=object).astype(str), return_inverse=True)
    by_size = np.argsort(-np.bincount(numbers), kind="stable")
    classes = len(scores[0].class_names)
    return [_score(str(names[i]), numbers == i, labels, predictions, classes) for i in by_size]


def _score(value: str, members: BoolArray, labels: IntArray, predictions: IntArray, classes: int) -> GroupScore:
    right = predictions == labels
    n, others = int(members.sum()), int((~members).sum())
    own, rest = right[:, members].sum(axis=1), right[:, ~members].sum(axis=1)
    top1 = float(own.mean()) / n
    return GroupScore(
        value=value,
        n=n,
        top1=top1,
        interval=wilson(min(float(own.mean()), n), n),
        macro=fmean(macro(labels[members], seed[members], classes) for seed in predictions),
        macro_f1=fmean(macro_f1(labels[members], seed[members], classes) for seed in predictions),
        classes=len(np.unique(labels[members])),
        difference=top1 - float(rest.mean()) / others if others else None,
        first_difference=int(own[0]) / n - int(rest[0]) / others if others else None,
        p=fisher(int(own[0]), n, int(rest[0]), others) if others and n >= LEAST else None,
        worse=False,
    )


def _judge(group: GroupScore, p: float | None) -> GroupScore:
    if p is None or group.difference is None or group.first_difference is None:
        return group
    return replace(group, p=p, worse=p < LEVEL and max(group.difference, group.first_difference) < 0)
