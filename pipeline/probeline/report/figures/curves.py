"""Training curves, the selection of l2 along the probe's path, and learning-rate range tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from probeline.format import decimals, option, percent
from probeline.metrics.lr_range import EARLY, HIGHEST, LOWEST, SMOOTHING, smooth_curve
from probeline.names import Method
from probeline.report.figures.sheet import Sheet, legend_height, legend_label, span
from probeline.report.figures.style import INK, MARKERS, MUTED, SERIES, SIZE, WIDTH
from probeline.report.model.row import Block, titled_rows
from probeline.report.records.range_tests import range_test_titles, suggest_rates, suggestion_in_words
from probeline.results.methods import method_info
from probeline.results.range_test import RangeTest
from probeline.results.score import Score
from probeline.results.targets.score import TargetScore

_ACROSS = 4
"""Methods side by side; more go below."""

_DEPTH = 12
"""Points below the best that an axis of top-1 over l2 shows: the chosen l2 is near the top."""

_ABOVE = 0.4
"""Room above the first losses of a range test, as a share of their fall; higher losses are cut off."""

_RING: dict[str, Any] = {"linestyle": "", "marker": "o", "color": INK, "markerfacecolor": "none", "zorder": 4}


def training(table: Sequence[Block]) -> Sheet | None:
    """Return loss and top-1 per epoch for the rows that have a history, or None if none has.

    Of several taps of a backbone the one is shown whose exact probe is best on validation.
    """
    inner = any(row.where for block in table for row in block.rows)
    curves = {
        (block.title, row.short): (method_info(row.method).colour, with_history)
        for block in map(Block.leading, table)
        for row, scores in zip(block.rows, block.scores, strict=True)
        if (with_history := [score for score in scores if score.history])
    }
    if not curves:
        return None
    titles, shorts = (list(dict.fromkeys(pair[i] for pair in curves)) for i in (0, 1))
    single = len(shorts) == 1  # loss next to top-1; with several methods above it, and the methods side by side
    across = min(len(shorts), _ACROSS)
    shape = (1, 2) if single else (2 * math.ceil(len(shorts) / across), across)
    scores = [score for _, those in curves.values() for score in those]
    caption = f"Solid: val, n = {span(score.n_val for score in scores)}. "
    caption += f"Dashed: train, n = {span(score.n_train for score in scores)}."
    if any("epoch" in score.chosen for score in scores):
        caption += " Dot: the epoch that is best on validation; heads keep the last."
    if any(len(those) > 1 for _, those in curves.values()):
        caption += " Thick: mean over seeds. Thin: single seeds."
    if any(_opened(score) for score in scores):
        caption += " Dotted line: more stages are trained from this epoch on."
    if inner:
        caption += " Of several taps and numbers of views, those whose probe is best on validation."
    figure = Sheet(
        max(WIDTH, 0.6 + 2.3 * shape[1]),
        1.1 + len(titles) * (0.3 + (2.4 if single else 1.75) * shape[0]),
        f"Training curves on {scores[0].dataset}",
        caption,
        _training_alt(curves),
    )
    bands = figure.subfigures(len(titles), 1, squeeze=False)[:, 0]
    for band, title in zip(bands, titles, strict=True):
        if inner or len(titles) > 1:
            band.suptitle(title, x=0.1 / figure.get_figwidth(), ha="left", fontsize=SIZE, fontweight="bold")
        panels = band.subplots(*shape, squeeze=False, sharey=False if single else "row")
        lines = [] if single else range(0, shape[0], 2)
        pairs = [panels[line : line + 2, i] for line in lines for i in range(across)] or [panels[0]]
        shown = [short for short in shorts if (title, short) in curves]
        for i, (pair, short) in enumerate(zip(pairs, shown, strict=False)):
            colour, scores = curves[title, short]
            _draw_pair(pair, scores, colour)
            pair[0].set_title(short, color=colour)
            if i % across == 0:
                pair[0].set_ylabel("cross-entropy loss")
                pair[1].set_ylabel("top-1, %")
            if single:
                pair[0].set_xlabel("epoch")
            else:
                pair[0].sharex(pair[1])
                pair[0].tick_params(labelbottom=False)
            pair[1].set_xlabel("epoch")
        for pair in pairs[len(shown) :]:
            for axes in pair:
                axes.set_axis_off()
    return figure


def _training_alt(curves: Mapping[tuple[str, str], tuple[str, Sequence[Score]]]) -> str:
    rows = []
    for (title, short), (_, scores) in curves.items():
        row = f"{short} on {title}, {len(scores[0].history)} epochs"
        last = [score.history[-1].get("val_top1") for score in scores]
        if known := [share for share in last if share is not None]:
            top1 = percent(fmean(known), decimals(score.n_val for score in scores))
            row += f", val top-1 {top1} % after the last"
        rows.append(row)
    return f"Loss and top-1 by epoch, on train and val. {'; '.join(rows)}."


def _draw_pair(pair: Sequence[Axes], scores: Sequence[Score], colour: str) -> None:
    """Draw the loss into the first panel and top-1 into the second."""
    for axes, what, scale in zip(pair, ("loss", "top1"), (1.0, 100.0), strict=True):
        for role, dash in (("train", "--"), ("val", "-")):
            draw_history(axes, scores, f"{role}_{what}", scale, colour, dash)
        for epoch in _opened(scores[0]):
            axes.axvline(epoch, color=MUTED, linewidth=0.7, linestyle=":", zorder=0)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))


def _opened(score: Score) -> list[int]:
    """Return the epochs, counted from 1, from which on more stages are trained than in the one before."""
    return [
        now["epoch"]
        for before, now in pairwise(score.history)
        if before.get("stages") is not None and now["stages"] > before["stages"]
    ]


def draw_history(
    axes: Axes, scores: Sequence[Score | TargetScore], field: str, scale: float, colour: str, dash: str
) -> None:
    """Draw one quantity over the epochs: a thin line for each seed, and their mean if there are several."""
    single = len(scores) == 1
    lines: list[dict[int, float]] = []
    for score in scores:
        line = {entry["epoch"]: scale * entry[field] for entry in score.history if entry.get(field) is not None}
        width, alpha = (1.4, 1.0) if single else (0.5, 0.6)
        axes.plot(list(line), list(line.values()), dash, color=colour, linewidth=width, alpha=alpha)
        if field.startswith("val"):
            chosen = [epoch for epoch in line if epoch == score.chosen.get("epoch")]
            axes.plot(chosen, [line[epoch] for epoch in chosen], "o", color=colour, markersize=4)
        lines.append(line)
    epochs = sorted({epoch for line in lines for epoch in line})
    means = [fmean(line[epoch] for line in lines if epoch in line) for epoch in epochs]
    if not single:
        axes.plot(epochs, means, dash, color=colour, linewidth=1.6)
    if len(epochs) == 1:  # a line needs two
        axes.plot(epochs, means, "o", color=colour, markersize=4, markerfacecolor=colour if dash == "-" else "white")


def path(table: Sequence[Block]) -> Sheet | None:
    """Return top-1 and loss on val and test over l2 for the exact probes, or None if none has a path."""
    probes = [
        (legend_label(", ".join(filter(None, (title, row.detail)))), scores[0])
        for title, row, scores in titled_rows(table)
        if row.method == Method.PROBE and any(entry["l2"] > 0 for entry in scores[0].path)
    ]
    if not probes:
        return None
    chosen_by = list(dict.fromkeys(score.chosen_by for _, score in probes))
    caption = (
        "Each point is the exact probe at one l2, on val. Ring: the chosen l2, highest in top-1 and among equals "
        f"lowest in cross-entropy, by {'; '.join(chosen_by)}"
    )
    if any("fold" in by for by in chosen_by):
        caption += ". Folds: each point is on out-of-fold predictions."
    else:
        caption += f". Fitted on n = {span(score.n_train for _, score in probes)} images."
    caption += " Thin: test, which had no part in the choice. Cross: test at the chosen l2."
    if any(score.left_out for _, score in probes):
        least = min(entry["l2"] for _, score in probes for entry in score.path if score.left_out)
        caption += f" Below l2 {least:.2g} nothing was fitted: val top-1 was already far below the best."
    reached = min(max(entry[field] for entry in score.path) for _, score in probes for field in ("top1", "test_top1"))
    floor = math.floor(100 * reached) - _DEPTH
    if any(100 * min(entry["top1"], entry["test_top1"]) < floor for _, score in probes for entry in score.path):
        caption += f" Top-1 below {floor:.0f} % is not drawn."
    if any(_is_at_edge(score) for _, score in probes):
        caption += " Double ring: a grid edge, where a wider grid may do better."
    fields = [
        (field, scale, label)
        for field, scale, label in (("top1", 100.0, "top-1, %"), ("nll", 1.0, "cross-entropy"))
        if any(entry.get(field) is not None for _, score in probes for entry in score.path)
    ]
    title = f"Selecting l2 for the linear probe on {probes[0][1].dataset}"
    height = max(1.7 * len(fields), legend_height(name for name, _ in probes))
    chosen = (
        f"{name}: chosen {option('l2', score.chosen.get('l2'))} of {len(score.path)}"
        + (", at a grid edge" if _is_at_edge(score) else "")
        for name, score in probes
    )
    alt = f"Top-1 and loss on val and test of {len(probes)} linear probes over l2. {'; '.join(chosen)}."
    figure = Sheet(WIDTH, 1.2 + height, title, caption, alt)
    panels = figure.subplots(len(fields), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (field, scale, label) in zip(panels, fields, strict=True):
        for i, (_, score) in enumerate(probes):
            _draw_path(axes, score, field, scale, i)
        axes.set_ylabel(label)
        axes.margins(y=0.12)
        if field == "top1":
            low, high = axes.get_ylim()
            axes.set_ylim(max(low, floor - 0.5), min(high, 101))
    _log_ticks(panels[-1], 12 if len(probes) == 1 else 7)
    panels[-1].set_xlabel("l2 (log scale)")
    names = [name for name, _ in probes] if len(probes) > 1 else ["val"]
    keys = [Line2D([], [], **_mark(i), label=name) for i, name in enumerate(names)]
    keys.append(Line2D([], [], **_line(0) | {"color": MUTED}, label="test"))
    figure.legend(handles=keys, loc="outside right upper", handlelength=3)
    return figure


def _is_at_edge(score: Score) -> bool:
    return any(facts.get("edge") is True for facts in (score.chosen, score.certificate))


def _draw_path(axes: Axes, score: Score, field: str, scale: float, i: int) -> None:
    entries = [entry for entry in score.path if entry["l2"] > 0 and entry.get(field) is not None]
    entries.sort(key=lambda entry: entry["l2"])
    grid = [entry["l2"] for entry in entries]
    axes.plot(grid, [scale * entry[f"test_{field}"] for entry in entries], **_line(i))
    axes.plot(grid, [scale * entry[field] for entry in entries], **_mark(i))
    for entry in entries:
        if entry["l2"] == score.chosen.get("l2"):
            for size in (10, 14) if _is_at_edge(score) else (10,):
                axes.plot(entry["l2"], scale * entry[field], **_RING, markersize=size, clip_on=False)
            test = scale * entry[f"test_{field}"]
            axes.plot(entry["l2"], test, "x", color=INK, markersize=6, markeredgewidth=1.3, zorder=4)


def _mark(i: int) -> dict[str, Any]:
    """Return the look of the i-th probe's line on val."""
    return {"color": SERIES[i % len(SERIES)], "marker": MARKERS[i % len(MARKERS)], "linewidth": 1.3, "markersize": 4}


def _line(i: int) -> dict[str, Any]:
    """Return the look of its line on test."""
    return {"color": SERIES[i % len(SERIES)], "linewidth": 0.9, "linestyle": "--"}


def range_tests(tests: Sequence[RangeTest]) -> Sheet:
    """Return a panel for each test; at least one."""
    columns = min(2, len(tests))
    rows = -(-len(tests) // columns)
    caption = (
        "The first steps of a training while the rate rises. Thin: the loss of each batch, before its step. "
        f"Thick: its exponential mean (factor {SMOOTHING:g} per step). Dot and line: where that falls fastest. "
        "Triangle and dashed line: a tenth of the rate at which it is lowest, the ring. "
        "No mark: no fall beyond the scatter."
    )
    names = [legend_label(title) for title in range_test_titles(tests)]
    lines = max(name.count("\n") for name in names)
    title = f"Learning-rate range tests on {tests[0].dataset}"
    suggestions = (
        f"{name}: {suggestion_in_words(test)}" for name, test in zip(range_test_titles(tests), tests, strict=True)
    )
    alt = f"Train loss over a rising learning rate. {'; '.join(suggestions)}."
    figure = Sheet(WIDTH, 1.3 + rows * (2.1 + 0.14 * lines + (0.6 if columns == 1 else 0.0)), title, caption, alt)
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes, test, name in zip(panels.flat, tests, names, strict=False):
        axes.set_title(name, color=method_info(test.method).colour)
        _draw_test(axes, test)
    for axes in panels.flat[len(tests) :]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set_ylabel("train loss")
    for axes in panels.flat[max(0, len(tests) - columns) : len(tests)]:
        axes.set_xlabel("learning rate (log scale)")
    return figure


def _draw_test(axes: Axes, test: RangeTest) -> None:
    colour = method_info(test.method).colour
    at, means = smooth_curve(test.rates, test.losses)
    axes.plot(test.rates, test.losses, color=MUTED, linewidth=0.6)
    axes.plot(at, means, color=colour, linewidth=1.6)
    rates = suggest_rates(test)
    if rates is not None:
        for rate, mark, dash in ((rates.steepest, "o", "-"), (rates.tenth, "v", "--")):
            axes.axvline(rate, color=colour, linewidth=0.8, linestyle=dash, zorder=1)
            axes.plot(rate, np.interp(rate, at, means), mark, color=colour, markersize=5.5, zorder=4)
        axes.plot(rates.lowest, means.min(), **_RING, markersize=9)
    _log_ticks(axes, 12)
    axes.set_xlim(LOWEST / 1.5, HIGHEST * 1.5)
    if test.losses:
        low, high = min(test.losses), max(test.losses[:EARLY])
        fall = max(high - low, 0.1 * high, 1e-6)
        axes.set_ylim(low - 0.1 * fall, high + _ABOVE * fall)


def _log_ticks(axes: Axes, numticks: int) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=numticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}".replace("e-0", "e-")))
    axes.xaxis.set_minor_locator(NullLocator())
