"""What the figures say together: how near to its bound each piece of work comes, as ratios and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench_gpu.plan import Row
from bench_gpu.runner import Result
from bench_gpu.work import are_equal

GOALS = {"arrays": 0.9, "jpeg": 0.9, "heads": 20.0, "training": 0.95}
"""Extraction and its bound, seconds of a head on the CPU and on the device, the trainer and the loop."""

_FIGURES = {"value", "unit", "error", "objectives", "timed", "environment"}
"""Members of a row that are no labels."""


def good_rows(results: Mapping[str, Result], part: str) -> list[Row]:
    """Return the rows of a part that have a value."""
    return [row for row in results[part].rows if "value" in row] if part in results else []


def ratios(results: Mapping[str, Result]) -> list[dict[str, Any]]:
    """Return each comparison that the figures allow: what, compared with what, their ratio, and the goal."""
    return [*_extraction(results), *_heads(results), *_training(results)]


def _extraction(results: Mapping[str, Result]) -> Iterable[dict[str, Any]]:
    bare: dict[tuple[str, str], Row] = {}
    for row in good_rows(results, "forward"):
        at = row["net"], row["precision"]
        bare[at] = max(bare.get(at, row), row, key=lambda one: one["value"])
    decoding = max(good_rows(results, "decode"), key=lambda one: one["value"], default=None)
    for row in good_rows(results, "extraction"):
        bounds = [bare.get((row["net"], row["precision"]))]
        if row["source"] == "jpeg":
            bounds.append(decoding)
        known = [bound for bound in bounds if bound is not None]
        if len(known) == len(bounds):
            bound = min(known, key=lambda one: one["value"])
            yield _ratio(row["source"], row, bound, row["value"] / bound["value"])


def _heads(results: Mapping[str, Result]) -> Iterable[dict[str, Any]]:
    rows = good_rows(results, "heads")
    for row in rows:
        for other in rows:
            if (row["on"], other["on"]) == ("device", "CPU") and {**labels(row), "on": ""} == {
                **labels(other),
                "on": "",
            }:
                kind = row["what"].rpartition(" ")[2]
                equal = are_equal(kind, row["objectives"], other["objectives"])
                found = _ratio("heads", row, other, other["value"] / row["value"])
                yield {**found, "is_reached": found["is_reached"] and equal, "equal_objective": equal}


def _training(results: Mapping[str, Result]) -> Iterable[dict[str, Any]]:
    rows = good_rows(results, "training")
    for row in rows:
        for other in rows:
            if other["what"] == "plain loop" != row["what"] and {**labels(row), "what": ""} == {
                **labels(other),
                "what": "",
            }:
                yield _ratio("training", row, other, row["value"] / other["value"])


def _ratio(kind: str, row: Row, other: Row, ratio: float) -> dict[str, Any]:
    goal = GOALS[kind]
    return {
        "kind": kind,
        "what": describe(row),
        "beside": describe(other),
        "ratio": ratio,
        "goal": goal,
        "is_reached": ratio >= goal,
    }


def labels(row: Row) -> Row:
    """Return what a row is of."""
    return {name: value for name, value in row.items() if name not in _FIGURES}


def describe(row: Row) -> str:
    """Return a row's labels in words: ``forward, resnet18, bf16, graph``."""
    named = {"workers", "batch_size", "rows", "columns", "classes"}
    words = [
        f"{name.replace('_', ' ')} {value}" if name in named else str(value) for name, value in labels(row).items()
    ]
    return ", ".join(words)


def markdown(facts: Mapping[str, Any], results: Mapping[str, Result], compared: Sequence[Mapping[str, Any]]) -> str:
    """Return the tables of all figures."""
    lines = ["# GPU benchmark", "", facts["title"], ""]
    if compared:
        lines += ["| what | compared with | ratio | goal |", "|---|---|---|---|"]
        lines += [
            f"| {one['what']} | {one['beside']} | {one['ratio']:.3g}"
            f"{'' if one.get('equal_objective', True) else ' (another objective)'} | {one['goal']:g} |"
            for one in compared
        ]
    for name, result in results.items():
        lines += ["", f"## {name}", "", f"{result.seconds:.0f} s of {result.budget:.0f} s: {result.ended}.", ""]
        if result.rows:
            lines += ["| what | value | unit |", "|---|---|---|"]
        for row in result.rows:
            value = f"{row['value']:,.4g} | {row['unit']}" if "value" in row else f"{row['error']} | "
            lines.append(f"| {describe(row)} | {value} |")
    return "\n".join(lines) + "\n"
