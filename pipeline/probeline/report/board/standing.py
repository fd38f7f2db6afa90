"""How nets stand over several data sets: ranks and means where all of them were measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from probeline.metrics.intervals import holm, mean_interval
from probeline.metrics.ranks import (
    Friedman,
    cliques,
    friedman,
    nemenyi,
    ranks,
    signed_rank,
    smallest_friedman_p,
    smallest_signed_rank_p,
)
from probeline.report.board.entries import BoardData, Cells, Entry, Net
from probeline.report.model.differences import LEVEL
from probeline.types import DoubleArray

FEWEST = 3
"""Data sets, and nets, below which nothing is tested."""

_MOST_SETS = 4096
"""Sets of data sets that are tried."""


@dataclass(frozen=True)
class Pair:
    """Wilcoxon's signed-rank test of two nets over the data sets."""

    better: int
    worse: int
    """Indices of the nets."""
    difference: float
    """Mean of the differences in normalised accuracy."""
    wins: tuple[int, int, int]
    """Data sets on which the first is higher, equal, and lower."""
    p: float
    """Exact, adjusted by Holm's method for all pairs."""


@dataclass(frozen=True)
class RankTests:
    """Whether the nets differ over the data sets."""

    friedman: Friedman
    smallest_p: float
    """The smallest p of Friedman's test that so many data sets and nets can give."""
    critical_difference: float
    """Nemenyi's, at `LEVEL`."""
    groups: tuple[tuple[int, int], ...]
    """First and last index of nets whose mean ranks differ by less."""
    pairs: tuple[Pair, ...]
    smallest_pair_p: float
    """The smallest p of a pair that so many data sets and pairs can give, adjusted."""


@dataclass(frozen=True)
class NetStanding:
    """One net over all data sets of the standing."""

    net: Net
    entries: tuple[Entry, ...]
    """In the order of the data sets."""
    mean_rank: float
    """Of test top-1; 1 is the best. Equal accuracies share the mean of their ranks."""
    val_rank: float
    """The same of the metric on validation that selects."""
    normalised: float
    """Mean normalised accuracy, which is 0 for always answering the most frequent test class and 1 for all right."""
    normalised_interval: tuple[float, float]
    """Of 95 %, for other test images of the same data sets."""
    top1: float
    """Plain mean of test top-1."""
    top1_interval: tuple[float, float]
    wins: int
    """Data sets on which no net is higher."""

    @property
    def cold_seconds(self) -> float:
        """Of the shown rows, all data sets together."""
        return sum(entry.row.cold_seconds for entry in self.entries)

    @property
    def warm_seconds(self) -> float:
        """Of the shown rows, all data sets together."""
        return sum(entry.row.warm_seconds for entry in self.entries)

    @property
    def parameters(self) -> int:
        """Of the predictor with the most classes."""
        return max(entry.row.total for entry in self.entries)


@dataclass(frozen=True)
class Standing:
    """Nets that were all measured on the same data sets, the best mean rank on test first."""

    datasets: tuple[BoardData, ...]
    nets: tuple[NetStanding, ...]
    tests: RankTests | None
    """None for fewer than `FEWEST` data sets or nets."""

    @property
    def recommended(self) -> NetStanding:
        """The net with the best mean rank on validation; of several that with the highest normalised accuracy there."""
        return min(self.nets, key=lambda one: (round(one.val_rank, 9), -round(_val_mean(one), 9), one.net))


def _val_mean(standing: NetStanding) -> float:
    return float(np.mean([entry.data.normalised(entry.row.val_score) for entry in standing.entries]))


def standing(cells: Cells) -> Standing | None:
    """Return how the nets stand that were measured on the same data sets, see :func:`complete_block`.

    Returns
    -------
    Standing or None
        None without any entry.
    """
    datasets, nets = complete_block(cells.keys())
    if not nets:
        return None
    by_net = {net: tuple(cells[net, data] for data in datasets) for net in nets}
    top1 = _table(by_net, [[entry.row.top1 for entry in own] for own in by_net.values()])
    val = _table(by_net, [[entry.row.val_score for entry in own] for own in by_net.values()])
    test_ranks, val_ranks = ranks(top1), ranks(val)
    means = zip(by_net.items(), test_ranks.mean(axis=0).tolist(), val_ranks.mean(axis=0).tolist(), strict=True)
    highest = (test_ranks == test_ranks.min(axis=1, keepdims=True)).sum(axis=0).tolist()
    rows = [
        _net_standing(net, own, mean_rank=on_test, val_rank=on_val, wins=wins)
        for ((net, own), on_test, on_val), wins in zip(means, highest, strict=True)
    ]
    order = sorted(range(len(rows)), key=lambda i: (round(rows[i].mean_rank, 9), -rows[i].normalised, rows[i].net))
    scale = np.array([[data.normalised(1.0) - data.normalised(0.0)] for data in datasets])  # 1 / (1 - chance)
    enough = min(len(datasets), len(nets)) >= FEWEST
    tests = _tests(top1[:, order], top1[:, order] * scale) if enough else None
    return Standing(tuple(datasets), tuple(rows[i] for i in order), tests)


def _table(by_net: Mapping[Net, object], values: Sequence[Sequence[float]]) -> DoubleArray:
    """Return values of each net as float64 [data sets, nets]."""
    return np.array(values, dtype=np.float64).T.reshape(-1, len(by_net))


def _net_standing(net: Net, entries: tuple[Entry, ...], **of_ranks: Any) -> NetStanding:
    tops = [entry.row.top1 for entry in entries]
    intervals = [entry.row.interval for entry in entries]
    above = [entry.data.normalised(entry.row.top1) for entry in entries]
    above_intervals = [
        (entry.data.normalised(entry.row.interval[0]), entry.data.normalised(entry.row.interval[1]))
        for entry in entries
    ]
    return NetStanding(
        net=net,
        entries=entries,
        normalised=float(np.mean(above)),
        normalised_interval=mean_interval(above, above_intervals),
        top1=float(np.mean(tops)),
        top1_interval=mean_interval(tops, intervals),
        **of_ranks,
    )


def _tests(top1: DoubleArray, normalised: DoubleArray) -> RankTests:
    """Return the tests of accuracies float64 [data sets, nets], the best mean rank first."""
    n, k = top1.shape
    mean_ranks = ranks(top1).mean(axis=0)
    difference = nemenyi(n, k, LEVEL)
    indices = list(combinations(range(k), 2))
    differences = [normalised[:, i] - normalised[:, j] for i, j in indices]
    ps = holm([signed_rank(own) for own in differences])
    pairs = [
        Pair(i, j, float(own.mean()), _wins(own), p) for (i, j), own, p in zip(indices, differences, ps, strict=True)
    ]
    return RankTests(
        friedman=friedman(top1),
        smallest_p=smallest_friedman_p(n, k),
        critical_difference=difference,
        groups=tuple(cliques(mean_ranks.tolist(), difference)),
        pairs=tuple(pairs),
        smallest_pair_p=min(1.0, len(pairs) * smallest_signed_rank_p(n)),
    )


def _wins(differences: DoubleArray) -> tuple[int, int, int]:
    rounded = differences.round(12)
    return int((rounded > 0).sum()), int((rounded == 0).sum()), int((rounded < 0).sum())


def complete_block(cells: Collection[tuple[Net, BoardData]]) -> tuple[list[BoardData], list[Net]]:
    """Return the data sets and the nets, each sorted, that a mean over data sets is taken of: no cell is missing.

    Of all sets of data sets with the nets that were measured on all of them it is the one with the largest
    (data sets - 1) x (nets - 1), which is what Friedman's test has as degrees of freedom; of equal ones that with more
    cells, then with more data sets, then the first by name.
    """
    measured: dict[Net, frozenset[BoardData]] = {}
    for net, data in cells:
        measured[net] = measured.get(net, frozenset()) | {data}
    known = set(measured.values())
    fresh = set(known)
    while fresh and len(known) < _MOST_SETS:
        fresh = {one & other for one in fresh for other in measured.values()} - known
        known |= fresh

    def merit(datasets: frozenset[BoardData]) -> tuple[int, int, int]:
        n, k = len(datasets), sum(own >= datasets for own in measured.values())
        return (n - 1) * (k - 1), n * k, n

    candidates = [datasets for datasets in known if datasets]
    if not candidates:
        return [], []
    best = min(candidates, key=lambda datasets: ([-value for value in merit(datasets)], sorted(datasets)))
    return sorted(best), sorted(net for net, own in measured.items() if own >= best)
