"""From scores to the rows of a table: seeds averaged, and rows compared on the same test images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev
from typing import Any

import numpy as np

from probeline.heads.temperature import LIMITS
from probeline.metrics.intervals import wilson
from probeline.metrics.scores import per_class
from probeline.names import PENULTIMATE, Method, describe_tap
from probeline.report.model.differences import Difference, differences
from probeline.report.model.variants import differing, variant
from probeline.results.methods import method_info
from probeline.results.ranking import group_rows, table_order, validation_rank
from probeline.results.score import Score
from probeline.results.second_task_words import second_task


@dataclass(frozen=True)
class Row:
    """One method on one backbone: the scores of all its seeds.

    Attributes
    ----------
    backbone, weights, precision, method : str
    image_size : int
        Pixels.
    tap : str
        Where the features were read; ``a+b`` for two taps side by side.
    views : int
        Augmented views of each train image that were fitted on beside it.
    seeds : int
        How many scores the row holds.
    trainable, total : int
        Parameters.
    n_train, n_val, n_test : int
        Images.
    top1, macro, val_top1 : float
        Means over the seeds, in [0, 1].
    per_class : tuple of float or None [K]
        The same of each class alone; None for a class without test images.
    top5 : float or None
        The same; None where there are few classes.
    top1_by_seed : tuple of float [seeds]
        In the order of the seeds.
    interval : tuple of 2 floats
        Wilson's 95 % interval at the mean `top1` for a sample of `n_test` images: what drawing other test images
        would change. How much another seed would change is `seed_std`, not part of it.
    seed_std : float or None
        Sample standard deviation of `top1` over the seeds; None for one seed.
    nll, brier, ece, temperature, raw_nll, raw_ece : float
        Means over the seeds; see :class:`probeline.results.score.Score`.
    temperature_limit : bool
        Whether any seed's temperature is the lowest or the highest that there is.
    optimism : float or None
        Mean over the seeds that had something to choose, in [0, 1].
    cold_seconds, warm_seconds : float
        Means over the seeds.
    chosen, chosen_by : str
        The hyper-parameters in words, a range where the seeds differ; and what chose them.
    edge : bool
        Whether any seed chose a value at the end of its grid.
    converged : bool
        Whether every seed's fit did.
    diverged : int
        Candidates that were no choice as their training diverged; the most of any seed.
    headroom : Difference or None
        On fine-tune rows: to the exact probe of the same backbone, weights, image size, test images and numbers of
        train and val rows, at the penultimate tap and without views.
    reference : bool
        Whether this is the probe that the others are compared with: of all exact probes the one with the highest
        `val_top1`, whatever its tap and views, so that the choice costs the test set nothing.
    over_probe : Difference or None
        To the reference; None on the reference itself and on other test images.
    variant : str
        What tells this row from others of its method in its block, such as ``bf16``; first of it `where`, even where
        it is the only one, and ``run A``, ``run B`` where rows differ in their options.
    options : mapping
        All that was asked of the method but its seed.
    differing : str
        The options in which it differs from other runs, in words; empty where there are none.
    second : str
        What a second head gives at a task of its own, in words; empty where there is none.
    keys : tuple of str [seeds]
        Of its scores.
    """

    backbone: str
    weights: str
    image_size: int
    precision: str
    tap: str
    views: int
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
    per_class: tuple[float | None, ...]
    top5: float | None
    nll: float
    brier: float
    ece: float
    temperature: float
    temperature_limit: bool
    raw_nll: float
    raw_ece: float
    optimism: float | None
    cold_seconds: float
    warm_seconds: float
    chosen: str
    chosen_by: str
    edge: bool
    converged: bool
    diverged: int
    headroom: Difference | None = None
    reference: bool = False
    over_probe: Difference | None = None
    variant: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    differing: str = ""
    second: str = ""
    keys: tuple[str, ...] = ()

    @property
    def rank(self) -> tuple[object, ...]:
        """What rows are ranked by: the lowest is best on validation."""
        return validation_rank(self, self.val_top1)

    @property
    def where(self) -> str:
        """Tap and views in words, ``at layer3, 3 views``; empty for the penultimate tap without views."""
        return describe_tap(self.tap, self.views)

    @property
    def detail(self) -> str:
        """The variant without `where`."""
        return self.variant.removeprefix(self.where).removeprefix(", ")

    @property
    def title(self) -> str:
        """The method as a report calls it, with the variant."""
        return ", ".join(filter(None, (method_info(self.method).title, self.variant)))

    @property
    def short(self) -> str:
        """The same where room is scarce, without `where`: the title of a block's part tells that."""
        return ", ".join(filter(None, (method_info(self.method).short, self.detail)))


@dataclass(frozen=True)
class Block:
    """The rows that stand together in a table or a figure: one backbone, its weights and image size.

    Attributes
    ----------
    title : str
        The backbone, with its weights and image size where several are compared.
    rows : tuple of Row
        Tap by tap, and at each in the order of the methods; training, which knows of no taps, is with the penultimate.
    scores : tuple of tuples of Score
        The scores of each row, in the order of their seeds.
    """

    title: str
    rows: tuple[Row, ...]
    scores: tuple[tuple[Score, ...], ...]

    def parts(self) -> list[Block]:
        """Return the rows of each tap and number of views as a block of their own, with both in its title."""
        places: dict[str, list[int]] = defaultdict(list)
        for i, row in enumerate(self.rows):
            places[row.where].append(i)
        return [self._of(where, members) for where, members in places.items()]

    def leading(self) -> Block:
        """Return the part whose exact probe has the highest `val_top1`, and after it the rows of training.

        For figures that have room for one tap: the test images have no say in which.
        """
        probes = [row for row in self.rows if row.method == Method.PROBE] or list(self.rows)
        where = min(probes, key=lambda row: row.rank).where
        heads = [i for i, row in enumerate(self.rows) if row.where == where and not method_info(row.method).trains]
        return self._of(where, heads + [i for i, row in enumerate(self.rows) if method_info(row.method).trains])

    def _of(self, where: str, members: Sequence[int]) -> Block:
        comma = ", " if "," in self.title or not where.startswith("at ") else " "
        title = comma.join(filter(None, (self.title, where)))
        return Block(title, tuple(self.rows[i] for i in members), tuple(self.scores[i] for i in members))


def blocks(scores: Sequence[Score]) -> list[Block]:
    """Group scores into rows and rows into blocks, the block with the highest top-1 first.

    Scores that agree in backbone, weights, image size, precision, tap, views, method, options and rows are the seeds of
    one row. Training from scratch has no weights; its row stands in the block of the same backbone and image size.

    Raises
    ------
    BadData
        Where scores are of several data sets, or two scores claim one seed of one row.
    UnknownName
        For a method that no report knows.
    """
    groups = group_rows(scores)
    rows = _compared([_row(group) for group in groups], groups)
    places: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    for i in sorted(range(len(rows)), key=lambda i: (rows[i].method == Method.SCRATCH, table_order(rows[i]))):
        places[_place(rows[i], places)].append(i)
    weights: dict[str, set[str]] = defaultdict(set)
    for backbone, name, _ in places:
        weights[backbone].add(name)
    sizes = {size for _, _, size in places}
    found = []
    for (backbone, name, size), members in places.items():
        parts = [backbone]
        if name == "none" and any(rows[i].method != Method.SCRATCH for i in members):
            parts.append("untrained")
        elif len(weights[backbone]) > 1:
            parts.append(name)
        if len(sizes) > 1:
            parts.append(f"{size} px")
        members.sort(key=lambda i: table_order(rows[i]))
        found.append(Block(", ".join(parts), tuple(rows[i] for i in members), tuple(groups[i] for i in members)))
    return sorted(found, key=lambda block: (-max(row.top1 for row in block.rows), block.title))


Titled = tuple[str, Row, tuple[Score, ...]]
"""A row with the title of its block's part, and its scores."""


def titled(table: Sequence[Block]) -> list[Titled]:
    """Return every row in the order of the table."""
    return [
        (part.title, row, scores)
        for block in table
        for part in block.parts()
        for row, scores in zip(part.rows, part.scores, strict=True)
    ]


def naming(table: Sequence[Block]) -> Callable[[Titled], str]:
    """Return what names a row in a sentence: with its net where there are several, else with its tap and views."""

    def name(one: Titled) -> str:
        title, row, _ = one
        comma = " " if row.where.startswith("at ") else ", "
        return f"{row.short} on {title}" if len(table) > 1 else comma.join(filter(None, (row.short, row.where)))

    return name


def equal_on_validation(row: Row, rows: Iterable[Row]) -> list[Row]:
    """Return the other rows that have the same val top-1, but for rounding."""
    return [other for other in rows if other is not row and other.rank[0] == row.rank[0]]


def _row(group: tuple[Score, ...]) -> Row:
    first = group[0]
    top1 = fmean(score.top1 for score in group)
    low, high = wilson(top1 * first.n_test, first.n_test)
    return Row(
        backbone=first.backbone,
        weights=first.weights,
        image_size=first.image_size,
        precision=first.precision,
        tap=first.tap,
        views=first.views,
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
        per_class=_per_class(group),
        top5=_mean(score.top5 for score in group),
        nll=fmean(score.nll for score in group),
        brier=fmean(score.brier for score in group),
        ece=fmean(score.ece for score in group),
        temperature=fmean(score.temperature for score in group),
        temperature_limit=any(score.temperature in LIMITS for score in group),
        raw_nll=fmean(score.raw_nll for score in group),
        raw_ece=fmean(score.raw_ece for score in group),
        optimism=_mean(score.optimism for score in group),
        cold_seconds=fmean(score.cold_seconds for score in group),
        warm_seconds=fmean(score.warm_seconds for score in group),
        chosen=_chosen([score.chosen for score in group]),
        chosen_by="; ".join(dict.fromkeys(score.chosen_by for score in group)),
        edge=any(facts.get("edge") is True for score in group for facts in (score.chosen, score.certificate)),
        converged=all(score.converged for score in group),
        diverged=max(len(score.certificate.get("diverged", ())) for score in group),
        options=first.options,
        second=second_task([score.certificate for score in group]),
        keys=tuple(score.key for score in group),
    )


def _per_class(group: tuple[Score, ...]) -> tuple[float | None, ...]:
    """Return each class's accuracy, the seeds averaged."""
    labels, *said = (np.asarray(x, np.int64) for x in (group[0].labels, *(score.predictions for score in group)))
    shares = np.mean([per_class(labels, predictions, len(group[0].class_names)) for predictions in said], axis=0)
    return tuple(None if np.isnan(share) else float(share) for share in shares)


def _mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that there are."""
    there = [value for value in values if value is not None]
    return fmean(there) if there else None


def _compared(rows: list[Row], groups: list[tuple[Score, ...]]) -> list[Row]:
    """Return the rows with their differences; `groups` are their scores."""
    firsts = [group[0] for group in groups]
    probes = [i for i, row in enumerate(rows) if row.method == Method.PROBE]
    best = min(probes, key=lambda i: rows[i].rank, default=None)
    over_probe = {} if best is None else {i: (i, best) for i in range(len(rows)) if i != best}
    headroom = {i: (i, probe) for i in range(len(rows)) if (probe := _headroom_probe(i, rows, firsts)) is not None}
    found = differences({*over_probe.values(), *headroom.values()}, groups)
    return [
        replace(
            row,
            reference=i == best,
            over_probe=found.get(over_probe[i]) if i in over_probe else None,
            headroom=found.get(headroom[i]) if i in headroom else None,
            variant=variant(i, rows),
            differing=differing(i, rows),
        )
        for i, row in enumerate(rows)
    ]


def _headroom_probe(i: int, rows: list[Row], firsts: list[Score]) -> int | None:
    """Return the exact probe from which the headroom of a fine-tune row is measured, or None."""

    def fits(j: int) -> tuple[object, ...]:
        row = rows[j]
        return row.backbone, row.weights, row.image_size, row.n_train, row.n_val, firsts[j].splits

    if rows[i].method != Method.FINETUNE:
        return None
    plain = [j for j, row in enumerate(rows) if row.method == Method.PROBE and row.tap == PENULTIMATE and not row.views]
    alike = [j for j in plain if fits(j) == fits(i)]
    return min(alike, key=lambda j: (rows[j].precision != rows[i].precision, rows[j].precision), default=None)


def _place(row: Row, places: Iterable[tuple[str, str, int]]) -> tuple[str, str, int]:
    """Return the block of a row: its own, or for training from scratch the pretrained one beside which it stands."""
    own = (row.backbone, row.weights, row.image_size)
    if row.method != Method.SCRATCH:
        return own
    beside = [place for place in places if (place[0], place[2]) == (row.backbone, row.image_size)]
    return min(beside, key=lambda place: (place[1] == "none", place[1]), default=own)


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
