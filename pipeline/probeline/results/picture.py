"""Pictures: a PNG file, and next to it the record of what it shows and which bytes it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from probeline.disk import path_name
from probeline.identity import PICTURE_VERSION
from probeline.results.store import Attachment, RecordKind

PictureKind = Literal["filters", "input", "mistakes"]
PICTURE_KINDS: tuple[PictureKind, ...] = get_args(PictureKind)
"""In the order in which a report shows them."""

PICTURE_FOLDER = "pictures"
"""The subfolder of a report that holds them, and the records of galleries and maps."""


@dataclass(frozen=True)
class Picture:
    """A picture of a report.

    Attributes
    ----------
    kind : {"filters", "input", "mistakes"}
    backbone, weights : str
    of : mapping
        Everything that it was drawn from, as JSON values: if this changes, the picture is outdated.
    title, caption, alt : str
        The headline in the picture, the text below it, and its alternative text.
    sha256 : str
        Of the PNG file.
    """

    kind: PictureKind
    backbone: str
    weights: str
    of: Mapping[str, Any]
    title: str
    caption: str
    alt: str
    sha256: str

    @property
    def png(self) -> str:
        """The name of the PNG file."""
        return f"{self.kind}-{path_name(self.backbone, portable=True)}.png"


def _file_name(kind: PictureKind, backbone: str) -> str:
    return f"{PICTURE_FOLDER}/{kind}-{path_name(backbone, portable=True)}.json"


PICTURES = RecordKind(
    "picture",
    PICTURE_VERSION,
    Picture,
    _file_name,
    tuple(f"{PICTURE_FOLDER}/{kind}-*.json" for kind in PICTURE_KINDS),
    attachment=Attachment(".png", lambda picture: picture.sha256),
)
