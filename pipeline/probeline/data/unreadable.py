"""Images that cannot be decoded are left out of a data set, as if their files were not there, and are reported."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from probeline import disk
from probeline.data.assemble import select_rows
from probeline.data.verdicts import Verdicts
from probeline.errors import BadData, BadImage, CannotWrite, FoundUnreadable
from probeline.files.reading import TABLE, read_beginning, read_bytes
from probeline.format import abridge, few, plural
from probeline.images import Decoding, ImageArray, ImageFiles, ImageItems, UnreadableImage
from probeline.text import csv_text
from probeline.types import CANNOT_BE_READ, DataSet, IntArray, Part

FILE = "unreadable.csv"
"""In the folder of the report: the sample id of each image that is left out, and why."""

_COLUMNS = ("sample_id", "reason", "sha256")

_REMEDY = "replace or remove them, drop them by --labels, or run without --strict to leave them out"


def leave_out(dataset: DataSet, verdicts: Verdicts) -> DataSet:
    """Return the data set without the images that cannot be decoded; they are in its `unreadable`.

    Raises
    ------
    BadData
        A part, or a class of the train part, has no other images.
    """
    _check_suspects(dataset, verdicts)
    if not verdicts.known():
        return dataset
    left_out: list[UnreadableImage] = []
    parts, images, groups = dict(dataset.parts), dict(dataset.images), dict(dataset.groups)
    targets = {} if dataset.targets is None else dict(dataset.targets.by_part)
    for name, part in dataset.parts.items():
        bad = [row for row, sha256 in enumerate(part.content) if verdicts.reason(sha256) is not None]
        if not bad:
            continue
        of_part = [
            UnreadableImage(name, part.sample_ids[row], verdicts.reason(part.content[row]) or "", part.content[row])
            for row in bad
        ]
        left_out += of_part
        kept = np.setdiff1d(np.arange(len(part)), bad)
        if not len(kept):
            raise BadData(f"no image of {name} can be read", where=dataset.name, got=_reasons(of_part))
        lost = np.setdiff1d(part.labels[bad], part.labels[kept])
        if name == dataset.train and dataset.class_names and (lost >= 0).any():
            number = int(lost[lost >= 0][0])
            raise BadData(
                f"class {dataset.class_names[number]!r} has no image that can be read",
                where=dataset.name,
                got=_reasons([image for image, row in zip(of_part, bad, strict=True) if part.labels[row] == number]),
                remedy="add images to it, or remove it",
            )
        parts[name], images[name] = _take_part(part, kept), select_rows(images[name], kept)
        if name in groups:
            groups[name] = groups[name][kept]
        if name in targets:
            targets[name] = targets[name][kept]
    if not left_out:
        return dataset
    own = None if dataset.targets is None else replace(dataset.targets, by_part=targets)
    return replace(dataset, parts=parts, images=images, groups=groups, targets=own, unreadable=tuple(left_out))


def _reasons(images: list[UnreadableImage]) -> str:
    reasons = dict.fromkeys(image.reason for image in images)
    return f"{plural(len(images), 'file')}: {few(list(reasons), 3)}"


def _take_part(part: Part, rows: IntArray) -> Part:
    ids, content = (tuple(values[row] for row in rows.tolist()) for values in (part.sample_ids, part.content))
    return replace(part, sample_ids=ids, content=content, labels=part.labels[rows])


def decoded_as(dataset: DataSet, decoding: Decoding) -> DataSet:
    """Return the data set with images that are decoded in this way."""
    images = {
        name: part if isinstance(part, ImageArray) else replace(part, decoding=decoding)
        for name, part in dataset.images.items()
    }
    return replace(dataset, images=images)


def refuse(dataset: DataSet) -> None:
    """Raise BadData if an image or a folder of the data set cannot be read, as ``--strict`` wants it."""
    if bad := dataset.unreadable:
        count = "an image cannot be read" if len(bad) == 1 else f"{len(bad):,} images cannot be read"
        raise BadData(count, where=dataset.name, got=_named(bad), remedy=_REMEDY)
    if closed := _closed_folders(dataset):
        remedy = "make them readable, or run without --strict"
        raise BadData(f"{_count_folders(closed)} cannot be read", where=dataset.name, got=few(closed), remedy=remedy)


def _named(bad: tuple[UnreadableImage, ...]) -> str:
    return few([f"{image.sample_id} ({image.reason})" for image in bad])


def summary(dataset: DataSet) -> str:
    """Return in words how many images are left out, and the first of them; empty if none is."""
    bad = dataset.unreadable
    if not bad:
        return ""
    total = len(bad) + sum(map(len, dataset.parts.values()))
    return f"{len(bad):,} of {plural(total, 'image')} cannot be read and {'is' if len(bad) == 1 else 'are'} left out"


def report(dataset: DataSet, folder: Path | None) -> str:
    """Return one line about the images that are left out, and keep the list of all in a folder; empty if none is.

    Folders that could not be read are named too. A list that is not true any more is replaced or removed; another file
    of its name is put aside, or stays. Without a folder nothing is written.

    Raises
    ------
    BadOption
        The list or the folder is a link.
    """
    path = None
    if folder is not None:
        with contextlib.suppress(CannotWrite, OSError):
            path = _write_list(dataset, folder / FILE)
    lines = []
    if dataset.unreadable:
        listed = f"; all are in {path}" if path else ""
        lines.append(f"{summary(dataset)}: {_named(dataset.unreadable)}{listed}")
    if closed := _closed_folders(dataset):
        lines.append(f"{_count_folders(closed)} cannot be read, images in there are left out: {few(closed)}")
    return "; ".join([*lines, "--strict stops instead"]) if lines else ""


def _count_folders(closed: list[str]) -> str:
    return plural(len(closed), "folder or link", "folders or links")


def _closed_folders(dataset: DataSet) -> list[str]:
    return [f"{abridge(folder.path)}{folder.detail}" for folder in dataset.skipped if folder.reason == CANNOT_BE_READ]


def _write_list(dataset: DataSet, path: Path) -> Path | None:
    if not dataset.unreadable:
        if _is_list(path):
            disk.check_no_links(path, path.parents[1])
            disk.remove(path)
        return None
    rows = ((image.sample_id, image.reason, image.content) for image in dataset.unreadable)
    data = csv_text([_COLUMNS, *rows]).encode()
    disk.check_no_links(path, path.parents[1])
    if path.exists() and not _is_list(path):
        disk.put_aside(path)
    if not path.exists() or read_bytes(path, TABLE) != data:
        disk.make_folder(path.parent)
        disk.publish(path, data, replace=True)
    return path


def _is_list(path: Path) -> bool:
    """Return whether a file begins as the list does: another one of its name is somebody else's."""
    beginning = ",".join(_COLUMNS).encode() + b"\n"
    try:
        return read_beginning(path, TABLE, len(beginning)) == beginning
    except OSError:
        return False


def record_unreadable(verdicts: Verdicts, found: Mapping[str, BadData]) -> None:
    """Note images that turned out to be unreadable, by content, and raise.

    Raises
    ------
    FoundUnreadable
        The bytes of all of them cannot be decoded: the data set has to be loaded again, without them.
    BadData
        Some cannot be read for another reason, such as a disk that fails, which is no verdict about their content.
    """
    verdict_of = {sha256: error for sha256, error in found.items() if isinstance(error, BadImage)}
    for sha256, error in verdict_of.items():
        verdicts.add(sha256, str(error.got))
    verdicts.save()
    others = [error for error in found.values() if not isinstance(error, BadImage)]
    errors = others or list(verdict_of.values())
    kind = BadData if others else FoundUnreadable
    raise kind(
        "an image cannot be read" if len(errors) == 1 else f"{len(errors):,} images cannot be read",
        where=few([f"{error.where} ({error.got})" for error in errors]),
        remedy="finished shards are kept: make them readable, then run extract again"
        if others
        else "run it again: they are left out from now on",
    )


def check_all(dataset: DataSet, verdicts: Verdicts, threads: int) -> None:
    """Decode all images of a data set; raise FoundUnreadable if some cannot be decoded, which are noted.

    For readers that meet an unreadable image in the middle of their work: all others are found in one pass.
    """
    from probeline.data.pixels.loading import open_pixels

    def look(item: tuple[ImageFiles | ImageItems, int]) -> BadImage | None:
        try:
            open_pixels(*item)
        except BadImage as error:
            return error
        except BadData:
            return None  # not about the bytes; named if the image is used
        return None

    items = [(images, row) for images in _encoded(dataset) for row in range(len(images.content))]
    with ThreadPoolExecutor(threads) as pool:
        results = zip(items, pool.map(look, items), strict=True)
        found: dict[str, BadData] = {
            images.content[row]: error for (images, row), error in results if error is not None
        }
    if found:
        record_unreadable(verdicts, found)


def _check_suspects(dataset: DataSet, verdicts: Verdicts) -> None:
    """Decode the suspected images of a data set whose source has not let the verdicts look at them."""
    if not verdicts.suspects:
        return
    from probeline.data.pixels.loading import open_pixels

    for images in _encoded(dataset):
        for row, sha256 in enumerate(images.content):
            if sha256 in verdicts.suspects and verdicts.reason(sha256) is None:
                with contextlib.suppress(BadData):
                    try:
                        open_pixels(images, row)
                    except BadImage as error:
                        verdicts.add(sha256, str(error.got))


def _encoded(dataset: DataSet) -> list[ImageFiles | ImageItems]:
    return [images for images in dataset.images.values() if not isinstance(images, ImageArray)]
