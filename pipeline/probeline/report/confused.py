"""Whose confusions a report shows: the reference probe's, and a fine-tune's."""

from __future__ import annotations

from collections.abc import Sequence

from probeline.records import Score
from probeline.report.rows import Block, Row


def confused(table: Sequence[Block]) -> list[tuple[str, Row, Score]]:
    """Return whose confusions are drawn: the reference probe, and a fine-tune, of its backbone if that has one."""
    rows = [
        (part.title, row, scores[0])
        for block in table
        for part in block.parts()
        for row, scores in zip(part.rows, part.scores, strict=True)
    ]
    probes = [found for found in rows if found[1].reference]
    tuned = [found for found in rows if found[1].method == "finetune"]
    beside = _net(probes[0][1]) if probes else None
    best = max(tuned, key=lambda found: (_net(found[1]) == beside, found[1].val_top1), default=None)
    return probes if best is None else [*probes, best]


def _net(row: Row) -> tuple[object, ...]:
    return row.backbone, row.weights, row.image_size
