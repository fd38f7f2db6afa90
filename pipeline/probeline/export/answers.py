"""A predictor's word on images of any number, one line an image as it comes."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probeline.data.sources.folder import EXTENSIONS, images_below
from probeline.errors import BadData
from probeline.options.settings import Settings

if TYPE_CHECKING:
    from probeline.export.predictor import Predictions, Predictor

PIPED = "-"
"""The word that stands for the lines of standard input."""


def answered(settings: Settings, predictor: Predictor, title: str) -> dict[str, Any]:
    """Say what is in each image of the run's words, and return how many there were and how many the predictor flagged.

    A word is an image's path, a folder whose images are meant, those below it too, or ``-`` for the paths that are
    piped in, one a line.

    Raises
    ------
    BadData
        Images that could not be answered, when all others have been.
    """
    asked = settings.words if PIPED in settings.words else tuple(paths(settings.words))
    lines = _FORMATS[settings.predict.format](settings, predictor)
    for line in lines.head():
        settings.console.say(line)
    good, refused, unlike = 0, 0, 0
    every: Iterator[str | None] = _with_piped(asked, settings.console.piped()) if PIPED in asked else iter(asked)
    total = None if PIPED in asked else len(asked)
    with settings.console.bar(f"predict: {title}", total, "img") as bar:
        stream = predictor.stream(
            every,
            nearest=settings.predict.nearest,
            batch_size=settings.compute.batch_size,
            workers=settings.compute.workers,
        )
        for path, found in stream:
            if isinstance(found, BadData):
                refused += 1
                settings.console.warn(str(found))
            else:
                good += 1
                unlike += int(found.unlike[0])
                settings.console.say(lines.line(path, found))
            bar.update(1)
    if refused:
        raise BadData(
            f"{refused:,} of {good + refused:,} images cannot be answered",
            where="named above",
            remedy="the others are",
        )
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
        within = [str(path) for path in images_below(Path(word))]
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

    def line(self, path: str, found: Predictions) -> str:
        (name, share), *others = found.top(0, self._top)
        flag = "unlike" if found.unlike[0] else ""
        then = ", ".join(f"{_shown(other)} {100 * chance:.1f} %" for other, chance in others)
        near = ", ".join(f"{_shown(one.sample_id)} ({one.distance:.2f})" for one in found.neighbours[0])
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

    def line(self, path: str, found: Predictions) -> str:
        (name, share), *others = found.top(0, self._top)
        near = [part for one in found.neighbours[0] for part in (one.sample_id, f"{one.distance:.6f}")]
        near += [""] * (2 * self._nearest - len(near))
        known = not math.isnan(found.distances[0])
        flag = [str(bool(found.unlike[0])).lower(), f"{found.distances[0]:.6f}"] if known else ["", ""]
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

    def line(self, path: str, found: Predictions) -> str:
        top = [{"class": name, "probability": share} for name, share in found.top(0, self._top)]
        known = not math.isnan(found.distances[0])
        return json.dumps(
            {
                "image": path,
                **top[0],
                "top": top,
                "unlike": bool(found.unlike[0]) if known else None,
                "distance": float(found.distances[0]) if known else None,
                "nearest": [vars(one) for one in found.neighbours[0]],
            }
        )


_FORMATS: dict[str, type[_Table | _Csv | _JsonLines]] = {"table": _Table, "csv": _Csv, "jsonl": _JsonLines}
