"""Scores as rows, and the one ranking of rows: by validation top-1 or another metric of validation, never by test."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any, Protocol

from probeline.errors import BadData
from probeline.identity import canonical
from probeline.names import PENULTIMATE, TOP1, Method
from probeline.results.methods import method_info, order
from probeline.results.score import Score

ScoreRow = tuple[Score, ...]
"""The scores of one row, in the order of their seeds."""


class Ranked(Protocol):
    """What rows are sorted by, other than validation: both scores and rows of a report have it."""

    @property
    def method(self) -> str: ...
    @property
    def backbone(self) -> str: ...
    @property
    def weights(self) -> str: ...
    @property
    def image_size(self) -> int: ...
    @property
    def precision(self) -> str: ...
    @property
    def tap(self) -> str: ...
    @property
    def views(self) -> int: ...
    @property
    def n_train(self) -> int: ...
    @property
    def n_val(self) -> int: ...
    @property
    def n_test(self) -> int: ...
    @property
    def options(self) -> Mapping[str, Any]: ...


def table_order(row: Ranked) -> tuple[object, ...]:
    """Return the sort key of a row in a table: tap by tap, at each in the order of the methods."""
    return (
        row.tap.count("+"),
        row.tap != PENULTIMATE,
        [(int(word), "") if word.isdecimal() else (-1, word) for word in re.split(r"(\d+)", row.tap)],
        row.views,
        order(row.method),
        row.backbone,
        row.weights,
        row.image_size,
        row.precision,
        row.n_train,
        row.n_val,
        row.n_test,
        "class_weights" in row.options,
        canonical(dict(row.options)),
    )


def selection_metric(scores: Iterable[Score]) -> str:
    """Return the metric that rows are ranked by: the one that selected all of them, or top-1, which all have."""
    metrics = {str(score.options.get("select_by", TOP1)) for score in scores}
    return metrics.pop() if len(metrics) == 1 else TOP1


def validation_score(scores: Sequence[Score], metric: str) -> float:
    """Return the mean over a row's seeds of a metric on validation: of top-1, or of the one that selected them all."""
    return fmean(score.val_top1 if metric == TOP1 or score.val_score is None else score.val_score for score in scores)


def validation_rank(row: Ranked, on_validation: float) -> tuple[object, ...]:
    """Return the sort key that puts the row first that is best on validation, by its :func:`validation_score`.

    Values that differ by rounding alone are equal; then an exact probe comes first, and the others in the order of the
    table. Test has no say.
    """
    return -round(on_validation, 9), row.method != Method.PROBE, *table_order(row)


def group_rows(scores: Iterable[Score]) -> list[ScoreRow]:
    """Return the scores of each row, in the order of their seeds.

    Scores that agree in backbone, weights, image size, precision, tap, views, method, options and images are the seeds
    of one row.

    Raises
    ------
    BadData
        The scores are of several data sets, or two of them are of one seed of one row.
    UnknownName
        A method is not known.
    """
    groups: dict[tuple[object, ...], list[Score]] = defaultdict(list)
    dataset = None
    for score in scores:
        method_info(score.method)
        dataset = dataset or (score.dataset, score.class_names)
        if dataset != (score.dataset, score.class_names):
            raise BadData(
                "scores of different data sets in one report",
                expected=f"{dataset[0]} with {len(dataset[1])} classes",
                got=f"{score.dataset} with {len(score.class_names)}, or other class names",
                remedy="report one data set at a time",
            )
        net = (score.backbone, score.weights, score.image_size, score.precision)
        options = canonical(dict(score.options))
        images = (score.splits, score.n_train, score.n_val, score.n_test)
        groups[(*net, score.tap, score.views, score.method, options, *images)].append(score)
    for group in groups.values():
        group.sort(key=_seed)
        for first, second in pairwise(group):
            if _seed(first) == _seed(second):
                raise BadData(
                    "two scores for one seed of one row",
                    where=f"{first.method} on {first.backbone} ({first.weights})",
                    got=f"keys {first.key[:12]} and {second.key[:12]}",
                    remedy="delete the score file of the one that is out of date",
                )
    return [tuple(group) for group in groups.values()]


def rank_by_validation(scores: Iterable[Score]) -> list[ScoreRow]:
    """Return the rows of some scores, as :func:`group_rows`, the one that is best on validation first."""
    rows = group_rows(scores)
    metric = selection_metric(score for row in rows for score in row)
    return sorted(rows, key=lambda row: validation_rank(row[0], validation_score(row, metric)))


def best_by_validation(scores: Iterable[Score]) -> ScoreRow | None:
    """Return the row that is best on validation; None if there is no score."""
    return next(iter(rank_by_validation(scores)), None)


def best_probe(scores: Iterable[Score]) -> Score | None:
    """Return the score of the exact probe that is best on validation; None if there is none."""
    row = best_by_validation(score for score in scores if score.method == Method.PROBE)
    return None if row is None else row[0]


def _seed(score: Score) -> int:
    return -1 if score.seed is None else score.seed
