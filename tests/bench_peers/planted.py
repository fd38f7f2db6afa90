"""Errors that are planted in images whose labels are right: wrong labels, and copies of the same shot."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

IntArray = npt.NDArray[np.int64]
PixelArray = npt.NDArray[np.uint8]

KINDS = ("jpeg", "mirrored", "shifted", "brightness")
"""JPEG at quality 60; the mirror image; 1 to 3 pixels along each axis; a factor of 0.7 or 1.3."""

QUALITY, MOST_PIXELS, FACTORS = 60, 3, (0.7, 1.3)


@dataclass(frozen=True)
class PlantedCopy:
    """A copy of an image, of which only a file is written."""

    original: int
    kind: str


def flip_labels(labels: IntArray, classes: int, share: float, seed: int) -> IntArray:
    """Return the labels with this share of them changed, each to another class that is uniformly random."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(labels), round(share * len(labels)), replace=False)
    flipped = labels.copy()
    flipped[rows] = (labels[rows] + rng.integers(1, classes, len(rows))) % classes
    return flipped


def plan_copies(count: int, per_kind: int, seed: int) -> list[PlantedCopy]:
    """Return so many copies of each kind, all of different images."""
    rows = np.random.default_rng(seed).choice(count, per_kind * len(KINDS), replace=False)
    return [PlantedCopy(int(row), KINDS[number % len(KINDS)]) for number, row in enumerate(rows)]


def make_copy(pixels: PixelArray, kind: str, rng: np.random.Generator) -> tuple[bytes, str]:
    """Return the file of a copy of uint8 [S, S, 3], and its suffix."""
    if kind == "jpeg":
        return _encode(pixels, "JPEG", quality=QUALITY), ".jpg"
    return _encode(_change(pixels, kind, rng), "PNG"), ".png"


def _change(pixels: PixelArray, kind: str, rng: np.random.Generator) -> PixelArray:
    if kind == "mirrored":
        return np.ascontiguousarray(pixels[:, ::-1])
    if kind == "shifted":
        down, right = rng.integers(1, MOST_PIXELS + 1, 2) * rng.choice([-1, 1], 2)
        padded = np.pad(pixels, ((MOST_PIXELS, MOST_PIXELS), (MOST_PIXELS, MOST_PIXELS), (0, 0)), mode="edge")
        height, width = pixels.shape[:2]
        return padded[MOST_PIXELS + down :, MOST_PIXELS + right :][:height, :width]
    if kind == "brightness":
        return np.clip(np.round(pixels * rng.choice(FACTORS)), 0, 255).astype(np.uint8)
    raise ValueError(f"no kind of copy: {kind}")


def _encode(pixels: PixelArray, form: str, **options: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form, **options)
    return stream.getvalue()


def write_planted(
    folder: Path, images: PixelArray, labels: IntArray, names: Sequence[str], share: float, per_kind: int, seed: int
) -> None:
    """Write the images, copies of some of them, and two tables.

    ``flipped.csv`` lists the images with some labels changed; ``copies.csv`` the images and the copies, all with the
    labels of the originals, and of a copy its ``original`` and ``kind``. Both say the label that is right as ``truth``.
    """
    (folder / "images").mkdir(parents=True)
    for number, pixels in enumerate(images):
        (folder / "images" / _name(number)).write_bytes(_encode(pixels, "PNG"))
    flipped = flip_labels(labels, len(names), share, seed)
    rows = [(_name(i), names[flipped[i]], names[labels[i]]) for i in range(len(images))]
    _write_table(folder / "flipped.csv", ("path", "label", "truth"), rows)
    copies = [(_name(i), names[label], "", "") for i, label in enumerate(labels)]
    copies += _write_copies(folder / "images", images, [names[label] for label in labels], per_kind, seed)
    _write_table(folder / "copies.csv", ("path", "label", "original", "kind"), copies)


def _write_copies(
    folder: Path, images: PixelArray, labels: Sequence[str], per_kind: int, seed: int
) -> Iterator[tuple[str, str, str, str]]:
    rng = np.random.default_rng(seed)
    for number, copy in enumerate(plan_copies(len(images), per_kind, seed)):
        content, suffix = make_copy(images[copy.original], copy.kind, rng)
        name = f"copy{number:05d}{suffix}"
        (folder / name).write_bytes(content)
        yield name, labels[copy.original], _name(copy.original), copy.kind


def _name(number: int) -> str:
    return f"image{number:05d}.png"


def _write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def judge_rows(flagged: Sequence[int], ranked: Sequence[int], wrong: Sequence[int]) -> dict[str, float]:
    """Return recall and precision of flagged rows, and the share of wrong ones among as many that rank first.

    `ranked` are rows in order, the most suspect first, at least as many as there are `wrong` ones, or all that the
    contender ranks: what it does not rank counts as not found.
    """
    truth, found = set(wrong), set(flagged)
    hits = len(truth & found)
    return {
        "planted": len(truth),
        "flagged": len(found),
        "recall": hits / len(truth),
        "precision": hits / len(found) if found else 0.0,
        "precision_at_planted": len(truth & set(ranked[: len(truth)])) / len(truth),
    }


def judge_pairs(pairs: Sequence[tuple[str, str]], table: Sequence[dict[str, str]]) -> dict[str, float]:
    """Return how many planted pairs were found, in all and by kind, and how many pairs were not planted.

    Two copies of one original would be a planted pair as well, but no image has two.
    """
    planted = {frozenset((row["path"], row["original"])): row["kind"] for row in table if row["original"]}
    found = {frozenset(pair) for pair in pairs if pair[0] != pair[1]}
    hits = [kind for pair, kind in planted.items() if pair in found]
    kinds = list(planted.values())
    return {
        "planted": len(planted),
        "pairs": len(found),
        "recall": len(hits) / len(planted),
        **{f"recall_{kind}": hits.count(kind) / kinds.count(kind) for kind in dict.fromkeys(kinds)},
        "precision": len(hits) / len(found) if found else 0.0,
        "not_planted": len(found) - len(hits),
    }
