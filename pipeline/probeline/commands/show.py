"""Show: which image a row is, what role it plays, and what is stored of it; no torch where its embedding is there."""

from __future__ import annotations

from typing import Any

import numpy as np

from probeline.cache.reading import is_done, read_rows
from probeline.data.named_row import named_row
from probeline.errors import MissingData
from probeline.names import PENULTIMATE
from probeline.options.command_line import command_line
from probeline.session import Session
from probeline.types import DROPPED, Backbone, ImageFiles, Splits

_Row = tuple[str, int]
"""A part, and a row of it."""


def run(session: Session) -> list[dict[str, Any]]:
    """Say of each row that was asked for which image it is, and where its embedding by each backbone lies.

    Only the shards that hold the rows are read, each proven.

    Raises
    ------
    BadOption, UnknownName
        A row or a part that the data set does not have.
    MissingData
        A row that is not extracted yet; names the command that does it.
    ProbelineError
    """
    asked = [named_row(word, session.dataset) for word in session.settings.words]
    taps = [tap for name in session.settings.nets.backbones for tap in session.every_tap(name)]
    embeddings = [_embeddings(session, tap, asked) for tap in taps]
    told = [
        {**_image(session, row), "embeddings": [one for found in embeddings for one in found[row]]} for row in asked
    ]
    for image in told:
        for line in _lines(image, session):
            session.console.say(line)
    return told


def _image(session: Session, row: _Row) -> dict[str, Any]:
    name, number = row
    part, images = session.dataset.parts[name], session.dataset.images[name]
    role, fold = _role(session.splits, row)
    label = int(part.labels[number])
    return {
        "part": name,
        "row": number,
        "sample_id": part.sample_ids[number],
        "class": None if label == DROPPED else part.class_names[label],
        "label": None if label == DROPPED else label,
        "role": role,
        "fold": fold,
        "file": str(images.paths[number]) if isinstance(images, ImageFiles) else None,
        "content_sha256": part.content[number],
    }


def _role(splits: Splits, row: _Row) -> tuple[str | None, int | None]:
    """Return train, val or test, and which fold holds the row out, counted from 1, where there are folds."""
    part, number = row
    roles = (splits.train, splits.val, splits.test)
    role = next((split.role for split in roles if split.part == part and number in split.rows), None)
    folds = splits.folds if part == splits.train.part else ()
    return role, next((place for place, rows in enumerate(folds, 1) if number in rows), None)


def _embeddings(session: Session, backbone: Backbone, asked: list[_Row]) -> dict[_Row, list[dict[str, Any]]]:
    """Return what is stored of each row by one backbone, augmented views too; each shard is read once."""
    found: dict[_Row, list[dict[str, Any]]] = {row: [] for row in asked}
    parts = dict.fromkeys(part for part, _ in asked)
    for part, view in ((name, view) for name in parts for view in session.views(name)):
        entry = session.entry(backbone, part, view)
        rows = sorted({row for of, row in asked if of == part})
        for row in rows:
            if not is_done(entry, row // entry.rows_per_shard):
                raise MissingData(
                    f"row {row} of {entry.part} is not extracted yet",
                    where=entry.folder,
                    remedy=f"run: {command_line(session.settings, 'extract')}",
                )
        for row, values in zip(rows, read_rows(entry, np.array(rows)), strict=True):
            shard, offset = divmod(row, entry.rows_per_shard)
            found[part, row].append(
                {
                    "backbone": backbone.name,
                    "tap": backbone.tap,
                    "view": view and view.number,
                    "key": entry.key,
                    "shard": str(entry.shard_path(shard)),
                    "offset": offset,
                    "norm": float(np.linalg.norm(values.astype(np.float64))),
                    "first": values[:3].tolist(),
                }
            )
    return found


def _called(stored: dict[str, Any]) -> str:
    tap = "" if stored["tap"] == PENULTIMATE else f" at {stored['tap']}"
    return f"{stored['backbone']}{tap}" + (f", view {stored['view']}" if stored["view"] else "")


def _lines(image: dict[str, Any], session: Session) -> list[str]:
    folds = f", fold {image['fold']} of {len(session.splits.folds)}" if image["fold"] else ""
    source = image["file"] or "no file of its own"
    lines = [
        f"show: {session.dataset.name}/{image['part']} row {image['row']} is {image['sample_id']}, "
        f"{'dropped' if image['class'] is None else 'class ' + image['class']}, {image['role'] or 'no role'}{folds}",
        f"show:   {source}, sha256 {image['content_sha256']}",
        *(
            f"show:   {_called(stored)}: row {stored['offset']} of {stored['shard']}, L2 norm {stored['norm']:.6g}, "
            f"begins {' '.join(f'{value:.6g}' for value in stored['first'])}"
            for stored in image["embeddings"]
        ),
    ]
    return ["".join(c if c.isprintable() else ascii(c)[1:-1] for c in line) for line in lines]
