"""Pictures within the page: their very bytes where there is room, else smaller ones."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO

from probeline.disk import read
from probeline.report.page.content import Content, View
from probeline.results.picture import PICTURE_FOLDER

ROOM = 3_000_000
"""Bytes that all pictures of a page may take, so that the page stays below 5 MB."""

_QUALITIES = (85, 70, 50, 30)
"""Of WebP, tried in turn at full size, then at half of it."""


@dataclass(frozen=True)
class Embedded:
    """A picture of the page: where it comes from, what it shows, and the words around it."""

    title: str
    source: str
    alt: str
    caption: str
    width: str
    height: str


def view(content: Content) -> View | None:
    """Return the pictures of the report; None where there are none.

    Raises
    ------
    OSError
        Where a picture's file cannot be read.
    """
    pictures = content.beside.pictures
    if not pictures:
        return None
    share = ROOM // len(pictures) * 3 // 4  # base64 makes four letters of three bytes
    shown = []
    for one in pictures:
        kind, data, size = fitted(read(content.folder / PICTURE_FOLDER / one.png), share)
        source = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
        shown.append(Embedded(one.title, source, one.alt, one.caption, str(size[0]), str(size[1])))
    return {"pictures": shown}


def fitted(png: bytes, room: int) -> tuple[str, bytes, tuple[int, int]]:
    """Return a picture's kind, bytes and size: as it is, or as WebP where it has more than `room` bytes."""
    from PIL import Image

    with Image.open(BytesIO(png)) as image:
        size = image.size
        if len(png) <= room:
            return "png", png, size
        pixels = image.convert("RGB")
    while True:
        for quality in _QUALITIES:
            data = BytesIO()
            pixels.save(data, "WEBP", quality=quality, method=4)
            if len(data.getvalue()) <= room or max(pixels.size) <= 64:
                return "webp", data.getvalue(), size
        pixels = pixels.resize((max(1, pixels.width // 2), max(1, pixels.height // 2)), Image.Resampling.LANCZOS)
