"""What the numbers say, in a few sentences: which row is best, by how much, and whether test can tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from probeline.format import decimals, listing, percent, points, probability
from probeline.names import PENULTIMATE, Method, describe_tap
from probeline.report.model.differences import Difference
from probeline.report.model.row import Block, Row, TitledRow, row_naming, titled_rows
from probeline.report.records.learning_steps import curve_titles, steps
from probeline.results.curve import Curve
from probeline.results.methods import method_info

LUCK = "found by looking at test, so it is probably a little too high"

_NAMED = 6
"""Longer lists of rows are counted, not named."""


@dataclass(frozen=True)
class Verdict:
    """A few sentences on the rows of a report.

    Attributes
    ----------
    answer : str
        Whether training pays; where there is one row, what that has.
    measured : tuple of str
        The row that is highest on test, its lead, and how far that can be trusted.
    remarks : tuple of str
        Which rows test cannot tell apart, headrooms, and what was not compared.
    """

    answer: str
    measured: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def lines(self) -> list[str]:
        """All of them."""
        return [self.answer, *self.measured, *self.remarks]


def verdict(blocks: Sequence[Block], curves: Sequence[Curve] = ()) -> Verdict:
    """Return what the rows of `blocks` say.

    Where there are no rows, what the learning curves end with stands for them.
    """
    rows = titled_rows(blocks)
    if not rows:
        return Verdict(_ends(curves) if curves else "Nothing has been scored yet.")
    places = decimals(row.n_test for _, row, _ in rows)
    best = max(rows, key=lambda found: found[1].top1)
    reference = next((found for found in rows if found[1].reference), None)
    answer = [] if reference is None or len(rows) == 1 else [_answer(reference, rows, places)]
    lead = [] if reference is None else _lead(reference, best, blocks, places)
    sentences = [*answer, _highest(best, rows, places), *lead]
    if lucky(best[1], [row for _, row, _ in rows]):
        sentences.append(f"Its {percent(best[1].top1, places)} % was {LUCK}.")
    remarks = [] if reference is None else _alike(reference, best, blocks)
    remarks += [
        f"Headroom of {', '.join(filter(None, (title, row.detail)))}: {in_points(row.headroom, places)} "
        f"from its probe to its fine-tune, {judged(row.headroom)}."
        for title, row, _ in rows
        if row.headroom is not None
    ]
    if len(rows) > 1 and len({row.backbone for _, row, _ in rows} | {curve.backbone for curve in curves}) == 1:
        remarks.append(f"Only {rows[0][1].backbone} was tried: nothing here compares backbones.")
    return Verdict(sentences[0], tuple(sentences[1:]), tuple(remarks))


def lucky(row: Row, rows: Sequence[Row]) -> bool:
    """Say whether a row that is highest on test was found there, and not by val."""
    return len(rows) > 1 and row.top1 > min(rows, key=lambda other: other.rank).top1


def _answer(reference: TitledRow, rows: Sequence[TitledRow], places: int) -> str:
    """Say whether training pays, or, where nothing was trained, which head val prefers: val picks, test judges."""
    title, probe, _ = reference
    trained = [found for found in rows if method_info(found[1].method).trains and found[1].over_probe is not None]
    where, pick, _ = min(trained or rows, key=lambda found: found[1].rank)
    several = len({row.backbone for _, row, _ in rows}) > 1 or where != title
    known = f"the linear probe's {percent(probe.top1, places)} %" + (f" on {title}" if several else "")
    named = pick.short + (f" on {where}" if several else "")
    top1 = f"{percent(pick.top1, places)} % on test"
    untrained = f"Nothing has been fine-tuned; of the heads on frozen features val prefers {named}: {top1}"
    if pick.over_probe is None:
        return f"{untrained}."
    opening = "Training has shown no gain"
    against = f"which these {probe.n_test:,} images cannot tell apart from {known}"
    if pick.over_probe.real:
        pays = pick.over_probe.top1 > 0
        opening = "Training pays" if pays else "Keep the net frozen"
        against = f"really {'above' if pays else 'below'} {known}"
    if not trained:
        return f"{untrained}, {against}."
    of = f", which val prefers of {len(trained)} trained rows," if len(trained) > 1 else ""
    return f"{opening}: {named}{of} has {top1}, {against}."


def _highest(best: TitledRow, rows: Sequence[TitledRow], places: int) -> str:
    where, row, _ = best
    low, high = (percent(end, places) for end in row.interval)
    spread = f"; {row.seeds} seeds, sd {percent(row.seed_std, places)}" if row.seed_std is not None else ""
    alike = [other.short for _, other, _ in rows if other is not row and other.top1 == row.top1]
    also = f"; {listing(alike)} as high" if 0 < len(alike) <= _NAMED else ""
    return (
        f"Highest on test: {percent(row.top1, places)} % by {row.short} on {where} "
        f"(95 % interval {low} to {high}, n = {row.n_test:,}{spread}){also}."
    )


def _lead(reference: TitledRow, best: TitledRow, blocks: Sequence[Block], places: int) -> list[str]:
    """Return the sentence that compares the best row with the reference probe, unless it is that."""
    difference = best[1].over_probe
    if difference is None:
        return []
    known = f"Over {_probe(reference, blocks)}, {percent(reference[1].top1, places)} %"
    said = f"{judged(difference)}{other_fit(best[1], reference[1])}"
    return [f"{known}: {in_points(difference, places)}, {said}."]


def _probe(reference: TitledRow, blocks: Sequence[Block]) -> str:
    """Name the probe that others are compared with: of several nets' by its own."""
    title, probe, _ = reference
    if sum(row.method == Method.PROBE and not row.where for block in blocks for row in block.rows) > 1:
        return f"the linear probe that val prefers ({title})"
    views = f"with {describe_tap(PENULTIMATE, probe.views)}" if probe.views else ""
    return " ".join(filter(None, ("the linear probe", describe_tap(probe.tap, 0), views)))


def _alike(reference: TitledRow, best: TitledRow, blocks: Sequence[Block]) -> list[str]:
    """Return the sentence on the rows that test cannot tell from the reference probe, if any."""
    name = row_naming(blocks)
    others = [found for found in titled_rows(blocks) if found[1].over_probe is not None]
    alike = [found for found in others if found[1].over_probe is not None and not found[1].over_probe.real]
    apart = [name(found) for found in others if all(found[1] is not other[1] for other in alike)]
    known = f"Not told apart from {_probe(reference, blocks)} by these test images"
    if len(alike) > _NAMED:
        but = f"; really different: {listing(apart)}" if 0 < len(apart) <= _NAMED else ""
        return [f"{known}: {len(alike)} of the {len(others)} other rows{but}."]
    some = [name(found) for found in alike if found[1] is not best[1]]
    return [f"{known}: {listing(some)}."] if some else []


def in_points(difference: Difference, places: int) -> str:
    """Return a difference with its interval."""
    low, high = (points(end, places) for end in difference.interval)
    return f"{points(difference.top1, places)} points (95 % interval {low} to {high})"


def judged(difference: Difference) -> str:
    """Say whether test can tell."""
    p = f"adjusted {probability(difference.p)}"
    return f"a real difference ({p})" if difference.real else f"not told apart by these test images ({p})"


def other_fit(row: Row, probe: Row) -> str:
    """Say, after a comparison, where a row was fitted on other images than the probe."""
    alike = row.n_train == probe.n_train
    return "" if alike else f"; fitted on {row.n_train:,} images, the probe on {probe.n_train:,}"


def _ends(curves: Sequence[Curve]) -> str:
    told = []
    for curve, title in zip(curves, curve_titles(curves), strict=True):
        last = max(steps(curve), key=lambda step: step.n_train)
        top1 = percent(last.mean, decimals([curve.n_test]))
        told.append(f"{title}: {top1} % with {last.n_train[1]:,} train images")
    return f"On parts of the train images alone (n = {curves[0].n_test:,}), {'; '.join(told)}."
