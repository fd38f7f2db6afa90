"""Training curves, and the selection of l2 along the probe's path."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from probeline.format import decimals, option, percent
from probeline.names import Method
from probeline.report.figures.sheet import Sheet, legend_label, sheet, span
from probeline.report.figures.style import INK, LINE, MARKERS, MUTED, SERIES, SIZE, WIDTH
from probeline.report.model.row import Block
from probeline.results.methods import method_info
from probeline.results.score import Score

_DEPTH = 12
"""Points below the best that an axis of top-1 over l2 shows: the chosen l2 is near the top."""

_ACROSS = 4
"""Rows of the table side by side; more go below."""


def training(table: Sequence[Block]) -> Sheet | None:
    """Return loss and top-1 per epoch for the rows that have a history, or None if none has.

    Of several taps of a backbone the one is shown whose exact probe is best on validation.
    """
    inner = any(row.where for block in table for row in block.rows)
    table = [block.leading() for block in table]
    curves = {
        (block.title, row.short): (row.method, [score for score in scores if score.history])
        for block in table
        for row, scores in zip(block.rows, block.scores, strict=True)
        if any(score.history for score in scores)
    }
    if not curves:
        return None
    titles = list(dict.fromkeys(title for title, _ in curves))
    shorts = list(dict.fromkeys(short for _, short in curves))
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
    figure = sheet(
        max(WIDTH, 0.6 + 2.3 * shape[1]),
        1.1 + len(titles) * (0.3 + (2.4 if single else 1.75) * shape[0]),
        f"Training curves on {table[0].scores[0][0].dataset}",
        caption,
        _training_alt(curves),
    )
    bands = figure.subfigures(len(titles), 1, squeeze=False)[:, 0]
    for band, title in zip(bands, titles, strict=True):
        if inner or len(titles) > 1:
            band.suptitle(title, x=0.1 / figure.get_figwidth(), ha="left", fontsize=SIZE, fontweight="bold")
        panels = band.subplots(*shape, squeeze=False, sharey=False if single else "row")
        here = [short for short in shorts if (title, short) in curves]
        # The loss above top-1, or beside it; so many pairs to a line.
        lines = [] if single else range(0, shape[0], 2)
        pairs = [panels[line : line + 2, i] for line in lines for i in range(across)] or [panels[0]]
        for i, (pair, short) in enumerate(zip(pairs, here, strict=False)):
            name, scores = curves[title, short]
            _pair(pair, scores, method_info(name).colour)
            pair[0].set_title(short, color=method_info(name).colour)
            if i % across == 0:
                pair[0].set_ylabel("cross-entropy loss")
                pair[1].set_ylabel("top-1, %")
            if single:
                pair[0].set_xlabel("epoch")
            else:
                pair[0].sharex(pair[1])
                pair[0].tick_params(labelbottom=False)
            pair[1].set_xlabel("epoch")
        for pair in pairs[len(here) :]:
            for axes in pair:
                axes.set_axis_off()
    return figure


def _training_alt(curves: Mapping[tuple[str, str], tuple[str, Sequence[Score]]]) -> str:
    rows = []
    for (title, short), (_, scores) in curves.items():
        last = [score.history[-1].get("val_top1") for score in scores]
        known = [share for share in last if share is not None]
        val = (
            f", val top-1 {percent(fmean(known), decimals(score.n_val for score in scores))} % after the last"
            if known
            else ""
        )
        rows.append(f"{short} on {title}, {len(scores[0].history)} epochs{val}")
    return f"Loss and top-1 by epoch, on train and val. {'; '.join(rows)}."


def _pair(pair: Sequence[Axes], scores: Sequence[Score], colour: str) -> None:
    """Draw the loss into the first panel and top-1 into the second."""
    for axes, what, scale in zip(pair, ("loss", "top1"), (1.0, 100.0), strict=True):
        for role, dash in (("train", "--"), ("val", "-")):
            _curve(axes, scores, f"{role}_{what}", scale, colour, dash)
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


def _curve(axes: Axes, scores: Sequence[Score], field: str, scale: float, colour: str, dash: str) -> None:
    """Draw one quantity over the epochs: a thin line for each seed, and their mean where there are several."""
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
        (legend_label(", ".join(filter(None, (part.title, row.detail)))), scores[0])
        for block in table
        for part in block.parts()
        for row, scores in zip(part.rows, part.scores, strict=True)
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
    floor = _floor(probes)
    if any(100 * min(entry["top1"], entry["test_top1"]) < floor for _, score in probes for entry in score.path):
        caption += f" Top-1 below {floor:.0f} % is not drawn."
    if any(_at_edge(score) for _, score in probes):
        caption += " Double ring: a grid edge, where a wider grid may do better."
    fields = [
        (field, scale, label)
        for field, scale, label in (("top1", 100.0, "top-1, %"), ("nll", 1.0, "cross-entropy"))
        if any(entry.get(field) is not None for _, score in probes for entry in score.path)
    ]
    title = f"Selecting l2 for the linear probe on {probes[0][1].dataset}"
    lines = sum(name.count("\n") + 1 for name, _ in probes)
    alt = f"Top-1 and loss on val and test of {len(probes)} linear probes over l2. {_path_alt(probes)}"
    figure = sheet(WIDTH, 1.2 + max(1.7 * len(fields), LINE * lines), title, caption, alt)
    panels = figure.subplots(len(fields), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (field, scale, label) in zip(panels, fields, strict=True):
        for i, (_, score) in enumerate(probes):
            _along(axes, score, field, scale, i)
        axes.set_ylabel(label)
        axes.margins(y=0.12)
        if field == "top1":
            low, high = axes.get_ylim()
            axes.set_ylim(max(low, floor - 0.5), min(high, 101))
    panels[-1].set_xscale("log")
    panels[-1].xaxis.set_major_locator(LogLocator(numticks=12 if len(probes) == 1 else 7))
    panels[-1].xaxis.set_major_formatter(FuncFormatter(lambda l2, _: f"{l2:g}".replace("e-0", "e-")))
    panels[-1].xaxis.set_minor_locator(NullLocator())
    panels[-1].set_xlabel("l2 (log scale)")
    names = [name for name, _ in probes] if len(probes) > 1 else ["val"]
    keys = [Line2D([], [], **_mark(i), label=name) for i, name in enumerate(names)]
    keys.append(Line2D([], [], **_line(0) | {"color": MUTED}, label="test"))
    figure.legend(handles=keys, loc="outside right upper", handlelength=3)
    return figure


def _floor(probes: Sequence[tuple[str, Score]]) -> float:
    """Return the top-1 in percent below which nothing is drawn, as the choice was made far above it."""
    fields = ("top1", "test_top1")
    reached = [max(float(entry[field]) for entry in score.path) for _, score in probes for field in fields]
    return math.floor(100 * min(reached)) - _DEPTH


def _path_alt(probes: Sequence[tuple[str, Score]]) -> str:
    chosen = []
    for name, score in probes:
        l2 = score.chosen.get("l2")
        edge = ", at a grid edge" if _at_edge(score) else ""
        chosen.append(f"{name}: chosen {option('l2', l2)} of {len(score.path)}{edge}")
    return f"{'; '.join(chosen)}."


def _at_edge(score: Score) -> bool:
    return any(facts.get("edge") is True for facts in (score.chosen, score.certificate))


def _along(axes: Axes, score: Score, field: str, scale: float, i: int) -> None:
    entries = [entry for entry in score.path if entry["l2"] > 0 and entry.get(field) is not None]
    entries.sort(key=lambda entry: entry["l2"])
    grid = [entry["l2"] for entry in entries]
    axes.plot(grid, [scale * entry[f"test_{field}"] for entry in entries], **_line(i))
    axes.plot(grid, [scale * entry[field] for entry in entries], **_mark(i))
    for entry in entries:
        if entry["l2"] == score.chosen.get("l2"):
            ring: dict[str, Any] = {"color": INK, "markerfacecolor": "none", "zorder": 4, "clip_on": False}
            for size in (10, 14) if _at_edge(score) else (10,):
                axes.plot(entry["l2"], scale * entry[field], "o", markersize=size, **ring)
            test = scale * entry[f"test_{field}"]
            axes.plot(entry["l2"], test, "x", color=INK, markersize=6, markeredgewidth=1.3, zorder=4)


def _mark(i: int) -> dict[str, Any]:
    """Return how the line of the i-th probe on val looks."""
    return {"color": SERIES[i % len(SERIES)], "marker": MARKERS[i % len(MARKERS)], "linewidth": 1.3, "markersize": 4}


def _line(i: int) -> dict[str, Any]:
    """Return how its line on test looks."""
    return {"color": SERIES[i % len(SERIES)], "linewidth": 0.9, "linestyle": "--"}
