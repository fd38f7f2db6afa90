"""Pictures: first filters, the input of a net, and errors."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from probeline.disk import read
from probeline.format import escape
from probeline.report.model.content import ReportContent
from probeline.report.sections.section import DATA, Section, View
from probeline.results.picture import PICTURE_FOLDER

MAX_BYTES = 3_000_000
"""Of all pictures of a page, so that the page stays below 5 MB."""

_QUALITIES = (85, 70, 50, 30)
"""Of WebP, tried in this order at full size, then at half of it."""

_FACTS = ("kind", "backbone", "weights", "title", "caption", "alt", "sha256")
"""Of a picture, in report.json; what it was drawn from is in its own record."""


@dataclass(frozen=True)
class EmbeddedPicture:
    """A picture of the page: its source, text and size."""

    title: str
    source: str
    alt: str
    caption: str
    width: str
    height: str


class Pictures(Section):
    name, title, group = "pictures", "Pictures", DATA

    def markdown(self, content: ReportContent) -> str | None:
        pictures = (
            f"![{escape(picture.alt)}]({PICTURE_FOLDER}/{picture.png})\n\n{escape(picture.caption)}"
            for picture in content.pictures
        )
        return "\n\n".join(pictures) or None

    def view(self, content: ReportContent) -> View | None:
        pictures = content.pictures
        if not pictures:
            return None
        room = MAX_BYTES // len(pictures) * 3 // 4  # base64 makes four letters of three bytes
        embedded = []
        for picture in pictures:
            kind, data, size = fit_picture(read(content.folder / PICTURE_FOLDER / picture.png), room)
            source = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
            width, height = map(str, size)
            embedded.append(EmbeddedPicture(picture.title, source, picture.alt, picture.caption, width, height))
        return View("pictures.html", {"pictures": embedded})

    def record(self, content: ReportContent) -> Mapping[str, Any]:
        return {
            "pictures": [
                {**{name: getattr(picture, name) for name in _FACTS}, "file": f"{PICTURE_FOLDER}/{picture.png}"}
                for picture in content.pictures
            ]
        }


def fit_picture(png: bytes, room: int) -> tuple[str, bytes, tuple[int, int]]:
    """Return a picture's format, bytes and size: unchanged, or as WebP if it has more than `room` bytes."""
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
