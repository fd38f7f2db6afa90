"""Thumbnails: small copies of images inside records."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Thumbnail:
    """A small copy of an image.

    Attributes
    ----------
    width, height : int
        Pixels.
    webp : str
        A WebP file in base64.
    """

    width: int
    height: int
    webp: str

    @property
    def uri(self) -> str:
        """The image as a data URI."""
        return f"data:image/webp;base64,{self.webp}"
