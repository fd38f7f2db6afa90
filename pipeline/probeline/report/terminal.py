"""The table of results in a terminal, and as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from textwrap import fill
from typing import Any

from probeline.identity import canonical
from probeline.report.model.content import NotRun
from probeline.report.model.row import Block, Row
from probeline.report.model.verdict import verdict
from probeline.report.sections.scores.results import result_columns, result_notes
from probeline.report.sections.tables import padded
from probeline.results.curve import Curve
from probeline.text import csv_text, printable

TERMINAL_WIDTH = 118
"""Characters; a longer last column is cut."""


def terminal_table(blocks: Sequence[Block], not_run: Sequence[NotRun] = (), curves: Sequence[Curve] = ()) -> str:
    """Return the table for a terminal of `TERMINAL_WIDTH` characters, with the verdict and the notes below it."""
    parts = [part for block in blocks for part in block.parts()]
    rows = [row for part in parts for row in part.rows]
    columns = result_columns(rows, brief=True)
    grid = [[column.head for column in columns]]
    grid += ([printable(column.cell(row)) for column in columns] for row in rows)
    head, *body = ["  " + "  ".join(line).rstrip() for line in padded(grid, [column.left for column in columns])]
    lines = [head] if rows else []
    for part in parts:
        lines.append(printable(part.title))
        lines += [body.pop(0) for _ in part.rows]
    table = [line if len(line) <= TERMINAL_WIDTH else line[: TERMINAL_WIDTH - 1] + "…" for line in lines]
    below = [
        fill(printable(line), TERMINAL_WIDTH, subsequent_indent="  ")
        for line in (*verdict(blocks, curves).lines, *result_notes(blocks))
    ]
    below += [printable(f"Not run: {missing.what}: {missing.command}") for missing in not_run]
    return "\n".join([*table, "", *below] if rows else below)


def csv_table(blocks: Sequence[Block]) -> str:
    """Return a header and one line for each row with all its fields, shares in [0, 1]; empty without rows."""
    lines = row_records(blocks)
    return csv_text([lines[0], *(line.values() for line in lines)]) if lines else ""


def row_records(blocks: Sequence[Block]) -> list[dict[str, Any]]:
    """Return the data set and all fields of each row as single values, shares in [0, 1]."""
    titled = [
        (scores[0].dataset, row) for block in blocks for row, scores in zip(block.rows, block.scores, strict=True)
    ]
    return [row_record(dataset, row) for dataset, row in titled]


def row_record(dataset: str, row: Row) -> dict[str, Any]:
    """Return a data set's name and all fields of a row of it as single values, shares in [0, 1]."""
    flat = {"dataset": dataset, **asdict(row)}
    flat["top1_by_seed"] = " ".join(str(top1) for top1 in row.top1_by_seed)
    flat["per_class"] = " ".join("-" if top1 is None else str(top1) for top1 in row.per_class)
    flat["options"] = canonical(flat["options"]).decode()
    flat["keys"] = " ".join(row.keys)
    flat["interval_low"], flat["interval_high"] = flat.pop("interval")
    two = flat.pop("two_classes") or {"positive": None, "sensitivity": None, "specificity": None, "precision": None}
    flat |= {"positive_class": two["positive"], "positive_precision": two["precision"]}
    order = flat.pop("ordered") or {"error": None, "kappa": None, "interval": None}
    kappa_interval = order["interval"] or (None, None)
    flat |= {"class_error": order["error"], "kappa": order["kappa"]}
    flat |= dict(zip(("kappa_low", "kappa_high"), kappa_interval, strict=True))
    for name in ("sensitivity", "specificity"):
        rate = two[name] or {"share": None, "interval": (None, None), "n": None}
        flat |= dict(zip((f"{name}_low", f"{name}_high"), rate["interval"], strict=True))
        flat |= {name: rate["share"], f"{name}_n": rate["n"]}
    for name in ("headroom", "over_probe"):
        difference = flat.pop(name) or {"top1": None, "interval": (None, None), "p": None, "real": None}
        low, high = difference.pop("interval")
        flat |= {f"{name}_{field}": value for field, value in {**difference, "low": low, "high": high}.items()}
    return flat
