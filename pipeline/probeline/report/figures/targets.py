"""Figures of several labels and of numbers: rows with intervals, labels, predictions against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import shorten

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from probeline.report.figures.curves import draw_history
from probeline.report.figures.sheet import Sheet, names, set_tooltip, span
from probeline.report.figures.style import FAINT, MUTED, SIZE, WIDTH
from probeline.report.targets.difference import columns_of
from probeline.report.targets.row import TargetRow
from probeline.results.methods import method_info
from probeline.results.targets.words import METRICS

_MOST_ROWS, _MOST_LABELS, _MOST_TARGETS, _MOST_DOTS, _MOST_TRAINED = 40, 40, 3, 3000, 12


def target_scores(rows: Sequence[TargetRow], places: int) -> Sheet:
    """Return a dot with its 95 % interval for each row, the best on validation first."""
    shown, first = rows[:_MOST_ROWS], rows[0].first
    words = METRICS[first.selected_by]
    caption = (
        f"Dot and bar: {words.title} on {first.n_test:,} test images and its 95 % interval, by a bootstrap of these. "
        "The rows are in the order of validation."
    )
    if len(rows) > len(shown):
        caption += f" {len(rows) - len(shown):,} more rows are in the table."
    title = f"Test {words.title} on {first.dataset}"
    alt = f"{title}: " + "; ".join(
        f"{row.name} {words.shown(row.metric(first.selected_by).value, places)}" for row in shown
    )
    figure = Sheet(WIDTH, 1.2 + 0.3 * len(shown), title, caption, alt)
    axes = figure.add_subplot()
    scale = 100 if words.is_share else 1
    for y, row in enumerate(shown):
        metric, colour = row.metric(first.selected_by), method_info(row.first.method).colour
        if metric.value is None:
            continue
        if metric.interval is not None:
            axes.plot([scale * end for end in metric.interval], [y, y], color=colour, linewidth=1.6)
        face = colour if row.converged else "white"
        (dot,) = axes.plot(scale * metric.value, y, "o", color=colour, markerfacecolor=face, markersize=6)
        set_tooltip(dot, f"{row.name}: {words.title} {words.shown(metric.value, places)}")
        text = words.shown(metric.value, places)
        axes.text(1.015, y, text, transform=axes.get_yaxis_transform(), va="center", fontsize=SIZE)
    _label_rows(axes, [shorten(row.name, 60, placeholder="…") for row in shown])
    axes.set_xlabel(f"test {words.title}{', %' if words.is_share else ''}")
    return figure


def labels(row: TargetRow) -> Sheet:
    """Return the average precision of each label of a row's first seed, the most frequent first."""
    score = row.first
    values, having = score.per_target["average precision"], score.per_target["with it"]
    images = score.per_target["images"]
    order = sorted(range(len(values)), key=lambda i: -(having[i] or 0))[:_MOST_LABELS]
    title = f"Average precision of each label on {score.dataset}"
    caption = (
        f"{row.name}, {score.n_test:,} test images. Grey: the share of images that have the label, which a random "
        "ranking reaches. Labels that all test images have, or that none has, have no average precision."
    )
    if len(values) > len(order):
        caption += f" The {len(order)} most frequent of {len(values):,} labels."
    shown = names(score.target_names)
    values_in_words = "; ".join(f"{shown[i]} {100 * value:.1f} %" for i in order if (value := values[i]) is not None)
    figure = Sheet(WIDTH, 1.3 + 0.22 * len(order), title, caption, f"{title}: {values_in_words}")
    axes = figure.add_subplot()
    for y, i in enumerate(order):
        share, value = (having[i] or 0) / max(images[i] or 0, 1), values[i]
        axes.barh(y, 100 * share, height=0.6, color=FAINT, zorder=1)
        if value is not None:
            (dot,) = axes.plot(100 * value, y, "o", color=method_info(score.method).colour, markersize=5, zorder=3)
            set_tooltip(dot, f"{shown[i]}: average precision {100 * value:.1f} %, {having[i]:,.0f} images have it")
    _label_rows(axes, [shown[i] for i in order])
    axes.set_xlim(0, 102)
    axes.set_xlabel("average precision, %")
    return figure


def predictions(row: TargetRow) -> Sheet:
    """Return predicted against true values of a row's first seed, and what remains, for the first few targets."""
    score = row.first
    truth, outputs = columns_of(score)
    count = min(len(score.target_names), _MOST_TARGETS)
    title = f"Predicted against true on {score.dataset}"
    caption = (
        f"{row.name}, {score.n_test:,} test images. Left: on the dashed line a prediction is right. Right: prediction "
        "less truth; a slope or a bend is what the head misses."
    )
    if len(score.target_names) > count:
        caption += f" The first {count} of {len(score.target_names):,} targets."
    shown = names(score.target_names)
    values_in_words = "; ".join(
        f"{shown[i]}: R² {value:.3f}" for i in range(count) if (value := score.per_target["r2"][i]) is not None
    )
    figure = Sheet(WIDTH, 0.9 + 2.9 * count, title, caption, f"{title}: {values_in_words}")
    grid = figure.subplots(count, 2, squeeze=False)
    colour = method_info(score.method).colour
    for (left, right), column in zip(grid, range(count), strict=True):
        known = np.flatnonzero(~np.isnan(truth[:, column]))
        step = max(1, -(-len(known) // _MOST_DOTS))
        true, predicted = truth[known[::step], column], outputs[known[::step], column]
        ends = [float(min(true.min(), predicted.min())), float(max(true.max(), predicted.max()))]
        left.plot(ends, ends, color=MUTED, linewidth=0.9, linestyle="--", zorder=1)
        right.axhline(0, color=MUTED, linewidth=0.9, linestyle="--", zorder=1)
        for axes, y in ((left, predicted), (right, predicted - true)):
            axes.plot(true, y, "o", color=colour, markersize=2.6, alpha=0.5, markeredgewidth=0, zorder=2)
            axes.set_xlabel(f"{shown[column]}, true")
        left.set_ylabel("predicted")
        right.set_ylabel("predicted − true")
    return figure


def training(rows: Sequence[TargetRow]) -> Sheet | None:
    """Return the losses and the metric on val by epoch of each row with a history; None if none has."""
    trained = [row for row in rows if any(score.history for score in row.scores)]
    if not trained:
        return None
    shown, first = trained[:_MOST_TRAINED], trained[0].first
    words = METRICS[first.selected_by]
    title = f"Training curves on {first.dataset}"
    caption = (
        f"Left: the loss that is minimised; solid: val, n = {span(row.first.n_val for row in shown)}; dashed: train, "
        f"n = {span(row.first.n_train for row in shown)}. Right: {words.title} on val. "
        "Dot: the epoch that is best on validation."
    )
    if any("epoch" not in row.first.chosen for row in shown):
        caption += " Without a dot: the last epoch is kept."
    if any(row.seeds > 1 for row in shown):
        caption += " Thick: mean over seeds. Thin: single seeds."
    if len(trained) > len(shown):
        caption += f" {len(trained) - len(shown):,} more rows are in report.json."
    values_in_words = "; ".join(
        f"{row.name}, {len(row.first.history)} epochs, best val {words.title} {words.shown(row.val_score)}"
        for row in shown
    )
    figure = Sheet(WIDTH, 1.2 + 2.1 * len(shown), title, caption, f"{title}: {values_in_words}")
    grid = figure.subplots(len(shown), 2, squeeze=False)
    for (left, right), row in zip(grid, shown, strict=True):
        colour = method_info(row.first.method).colour
        draw_history(left, row.scores, "train_loss", 1.0, colour, "--")
        draw_history(left, row.scores, "val_loss", 1.0, colour, "-")
        draw_history(right, row.scores, "val_score", 100.0 if words.is_share else 1.0, colour, "-")
        left.set_title(shorten(row.name, 60, placeholder="…"), color=colour, loc="left")
        left.set_ylabel("loss")
        right.set_ylabel(f"val {words.head.replace(' %', ', %')}")
        for axes in (left, right):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in grid[-1]:
        axes.set_xlabel("epoch")
    return figure


def _label_rows(axes: Axes, texts: Sequence[str]) -> None:
    axes.set_yticks(range(len(texts)), texts)
    axes.set_ylim(len(texts) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
