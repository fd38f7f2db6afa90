"""The gallery of errors and the embedding map of a backbone, made from its best exact probe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from probeline.analysis.embedding_map import make_map
from probeline.analysis.gallery import TitleRows, make_gallery
from probeline.analysis.probe_features import ProbeFeatures
from probeline.errors import MissingData
from probeline.options.command_line import command_line
from probeline.results.embedding_map import EmbeddingMap
from probeline.results.gallery import Gallery
from probeline.results.ranking import best_probe, rank_by_validation
from probeline.results.score import Score
from probeline.session import Session


def make_gallery_and_map(
    session: Session, name: str, scores: Sequence[Score], title_rows: TitleRows
) -> list[Gallery | EmbeddingMap]:
    """Return the gallery and the map of a backbone from all of its scores; say which of them cannot be made.

    Raises
    ------
    BadData
        An image cannot be read.
    CannotWrite
    """
    say, probe, rows = session.console.say, best_probe(scores), rank_by_validation(scores)
    if probe is None:
        remedy = command_line(session.settings, "probe", backbones=(name,))
        say(f"pictures: {name}: no gallery and no map, as it has no exact probe yet; run: {remedy}")
        return []
    features = ProbeFeatures(session, probe)
    makers: dict[str, Callable[[], Gallery | EmbeddingMap | None]] = {
        "gallery": partial(make_gallery, session, features, rows, title_rows),
        "map": partial(make_map, session, features, rows[0][0]),
    }
    records: list[Gallery | EmbeddingMap | None] = []
    for kind, make in makers.items():
        try:
            records.append(make())
        except MissingData as error:  # the other pictures do not need this net's features
            say(f"pictures: {name}: no {kind}, as {error}")
    return [record for record in records if record]
