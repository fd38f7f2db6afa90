"""Predictions of any number of images, one line per image as they come."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probeline.data.sources.folder import EXTENSIONS, list_images
from probeline.errors import BadData
from probeline.options.settings import Settings

if TYPE_CHECKING:
    from probeline.export.predictor import Predictions, Predictor

PIPED = "-"
"""The word that stands for the lines of standard input."""


def predict_images(settings: Settings, predictor: Predictor, title: str) -> dict[str, Any]:
    """Print the prediction of each image of the words, and return how many there were and how many are unlike training.

    A word is the path of an image, a folder, whose images are predicted, those below it too, or ``-`` for paths that
    are piped in, one per line.

    Raises
    ------
    BadData
        Images that could not be read, when all others have been predicted.
    """
    is_piped = PIPED in settings.words
    words = settings.words if is_piped else tuple(paths(settings.words))
    lines = _FORMATS[settings.predict.format](settings, predictor)
    for line in lines.head():
        settings.console.result(line)
    good, bad, unlike = 0, 0, 0
    images: Iterator[str | None] = _with_piped(words, settings.console.piped()) if is_piped else iter(words)
    total = None if is_piped else len(words)
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
                settings.console.warn(str(prediction))
            else:
                good += 1
                unlike += int(prediction.unlike[0])
                settings.console.result(lines.line(path, prediction))
            bar.update(1)
    if bad:
        raise BadData(f"{bad:,} of {good + bad:,} images could not be read (see above)")
    return {"images": good, "unlike": unlike if predictor.knows_unlike else None}


def paths(words: Iterable[str]) -> Iterator[str]:
    """Yield the words, those that are folders as the images below them in the order of their names.

    Raises
    ------
    BadData
        A folder without any, or one that cannot be read.
    """
    for word in words:
        if not Path(word).is_dir():
            yield word
            continue
        within = [str(path) for path in list_images(Path(word))]
        if not within:
            raise BadData("no image in this folder", where=word, expected=", ".join(sorted(EXTENSIONS)))
        yield from within


def _with_piped(words: Iterable[str], piped: Iterable[str | None]) -> Iterator[str | None]:
    """Yield the images of the words; what is piped in stands for itself, as whoever lists paths lists files too."""
    for word in words:
        yield from (line for line in piped if line != "") if word == PIPED else paths([word])


def _shown(name: str) -> str:
    """Return a name as one line of a terminal may show it."""
    return name if name.isprintable() else ascii(name)


class _Table:
    """For people: class, probability and flag in columns, then the image, the next classes and the nearest images."""

    def __init__(self, settings: Settings, predictor: Predictor) -> None:
        self._top = settings.predict.top_k
        self._width = max(5, *(len(_shown(name)) for name in predictor.class_names))

    def head(self) -> list[str]:
        return [f"{'class':{self._width}}  {'prob.':>7}  {'':6}  image"]

    def line(self, path: str, prediction: Predictions) -> str:
        (name, share), *others = prediction.top(0, self._top)
        flag = "unlike" if prediction.unlike[0] else ""
        then = ", ".join(f"{_shown(other)} {100 * chance:.1f} %" for other, chance in others)
        near = ", ".join(f"{_shown(one.sample_id)} ({one.distance:.2f})" for one in prediction.neighbours[0])
        rest = (f"; then {then}" if then else "") + (f"; near {near}" if near else "")
        return f"{_shown(name):{self._width}}  {100 * share:5.1f} %  {flag:6}  {_shown(path)}{rest}"


class _Csv:
    """For spreadsheets: a column for each of the likeliest classes and of the nearest images."""

    def __init__(self, settings: Settings, predictor: Predictor) -> None:
        self._top = min(settings.predict.top_k, len(predictor.class_names))
        self._nearest = settings.predict.nearest if predictor.artifact.neighbours else 0

    def head(self) -> list[str]:
        columns = ["image", "class", "probability", "unlike", "distance"]
        columns += [f"{name}_{i}" for i in range(2, self._top + 1) for name in ("class", "probability")]
        columns += [f"{name}_{i}" for i in range(1, self._nearest + 1) for name in ("nearest", "nearest_distance")]
        return [_row(columns)]

    def line(self, path: str, prediction: Predictions) -> str:
        (name, share), *others = prediction.top(0, self._top)
        near = [part for one in prediction.neighbours[0] for part in (one.sample_id, f"{one.distance:.6f}")]
        near += [""] * (2 * self._nearest - len(near))
        known = not math.isnan(prediction.distances[0])
        flag = [str(bool(prediction.unlike[0])).lower(), f"{prediction.distances[0]:.6f}"] if known else ["", ""]
        rest = [part for other, chance in others for part in (other, f"{chance:.6f}")]
        return _row([path, name, f"{share:.6f}", *flag, *rest, *near])


def _row(cells: Iterable[str]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="").writerow(cells)
    return stream.getvalue()


class _JsonLines:
    """For programs: one JSON object a line."""

    def __init__(self, settings: Settings, predictor: Predictor) -> None:  # noqa: ARG002
        self._top = settings.predict.top_k

    def head(self) -> list[str]:
        return []

    def line(self, path: str, prediction: Predictions) -> str:
        top = [{"class": name, "probability": share} for name, share in prediction.top(0, self._top)]
        known = not math.isnan(prediction.distances[0])
        return json.dumps(
            {
                "image": path,
                **top[0],
                "top": top,
                "unlike": bool(prediction.unlike[0]) if known else None,
                "distance": float(prediction.distances[0]) if known else None,
                "nearest": [vars(one) for one in prediction.neighbours[0]],
            }
        )


_FORMATS: dict[str, type[_Table | _Csv | _JsonLines]] = {"table": _Table, "csv": _Csv, "jsonl": _JsonLines}
