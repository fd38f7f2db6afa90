"""Maps: where the embeddings of the test images lie, in two principal components and, where asked for, by t-SNE."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from probeline.analysis.map_content import MAX_POINTS, map_text, pca_projection, tsne_projection
from probeline.analysis.probe_features import Embedded
from probeline.analysis.projections import project_pca, project_tsne
from probeline.data.sampling.stratified import sample
from probeline.errors import BadData
from probeline.evaluate.requests import reuse
from probeline.names import describe_tap
from probeline.results.embedding_map import MAPS, EmbeddingMap, map_of
from probeline.results.methods import method_info
from probeline.results.score import Score
from probeline.session import Session
from probeline.types import FloatArray

_PURPOSE = 50
"""Of the sample of test images."""

_PERPLEXITY = 30.0
"""As van der Maaten and Hinton 2008 have it between 5 and 50; of few images a third of them."""

_FEWEST = 4
"""Images that t-SNE makes sense of: a perplexity of 1."""

_SEED = 0


def check_map(session: Session) -> None:
    """Refuse a t-SNE of next to no images.

    Raises
    ------
    BadData
    """
    count = len(session.splits.test)
    if session.settings.pictures.map == "tsne" and count < _FEWEST:
        raise BadData(
            "too few test images for --map tsne",
            where=session.dataset.name,
            expected=f"{_FEWEST} or more",
            got=count,
            remedy="leave --map out",
        )


def embedding_map(session: Session, embedded: Embedded, judge: Score) -> EmbeddingMap:
    """Return the map of a backbone, made where it is not there yet with all that is asked for.

    Parameters
    ----------
    session : Session
    embedded : Embedded
        Of the exact probe that val prefers.
    judge : Score
        Of the row that val prefers, whose mistakes are told.

    Raises
    ------
    MissingData
        It is yet to be made, and the embeddings are not at hand.
    CannotWrite
    """
    probe, of = embedded.score, map_of(judge, embedded.score)
    title = f"pictures: {session.dataset.name} x {probe.backbone}"
    there = MAPS.find(session.reports, probe.backbone)
    if isinstance(there, EmbeddingMap) and (there.of != of or session.settings.pictures.map not in there.methods):
        there = None
    told = f"{title}: {MAPS.path(session.reports, probe.backbone).name} is there"
    if kept := reuse(session, there, session.reports / "pictures", title, told):
        return kept
    made = _made(session, embedded, judge)
    path = MAPS.save(session.reports, made)
    session.console.say(f"{title}: written to {path}")
    return made


def _made(session: Session, embedded: Embedded, judge: Score) -> EmbeddingMap:
    probe, splits, plain = embedded.score, session.splits, embedded.plain
    truth = np.array(probe.labels, np.int64)
    places = sample(truth, MAX_POINTS, splits.data_seed, _PURPOSE)
    shown = plain.X_heldout[places]
    xy, explained = project_pca(plain.X, shown)
    planes = [pca_projection(_rounded(xy), explained)]
    if session.settings.pictures.map == "tsne":
        perplexity = min(_PERPLEXITY, (len(shown) - 1) / 3)
        xy, divergence = project_tsne(shown, perplexity, _SEED)
        planes.append(tsne_projection(_rounded(xy), round(perplexity, 3), _SEED, round(divergence, 4)))
    part = session.dataset.parts[splits.test.part]
    rows = splits.test.rows[places].tolist()
    predicted = tuple(judge.predictions[place] for place in places.tolist())
    labels = tuple(truth[places].tolist())
    wrong = sum(true != said for true, said in zip(labels, predicted, strict=True))
    text = map_text(judge, probe, len(rows), wrong, splits.data_seed, planes)
    return EmbeddingMap(
        backbone=probe.backbone,
        weights=probe.weights,
        of=map_of(judge, probe),
        tap=probe.tap,
        n_test=probe.n_test,
        part=part.name,
        class_names=session.dataset.class_names,
        rows=tuple(rows),
        sample_ids=tuple(part.sample_ids[row] for row in rows),
        labels=labels,
        predicted=predicted,
        judge=", ".join(filter(None, (method_info(judge.method).title, describe_tap(judge.tap, judge.views)))),
        planes=tuple(planes),
        title=text.title,
        caption=text.caption,
        alt=text.alt,
    )


def _rounded(xy: FloatArray) -> Sequence[tuple[float, float]]:
    """Return points to a ten-thousandth of their range or better, which is more than a plot can show."""
    span = float(np.abs(xy).max())
    places = 5 - int(np.ceil(np.log10(span))) if span > 0 else 0
    return [(round(x, places), round(y, places)) for x, y in xy.astype(np.float64).tolist()]
