"""All rows: accuracy, differences, cost and what was chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from probeline.format import count, decimals, listing, option, percent, points, probability, seconds, were_cores_missing
from probeline.names import PENULTIMATE, Method
from probeline.report.model.content import ReportContent
from probeline.report.model.differences import LEVEL
from probeline.report.model.row import Block, Row, uneven
from probeline.report.sections.section import RESULTS, Section, View
from probeline.report.sections.tables import (
    BUSY_NOTE,
    TOP1,
    Column,
    bar_bounds,
    bullets,
    join_parts,
    page_table,
    row_table,
)
from probeline.results.methods import method_info
from probeline.results.score_words import adapters, interpolation

_FIRST = (TOP1, "Difference from the probe", "Cold s", "Warm s", "Trainable / total")
"""On the page these columns come first, as a narrow screen shows few."""

_BRIEF = {
    "Method": "method",
    "Trainable / total": "params",
    TOP1: "top-1 % (95 %)",
    "Seed sd (seeds)": "sd",
    "Macro %": "macro",
    "Cold s": "cold s",
    "Warm s": "warm s",
    "Headroom": "headroom",
    "Chosen": "chosen",
}
"""The columns of a terminal, with shorter heads."""

_ONE_LOGIT = {"probe": "exact probes", "probe-refit": "refits", "logistic": "scikit-learn's logistic regression"}
_TWO_LOGITS = {"probe-sgd": "minibatch heads", "ridge": "ridge regression"}
"""Linear heads by how many logits they have for two classes."""

_UNCONVERGED, _EDGE, _DIVERGED = "†", "‡", "§"


class Results(Section):
    name, title, group = "results", "Results", RESULTS

    def markdown(self, content: ReportContent) -> str | None:
        if not content.blocks:
            return None
        table = row_table(content.blocks, result_columns(content.rows))
        return join_parts(table.markdown(), bullets(result_notes(content.blocks)))

    def view(self, content: ReportContent) -> View | None:
        if not content.rows:
            return None
        low, high = bar_bounds(content.rows)
        far = "; rows far below are at the left end" if any(row.top1 < low for row in content.rows) else ""
        bars = (
            f"The bars run from {percent(low, content.places)} % to {percent(high, content.places)} %: the interval, "
            f"and a tick at top-1{far}."
        )
        return View(
            "results.html",
            {
                "table": page_table(content, _page_columns(content.rows)),
                "methods": list(dict.fromkeys(method_info(row.method).title for row in content.rows)),
                "backbones": list(dict.fromkeys(row.backbone for row in content.rows)),
                "notes": [bars, *result_notes(content.blocks)],
                "figure": content.figures.get("accuracy"),
            },
        )

    def record(self, content: ReportContent) -> Mapping[str, Any]:
        class_names = list(content.scores[0].class_names) if content.blocks else []
        return {"class_names": class_names, "rows": [asdict(row) for block in content.blocks for row in block.rows]}


def _seconds(row: Row, value: float) -> str:
    """Return seconds, marked if cores were missing meanwhile, or a dash if another program took them."""
    return "–" if row.method == Method.ADDED else seconds(value, row.waited)


def result_columns(rows: Sequence[Row], *, brief: bool = False) -> list[Column]:
    """Return the columns after the backbone's, without those that are empty in all rows; brief ones for a terminal."""
    places = decimals(row.n_test for row in rows)

    def top1(row: Row) -> str:
        low, high = (percent(end, 1 if brief else places) for end in row.interval)
        return f"{percent(row.top1, places)} ({low}–{high})"

    def spread(row: Row) -> str:
        return "" if row.seed_std is None else percent(row.seed_std, places) + ("" if brief else f" ({row.seeds})")

    def over_probe(row: Row) -> str:
        if row.over_probe is None:
            return "reference" if row.reference and len(rows) > 1 else ""
        low, high = (points(end, places) for end in row.over_probe.interval)
        return f"{points(row.over_probe.top1, places)} ({low} to {high}; {probability(row.over_probe.p)})"

    def points_over_probe(row: Row) -> float | None:
        return row.over_probe.top1 if row.over_probe else 0.0 if row.reference else None

    def headroom(row: Row) -> str:
        return points(row.headroom.top1, places) if row.headroom else ""

    def method(row: Row) -> str:
        return (row.short if brief else row.title) + ("" if row.converged else f" {_UNCONVERGED}")

    def chosen(row: Row) -> str:
        return row.chosen + (f" {_EDGE}" if row.edge else "") + (f" {_DIVERGED}" if row.diverged else "")

    def n_train(row: Row) -> str:
        if row.method == Method.ADDED:
            return "–"
        return f"{row.n_train:,}" if len({other.n_train for other in rows}) > 1 else ""

    def parameters(row: Row) -> str:
        if row.method == Method.ADDED:
            return "–"
        return ("/" if brief else " / ").join((count(row.trainable), count(row.total)))

    columns = [
        Column("Method", method, left=True),
        Column("Train images", n_train, value=lambda row: row.n_train),
        Column("Trainable / total", parameters, value=lambda row: row.trainable),
        Column(TOP1, top1, value=lambda row: row.top1),
        Column("Seed sd (seeds)", spread, value=lambda row: row.seed_std),
        Column("Macro %", lambda row: percent(row.macro, places) if uneven(rows) else "", value=lambda row: row.macro),
        Column("Cold s", lambda row: _seconds(row, row.cold_seconds), value=lambda row: row.cold_seconds),
        Column("Warm s", lambda row: _seconds(row, row.warm_seconds), value=lambda row: row.warm_seconds),
        Column("Difference from the probe", over_probe, value=points_over_probe),
        Column("Headroom", headroom, value=lambda row: row.headroom.top1 if row.headroom else None),
        Column("Chosen", chosen, left=True),
        Column("By", lambda row: row.chosen_by, left=True),
    ]
    if brief:
        columns = [replace(column, head=_BRIEF[column.head]) for column in columns if column.head in _BRIEF]
    return [column for column in columns if any(column.cell(row) for row in rows)]


def _page_columns(rows: Sequence[Row]) -> list[Column]:
    """Return the columns of the page: the method, then those of `_FIRST`."""
    name, *others = result_columns(rows)
    by_head = {column.head: column for column in others}
    first = [by_head[head] for head in _FIRST if head in by_head]
    return [name, *first, *(column for column in others if column not in first)]


def result_notes(blocks: Sequence[Block]) -> list[str]:
    """Return the notes that this table needs."""
    titled = [(block.title, row) for block in blocks for row in block.rows]
    rows = [row for _, row in titled]
    if not rows:
        return []
    notes = []
    if any(not row.converged for row in rows):
        notes.append(f"{_UNCONVERGED} the fit stopped before its tolerance.")
    if any(row.edge for row in rows):
        notes.append(f"{_EDGE} chosen at a hyper-parameter grid edge: a wider grid may do better.")
    if diverged := max(row.diverged for row in rows):
        notes.append(f"{_DIVERGED} up to {diverged} candidates of the grid diverged and were excluded.")
    notes += [f"{row.short}: {row.differing}." for row in rows if row.differing]
    notes += [
        f"{row.short} on {title}: the teacher is the exact probe of {row.options['teacher']}, with "
        f"{option('alpha', row.options['alpha'])} and {option('temperature', row.options['temperature'])}."
        for title, row in titled
        if "teacher" in row.options
    ]
    notes += [f"{row.short} on {title}: {row.second}." for title, row in titled if row.second]
    notes += [
        f"{row.short} on {block.title}: {words}."
        for block in blocks
        for row, scores in zip(block.rows, block.scores, strict=True)
        for words in (adapters([score.certificate for score in scores]), interpolation(scores))
        if words
    ]
    notes += _weight_notes(rows)
    classes = rows[0].per_class
    untested = f" without {n} of {len(classes)} that have no test image" if (n := classes.count(None)) else ""
    macro = f" Macro, or balanced accuracy, is the mean accuracy of the classes{untested}." if uneven(rows) else ""
    notes.append(f"The interval is Wilson's, for other test images.{macro}")
    methods = {row.method for row in rows}
    single, double = ([text for name, text in heads.items() if name in methods] for heads in (_ONE_LOGIT, _TWO_LOGITS))
    if len(classes) == 2 and single and double:
        notes.append(f"For two classes, {listing(single)} have the parameters of one logit, {listing(double)} of two.")
    if any(row.seed_std is not None for row in rows):
        notes.append("With several seeds all numbers are means; sd is over the seeds.")
    notes.append(
        "Cold time includes feature extraction, all settings tried, selection and the test; warm time uses cached "
        "features. With several seeds it is the mean time of one."
    )
    if any(were_cores_missing(row.waited) for row in rows):
        notes.append(BUSY_NOTE)
    if any(row.over_probe or row.headroom for row in rows):
        notes.append(
            "Differences are in percentage points, with a 95 % interval for other test images (paired bootstrap, means "
            "over seeds, not adjusted for the number of comparisons). p is from McNemar's exact test on the "
            "predictions of each row's first seed, adjusted by Holm's method; a difference is significant if p is "
            f"below {LEVEL}, the interval excludes 0, and the first seeds differ in the same direction."
        )
    if any(row.tap != PENULTIMATE for row in rows):
        notes.append("Features are the input of the net's own head, or the output of the module that a row names.")
    if any(row.views for row in rows):
        notes.append(
            "Views are augmented copies of each train image that are fitted on too; val and test images are not "
            "augmented. If the data set has val images of its own, a refit uses those without augmentation."
        )
    if any(row.over_probe for row in rows):
        notes.append("Rows are compared with the exact probe that is best on validation.")
    if any(row.headroom for row in rows):
        tap = " at the penultimate tap, without views," if any(row.where for row in rows) else ""
        notes.append(
            f"Headroom is fine-tune minus exact probe{tap} on the same test images, fitted on the same train rows."
        )
    return notes


def _weight_notes(rows: Sequence[Row]) -> list[str]:
    """Return what class weights mean for the rows that have some."""
    weighted = [row for row in rows if "class_weights" in row.options]
    if not weighted:
        return []
    notes = [
        "With class weights, a train image counts in fitting as much as its class weighs; balanced classes count the "
        "same in total. Validation and test count every image once."
    ]
    if any("select_by" not in row.options for row in weighted):
        notes.append(
            "Weighted rows that top-1 selected were selected by what they were not fitted for: --metric macro selects "
            "by the mean accuracy of the classes."
        )
    return notes
