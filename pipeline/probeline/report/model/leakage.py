"""What images of test that train or val hold too do to each row's accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probeline.format import decimals, percent, points
from probeline.metrics.intervals import wilson
from probeline.report.model.rows import Block
from probeline.results.findings import Findings
from probeline.results.score import Score
from probeline.types import DoubleArray

LEAKED = (
    "Each row's test top-1 with Wilson's 95 % interval, a mean over its seeds, with all test images and "
    "without those that train or val hold too. Nothing is fitted anew: what a leaked train image did to the fit stays, "
    "and leaked images may be easier or harder than others for reasons of their own."
)


@dataclass(frozen=True)
class Share:
    """Top-1 over some of the test images.

    Attributes
    ----------
    n : int
    top1 : float or None
        In [0, 1]; None without images.
    interval : tuple of 2 floats, or None
        Wilson's 95 %.
    """

    n: int
    top1: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Leak:
    """A row's test top-1 with and without the images that train or val hold too; a mean over its seeds.

    Attributes
    ----------
    backbone, row : str
        The block's title and the row's.
    reference : bool
        Whether it is the probe that others are compared with.
    all, without_exact, without_both : Share
        Of all test images, of those without exact copies, and of those without near ones either.
    exact, near : Share
        Of what is left out.
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
    """Return what the leaked images do to each row; the rows' scores must be of the splits that were examined."""
    found = []
    for block in blocks:
        for row, scores in zip(block.rows, block.scores, strict=True):
            right = _right(scores)
            exact, near = np.zeros(len(right), np.bool_), np.zeros(len(right), np.bool_)
            exact[list(doctor.duplicates.leaked_exact)] = True
            near[list(doctor.duplicates.leaked_near)] = True
            parts = (np.ones_like(exact), ~exact, ~(exact | near), exact, near)
            found.append(Leak(block.title, row.title, row.reference, *(_share(right[part]) for part in parts)))
    return found


def _right(scores: Sequence[Score]) -> DoubleArray:
    """Return of each test image the share of seeds that have it right: float64 [n]."""
    every = [np.equal(score.labels, score.predictions) for score in scores]
    shares: DoubleArray = np.mean(every, axis=0, dtype=np.float64)
    return shares


def _share(right: DoubleArray) -> Share:
    n = len(right)
    if not n:
        return Share(0, None, None)
    successes = min(float(right.sum()), float(n))
    return Share(n, successes / n, wilson(successes, n))


def leakage_lines(leaks: Sequence[Leak]) -> list[str]:
    """Return for each row how its top-1 changes without the leaked images; nothing where none are leaked."""
    if not any(leak.all.n > leak.without_both.n for leak in leaks):
        return []
    places = decimals(leak.all.n for leak in leaks)
    return [
        f"{leak.row} of {leak.backbone}: test top-1 {_percent(leak.all, places)} %, without the "
        f"{leak.all.n - leak.without_both.n:,} leaked images {_percent(leak.without_both, places)} %"
        for leak in leaks
    ]


def _percent(share: Share, places: int) -> str:
    if share.top1 is None or share.interval is None:
        return ""
    low, high = (percent(end, places) for end in share.interval)
    return f"{percent(share.top1, places)} ({low}–{high})"


def leakage_columns(leaks: Sequence[Leak]) -> list[tuple[str, list[str]]]:
    """Return a table's columns, a head and its cells each; the first two are words."""
    places = decimals(leak.all.n for leak in leaks)
    columns = [
        ("Backbone", [leak.backbone for leak in leaks]),
        ("Method", [leak.row for leak in leaks]),
        ("Test top-1 % (95 % interval)", [_counted(leak.all, places) for leak in leaks]),
        ("Without exact copies", [_counted(leak.without_exact, places) for leak in leaks]),
        ("Without near ones either", [_counted(leak.without_both, places) for leak in leaks]),
        ("Change", [_change(leak, places) for leak in leaks]),
        ("On the leaked", [_on_leaked(leak, places) for leak in leaks]),
    ]
    if not any(leak.exact.n for leak in leaks):
        del columns[3]
    return columns


def _counted(share: Share, places: int) -> str:
    return f"{_percent(share, places)}, n={share.n:,}" if share.n else ""


def _change(leak: Leak, places: int) -> str:
    before, after = leak.all.top1, leak.without_both.top1
    return "" if before is None or after is None else points(after - before, places)


def _on_leaked(leak: Leak, places: int) -> str:
    told = [
        f"{name} {percent(share.top1, places)} (n={share.n:,})"
        for name, share in (("exact", leak.exact), ("near", leak.near))
        if share.top1 is not None
    ]
    return ", ".join(told)
