"""Galleries: the images that most rows of a backbone have wrong, and the train images nearest to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from probeline.analysis.gallery_content import (
    MAX_BYTES,
    NEIGHBOURS,
    SharedErrors,
    count_shared_errors,
    gallery_text,
)
from probeline.analysis.probe_features import Embedded
from probeline.analysis.thumbnails import make_thumbnails
from probeline.evaluate.requests import reuse
from probeline.heads.neighbours import nearest
from probeline.identity import canonical
from probeline.results.decode import encode
from probeline.results.gallery import GALLERIES, Gallery, GalleryRow, Misclassified, NearestTrainImage, gallery_of
from probeline.results.score import Score
from probeline.session import Session
from probeline.types import Split

TitleRows = Callable[[Sequence[Score]], Mapping[str, str]]
"""Returns the titles of the rows of some scores, by the key of each row's first score."""


def gallery(
    session: Session, embedded: Embedded, rows: Sequence[Sequence[Score]], title_rows: TitleRows
) -> Gallery | None:
    """Return the gallery of a backbone, made where it is not there yet; None where no image is wrong in any row.

    Parameters
    ----------
    session : Session
    embedded : Embedded
        Of the exact probe that val prefers.
    rows : sequence of sequences of Score
        All rows of the backbone, that of the probe among them, ranked by val.
    title_rows : callable
        See `TitleRows`; called only if the gallery is missing or outdated.

    Raises
    ------
    MissingData
        It is yet to be made, and the embeddings are not at hand.
    BadData
        An image that cannot be read.
    CannotWrite
    """
    score, shared = embedded.score, count_shared_errors(rows)
    title = f"pictures: {session.dataset.name} x {score.backbone}"
    if not len(shared.errors):
        GALLERIES.remove(session.reports, score.backbone)
        session.console.say(f"{title}: no gallery, as every row has every test image right")
        return None
    of, there = gallery_of(rows, score), GALLERIES.find(session.reports, score.backbone)
    if isinstance(there, Gallery) and there.of != of:
        there = None
    told = f"{title}: {GALLERIES.path(session.reports, score.backbone).name} is there"
    if kept := reuse(session, there, session.reports / "pictures", title, told):
        return kept
    made = _made(session, embedded, rows, shared, title_rows([one for row in rows for one in row]))
    names = [name for one in made.images for name in (one.name, *(near.name for near in one.neighbours))]
    room = MAX_BYTES - len(canonical(encode(made)))
    made = replace(made, thumbnails=make_thumbnails(session.dataset, names, room))
    path = GALLERIES.save(session.reports, made)
    session.console.say(f"{title}: written to {path}, {path.stat().st_size:,} bytes")
    return made


def _made(
    session: Session,
    embedded: Embedded,
    rows: Sequence[Sequence[Score]],
    shared: SharedErrors,
    titles: Mapping[str, str],
) -> Gallery:
    """Return a gallery without thumbnails."""
    score, splits = embedded.score, session.splits
    firsts = [row[0] for row in rows]
    places = shared.shown
    plain, refit = embedded.plain, embedded.refit
    k = min(NEIGHBOURS, len(plain.X))
    near, cosines = nearest(plain.X, plain.X_heldout[places], k)
    names, test = session.dataset.class_names, session.dataset.parts[splits.test.part]
    train = session.dataset.parts[splits.train.part]

    def neighbour(place: int, cosine: float) -> NearestTrainImage:
        row = int(splits.train.rows[place])
        return NearestTrainImage(
            _name(splits.train, place), train.sample_ids[row], names[train.labels[row]], round(cosine, 4)
        )

    images = []
    for place, beside, closeness in zip(places.tolist(), near.tolist(), cosines.tolist(), strict=True):
        true, sure = score.labels[place], refit.chances[place]
        told = [round(float(chance), 6) for chance in (sure[score.predictions[place]], sure[true])]
        images.append(
            Misclassified(
                name=_name(splits.test, place),
                sample_id=test.sample_ids[int(splits.test.rows[place])],
                true=names[true],
                predicted=tuple(names[one.predictions[place]] for one in firsts),
                wrong=int(shared.counts[place]),
                chance=told[0] if refit.facts["held"] else None,
                true_chance=told[1] if refit.facts["held"] else None,
                neighbours=tuple(map(neighbour, beside, closeness)),
            )
        )
    title, caption = gallery_text(score, shared, len(rows), refit.facts, k)
    return Gallery(
        backbone=score.backbone,
        weights=score.weights,
        of=gallery_of(rows, score),
        rows=tuple(GalleryRow(one.key, one.method, titles[one.key]) for one in firsts),
        probe=[one.key for one in firsts].index(score.key),
        tap=score.tap,
        refit=refit.facts,
        n_test=len(shared.counts),
        wrong=len(shared.errors),
        shared=int((shared.counts == len(rows)).sum()),
        images=tuple(images),
        thumbnails={},
        title=title,
        caption=caption,
    )


def _name(split: Split, place: int) -> str:
    return f"{split.part}:{split.rows[place]}"
