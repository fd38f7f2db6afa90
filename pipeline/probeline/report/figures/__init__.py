"""The figures of a report, as PNG files: the only package that imports matplotlib.

Figures are made as objects and drawn by Agg; pyplot is not used. Equal scores give equal bytes with one version of
matplotlib.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from probeline.disk import make_folder, publish
from probeline.records import Curve, RangeTest, Score
from probeline.report.figures.accuracy import accuracy
from probeline.report.figures.classes import by_class, confusions
from probeline.report.figures.cost import cost
from probeline.report.figures.curves import path, training
from probeline.report.figures.learning import learning
from probeline.report.figures.maps import embedding_map
from probeline.report.figures.ranges import range_tests
from probeline.report.figures.sheet import look, png
from probeline.report.files import slug
from probeline.report.map_files import EmbeddingMap
from probeline.report.rows import Block, Row, blocks


def draw(
    scores: Sequence[Score],
    folder: Path,
    curves: Sequence[Curve] = (),
    tests: Sequence[RangeTest] = (),
    maps: Sequence[EmbeddingMap] = (),
) -> list[Path]:
    """Draw the figures that the scores have data for, and return their paths.

    Parameters
    ----------
    scores : sequence of Score
        Of one data set.
    folder : Path
        Created where it is missing.
    curves : sequence of Curve
        Learning curves of the same data set.
    tests : sequence of RangeTest
        Of the same data set.
    maps : sequence of EmbeddingMap
        Of the same data set.

    Returns
    -------
    list of Path
        Among ``accuracy.png``, ``cost.png`` (two rows and more), ``per-class.png``,
        ``confusion-<backbone>-<method>.png`` (of the reference probe and of a fine-tune), ``path.png`` and
        ``training.png`` (where scores have a path or a history), ``learning.png`` (where there are curves),
        ``range-tests.png`` (where there are range tests), and ``map-<backbone>.png`` (where there are maps).

    Raises
    ------
    BadData, UnknownName
        Where the scores do not fit one table.
    CannotWrite
        Where the file system refuses.
    """
    table = blocks(scores)
    figures = _of_scores(table) if table else {}
    if curves:
        figures["learning"] = partial(learning, curves)
    if tests:
        figures["range-tests"] = partial(range_tests, tests)
    for one in maps:
        figures[one.figure] = partial(embedding_map, one)
    written = []
    with look():
        for name, make in figures.items():
            figure = make()
            if figure is not None:
                make_folder(folder)
                publish(folder / f"{name}.png", png(figure), replace=True)
                written.append(folder / f"{name}.png")
    return written


def _of_scores(table: Sequence[Block]) -> dict[str, Callable[[], Figure | None]]:
    return {
        "accuracy": partial(accuracy, table),
        "cost": partial(cost, table),
        "per-class": partial(by_class, table),
        **{
            f"confusion-{slug(row.backbone)}-{row.method}": partial(confusions, title, row, score)
            for title, row, score in _confused(table)
        },
        "path": partial(path, table),
        "training": partial(training, table),
    }


def _confused(table: Sequence[Block]) -> list[tuple[str, Row, Score]]:
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
