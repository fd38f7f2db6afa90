"""The tables of a report of several labels or of numbers."""

from __future__ import annotations

from collections.abc import Sequence

from probeline.format import count, decimals, listing, plural, seconds, signed, were_cores_missing
from probeline.names import MULTI_LABEL
from probeline.report.sections.tables import BUSY_NOTE, TextTable, text_table
from probeline.report.targets.row import TargetRow, names_of
from probeline.results.targets.words import METRICS, PER_TARGET

MOST_LISTED = 200
"""Targets of a table; report.csv and the records have all."""

_UNCONVERGED, _EDGE = "†", "‡"


def results_table(rows: Sequence[TargetRow]) -> TextTable:
    """Return the table of all rows, the best on validation first."""
    places = decimals(row.first.n_test for row in rows)
    names = names_of(rows, METRICS)

    def cell(row: TargetRow, name: str) -> str:
        return _with_interval(row, name, places)

    first, *others = sorted(names, key=lambda name: name != rows[0].first.selected_by)
    columns = [
        ("Backbone", [row.backbone for row in rows]),
        ("Method", [row.method + ("" if row.converged else f" {_UNCONVERGED}") for row in rows]),
        (f"Test {METRICS[first].head}", [cell(row, first) for row in rows]),
        ("Validation", [METRICS[first].shown(row.val_score, places) for row in rows]),
        ("Difference from the probe", [_difference(row, places) for row in rows] if len(rows) > 1 else []),
        *((METRICS[name].head, [cell(row, name) for row in rows]) for name in others),
        ("Seeds", [str(row.seeds) if any(other.seeds > 1 for other in rows) else "" for row in rows]),
        ("Trainable", [count(row.first.trainable) for row in rows]),
        ("Cold s", [seconds(row.cold_seconds, row.waited) for row in rows]),
        ("Warm s", [seconds(row.warm_seconds, row.waited) for row in rows]),
        ("Chosen", [row.chosen + (f" {_EDGE}" if row.is_at_edge else "") for row in rows]),
        ("By", [row.first.chosen_by for row in rows]),
    ]
    return text_table(columns, left=2)


def summary_cells(row: TargetRow, places: int) -> tuple[str, ...]:
    """Return the cells of a row on the first screen: test, difference from the probe, validation, cold seconds."""
    name = row.first.selected_by
    return (
        _with_interval(row, name, places),
        _difference(row, places),
        METRICS[name].shown(row.val_score, places),
        seconds(row.cold_seconds, row.waited),
    )


def _with_interval(row: TargetRow, name: str, places: int) -> str:
    metric, words = row.metric(name), METRICS[name]
    if metric.interval is None:
        return words.shown(metric.value, places)
    low, high = (words.shown(end, places) for end in metric.interval)
    return f"{words.shown(metric.value, places)} ({low} to {high})"


def _difference(row: TargetRow, places: int) -> str:
    if row.is_reference:
        return "reference"
    if row.over_probe is None:
        return "not compared"
    words = METRICS[row.first.selected_by]
    value, low, high = (
        signed(("+" if number > 0 else "") + words.shown(number, places))
        for number in (row.over_probe.value, *row.over_probe.interval)
    )
    return f"{value} ({low} to {high}{', significant' if row.over_probe.is_significant else ''})"


def results_notes(rows: Sequence[TargetRow]) -> list[str]:
    """Return what the numbers of the table mean."""
    notes = [METRICS[name].note for name in names_of(rows, METRICS)]
    notes += _training_notes(rows)
    notes += [
        f"{row.name}: {plural(row.diverged, 'candidate')} left out, as the training diverged."
        for row in rows
        if row.diverged
    ]
    if any(not row.converged for row in rows):
        notes.append(f"{_UNCONVERGED} the fit stopped before its tolerance.")
    if any(row.is_at_edge for row in rows):
        notes.append(f"{_EDGE} chosen at an edge of the hyper-parameter grid: a wider grid may do better.")
    if any(were_cores_missing(row.waited) for row in rows):
        notes.append(BUSY_NOTE)
    notes.append(
        "Intervals are 95 %, for other test images, by the percentiles of a seeded bootstrap. Differences are of "
        f"{METRICS[rows[0].first.selected_by].title} on the same test images, with the interval of a paired bootstrap; "
        "significant means that Holm's adjusted p is below 0.05."
    )
    if any(row.seeds > 1 for row in rows):
        notes.append("With several seeds all numbers are means, of the ends of intervals too.")
    return [note for note in notes if note]


def _training_notes(rows: Sequence[TargetRow]) -> list[str]:
    """Return how the nets of a table were trained, and what that means for their validation."""
    trained = [row for row in rows if row.trains]
    if not trained:
        return []
    first = trained[0].first
    metric = METRICS[first.selected_by].title
    if first.task == MULTI_LABEL:
        loss = "the binary cross-entropy of the known labels"
    else:
        kinds = {"mse": "the squared error", "huber": "Huber's error"}
        used = sorted({kinds.get(str(row.first.options.get("loss")), "an error") for row in trained})
        loss = f"{listing(used)} of numbers that are standardised by the train images"
    notes = [
        f"Fine-tunes minimise {loss}; epoch and hyper-parameters are those with the highest {metric} on the val images "
        "in the last column, and with the lower loss of equal ones. Their cold time includes what they start from."
    ]
    if len({score.chosen_by for row in rows for score in row.scores if score.chosen_by}) > 1:
        notes.append("Validation numbers of rows that differ in the last column are of other images.")
    return notes


def targets_table(row: TargetRow) -> TextTable:
    """Return a table of single labels or targets of a row's first seed."""
    score = row.first
    shown = slice(MOST_LISTED)
    columns = [("Label" if score.task == "multi-label" else "Target", list(score.target_names[shown]))]
    for name, words in PER_TARGET.items():
        if name in score.per_target:
            values = score.per_target[name][shown]
            columns.append((words.head, [words.shown(value) for value in values]))
    if score.thresholds:
        columns.append(("Threshold", [f"{threshold:.3f}" for threshold in score.thresholds[shown]]))
    more = len(score.target_names) - MOST_LISTED
    title = f"{row.name}" + (f"; {more:,} more are in its record" if more > 0 else "")
    return text_table(columns, left=1, title=title)
