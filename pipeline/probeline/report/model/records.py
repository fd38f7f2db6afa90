"""What `pictures` left: the records that are whole and of the scores at hand, and how to make the others anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from probeline.options.command_line import command_line
from probeline.results.embedding_map import MAPS, EmbeddingMap, outdated_map
from probeline.results.gallery import GALLERIES, Gallery, outdated_gallery
from probeline.results.picture import PICTURE_KINDS, PICTURES, Picture, outdated_picture
from probeline.results.score import Score
from probeline.results.store import SkippedFile
from probeline.session import Session

_Record = TypeVar("_Record", Picture, Gallery, EmbeddingMap)


@dataclass(frozen=True)
class Drawn:
    """What is shown of `pictures`.

    Attributes
    ----------
    pictures : list of Picture
    galleries : list of Gallery
    maps : list of EmbeddingMap
        Each by backbone.
    missing : list of (str, str)
        For each file that is left out which it is and why, and the command that makes it anew.
    """

    pictures: list[Picture]
    galleries: list[Gallery]
    maps: list[EmbeddingMap]
    missing: list[tuple[str, str]]


def drawn(session: Session, scores: Sequence[Score]) -> Drawn:
    """Return what there is of these scores; no image and no embedding is read."""
    missing: list[tuple[str, str]] = []

    def kept(found: Sequence[tuple[_Record, str, str | None]], ignored: Sequence[SkippedFile]) -> list[_Record]:
        again = command_line(session.settings, "pictures")
        missing.extend((f"{item.path.name}, which {item.reason}", again) for item in ignored)
        missing.extend((f"{file}, as {reason}", _again(session, one)) for one, file, reason in found if reason)
        return [one for one, _, reason in found if not reason]

    pictures, bad = PICTURES.load(session.reports)
    shown = kept(
        [(one, one.png, outdated_picture(one, scores, session.dataset, session.splits)) for one in pictures], bad
    )
    galleries, bad = GALLERIES.load(session.reports)
    hung = kept([(one, one.file, outdated_gallery(one, scores)) for one in galleries], bad)
    maps, bad = MAPS.load(session.reports)
    mapped = kept([(one, one.file, outdated_map(one, scores)) for one in maps], bad)
    shown.sort(key=lambda picture: (picture.backbone, PICTURE_KINDS.index(picture.kind)))
    return Drawn(shown, hung, mapped, sorted(missing))


def _again(session: Session, one: Picture | Gallery | EmbeddingMap) -> str:
    """Return the command that makes a record anew, with all that a map was asked for."""
    layout = one.methods[-1] if isinstance(one, EmbeddingMap) else session.settings.pictures.map
    return command_line(session.settings, "pictures", backbones=(one.backbone,), map=layout)
