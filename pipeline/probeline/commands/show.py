"""Show: the image behind one row, its role, and what is cached of it; no torch if its features are cached."""

from __future__ import annotations

from typing import Any

from probeline.data.registry import parse_row
from probeline.extraction.stored_rows import PartRow, read_stored_rows
from probeline.images import ImageFiles
from probeline.names import describe_tap
from probeline.session import Session
from probeline.types import DROPPED, Splits


def run(session: Session) -> list[dict[str, Any]]:
    """Return the image of each named row and where its features by each backbone are; reads those shards alone."""
    rows = [parse_row(word, session.dataset) for word in session.settings.words]
    taps = [tap for name in session.settings.nets.backbones for tap in session.every_tap(name)]
    by_tap = [read_stored_rows(session, tap, rows) for tap in taps]
    images = [
        {**_image(session, row), "embeddings": [stored for rows in by_tap for stored in rows[index]]}
        for index, row in enumerate(rows)
    ]
    for image in images:
        for line in _lines(image, session):
            session.console.result(line)
    return images


def _image(session: Session, row: PartRow) -> dict[str, Any]:
    name, number = row
    part, images = session.dataset.parts[name], session.dataset.images[name]
    role, fold = _role(session.splits, row) if session.dataset.has_labels else (None, None)
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


def _role(splits: Splits, row: PartRow) -> tuple[str | None, int | None]:
    """Return train, val or test, and which fold holds the row out, counted from 1, if there are folds."""
    part, number = row
    roles = (splits.train, splits.val, splits.test)
    role = next((split.role for split in roles if split.part == part and number in split.rows), None)
    folds = splits.folds if part == splits.train.part else ()
    return role, next((place for place, rows in enumerate(folds, 1) if number in rows), None)


def _class_in_words(name: str | None, session: Session) -> str:
    if name is not None:
        return f"class {name}"
    return "dropped" if session.dataset.has_labels else "without a label"


def _lines(image: dict[str, Any], session: Session) -> list[str]:
    folds = f", fold {image['fold']} of {len(session.splits.folds)}" if image["fold"] else ""
    lines = [
        f"show: {session.dataset.name}/{image['part']} row {image['row']} is {image['sample_id']}, "
        f"{_class_in_words(image['class'], session)}, {image['role'] or 'no role'}{folds}",
        f"show:   {image['file'] or 'not a file of its own'}, sha256 {image['content_sha256']}",
    ]
    for stored in image["embeddings"]:
        net = " ".join(filter(None, (stored["backbone"], describe_tap(stored["tap"]))))
        view = f", view {stored['view']}" if stored["view"] else ""
        first = " ".join(f"{value:.6g}" for value in stored["first"])
        lines.append(
            f"show:   {net}{view}: row {stored['offset']} of {stored['shard']}, L2 norm {stored['norm']:.6g}, "
            f"first values {first}"
        )
    return lines
