"""What the numbers say, in a few sentences: which row is best, by how much, and whether test can tell."""

from __future__ import annotations

from collections.abc import Sequence

from probeline.records import Curve
from probeline.report.differences import Difference
from probeline.report.learning import curve_titles, steps
from probeline.report.rows import Block, Row
from probeline.report.words import decimals, listing, percent, points, probability

_NAMED = 6
"""Longer lists of rows are counted, not named."""

Titled = tuple[str, Row]
"""A row with the title of its block's part."""


def verdict(blocks: Sequence[Block], curves: Sequence[Curve] = ()) -> list[str]:
    """Return a few sentences on the rows of `blocks`: the best, its lead over the best probe, the headrooms.

    Where there are no rows, what the learning curves end with stands for them.
    """
    rows: list[Titled] = [(part.title, row) for block in blocks for part in block.parts() for row in part.rows]
    if not rows and curves:
        return _ends(curves)
    if not rows:
        return ["Nothing has been scored yet."]
    places = decimals(row.n_test for _, row in rows)
    best = max(rows, key=lambda titled: titled[1].top1)
    low, high = (percent(end, places) for end in best[1].interval)
    spread = f"; {best[1].seeds} seeds, sd {percent(best[1].seed_std, places)}" if best[1].seed_std is not None else ""
    lines = [
        f"Highest on test: {percent(best[1].top1, places)} % by {best[1].short} on {best[0]} "
        f"(95 % interval {low} to {high}, n = {best[1].n_test:,}{spread})."
    ]
    if len(rows) > 1:
        lines.append(f"It is the highest of {len(rows)} rows because test says so, and therefore on the lucky side.")
    reference = next((titled for titled in rows if titled[1].reference), None)
    if reference is not None:
        lines += _against(reference, best, rows, places)
    lines += [
        f"Headroom of {', '.join(filter(None, (title, row.detail)))}: {far(row.headroom, places)} "
        f"from its probe to its fine-tune, {judged(row.headroom)}."
        for title, row in rows
        if row.headroom is not None
    ]
    return lines


def _against(reference: Titled, best: Titled, rows: Sequence[Titled], places: int) -> list[str]:
    """Return the sentences that compare the best row, then all others, with the reference probe."""
    lines = []
    again = "it"
    several = sum(row.method == "probe" for _, row in rows) > 1
    probe = f"the linear probe that val prefers ({reference[0]})" if several else "the linear probe"
    difference = best[1].over_probe
    if difference is not None:
        text = f"Over {probe}, {percent(reference[1].top1, places)} %: {far(difference, places)}, "
        text += judged(difference)
        if best[1].n_train != reference[1].n_train:
            text += f"; fitted on {best[1].n_train:,} images, the probe on {reference[1].n_train:,}"
        lines.append(text + ".")
        again = "that probe"
    alone = len({title for title, _ in rows}) == 1
    alike = [
        row.short if alone else f"{row.short} of {title}"
        for title, row in rows
        if row is not best[1] and row.over_probe is not None and not row.over_probe.real
    ]
    if alike:
        named = listing(alike) if len(alike) <= _NAMED else f"{len(alike)} of the other {len(rows) - 1} rows"
        lines.append(f"Not told apart from {again} by these test images: {named}.")
    return lines


def far(difference: Difference, places: int) -> str:
    """Return a difference with its interval."""
    low, high = (points(end, places) for end in difference.interval)
    return f"{points(difference.top1, places)} points (95 % interval {low} to {high})"


def judged(difference: Difference) -> str:
    """Say whether test can tell."""
    p = probability(difference.p)
    return f"a real difference ({p})" if difference.real else f"not told apart by these test images ({p})"


def _ends(curves: Sequence[Curve]) -> list[str]:
    told = []
    for curve, title in zip(curves, curve_titles(curves), strict=True):
        last = max(steps(curve), key=lambda step: step.n_train)
        top1 = percent(last.mean, decimals([curve.n_test]))
        told.append(f"{title}: {top1} % with {last.n_train[1]:,} train images")
    return [f"On parts of the train images alone (n = {curves[0].n_test:,}), {'; '.join(told)}."]
