"""From scores to the rows of a table: means over seeds, titles, and differences on the same test images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any

import numpy as np

from probeline.evaluate.fit_options import shared_options
from probeline.format import option, value_in_words
from probeline.heads.temperature import LIMITS
from probeline.identity import canonical
from probeline.metrics.intervals import wilson
from probeline.metrics.scores import macro_f1, per_class, weighted_f1
from probeline.names import PENULTIMATE, Method, describe_tap
from probeline.report.model.differences import differences
from probeline.report.model.row import Block, Row
from probeline.report.model.two_classes import ordered, positive_class, report_order, two_classes
from probeline.results.ranking import group_rows, selection_metric, table_order, validation_score
from probeline.results.score import Score
from probeline.results.score_words import class_weights_in_words, second_task


def blocks(scores: Sequence[Score]) -> list[Block]:
    """Group scores into rows, as :func:`group_rows`, and rows into blocks, the block with the highest top-1 first.

    Training from scratch has no weights; its row is in the block of the same backbone and image size.
    """
    groups = group_rows(scores)
    positive, metric = positive_class(groups), selection_metric(scores)
    order = report_order(groups)
    rows = _compared([_row(group, positive, metric, order) for group in groups], groups)
    indices: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    for i in sorted(range(len(rows)), key=lambda i: (rows[i].method == Method.SCRATCH, table_order(rows[i]))):
        indices[_net_of(rows[i], indices)].append(i)
    weights: dict[str, set[str]] = defaultdict(set)
    for backbone, name, _ in indices:
        weights[backbone].add(name)
    sizes = {size for _, _, size in indices if size}  # predictions from elsewhere have none
    table = []
    for (backbone, name, size), members in indices.items():
        parts = [backbone]
        if name == "none" and any(rows[i].method != Method.SCRATCH for i in members):
            parts.append("untrained")
        elif len(weights[backbone]) > 1:
            parts.append(name)
        if len(sizes) > 1 and size:
            parts.append(f"{size} px")
        members.sort(key=lambda i: table_order(rows[i]))
        table.append(Block(", ".join(parts), tuple(rows[i] for i in members), tuple(groups[i] for i in members)))
    return sorted(table, key=lambda block: (-max(row.top1 for row in block.rows), block.title))


def row_titles(scores: Sequence[Score]) -> dict[str, str]:
    """Return titles that tell the rows of one backbone apart, by the key of each row's first score."""
    table = blocks(scores)
    return {
        row.keys[0]: row.title + (f" ({block.title})" if len(table) > 1 else "")
        for block in table
        for row in block.rows
    }


_SHARED = ("backbone", "weights", "image_size", "precision", "tap", "views", "method", "options")
_SIZES = ("trainable", "total", "n_train", "n_val", "n_test")
"""What the seeds of a row have in common, with `_SHARED`."""

_MEANS = ("top1", "macro", "val_top1", "top5", "nll", "brier", "ece", "raw_nll", "raw_ece", "temperature", "optimism")
_SECONDS = ("cold_seconds", "warm_seconds", "waited")
"""What a row has the mean of, with `_MEANS`."""


def _row(group: tuple[Score, ...], positive: int | None, metric: str, order: tuple[str, ...] | None) -> Row:
    first = group[0]
    top1 = fmean(score.top1 for score in group)
    low, high = wilson(top1 * first.n_test, first.n_test)
    values: dict[str, Any] = {name: getattr(first, name) for name in (*_SHARED, *_SIZES)}
    values |= {name: _mean(getattr(score, name) for score in group) for name in (*_MEANS, *_SECONDS)}
    return Row(
        **values,
        seeds=len(group),
        top1_by_seed=tuple(score.top1 for score in group),
        interval=(float(low), float(high)),
        seed_std=stdev(score.top1 for score in group) if len(group) > 1 else None,
        **_by_class(group),
        two_classes=two_classes(group, positive),
        ordered=ordered(group, order),
        metric=metric,
        val_score=validation_score(group, metric),
        auroc=_mean_of_all([score.auroc for score in group]),
        temperature_limit=any(score.temperature in LIMITS for score in group),
        chosen=_chosen([score.chosen for score in group]),
        chosen_by="; ".join(dict.fromkeys(score.chosen_by for score in group)),
        edge=any(facts.get("edge") is True for score in group for facts in (score.chosen, score.certificate)),
        converged=all(score.converged for score in group),
        diverged=max(len(score.certificate.get("diverged", ())) for score in group),
        second=second_task([score.certificate for score in group]),
        keys=tuple(score.key for score in group),
    )


def _by_class(group: tuple[Score, ...]) -> dict[str, Any]:
    """Return each class's accuracy and the mean F1 scores, the seeds averaged."""
    labels, *by_seed = (np.asarray(x, np.int64) for x in (group[0].labels, *(score.predictions for score in group)))
    k = len(group[0].class_names)
    shares = np.mean([per_class(labels, predictions, k) for predictions in by_seed], axis=0)
    return {
        "per_class": tuple(None if np.isnan(share) else float(share) for share in shares),
        "macro_f1": fmean(macro_f1(labels, predictions, k) for predictions in by_seed),
        "weighted_f1": fmean(weighted_f1(labels, predictions, k) for predictions in by_seed),
    }


def _mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are not None, or None without any."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _mean_of_all(values: Sequence[float | None]) -> float | None:
    """Return the mean of the values, or None if any is None."""
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def _compared(rows: list[Row], groups: list[tuple[Score, ...]]) -> list[Row]:
    """Return the rows with their differences; `groups` are their scores."""
    firsts = [group[0] for group in groups]
    probes = [i for i, row in enumerate(rows) if row.method == Method.PROBE]
    best = min(probes, key=lambda i: rows[i].rank, default=None)
    over_probe = {} if best is None else {i: (i, best) for i in range(len(rows)) if i != best}
    headroom = {i: (i, probe) for i in range(len(rows)) if (probe := _headroom_probe(i, rows, firsts)) is not None}
    tested = differences({*over_probe.values(), *headroom.values()}, groups)
    return [
        replace(
            row,
            reference=i == best,
            over_probe=tested.get(over_probe[i]) if i in over_probe else None,
            headroom=tested.get(headroom[i]) if i in headroom else None,
            variant=_variant(i, rows),
            differing=_differing_options(i, rows),
        )
        for i, row in enumerate(rows)
    ]


def _headroom_probe(i: int, rows: list[Row], firsts: list[Score]) -> int | None:
    """Return the exact probe from which the headroom of a fine-tune row is measured, or None."""

    def conditions(j: int) -> tuple[object, ...]:
        row = rows[j]
        weights = canonical(row.options.get("class_weights"))
        return row.backbone, row.weights, row.image_size, row.n_train, row.n_val, firsts[j].splits, weights

    if rows[i].method != Method.FINETUNE:
        return None
    plain = [j for j, row in enumerate(rows) if row.method == Method.PROBE and row.tap == PENULTIMATE and not row.views]
    same_net = [j for j in plain if conditions(j) == conditions(i)]
    metric = rows[i].options.get("select_by")

    def distance(j: int) -> tuple[object, ...]:
        row = rows[j]
        return row.precision != rows[i].precision, row.precision, row.options.get("select_by") != metric

    return min(same_net, key=distance, default=None)


def _net_of(row: Row, nets: Iterable[tuple[str, str, int]]) -> tuple[str, str, int]:
    """Return the net whose block has a row: its own, or for training from scratch the pretrained one."""
    own = (row.backbone, row.weights, row.image_size)
    if row.method != Method.SCRATCH:
        return own
    pretrained = [net for net in nets if (net[0], net[2]) == (row.backbone, row.image_size)]
    return min(pretrained, key=lambda net: (net[1] == "none", net[1]), default=own)


def _chosen(choices: Sequence[Mapping[str, Any]]) -> str:
    """Return ``l2 0.001``, or ``lr 0.0001–0.001`` if the seeds chose differently."""
    words = []
    for name in dict.fromkeys(name for choice in choices for name in choice if name != "edge"):
        values = [choice[name] for choice in choices if name in choice and choice[name] is not None]
        if not values:
            continue
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            low, high = (f"{end:.3g}" if isinstance(end, float) else str(end) for end in (min(values), max(values)))
            text = low if low == high else f"{low}–{high}"
        else:
            text = "/".join(sorted({value_in_words(value) for value in values}))
        words.append(f"{name} {text}")
    return ", ".join(words)


def _variant(i: int, rows: Sequence[Row]) -> str:
    """Return what tells row `i` from rows of the same method and net; tap and views come first, even for a lone row."""
    row, runs = rows[i], _runs(i, rows)
    where = describe_tap(row.tap, row.views)
    parts = [where] if where else []
    parts += [row.precision] if len({other.precision for other in runs}) > 1 else []
    parts += [
        f"{getattr(row, name):,} {name[2:]}"
        for name in ("n_train", "n_val", "n_test")
        if len({getattr(other, name) for other in runs}) > 1
    ]
    fitted = [_fit_in_words(other) for other in runs]
    parts += [_fit_in_words(row)[0]]
    parts += [_fit_in_words(row)[1]] if len({metric for _, metric in fitted}) > 1 else []
    options = sorted({canonical(_unnamed_options(other, runs)) for other in runs})
    if len(options) > 1:
        parts.append(f"run {_letters(options.index(canonical(_unnamed_options(row, runs))))}")
    return ", ".join(filter(None, parts))


def _fit_in_words(row: Row) -> tuple[str, str]:
    """Return class weights and metric of a row as its name has them; no class weights are empty."""
    return class_weights_in_words(row.options), f"by {row.options.get('select_by', 'top-1')}"


def _unnamed_options(row: Row, runs: Sequence[Row]) -> dict[str, Any]:
    """Return the options that a row's name does not tell: all but metric and weights, if their words are unique."""
    fitted = shared_options(row.options)
    alike = [other for other in runs if _fit_in_words(other) == _fit_in_words(row)]
    is_named = all(shared_options(other.options) == fitted for other in alike)
    return {name: value for name, value in row.options.items() if not (is_named and name in fitted)}


def _differing_options(i: int, rows: Sequence[Row]) -> str:
    """Return the options in which other runs of row `i` differ from it and that its name does not tell, all digits."""
    runs = _runs(i, rows)
    return ", ".join(
        option(name, value, exactly=True)
        for name, value in _unnamed_options(rows[i], runs).items()
        if any(other.options.get(name) != value for other in runs)
    )


def _runs(i: int, rows: Sequence[Row]) -> list[Row]:
    """Return the rows of the same method, net, tap and views as row `i`, itself included."""

    def identity(row: Row) -> tuple[object, ...]:
        return row.backbone, row.weights, row.image_size, row.tap, row.views, row.method

    return [other for other in rows if identity(other) == identity(rows[i])]


def _letters(number: int) -> str:
    """Return ``A`` to ``Z``, then ``AA`` and so on."""
    rest, last = divmod(number, 26)
    return (_letters(rest - 1) if rest else "") + chr(ord("A") + last)
