"""``shapes:N``: N drawings of circles and squares of 32 x 32 pixels, every second one a square."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from probeline.data.source import LoadRequest
from probeline.errors import BadOption
from probeline.identity import digest_bytes
from probeline.images import ImageArray
from probeline.types import DataSet, Part

SPEC = "shapes:N"

SIDE = 32


def load(argument: str, request: LoadRequest) -> DataSet:
    """Return the data set of N drawings, the same ones each time."""
    if not argument.isdecimal() or int(argument) < 10:
        raise BadOption("bad number of shapes", expected="shapes:N, N at least 10", got=argument)
    pixels = np.stack([_draw(number) for number in range(int(argument))])
    labels = np.arange(len(pixels)) % 2
    rows = request.subset.rows(labels, classes=2)
    name = request.subset.name("shapes")
    part = Part(
        dataset=name,
        name="all",
        sample_ids=tuple(f"all/{row}" for row in rows),
        content=tuple(digest_bytes(pixels[row].tobytes()) for row in rows),
        labels=labels[rows],
        class_names=("circle", "square"),
    )
    images = {"all": ImageArray(pixels[rows])}
    return DataSet(name, {"all": part}, images, part.class_names, train="all", test="all")


def _draw(number: int) -> np.ndarray:
    rng = np.random.default_rng(number)
    image = Image.fromarray(rng.integers(0, 60, (SIDE, SIDE, 3), dtype=np.uint8))
    left, top = rng.integers(1, 14, 2).tolist()
    size = int(rng.integers(12, 17))
    colour = tuple(rng.integers(120, 256, 3).tolist())
    draw = ImageDraw.Draw(image)
    shape = draw.rectangle if number % 2 else draw.ellipse
    shape((left, top, left + size, top + size), fill=colour)
    return np.asarray(image)
