"""From scores to the rows of a table: seeds averaged, and rows compared on the same test images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean, stdev
from typing import Any

import numpy as np
import numpy.typing as npt

from probeline.errors import BadData
from probeline.metrics.intervals import holm, mcnemar, wilson
from probeline.records import Score
from probeline.report.methods import ORDER, method

LEVEL = 0.05
"""Below it, a p-value counts a difference as more than the luck of the test images."""

Pair = tuple[int, int]
"""Two rows by their number: the one, and what it is compared with."""


@dataclass(frozen=True)
class Difference:
    """How far a row is above another on the same test images, and whether these can tell.

    Attributes
    ----------
    top1 : float
        The one mean top-1 minus the other, in [-1, 1].
    p : float
        Of McNemar's exact test on the predictions of each row's first seed: two fitted predictors that are settled
        before any result is seen. Adjusted by Holm's method over all the pairs of rows that a report tests.
    real : bool
        Whether `p` is below `LEVEL` and the two first seeds differ in the same direction as the means.
    """

    top1: float
    p: float
    real: bool


@dataclass(frozen=True)
class Row:
    """One method on one backbone: the scores of all its seeds.

    Attributes
    ----------
    backbone, weights, precision, method : str
    image_size : int
        Pixels.
    seeds : int
        How many scores the row holds.
    trainable, total : int
        Parameters.
    n_train, n_val, n_test : int
        Images.
    top1, macro, val_top1 : float
        Means over the seeds, in [0, 1].
    top1_by_seed : tuple of float [seeds]
        In the order of the seeds.
    interval : tuple of 2 floats
        Wilson's 95 % interval at the mean `top1` for a sample of `n_test` images: what drawing other test images
        would change. How much another seed would change is `seed_std`, not part of it.
    seed_std : float or None
        Sample standard deviation of `top1` over the seeds; None for one seed.
    cold_seconds, warm_seconds : float
        Means over the seeds.
    chosen, chosen_by : str
        The hyper-parameters in words, a range where the seeds differ; and what chose them.
    edge : bool
        Whether any seed chose a value at the end of its grid.
    converged : bool
        Whether every seed's fit did.
    headroom : Difference or None
        On fine-tune rows: to the exact probe of the same backbone, weights, image size, test images and numbers of
        train and val rows.
    reference : bool
        Whether this is the probe that the others are compared with: of all exact probes the one with the highest
        `val_top1`, so that the choice costs the test set nothing.
    over_probe : Difference or None
        To the reference; None on the reference itself and on other test images.
    variant : str
        What tells this row from others of its method in its block, such as ``bf16``; empty where it is the only one.
    """

    backbone: str
    weights: str
    image_size: int
    precision: str
    method: str
    seeds: int
    trainable: int
    total: int
    n_train: int
    n_val: int
    n_test: int
    top1: float
    top1_by_seed: tuple[float, ...]
    interval: tuple[float, float]
    seed_std: float | None
    macro: float
    val_top1: float
    cold_seconds: float
    warm_seconds: float
    chosen: str
    chosen_by: str
    edge: bool
    converged: bool
    headroom: Difference | None = None
    reference: bool = False
    over_probe: Difference | None = None
    variant: str = ""

    @property
    def title(self) -> str:
        """The method as a report calls it, with the variant."""
        return ", ".join(filter(None, (method(self.method).title, self.variant)))

    @property
    def short(self) -> str:
        """The same where room is scarce."""
        return ", ".join(filter(None, (method(self.method).short, self.variant)))


@dataclass(frozen=True)
class Block:
    """The rows that stand together in a table or a figure: one backbone, its weights and image size.

    Attributes
    ----------
    title : str
        The backbone, with its weights and image size where several are compared.
    rows : tuple of Row
        In the order of the methods.
    scores : tuple of tuples of Score
        The scores of each row, in the order of their seeds.
    """

    title: str
    rows: tuple[Row, ...]
    scores: tuple[tuple[Score, ...], ...]


def blocks(scores: Sequence[Score]) -> list[Block]:
    """Group scores into rows and rows into blocks, the block with the highest top-1 first.

    Scores that agree in backbone, weights, image size, precision, method and number of rows are the seeds of one
    row. Training from scratch has no weights; its row stands in the block of the same backbone and image size.

    Raises
    ------
    BadData
        Where scores are of several data sets, two scores claim one seed of one row, or the seeds of a row were
        read on different test images.
    UnknownName
        For a method that no report knows.
    """
    groups = _groups(scores)
    rows = _compared([_row(group) for group in groups], [group[0] for group in groups])
    places: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    for i in sorted(range(len(rows)), key=lambda i: (rows[i].method == "scratch", _order(rows[i]))):
        places[_place(rows[i], places)].append(i)
    weights: dict[str, set[str]] = defaultdict(set)
    for backbone, name, _ in places:
        weights[backbone].add(name)
    sizes = {size for _, _, size in places}
    found = []
    for (backbone, name, size), members in places.items():
        parts = [backbone]
        if name == "none" and any(rows[i].method != "scratch" for i in members):
            parts.append("untrained")
        elif len(weights[backbone]) > 1:
            parts.append(name)
        if len(sizes) > 1:
            parts.append(f"{size} px")
        members.sort(key=lambda i: _order(rows[i]))
        found.append(Block(", ".join(parts), tuple(rows[i] for i in members), tuple(groups[i] for i in members)))
    return sorted(found, key=lambda block: (-max(row.top1 for row in block.rows), block.title))


def _groups(scores: Iterable[Score]) -> list[tuple[Score, ...]]:
    """Return the scores of each row, in the order of their seeds."""
    groups: dict[tuple[object, ...], list[Score]] = defaultdict(list)
    dataset = None
    for score in scores:
        method(score.method)
        dataset = dataset or (score.dataset, score.class_names)
        if dataset != (score.dataset, score.class_names):
            raise BadData(
                "scores of different data sets in one report",
                expected=f"{dataset[0]} with {len(dataset[1])} classes",
                got=f"{score.dataset} with {len(score.class_names)}, or other class names",
                remedy="report one data set at a time",
            )
        fields = (score.backbone, score.weights, score.image_size, score.precision, score.method)
        groups[(*fields, score.n_train, score.n_val, score.n_test)].append(score)
    for group in groups.values():
        group.sort(key=_seed)
        for one, other in pairwise(group):
            where = f"{one.method} on {one.backbone} ({one.weights})"
            if _seed(one) == _seed(other):
                raise BadData(
                    "two scores for one seed of one row",
                    where=where,
                    got=f"keys {one.key[:12]} and {other.key[:12]}",
                    remedy="delete the score file of the one that is out of date",
                )
            if one.labels != other.labels:
                raise BadData(
                    "the seeds of one row were read on different test images",
                    where=where,
                    got=f"keys {one.key[:12]} and {other.key[:12]}",
                    remedy="run every seed with one --data-seed, and delete the score files of the other",
                )
    return [tuple(group) for group in groups.values()]


def _row(group: tuple[Score, ...]) -> Row:
    first = group[0]
    top1 = fmean(score.top1 for score in group)
    low, high = wilson(top1 * first.n_test, first.n_test)
    return Row(
        backbone=first.backbone,
        weights=first.weights,
        image_size=first.image_size,
        precision=first.precision,
        method=first.method,
        seeds=len(group),
        trainable=first.trainable,
        total=first.total,
        n_train=first.n_train,
        n_val=first.n_val,
        n_test=first.n_test,
        top1=top1,
        top1_by_seed=tuple(score.top1 for score in group),
        interval=(float(low), float(high)),
        seed_std=stdev(score.top1 for score in group) if len(group) > 1 else None,
        macro=fmean(score.macro for score in group),
        val_top1=fmean(score.val_top1 for score in group),
        cold_seconds=fmean(score.cold_seconds for score in group),
        warm_seconds=fmean(score.warm_seconds for score in group),
        chosen=_chosen([score.chosen for score in group]),
        chosen_by="; ".join(dict.fromkeys(score.chosen_by for score in group)),
        edge=any(facts.get("edge") is True for score in group for facts in (score.chosen, score.certificate)),
        converged=all(score.converged for score in group),
    )


def _compared(rows: list[Row], firsts: list[Score]) -> list[Row]:
    """Return the rows with their differences; `firsts` are the scores of their first seeds."""
    probes = [i for i, row in enumerate(rows) if row.method == "probe"]
    best = min(probes, key=lambda i: (-rows[i].val_top1, _order(rows[i])), default=None)
    over_probe = {} if best is None else {i: (i, best) for i in range(len(rows)) if i != best}
    headroom = {i: (i, probe) for i in range(len(rows)) if (probe := _headroom_probe(i, rows, firsts)) is not None}
    found = _differences({*over_probe.values(), *headroom.values()}, rows, firsts)
    return [
        replace(
            row,
            reference=i == best,
            over_probe=found.get(over_probe.get(i)),
            headroom=found.get(headroom.get(i)),
            variant=_variant(row, rows),
        )
        for i, row in enumerate(rows)
    ]


def _headroom_probe(i: int, rows: list[Row], firsts: list[Score]) -> int | None:
    """Return the exact probe from which the headroom of a fine-tune row is measured, or None."""

    def fits(j: int) -> tuple[object, ...]:
        row = rows[j]
        return row.backbone, row.weights, row.image_size, row.n_train, row.n_val, firsts[j].labels

    if rows[i].method != "finetune":
        return None
    alike = [j for j, row in enumerate(rows) if row.method == "probe" and fits(j) == fits(i)]
    return min(alike, key=lambda j: (rows[j].precision != rows[i].precision, rows[j].precision), default=None)


def _differences(pairs: Iterable[Pair], rows: list[Row], firsts: list[Score]) -> dict[Pair | None, Difference]:
    """Return the difference of each pair of rows that share their test images."""
    ps: dict[Pair, float] = {}
    for i, j in sorted(pairs):
        if firsts[i].labels == firsts[j].labels:
            labels, a, b = (_classes(x) for x in (firsts[i].labels, firsts[i].predictions, firsts[j].predictions))
            ps[i, j] = float(mcnemar(labels, a, b))
    found: dict[Pair | None, Difference] = {}
    for (i, j), p in zip(ps, holm(list(ps.values())) if ps else (), strict=True):
        top1 = rows[i].top1 - rows[j].top1
        agree = (firsts[i].top1 - firsts[j].top1) * top1 > 0
        found[i, j] = Difference(top1, float(p), real=bool(p < LEVEL) and agree)
    return found


def _classes(numbers: Sequence[int]) -> npt.NDArray[np.int64]:
    return np.asarray(numbers, dtype=np.int64)


def _variant(row: Row, rows: list[Row]) -> str:
    def same(other: Row) -> bool:
        return (other.backbone, other.weights, other.image_size) == (row.backbone, row.weights, row.image_size)

    alike = [other for other in rows if other.method == row.method and same(other)]
    parts = [row.precision] if len({other.precision for other in alike}) > 1 else []
    parts += [
        f"{getattr(row, name):,} {name[2:]}"
        for name in ("n_train", "n_val", "n_test")
        if len({getattr(other, name) for other in alike}) > 1
    ]
    return ", ".join(parts)


def _place(row: Row, places: Iterable[tuple[str, str, int]]) -> tuple[str, str, int]:
    """Return the block of a row: its own, or for training from scratch the pretrained one beside which it stands."""
    own = (row.backbone, row.weights, row.image_size)
    if row.method != "scratch":
        return own
    beside = [place for place in places if (place[0], place[2]) == (row.backbone, row.image_size)]
    return min(beside, key=lambda place: (place[1] == "none", place[1]), default=own)


def _order(row: Row) -> tuple[object, ...]:
    return (
        ORDER[row.method],
        row.backbone,
        row.weights,
        row.image_size,
        row.precision,
        row.n_train,
        row.n_val,
        row.n_test,
    )


def _seed(score: Score) -> int:
    return -1 if score.seed is None else score.seed


def _chosen(choices: Sequence[Mapping[str, Any]]) -> str:
    """Return ``l2 0.001``, or ``lr 0.0001–0.001`` where the seeds chose differently."""
    words = []
    for name in dict.fromkeys(name for choice in choices for name in choice if name != "edge"):
        values = [choice[name] for choice in choices if name in choice and choice[name] is not None]
        if not values:
            continue
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            low, high = (f"{end:.3g}" if isinstance(end, float) else str(end) for end in (min(values), max(values)))
            text = low if low == high else f"{low}–{high}"
        else:
            text = "/".join(sorted({str(value) for value in values}))
        words.append(f"{name} {text}")
    return ", ".join(words)
