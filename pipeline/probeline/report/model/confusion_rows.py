"""The few rows whose confusion matrix and reliability diagram a report shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from probeline.disk import path_name
from probeline.report.model.row import Block, Row, titled_rows
from probeline.results.methods import method_info
from probeline.results.score import Score


@dataclass(frozen=True)
class ConfusionRow:
    """A row whose confusion matrix is shown."""

    figure: str
    """Name of the figure: ``confusion-resnet18-probe``."""
    title: str
    """Of its block's part."""
    row: Row
    score: Score
    """Of its first seed."""


def select_confusion_rows(table: Sequence[Block]) -> list[ConfusionRow]:
    """Return the reference probe and, on validation, the best training (of its net if possible) and the best row.

    A row that is several of them comes once.
    """
    rows = titled_rows(table)
    candidates = [titled for titled in rows if titled.row.reference]
    net = _net(candidates[0].row) if candidates else None
    if trained := [titled for titled in rows if method_info(titled.row.method).trains]:
        candidates.append(min(trained, key=lambda titled: (_net(titled.row) != net, titled.row.rank)))
    if rows:
        candidates.append(min(rows, key=lambda titled: titled.row.rank))
    selected: list[ConfusionRow] = []
    for title, row, scores in candidates:
        if all(confusion_row.row is not row for confusion_row in selected):
            name = f"confusion-{path_name(row.backbone, portable=True)}-{row.method}"
            earlier = [(shown.row.backbone, shown.row.method) for shown in selected]
            again = earlier.count((row.backbone, row.method))
            selected.append(ConfusionRow(f"{name}-{again + 1}" if again else name, title, row, scores[0]))
    return selected


def _net(row: Row) -> tuple[object, ...]:
    return row.backbone, row.weights, row.image_size
