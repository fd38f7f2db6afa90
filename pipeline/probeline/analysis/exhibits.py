"""What `pictures` makes of the exact probe that val prefers: a gallery of mistakes and a map of the embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from probeline.analysis.embedding_map import embedding_map
from probeline.analysis.gallery import TitleRows, gallery
from probeline.analysis.probe_features import Embedded
from probeline.errors import MissingData
from probeline.options.command_line import command_line
from probeline.results.embedding_map import EmbeddingMap
from probeline.results.gallery import Gallery
from probeline.results.ranking import best_probe, rank_by_validation
from probeline.results.score import Score
from probeline.session import Session


def exhibits(
    session: Session, name: str, scores: Sequence[Score], title_rows: TitleRows
) -> dict[str, Gallery | EmbeddingMap]:
    """Return the gallery and the map of a backbone, each made where it is not there yet; say which cannot be.

    Raises
    ------
    BadData
        An image that cannot be read.
    CannotWrite
    """
    say = session.console.say
    probe, rows = best_probe(scores), rank_by_validation(scores)
    if probe is None:
        remedy = command_line(session.settings, "probe", backbones=(name,))
        say(f"pictures: {name}: no gallery and no map, as it has no exact probe yet; run: {remedy}")
        return {}
    embedded = Embedded(session, probe)
    makers: dict[str, Callable[[], Gallery | EmbeddingMap | None]] = {
        "gallery": partial(gallery, session, embedded, rows, title_rows),
        "map": partial(embedding_map, session, embedded, rows[0][0]),
    }
    made: dict[str, Gallery | EmbeddingMap] = {}
    for kind, make in makers.items():
        try:
            found = make()
        except MissingData as error:  # the cache is no longer here: the pictures that do without it stay
            say(f"pictures: {name}: no {kind}, as {error}")
        else:
            made |= {} if found is None else {kind: found}
    return made
