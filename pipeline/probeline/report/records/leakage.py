"""How test images that are in train or val too change the accuracy of each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probeline.format import decimals, percent
from probeline.metrics.intervals import wilson
from probeline.report.model.row import Block
from probeline.results.findings import Findings
from probeline.types import DoubleArray

LEAKAGE_NOTE = (
    "Test top-1 (mean over seeds, Wilson's 95 % interval) with all test images, and without those that are in train or "
    "val too. Nothing is refitted, so the effect of a leaked image on the fit remains; and leaked images may be easier "
    "or harder than others."
)


@dataclass(frozen=True)
class Share:
    """Top-1 over `n` of the test images, in [0, 1], with Wilson's 95 % interval; None without images."""

    n: int
    top1: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Leak:
    """A row's test top-1 with and without the images that are in train or val too; a mean over its seeds.

    The titles are the block's and the row's. `reference` is the probe that other rows are compared with; `exact` and
    `near` are the leaked images themselves.
    """

    backbone: str
    row: str
    reference: bool
    all: Share
    without_exact: Share
    without_both: Share
    exact: Share
    near: Share


def leakage(doctor: Findings, blocks: Sequence[Block]) -> list[Leak]:
    """Return the accuracy of each row without the leaked images; its scores must be of the examined splits."""
    leaks = []
    for block in blocks:
        for row, scores in zip(block.rows, block.scores, strict=True):
            correct = [np.equal(score.labels, score.predictions) for score in scores]
            right: DoubleArray = np.mean(correct, axis=0, dtype=np.float64)
            exact, near = np.zeros(len(right), np.bool_), np.zeros(len(right), np.bool_)
            exact[list(doctor.duplicates.leaked_exact)] = True
            near[list(doctor.duplicates.leaked_near)] = True
            parts = (np.ones_like(exact), ~exact, ~(exact | near), exact, near)
            leaks.append(Leak(block.title, row.title, row.reference, *(_share(right[part]) for part in parts)))
    return leaks


def _share(right: DoubleArray) -> Share:
    """Return the top-1 of some test images from the share of seeds that are right on each, float64 [n]."""
    n = len(right)
    if not n:
        return Share(0, None, None)
    successes = min(float(right.sum()), float(n))
    return Share(n, successes / n, wilson(successes, n))


def leakage_lines(leaks: Sequence[Leak]) -> list[str]:
    """Return in words how the top-1 of each row changes without the leaked images; empty if none are leaked."""
    if not any(leak.all.n > leak.without_both.n for leak in leaks):
        return []
    places = decimals(leak.all.n for leak in leaks)
    return [
        f"{leak.row} of {leak.backbone}: test top-1 {share_in_words(leak.all, places)} %, without the "
        f"{leak.all.n - leak.without_both.n:,} leaked images {share_in_words(leak.without_both, places)} %"
        for leak in leaks
    ]


def share_in_words(share: Share, places: int) -> str:
    """Return top-1 in percent with its interval; empty without images."""
    if share.top1 is None or share.interval is None:
        return ""
    low, high = (percent(end, places) for end in share.interval)
    return f"{percent(share.top1, places)} ({low}–{high})"
