"""Pictures' files: a PNG, and beside it a sealed record of what it shows and which bytes it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from probeline.disk import make_folder, publish, read, remove
from probeline.identity import PICTURE_VERSION, digest_bytes
from probeline.results import store as sealed
from probeline.results.score_files import slug
from probeline.results.store import Ignored

Kind = Literal["filters", "input", "mistakes"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""In the order in which a report shows them."""


PICTURES = "pictures"
"""The folder of a report that they lie in."""


@dataclass(frozen=True)
class Picture:
    """A picture that was drawn.

    Attributes
    ----------
    kind : {"filters", "input", "mistakes"}
    backbone, weights : str
    of : mapping
        All that it was drawn from, as JSON values: where this is another, so is the picture.
    title, caption, alt : str
        The headline in the picture, what a report says below it, and what it says in its place.
    sha256 : str
        Of the PNG file.
    """

    kind: Kind
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
        return f"{_stem(self.kind, self.backbone)}.png"

    def to_json(self) -> dict[str, Any]:
        """Return the picture's record as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Picture:
        """Return the picture of a record that :meth:`to_json` made.

        Raises
        ------
        TypeError, ValueError
            Where the fields are not those of this version.
        """
        picture = cls(**record)
        if picture.kind not in KINDS:
            raise ValueError(f"no kind of picture: {picture.kind}")
        return picture


def _stem(kind: str, backbone: str) -> str:
    return f"{kind}-{slug(backbone)}"


def _record(folder: Path, kind: str, backbone: str) -> Path:
    return folder / f"{_stem(kind, backbone)}.json"


_PICTURES = sealed.Kind(
    "picture",
    PICTURE_VERSION,
    Picture.from_json,
    lambda folder, picture: _record(folder, picture.kind, picture.backbone),
)


def save_picture(folder: Path, picture: Picture, png: bytes) -> Path:
    """Write a picture into `folder` in place of the one of its kind and backbone, and return the PNG's path.

    Raises
    ------
    CannotWrite
        Where the file system refuses.
    """
    make_folder(folder)
    publish(folder / picture.png, png, replace=True)
    _PICTURES.save(folder, picture)  # last, since it vouches for the PNG
    return folder / picture.png


def find_picture(folder: Path, kind: Kind, backbone: str) -> Picture | Ignored | None:
    """Return the picture of a kind and backbone, None where there is none, or why what is there is not used."""
    return _whole(folder, _PICTURES.find(folder, _record(folder, kind, backbone)))


def load_pictures(folder: Path) -> tuple[list[Picture], list[Ignored]]:
    """Read the record of every picture of `folder`; also return what is no proven record of a whole PNG, and why."""
    paths = (path for kind in KINDS for path in sorted(folder.glob(f"{kind}-*.json")))
    records, ignored = _PICTURES.load(folder, paths)
    found = [_whole(folder, picture) for picture in records]
    ignored += [one for one in found if isinstance(one, Ignored)]
    return [one for one in found if isinstance(one, Picture)], ignored


def remove_picture(folder: Path, kind: Kind, backbone: str) -> None:
    """Remove what there is of a picture.

    Raises
    ------
    CannotWrite
    """
    for suffix in (".json", ".png"):
        path = folder / f"{_stem(kind, backbone)}{suffix}"
        if path.exists():
            remove(path)


def _whole(folder: Path, found: Picture | Ignored | None) -> Picture | Ignored | None:
    """Return a picture whose PNG has the bytes that its record tells; anything else as it is, or why not."""
    if not isinstance(found, Picture):
        return found
    path = folder / found.png
    try:
        whole = digest_bytes(read(path)) == found.sha256
    except OSError as error:
        return Ignored(path, f"cannot be read: {error.strerror}")
    return found if whole else Ignored(path, "is damaged: its bytes are not those its record tells")
