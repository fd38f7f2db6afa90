"""The few rows that a reader should know of before all others: the probe, val's choice, and the highest on test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from probeline.format import count, listing, percent, seconds
from probeline.names import Method
from probeline.report.model.content import ReportContent
from probeline.report.model.row import Row, TitledRow, equal_on_validation, row_naming
from probeline.report.model.verdict import LUCK, in_points, judged, lucky, other_fit
from probeline.report.palette import class_of_colour
from probeline.report.records.latency_costs import costs, sessions
from probeline.results.latency import Latency
from probeline.results.methods import method_info

_PREFERRED, _HIGHEST = "preferred by val", "highest on test"

_FEW = 4
"""Rows that are named; more are counted."""


@dataclass(frozen=True)
class Card:
    """One row that a reader should know of.

    Attributes
    ----------
    label : str
        Why.
    top1, name, where, colour : str
    facts : tuple of (str, str)
    """

    label: str
    top1: str
    name: str
    where: str
    colour: str
    facts: tuple[tuple[str, str], ...]


def cards(content: ReportContent) -> list[Card]:
    """Return the row that val prefers, the probe that others are compared with, and the row that is highest on test."""
    rows = content.titled
    if not rows:
        return []
    reference = next((titled[1] for titled in rows if titled[1].reference), None)
    wanted = [
        ("the linear probe", next((titled for titled in rows if titled[1] is reference), None)),
        (_PREFERRED, min(rows, key=lambda titled: titled[1].rank)),
        (_HIGHEST, max(rows, key=lambda titled: titled[1].top1)),
    ]
    labels: dict[int, list[str]] = {}
    for label, found in wanted:
        if found is not None:
            labels.setdefault(next(i for i, titled in enumerate(rows) if titled[1] is found[1]), []).append(label)
    shown = sorted(labels.items(), key=lambda one: _PREFERRED not in one[1])
    return [_card(said, rows[i], reference, content) for i, said in shown]


def _on_val(row: Row, content: ReportContent) -> str:
    """Say what val said of a row, and of what weight that is beside the others."""
    told = [f"{percent(row.val_top1, content.places)} %" + (f" by {row.chosen_by}" if row.chosen_by else "")]
    told += [row.chosen] if row.chosen else []
    if row.method == Method.PROBE_REFIT:
        told.append("that of the probe before, as val was fitted on here")
    elif same := [other for other in equal_on_validation(row, content.rows) if other.method != Method.PROBE_REFIT]:
        told.append(
            f"tied with {listing([other.short for other in same]) if len(same) <= _FEW else f'{len(same)} others'}"
        )
    # What is compared on other images is a preference, not a test: whoever reads it should know.
    others = sorted({other.chosen_by for other in content.rows} - {row.chosen_by, ""})
    if row.chosen_by and others:
        told.append(f"others by {listing(others)}, so that the two compare only roughly")
    return "; ".join(told)


def _as_high(row: Row, content: ReportContent) -> str:
    """Say which other rows are as high on test."""
    name = row_naming(content.blocks)
    alike = [name(one) for one in content.titled if one[1] is not row and one[1].top1 == row.top1]
    return listing(alike) if len(alike) <= _FEW else f"{len(alike)} other rows"


def _forward(row: Row, latencies: Sequence[Latency]) -> str:
    """Say what a forward pass of a row's net costs, where that was timed; the head's part in it is small."""
    for nets in sessions(latencies):
        timed = [
            f"{seconds(1000 * one.median)} ms for one image"
            if one.batch == 1
            else f"{seconds(one.images_per_second)} images/s in batches of {one.batch}"
            for one in costs(nets)
            if (one.backbone, one.image_size) == (row.backbone, row.image_size)
        ]
        if timed:
            return ", ".join(timed)
    return ""


def _card(said: Sequence[str], titled: TitledRow, probe: Row | None, content: ReportContent) -> Card:
    places = content.places
    where, row, _ = titled
    low, high = (percent(end, places) for end in row.interval)
    seeds = "; one seed, whose luck it leaves out" if method_info(row.method).seeded else ""
    if row.seed_std is not None:
        seeds = f"; mean of {row.seeds} seeds, sd {percent(row.seed_std, places)}"
    facts = [("95 % interval", f"{low} to {high}, n = {row.n_test:,}{seeds}")]
    if row.over_probe is not None and probe is not None:
        facts.append(
            ("Over the probe", f"{in_points(row.over_probe, places)}: {judged(row.over_probe)}{other_fit(row, probe)}")
        )
    if _HIGHEST in said:
        facts += [("As high", _as_high(row, content)), ("Take care", LUCK if lucky(row, content.rows) else "")]
    facts += [
        ("Seconds", f"{seconds(row.cold_seconds)} with extraction, {seconds(row.warm_seconds)} with features at hand"),
        ("Parameters", f"{count(row.trainable)} trained of {count(row.total)}"),
        ("Forward pass", _forward(row, content.latencies)),
        ("On val", _on_val(row, content)),
    ]
    facts = [(term, text) for term, text in facts if text]
    label = ", ".join(said).capitalize()
    return Card(
        label,
        percent(row.top1, places),
        row.short,
        where,
        class_of_colour(method_info(row.method).colour),
        tuple(facts),
    )
