"""Held against published numbers: what the source of a recipe reports, beside what was measured here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from probeline.format import decimals, escape, percent
from probeline.metrics.intervals import wilson
from probeline.names import PENULTIMATE, Method
from probeline.recipes.published import Published
from probeline.report.model.rows import Row
from probeline.report.sections.grid import bullets, ruled
from probeline.report.sections.learning import Step, steps
from probeline.results.curve import Curve
from probeline.results.methods import method_info


@dataclass(frozen=True)
class Ours:
    """What was measured here of a method.

    Attributes
    ----------
    backbone : str
    top1 : float
        Test top-1, the mean over seeds or draws, in [0, 1].
    interval : tuple of 2 floats
        Wilson's 95 % interval at `top1`, for drawing other test images.
    n_train, n_test : tuple of 2 ints, int
        Images: fewest and most that were fitted on, and those that it was read on.
    runs : str
        ``1 seed``, ``3 draws`` and the like; empty where nothing is random.
    trainable : int or None
    other : tuple of str
        In what it is not what was published: the net, the data, its weights; and which run it is of several.
    """

    backbone: str
    top1: float
    interval: tuple[float, float]
    n_train: tuple[int, int]
    n_test: int
    runs: str
    trainable: int | None
    other: tuple[str, ...]


@dataclass(frozen=True)
class Held:
    """A recipe's published numbers, and ours beside them.

    Attributes
    ----------
    recipe, source : str
    lines : tuple of (Published, Ours or None)
        None where nothing here compares.
    changed : tuple of str
        Options, in words, in which the run is not the recipe's.
    differences : tuple of str
        Between the protocols, in sentences.
    """

    recipe: str
    source: str
    lines: tuple[tuple[Published, Ours | None], ...]
    changed: tuple[str, ...]
    differences: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, shares in [0, 1]."""
        rows = [{**asdict(one), "ours": None if mine is None else asdict(mine)} for one, mine in self.lines]
        return {**asdict(self), "lines": rows}


def beside(
    published: Sequence[Published],
    rows: Sequence[Row],
    curves: Sequence[Curve],
    *,
    backbones: Sequence[str],
    data: str | None,
) -> tuple[tuple[Published, Ours | None], ...]:
    """Return each published number with what is ours of it; twice where two runs of ours are.

    Parameters
    ----------
    published : sequence of Published
    rows, curves : sequences of Row and Curve
        As they were asked for.
    backbones : sequence of str
        That were asked for. Those that are not among the published ones stand in for the published ones that were not.
    data : str or None
        Our data set, where it is another one than the published numbers are of.
    """
    known = {one.backbone for one in published}
    strangers = [name for name in backbones if name not in known]
    found: list[tuple[Published, Ours | None]] = []
    for one in published:
        nets = [one.backbone] if one.backbone in backbones or not strangers else strangers
        ours = [mine for net in nets for mine in _ours(one, net, rows, curves, data)]
        found += [(one, mine) for mine in ours] or [(one, None)]
    return tuple(found)


def curve_step(curves: Iterable[Curve], backbone: str, name: str, portion: float) -> tuple[Curve, Step] | None:
    """Return the learning curve of a backbone and a method, and its step at a percentage of the train images."""
    for curve in curves:
        if (curve.backbone, curve.method, curve.tap) == (backbone, name, PENULTIMATE):
            for step in steps(curve):
                if (step.kind, step.amount) == ("fraction", portion):
                    return curve, step
    return None


def _ours(one: Published, net: str, rows: Sequence[Row], curves: Sequence[Curve], data: str | None) -> Iterable[Ours]:
    def other(weights: str, *more: str) -> tuple[str, ...]:
        untrained = "untrained" if weights == "none" and one.method != Method.SCRATCH else ""
        return tuple(filter(None, (net if net != one.backbone else "", data or "", untrained, *more)))

    if one.portion is not None:
        if found := curve_step(curves, net, one.method, one.portion):
            curve, step = found
            low, high = wilson(step.mean * curve.n_test, curve.n_test)
            runs = _count(step.draws, "draw")
            ends = (float(low), float(high))
            yield Ours(net, step.mean, ends, step.n_train, curve.n_test, runs, None, other(curve.weights))
        return
    for row in rows:
        if (row.backbone, row.method, row.where) == (net, one.method, ""):
            runs = _count(row.seeds, "seed") if method_info(row.method).seeded else ""
            sizes = (row.n_train, row.n_train)
            more = other(row.weights, row.variant)
            yield Ours(net, row.top1, row.interval, sizes, row.n_test, runs, row.trainable, more)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number > 1 else ''}"


def section(held: Held) -> str:
    """Return the section of a report, in Markdown."""
    parts = ["## Held against published numbers", escape(source(held))]
    if held.lines:
        lines, left = grid(held)
        parts.append(ruled([[escape(cell) for cell in line] for line in lines], left))
    if held.changed:
        parts.append(escape(changed(held)))
    if held.differences:
        parts += [PROTOCOL, bullets(held.differences)]
    return "\n\n".join(parts)


PROTOCOL = "How the published protocol differs from this one:"


def source(held: Held) -> str:
    """Say whose numbers these are."""
    return f"Recipe {held.recipe}. {held.source}".strip()


def changed(held: Held) -> str:
    """Say in which options the run is not the recipe's."""
    return f"Run here with other options than the recipe's: {', '.join(held.changed)}."


def grid(held: Held) -> tuple[list[list[str]], list[bool]]:
    """Return the head and the cells of the table, and which columns stand to the left."""
    lines = [_cells(one, mine) for one, mine in held.lines]
    heads = [head for head in _LEFT if any(line[head] for line in lines)]
    return [heads, *([line[head] for head in heads] for line in lines)], [_LEFT[head] for head in heads]


_LEFT = {
    "Backbone": True,
    "Method": True,
    "Train %": False,
    "Published top-1 %": False,
    "Ours: test top-1 % (95 % interval)": False,
    "Test images": False,
    "Runs": False,
    "Train images": False,
    "Trainable, published / ours": False,
    "Ours is": True,
}
"""The columns, and which of them stand to the left; one in which no line has anything to say is left out."""


def _cells(one: Published, mine: Ours | None) -> dict[str, str]:
    cells = dict.fromkeys(_LEFT, "")
    cells["Backbone"] = one.backbone
    cells["Method"] = ", ".join(filter(None, (method_info(one.method).title, one.note)))
    cells["Train %"] = "" if one.portion is None else f"{one.portion:g}"
    cells["Published top-1 %"] = f"{100 * one.top1:.4g}"
    counts = (one.trainable, None if mine is None else mine.trainable)
    if any(count is not None for count in counts):
        cells["Trainable, published / ours"] = " / ".join("–" if n is None else f"{n:,}" for n in counts)
    if mine is None:
        return cells | {"Ours: test top-1 % (95 % interval)": "not run"}
    places = decimals([mine.n_test])
    low, high = (percent(end, places) for end in mine.interval)
    fewest, most = mine.n_train
    return cells | {
        "Ours: test top-1 % (95 % interval)": f"{percent(mine.top1, places)} ({low}–{high})",
        "Test images": f"{mine.n_test:,}",
        "Runs": mine.runs,
        "Train images": f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}",
        "Ours is": ", ".join(mine.other),
    }
