"""Predictions of any number of images, one line per image as they come."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probeline.data.folders.contents import EXTENSIONS
from probeline.data.folders.walk import list_images
from probeline.data.registry import count_skipped
from probeline.errors import BadData
from probeline.files.reading import is_folder
from probeline.format import listing, plural
from probeline.options.settings import Settings
from probeline.text import csv_text, json_text, printable
from probeline.types import CANNOT_BE_READ, Skipped

if TYPE_CHECKING:
    from probeline.export.predictor import Predictions, Predictor

Lines = tuple[str, Callable[[str, "Predictions"], str]]
"""A header, and a function that returns the line of an image."""

PIPED = "-"
"""The word that reads paths from standard input."""


def predict_images(settings: Settings, predictor: Predictor, title: str) -> dict[str, Any]:
    """Print the prediction of each image of the words, and return how many there were and how many are unlike training.

    A word is the path of an image, a folder, whose images are predicted, those below it too, or ``-`` for paths that
    are piped in, one per line.

    Raises
    ------
    BadData
        Images or folders that could not be read, when all others have been predicted.
    """
    is_piped = PIPED in settings.words
    skipped: list[Skipped] = []
    images: Iterable[str | None] = _image_paths(settings.words, settings.console.piped() if is_piped else (), skipped)
    total = None
    if not is_piped:
        images = tuple(images)
        total = len(images)
    header, line_of = FORMATS[settings.predict.format](settings, predictor)
    show = settings.console.result if settings.predict.format == "table" else settings.console.data
    if header:
        show(header)
    good, bad, unlike = 0, 0, 0
    with settings.console.bar(f"predict: {title}", total, "img") as bar:
        stream = predictor.stream(
            images,
            nearest=settings.predict.nearest,
            batch_size=settings.compute.batch_size,
            workers=settings.compute.workers,
        )
        for path, prediction in stream:
            if isinstance(prediction, BadData):
                bad += 1
                settings.console.warn(str(_explained(path, prediction)))
            else:
                good += 1
                unlike += int(prediction.unlike[0])
                show(line_of(path, prediction))
            bar.update(1)
            if not settings.console.has_reader():
                break
    if skipped:
        settings.console.warn(count_skipped(skipped))
    for file in skipped:
        settings.console.detail(f"skipped {file.path}: {file.reason}{file.detail}")
    closed = sum(file.reason == CANNOT_BE_READ for file in skipped)
    if bad or closed:
        counts = [f"{bad:,} of {good + bad:,} images"] * bool(bad) + [
            plural(closed, "folder or link", "folders or links")
        ] * bool(closed)
        raise BadData(f"{listing(counts)} could not be read (see above)")
    return {"images": good, "unlike": unlike if predictor.knows_unlike else None}


def _explained(path: str, error: BadData) -> BadData:
    """Return the error of a path that is no file as one that says what it is instead; any other error as it is."""
    hint = None
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", path):
        hint = "this is an address: download it and give the file"
    elif os.path.lexists(path):
        return error
    elif len(path) > 1 and path[0] == path[-1] and path[0] in "'\"":
        hint = "the quotes are taken for a part of the name: give paths without quotes, one per line"
    elif any(sign in path for sign in "*?["):
        hint = "this is a pattern: leave the quotes away, so that the shell puts the names in its place"
    return error if hint is None else BadData("image cannot be read", where=path, got=error.got, remedy=hint)


def _image_paths(words: Iterable[str], piped: Iterable[str | None], skipped: list[Skipped]) -> Iterator[str | None]:
    """Yield the words; a folder as the images below it in the order of their names, `PIPED` as the piped lines.

    A piped path is never read as a folder, since a list of paths often has folders too. What a folder has but images is
    added to `skipped`.

    Raises
    ------
    BadData
        A folder has no images, or cannot be read.
    """
    for word in words:
        if word == PIPED:
            yield from (line for line in piped if line != "")
        elif not is_folder(Path(word)):
            yield word
        else:
            below = [str(path) for path in list_images(Path(word), skipped)]
            if not below:
                raise BadData("no image in this folder", where=word, expected=", ".join(sorted(EXTENSIONS)))
            yield from below


def _table(settings: Settings, predictor: Predictor) -> Lines:
    """For people: class, probability and flag in columns, then the image, the next classes and the nearest images."""
    width = max(5, *(len(printable(name)) for name in predictor.class_names))

    def line(path: str, prediction: Predictions) -> str:
        (name, probability), *others = prediction.top(0, settings.predict.top_k)
        flag = "unlike" if prediction.unlike[0] else ""
        then = ", ".join(f"{other} {100 * chance:.1f} %" for other, chance in others)
        near = ", ".join(f"{image.sample_id} ({image.distance:.2f})" for image in prediction.neighbours[0])
        rest = (f"; then {then}" if then else "") + (f"; near {near}" if near else "")
        return f"{printable(name):{width}}  {100 * probability:5.1f} %  {flag:6}  {path}{rest}"

    return f"{'class':{width}}  {'prob.':>7}  {'':6}  image", line


def _csv(settings: Settings, predictor: Predictor) -> Lines:
    """For spreadsheets: a column for each of the likeliest classes and of the nearest images."""
    top = min(settings.predict.top_k, len(predictor.class_names))
    nearest = settings.predict.nearest if predictor.knows_unlike else 0
    columns = ["image", "class", "probability", "unlike", "distance"]
    columns += [f"{name}_{i}" for i in range(2, top + 1) for name in ("class", "probability")]
    columns += [f"{name}_{i}" for i in range(1, nearest + 1) for name in ("nearest", "nearest_distance")]

    def line(path: str, prediction: Predictions) -> str:
        (name, probability), *others = prediction.top(0, top)
        near = [cell for image in prediction.neighbours[0] for cell in (image.sample_id, f"{image.distance:.6f}")]
        near += [""] * (2 * nearest - len(near))
        flag = ["", ""]
        if predictor.knows_unlike:
            flag = [str(bool(prediction.unlike[0])).lower(), f"{prediction.distances[0]:.6f}"]
        rest = [cell for other, chance in others for cell in (other, f"{chance:.6f}")]
        return _csv_row([path, name, f"{probability:.6f}", *flag, *rest, *near])

    return _csv_row(columns), line


def _csv_row(cells: Iterable[str]) -> str:
    return csv_text([cells]).removesuffix("\n")


def _json_lines(settings: Settings, predictor: Predictor) -> Lines:
    """For programs: one JSON object per line."""

    def line(path: str, prediction: Predictions) -> str:
        top = [{"class": name, "probability": value} for name, value in prediction.top(0, settings.predict.top_k)]
        return json_text(
            {
                "image": path,
                **top[0],
                "top": top,
                "unlike": bool(prediction.unlike[0]) if predictor.knows_unlike else None,
                "distance": float(prediction.distances[0]) if predictor.knows_unlike else None,
                "nearest": [vars(image) for image in prediction.neighbours[0]],
            },
        )

    return "", line


FORMATS: dict[str, Callable[[Settings, Predictor], Lines]] = {"table": _table, "csv": _csv, "jsonl": _json_lines}
