"""The table of a report for each kind of reader: Markdown, a terminal, CSV, and a record for JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from csv import writer
from dataclasses import asdict
from io import StringIO
from pathlib import PurePosixPath
from textwrap import fill
from typing import Any

from probeline.format import count, decimals, escape, listing, option, percent, points, probability, seconds
from probeline.identity import canonical
from probeline.names import PENULTIMATE
from probeline.report.model.advice import advice
from probeline.report.model.beside import NOTHING, Beside
from probeline.report.model.conditions import Conditions
from probeline.report.model.differences import LEVEL
from probeline.report.model.pairs import Matrix, matrix_notes, matrix_table
from probeline.report.model.rows import Block, Row
from probeline.report.model.verdict import verdict
from probeline.report.sections import doctor, latency, learning
from probeline.report.sections import lr_range as ranges
from probeline.report.sections.calibration import calibration, calibration_notes
from probeline.report.sections.gallery import gallery_facts
from probeline.report.sections.grid import Column, bullets, code, padded, ruled
from probeline.report.sections.maps import map_facts
from probeline.report.sections.published import section
from probeline.results.curve import Curve
from probeline.results.picture import PICTURE_FOLDER
from probeline.results.range_test import RangeTest
from probeline.results.score import Score

TERMINAL_WIDTH = 118
"""Characters; a last column that is longer is cut."""

Missing = Sequence[tuple[str, str]]
"""Rows that have not been run: what, and the command that would run it."""

_LOGITS = (
    {"probe": "exact probes", "probe-refit": "refits", "logistic": "scikit-learn's logistic regression"},
    {"probe-sgd": "minibatch heads", "ridge": "ridge regression"},
)
"""Linear heads that have one logit where there are two classes, and those that have two."""

_UNCONVERGED, _EDGE, _DIVERGED = "†", "‡", "§"


def markdown(
    blocks: Sequence[Block],
    pairs: Matrix,
    conditions: Conditions,
    missing: Missing,
    figures: Sequence[str],
    beside: Beside = NOTHING,
) -> str:
    """Return a report that renders on GitHub and reads well as plain text.

    Parameters
    ----------
    blocks : sequence of Block
    pairs : Matrix
        Of those blocks.
    conditions : mapping
        Of :func:`probeline.report.model.conditions.conditions`.
    missing : sequence of (str, str)
    figures : sequence of str
        Their paths from the report's folder.
    beside : Beside
    """
    records: list[Score | Curve | RangeTest] = [
        *(block.scores[0][0] for block in blocks),
        *beside.curves,
        *beside.tests,
    ]
    dataset = next((record.dataset for record in records), "")
    parts = [f"# {escape(dataset)}: what frozen features give" if dataset else "# Nothing has been scored yet"]
    if blocks or beside.curves:
        first, *others = verdict(blocks, beside.curves).lines
        parts.append("\n".join([f"**{escape(first)}**", *(f"\n{escape(line)}" for line in others)]))
    if told := advice(blocks, beside.curves):
        parts += ["## What to do next", escape(" ".join(told))]
    if blocks:
        rows = [row for block in blocks for row in block.rows]
        parts += ["## Results", _markdown_table(blocks, result_columns), bullets(result_notes(blocks))]
        parts += [
            "## Calibration and selection",
            _markdown_table(blocks, calibration),
            bullets(calibration_notes(rows)),
        ]
        if len(pairs.rows) > 2:
            parts += ["## Any two rows", matrix_table(pairs), bullets(matrix_notes(pairs))]
    if curves := beside.curves:
        parts += [
            "## Learning curves",
            _ruled(learning.table(curves), left=2),
            bullets(learning.notes(curves)),
        ]
    if tests := beside.tests:
        parts += [
            "## Learning-rate range tests",
            _ruled(ranges.table(tests), left=1),
            bullets(ranges.notes(tests)),
        ]
    if beside.held:
        parts.append(section(beside.held))
    if beside.latencies:
        parts += ["## What a forward pass costs", *latency.section(beside.latencies, _scores(blocks))]
    if beside.doctor:
        parts += ["## Data doctor", *doctor.section(beside.doctor, blocks)]
    if missing:
        parts.append("## Not run\n\n" + "\n".join(f"- {escape(what)}: {code(how)}" for what, how in missing))
    if figures:
        shown = (f"![{escape(PurePosixPath(path).stem)}]({path})" for path in figures)
        parts.append("## Figures\n\n" + "\n\n".join(shown))
    if beside.pictures:
        parts.append("## Pictures")
        for picture in beside.pictures:
            parts += [f"![{escape(picture.alt)}]({PICTURE_FOLDER}/{picture.png})", escape(picture.caption)]
    if conditions:
        lines = []
        for name, said in conditions.items():
            if len(said) == 1:
                lines.append(f"- **{escape(name)}**: {escape(said[0])}")
            else:
                lines += [f"- **{escape(name)}**:", *(f"  - {escape(line)}" for line in said)]
        parts.append("## Conditions\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def terminal(blocks: Sequence[Block], missing: Missing = (), curves: Sequence[Curve] = ()) -> str:
    """Return the table for a terminal of `TERMINAL_WIDTH` characters, with the verdict and the notes below it."""
    parts = [part for block in blocks for part in block.parts()]
    rows = [row for part in parts for row in part.rows]
    columns = result_columns(rows, brief=True)
    grid = [[column.head for column in columns], *([column.cell(row) for column in columns] for row in rows)]
    head, *body = ["  " + "  ".join(line).rstrip() for line in padded(grid, [column.left for column in columns])]
    lines = [head] if rows else []
    for part in parts:
        lines.append(part.title)
        lines += [body.pop(0) for _ in part.rows]
    table = [line if len(line) <= TERMINAL_WIDTH else line[: TERMINAL_WIDTH - 1] + "…" for line in lines]
    below = [
        fill(line, TERMINAL_WIDTH, subsequent_indent="  ")
        for line in (*verdict(blocks, curves).lines, *result_notes(blocks))
    ]
    below += [f"Not run: {what}: {how}" for what, how in missing]
    return "\n".join([*table, "", *below] if rows else below)


def csv(blocks: Sequence[Block]) -> str:
    """Return a header and one line for each row with every field of it, shares in [0, 1]; empty without rows."""
    lines = [_flat(row) for block in blocks for row in block.rows]
    text = StringIO()
    if lines:
        table = writer(text, lineterminator="\n")
        table.writerow(lines[0])
        table.writerows(line.values() for line in lines)
    return text.getvalue()


def record(
    blocks: Sequence[Block],
    pairs: Matrix,
    conditions: Conditions,
    missing: Missing,
    beside: Beside = NOTHING,
) -> dict[str, Any]:
    """Return all that :func:`markdown` says as JSON values, shares in [0, 1]."""
    return {
        "verdict": verdict(blocks, beside.curves).lines,
        "advice": advice(blocks, beside.curves),
        "class_names": list(blocks[0].scores[0][0].class_names) if blocks else [],
        "rows": [asdict(row) for block in blocks for row in block.rows],
        "pairs": {
            "rows": [{"block": title, "row": row.title} for title, row in pairs.rows],
            "differences": [
                {"row": i, "minus": j, **asdict(difference)} for (i, j), difference in pairs.differences.items()
            ],
            "left_out": pairs.left_out,
        },
        "missing": [{"what": what, "command": how} for what, how in missing],
        "conditions": conditions,
        "curves": [
            {
                "title": title,
                "tap": curve.tap,
                "method": curve.method,
                "key": curve.key,
                "n_train": curve.n_train,
                "n_val": curve.n_val,
                "n_test": curve.n_test,
                "steps": [step.to_json() for step in learning.steps(curve)],
            }
            for curve, title in zip(beside.curves, learning.curve_titles(beside.curves), strict=True)
        ],
        "range_tests": ranges.record(beside.tests),
        **({"published": beside.held.to_json()} if beside.held else {}),
        "latencies": [
            {
                "hardware": latency.hardware(nets),
                "keys": [net.key for net in nets],
                "rows": [asdict(line) for line in latency.costs(nets, _scores(blocks))],
            }
            for nets in latency.sessions(beside.latencies)
        ],
        "pictures": [
            {**{name: getattr(picture, name) for name in _OF_PICTURES}, "file": f"{PICTURE_FOLDER}/{picture.png}"}
            for picture in beside.pictures
        ],
        "galleries": [{**gallery_facts(one), "file": f"{PICTURE_FOLDER}/{one.file}"} for one in beside.galleries],
        "maps": [{**map_facts(one), "file": f"{PICTURE_FOLDER}/{one.file}"} for one in beside.maps],
        **({"doctor": doctor.record(beside.doctor, blocks)} if beside.doctor else {}),
    }


_OF_PICTURES = ("kind", "backbone", "weights", "title", "caption", "alt", "sha256")
"""What a report's record tells of a picture; what it was drawn from stands in its own."""


def _scores(blocks: Sequence[Block]) -> list[Score]:
    return [score for block in blocks for row in block.scores for score in row]


def result_columns(rows: Sequence[Row], *, brief: bool = False) -> list[Column]:
    """Return the columns after the backbone's; one in which no row has anything to say is left out."""
    places = decimals(row.n_test for row in rows)

    def top1(row: Row) -> str:
        low, high = (percent(end, 1 if brief else places) for end in row.interval)
        return f"{percent(row.top1, places)} ({low}–{high})"

    def spread(row: Row) -> str:
        if row.seed_std is None:
            return ""
        return percent(row.seed_std, places) + ("" if brief else f" ({row.seeds})")

    def over_probe(row: Row) -> str:
        if row.over_probe is None:
            return "reference" if row.reference and len(rows) > 1 else ""
        low, high = (points(end, places) for end in row.over_probe.interval)
        return f"{points(row.over_probe.top1, places)} ({low} to {high}; {probability(row.over_probe.p)})"

    def headroom(row: Row) -> str:
        return points(row.headroom.top1, places) if row.headroom else ""

    def method(row: Row) -> str:
        return (row.short if brief else row.title) + ("" if row.converged else f" {_UNCONVERGED}")

    def chosen(row: Row) -> str:
        return row.chosen + (f" {_EDGE}" if row.edge else "") + (f" {_DIVERGED}" if row.diverged else "")

    def macro(row: Row) -> str:
        return percent(row.macro, places) if uneven(rows) else ""

    def parameters(row: Row) -> str:
        return ("/" if brief else " / ").join((count(row.trainable), count(row.total)))

    columns = [
        Column("method" if brief else "Method", method, left=True),
        Column("params" if brief else "Trainable / total", parameters, value=lambda row: row.trainable),
        Column("top-1 % (95 %)" if brief else "Test top-1 % (95 % interval)", top1, value=lambda row: row.top1),
        Column("sd" if brief else "Seed sd (seeds)", spread, value=lambda row: row.seed_std),
        Column("macro" if brief else "Macro %", macro, value=lambda row: row.macro),
        Column(
            "cold s" if brief else "Cold s", lambda row: seconds(row.cold_seconds), value=lambda row: row.cold_seconds
        ),
        Column(
            "warm s" if brief else "Warm s", lambda row: seconds(row.warm_seconds), value=lambda row: row.warm_seconds
        ),
        Column(
            "headroom" if brief else "Headroom", headroom, value=lambda row: row.headroom.top1 if row.headroom else None
        ),
        Column("chosen" if brief else "Chosen", chosen, left=True),
    ]
    if not brief:
        columns.insert(7, Column("Over the probe", over_probe, value=_over))
        columns.append(Column("By", lambda row: row.chosen_by, left=True))
        if len({row.n_train for row in rows}) > 1:
            columns.insert(1, Column("Train images", lambda row: f"{row.n_train:,}", value=lambda row: row.n_train))
    return [column for column in columns if any(column.cell(row) for row in rows)]


def uneven(rows: Sequence[Row]) -> bool:
    """Say whether the classes have different numbers of test images, so that their mean accuracy is another number."""
    return any(abs(row.macro - row.top1) > 1e-9 for row in rows)


def _over(row: Row) -> float | None:
    """Return the points over the reference probe, which is none over itself."""
    return row.over_probe.top1 if row.over_probe else 0.0 if row.reference else None


def result_notes(blocks: Sequence[Block]) -> list[str]:
    """Return what a reader of the table has to know, no more than this table needs."""
    titled = [(block.title, row) for block in blocks for row in block.rows]
    rows = [row for _, row in titled]
    if not rows:
        return []
    notes = []
    if any(not row.converged for row in rows):
        notes.append(f"{_UNCONVERGED} stopped before its tolerance: the numbers are those of an unfinished fit.")
    if any(row.edge for row in rows):
        notes.append(f"{_EDGE} chosen at the end of its grid: a wider grid may do better.")
    if diverged := max(row.diverged for row in rows):
        notes.append(f"{_DIVERGED} up to {diverged} candidates of its grid diverged and were no choice.")
    notes += [f"{row.short} is {row.differing}." for row in rows if row.differing]
    notes += [
        f"{row.short} on {title} was taught by the exact probe of {row.options['teacher']}, with "
        f"{option('alpha', row.options['alpha'])} and {option('temperature', row.options['temperature'])}."
        for title, row in titled
        if "teacher" in row.options
    ]
    notes += [f"{row.short} on {title}: {row.second}." for title, row in titled if row.second]
    classes = rows[0].per_class
    untested = f", less {n} of {len(classes)} that no test image is of" if (n := classes.count(None)) else ""
    mean = f"; macro is the mean of the classes' accuracies{untested}" if uneven(rows) else ""
    notes.append(f"The interval is Wilson's, for drawing other test images{mean}.")
    one, two = ([told for name, told in some.items() if any(row.method == name for row in rows)] for some in _LOGITS)
    if len(classes) == 2 and one and two:
        notes.append(
            f"Between two classes one logit decides: {listing(one)} count the parameters of one, {listing(two)} of two."
        )
    if any(row.seed_std is not None for row in rows):
        notes.append("With several seeds all numbers are means; sd is over the seeds.")
    notes.append(
        "Cold seconds count extracting the features, trying every setting, choosing on val and reading test; warm ones "
        "have the features at hand. Of several seeds it is the mean of one."
    )
    if any(row.over_probe or row.headroom for row in rows):
        notes.append(
            "Differences are in percentage points, with a 95 % interval for drawing other test images (paired "
            "bootstrap, the seeds averaged, not adjusted for their number); p is McNemar's exact test on the "
            "predictions of each row's first seed, adjusted by Holm's method for their number, and counts as real "
            f"below {LEVEL} where the interval leaves out 0."
        )
    if any(row.tap != PENULTIMATE for row in rows):
        notes.append(
            "Features are what the net's own head is given, or where a row says at which module, what that puts out."
        )
    if any(row.views for row in rows):
        notes.append(
            "Views are augmented copies of each train image, fitted on beside it; val and test are seen plain. Where "
            "the data set has val images of its own, a refit sees those plain too."
        )
    if any(row.over_probe for row in rows):
        notes.append("The probe that others are compared with is the exact one with the highest val top-1.")
    if any(row.headroom for row in rows):
        tap = " at the penultimate tap, without views," if any(row.where for row in rows) else ""
        notes.append(
            f"Headroom is fine-tune minus exact probe{tap} on the same test images, fitted on the same train rows."
        )
    return notes


def _markdown_table(blocks: Sequence[Block], columns_of: Callable[[Sequence[Row]], list[Column]]) -> str:
    titles = {id(row): block.title for block in blocks for row in block.rows}
    rows = [row for block in blocks for row in block.rows]
    columns = [Column("Backbone", lambda row: titles[id(row)], left=True), *columns_of(rows)]
    grid = [[column.head for column in columns], *([escape(column.cell(row)) for column in columns] for row in rows)]
    return ruled(grid, [column.left for column in columns])


def _ruled(grid: Sequence[Sequence[str]], left: int) -> str:
    """Return a Markdown table of any text, so many columns of which are words."""
    return ruled([[escape(cell) for cell in line] for line in grid], [place < left for place in range(len(grid[0]))])


def _flat(row: Row) -> dict[str, Any]:
    """Return a row with one value a field."""
    flat = asdict(row)
    flat["top1_by_seed"] = " ".join(str(top1) for top1 in row.top1_by_seed)
    flat["per_class"] = " ".join("-" if top1 is None else str(top1) for top1 in row.per_class)
    flat["options"] = canonical(flat["options"]).decode()
    flat["keys"] = " ".join(row.keys)
    flat["interval_low"], flat["interval_high"] = flat.pop("interval")
    for name in ("headroom", "over_probe"):
        difference = flat.pop(name) or {"top1": None, "interval": (None, None), "p": None, "real": None}
        low, high = difference.pop("interval")
        flat |= {f"{name}_{field}": value for field, value in {**difference, "low": low, "high": high}.items()}
    return flat
