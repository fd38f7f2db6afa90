"""The first screen: what is best, whether that is real, what it costs, what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from probeline.report.advice import advice
from probeline.report.conditions import PARTS
from probeline.report.latency import costs, sessions
from probeline.report.latency_files import Latency
from probeline.report.leakage import leakage
from probeline.report.methods import method
from probeline.report.page.content import Content, View
from probeline.report.page.palette import name_of
from probeline.report.rows import Row, Titled, naming, preference, tied
from probeline.report.verdict import LUCK, far, judged, lucky, more, verdict
from probeline.report.words import count, listing, percent, seconds

_PREFERRED = "preferred by val"

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


def view(content: Content) -> View:
    """Return the first screen."""
    told = verdict(content.blocks, content.beside.curves)
    dataset = _dataset(content)
    nets = {row.backbone for row in content.rows} | {curve.backbone for curve in content.beside.curves}
    asked = "is" if len(nets) == 1 else "which backbone, and is"
    return {
        "dataset": dataset or "Probeline",
        "title": f"{dataset}: {asked} training worth it?" if dataset else "Nothing has been scored yet",
        "headline": told.answer,
        "said": [*_leaked(content), *told.remarks, *content.conditions.get(PARTS, ())],
        "cards": _cards(content),
        "advice": advice(content.blocks, content.beside.curves),
        "scope": _scope(content),
    }


def _leaked(content: Content) -> list[str]:
    """Say what the leaked test images do to the best row and to the probe, where the doctor found any."""
    if content.beside.doctor is None:
        return []
    leaks = [leak for leak in leakage(content.beside.doctor, content.blocks) if leak.without_both.top1 is not None]
    best = max(leaks, key=lambda leak: leak.all.top1 or 0.0, default=None)
    if best is None or best.all.n == best.without_both.n:
        return []
    shown = [best, *(leak for leak in leaks if leak.reference and leak is not best)]
    told = [
        f"{leak.row} of {leak.backbone} has {percent(leak.without_both.top1 or 0, content.places)} %" for leak in shown
    ]
    n = best.all.n - best.without_both.n
    are = "test images are" if n > 1 else "test image is"
    return [f"{n:,} {are} in train or val too, or nearly so; without {'them' if n > 1 else 'it'} {listing(told)}."]


def _dataset(content: Content) -> str:
    names = [score.dataset for _, _, scores in content.titled for score in scores]
    names += [curve.dataset for curve in content.beside.curves] + [test.dataset for test in content.beside.tests]
    return names[0] if names else ""


def _scope(content: Content) -> list[str]:
    """Say in a few words what the numbers are of."""
    if not content.rows:
        return []
    score = content.titled[0][2][0]
    nets = {row.backbone for row in content.rows}
    return [
        f"{len(content.rows)} row{'s' if len(content.rows) > 1 else ''}",
        f"{len(nets)} backbone{'s' if len(nets) > 1 else ''}",
        f"{len(score.class_names)} class{'es' if len(score.class_names) != 1 else ''}",
        f"{score.n_test:,} test images",
    ]


def _cards(content: Content) -> list[Card]:
    """Return the row that val prefers, the probe that others are compared with, and the row that is highest on test."""
    rows = content.titled
    if not rows:
        return []
    reference = next((titled[1] for titled in rows if titled[1].reference), None)
    highest = max(rows, key=lambda titled: titled[1].top1)
    wanted = [
        ("the linear probe", next((titled for titled in rows if titled[1] is reference), None)),
        (_PREFERRED, min(rows, key=lambda titled: preference(titled[1]))),
        ("highest on test", highest),
    ]
    labels: dict[int, list[str]] = {}
    for label, found in wanted:
        if found is not None:
            labels.setdefault(next(i for i, titled in enumerate(rows) if titled[1] is found[1]), []).append(label)
    shown = sorted(labels.items(), key=lambda one: _PREFERRED not in one[1])
    return [_card(", ".join(said).capitalize(), rows[i], reference, content) for i, said in shown]


def _on_val(row: Row, content: Content) -> str:
    """Say what val said of a row, and of what weight that is beside the others."""
    told = [f"{percent(row.val_top1, content.places)} %" + (f" by {row.chosen_by}" if row.chosen_by else "")]
    told += [row.chosen] if row.chosen else []
    if row.method == "probe-refit":
        told.append("that of the probe before, as val was fitted on here")
    elif same := [other for other in tied(row, content.rows) if other.method != "probe-refit"]:
        told.append(
            f"tied with {listing([other.short for other in same]) if len(same) <= _FEW else f'{len(same)} others'}"
        )
    # What is compared on other images is a preference, not a test: whoever reads it should know.
    others = sorted({other.chosen_by for other in content.rows} - {row.chosen_by, ""})
    if row.chosen_by and others:
        told.append(f"others by {listing(others)}, so that the two compare only roughly")
    return "; ".join(told)


def _as_high(row: Row, content: Content) -> str:
    """Say which other rows are as high on test as the highest."""
    if row.top1 < max(other.top1 for other in content.rows):
        return ""
    name = naming(content.blocks)
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


def _card(label: str, titled: Titled, probe: Row | None, content: Content) -> Card:
    places = content.places
    where, row, _ = titled
    low, high = (percent(end, places) for end in row.interval)
    seeds = "; one seed, whose luck it leaves out" if method(row.method).seeded else ""
    if row.seed_std is not None:
        seeds = f"; mean of {row.seeds} seeds, sd {percent(row.seed_std, places)}"
    facts = [("95 % interval", f"{low} to {high}, n = {row.n_test:,}{seeds}")]
    if row.over_probe is not None and probe is not None:
        facts.append(("Over the probe", f"{far(row.over_probe, places)}: {judged(row.over_probe)}{more(row, probe)}"))
    facts += [
        ("As high", _as_high(row, content)),
        ("Take care", LUCK if label.endswith("ighest on test") and lucky(row, content.rows) else ""),
        ("Seconds", f"{seconds(row.cold_seconds)} with extraction, {seconds(row.warm_seconds)} with features at hand"),
        ("Parameters", f"{count(row.trainable)} trained of {count(row.total)}"),
        ("Forward pass", _forward(row, content.beside.latencies)),
        ("On val", _on_val(row, content)),
    ]
    facts = [(term, text) for term, text in facts if text]
    return Card(label, percent(row.top1, places), row.short, where, name_of(method(row.method).colour), tuple(facts))
