"""Whose confusions and reliability a report shows: the reference probe's, a training's, and those of val's choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from probeline.disk import path_name
from probeline.report.model.rows import Block, Row, titled
from probeline.results.methods import method_info
from probeline.results.score import Score


@dataclass(frozen=True)
class Confused:
    """A row whose test images are looked at class by class.

    Attributes
    ----------
    figure : str
        What its matrix is called: ``confusion-resnet18-probe``.
    title : str
        Of its block's part.
    row : Row
    score : Score
        Of its first seed.
    """

    figure: str
    title: str
    row: Row
    score: Score


def confused(table: Sequence[Block]) -> list[Confused]:
    """Return the reference probe, the training that val prefers, of the probe's net if it has one, and val's choice.

    A row that is two or three of them is there once.
    """
    rows = titled(table)
    wanted = [found for found in rows if found[1].reference]
    beside = _net(wanted[0][1]) if wanted else None
    if trained := [found for found in rows if method_info(found[1].method).trains]:
        wanted.append(min(trained, key=lambda found: (_net(found[1]) != beside, found[1].rank)))
    if rows:
        wanted.append(min(rows, key=lambda found: found[1].rank))
    shown: list[Confused] = []
    for title, row, scores in wanted:
        if all(one.row is not row for one in shown):
            name = f"confusion-{path_name(row.backbone, portable=True)}-{row.method}"
            again = sum((one.row.backbone, one.row.method) == (row.backbone, row.method) for one in shown)
            shown.append(Confused(f"{name}-{again + 1}" if again else name, title, row, scores[0]))
    return shown


def _net(row: Row) -> tuple[object, ...]:
    return row.backbone, row.weights, row.image_size
