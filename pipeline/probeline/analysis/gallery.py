"""Galleries: the test images that most rows misclassify, with the nearest train images; made along with the map."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from probeline.analysis.embedding_map import make_map
from probeline.analysis.probe_features import ProbeFeatures
from probeline.analysis.thumbnails import make_thumbnails
from probeline.errors import MissingData
from probeline.evaluate.requests import reuse
from probeline.files.decode import encode
from probeline.format import option
from probeline.heads.neighbours import nearest
from probeline.identity import canonical
from probeline.names import describe_tap
from probeline.options.command_line import command_line
from probeline.results.illustrations.embedding_map import EmbeddingMap
from probeline.results.illustrations.gallery import (
    GALLERIES,
    Gallery,
    GalleryRow,
    Misclassified,
    NearestTrainImage,
    ProbeRefit,
    gallery_of,
)
from probeline.results.ranking import best_probe, rank_by_validation
from probeline.results.score import Score
from probeline.session import Session
from probeline.types import IntArray, Split

MAX_IMAGES = 24

NEIGHBOURS = 3
"""Train images that are shown per test image."""

MAX_BYTES = 1_000_000
"""Of a record: a page holds several."""

TitleRows = Callable[[Sequence[Score]], Mapping[str, str]]
"""Returns the titles of the rows of several scores, by the key of each row's first score."""


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
    records: list[Gallery | EmbeddingMap] = []
    for kind, make in makers.items():
        try:
            if record := make():
                records.append(record)
        except MissingData as error:  # the other pictures do not need this net's features
            say(f"pictures: {name}: no {kind}, as {error}")
    return records


@dataclass(frozen=True)
class SharedErrors:
    """Which test images the rows of a backbone misclassify, as indices into the test split.

    `errors` are all images that any row misclassifies, the most frequent first, then in order. `shown` are the first
    few of those that several rows misclassify, or of all if there are none. `counts` are the rows per test image.
    """

    errors: IntArray
    shown: IntArray
    counts: IntArray


def count_shared_errors(rows: Sequence[Sequence[Score]]) -> SharedErrors:
    """Return the errors of the first seeds of some rows, all on the same test images."""
    labels = np.array(rows[0][0].labels, np.int64)
    counts = np.zeros(len(labels), np.int64)
    for row in rows:
        counts += np.array(row[0].predictions, np.int64) != labels
    order = np.argsort(-counts, kind="stable")
    errors = order[counts[order] > 0]
    by_several = order[counts[order] > 1]
    return SharedErrors(errors, (by_several if len(by_several) else errors)[:MAX_IMAGES], counts)


def make_gallery(
    session: Session, features: ProbeFeatures, rows: Sequence[Sequence[Score]], title_rows: TitleRows
) -> Gallery | None:
    """Return a backbone's gallery, made unless it is up to date; None if no row misclassifies any image.

    `features` are those of the exact probe that is best on validation. `rows` are all rows of the backbone, the best on
    validation first. `title_rows` is called only if the gallery is missing or outdated.

    Raises
    ------
    MissingData
        The probe is of another net than the run's.
    BadData
        An image cannot be read.
    CannotWrite
    """
    probe, shared = features.score, count_shared_errors(rows)
    title = f"pictures: {session.dataset.name} x {probe.backbone}"
    if not len(shared.errors):
        GALLERIES.remove(session.reports, probe.backbone)
        session.console.say(f"{title}: no gallery, as every row predicts all test images correctly")
        return None
    record = GALLERIES.find(session.reports, probe.backbone)
    if isinstance(record, Gallery) and record.of != gallery_of(rows, probe):
        record = None
    message = f"{title}: {GALLERIES.path(session.reports, probe.backbone).name} is up to date, skipped"
    if finished := reuse(session, record, session.reports / "pictures", title, message):
        return finished
    titles = title_rows([score for row in rows for score in row])
    gallery = _without_thumbnails(session, features, rows, shared, titles)
    names = [name for image in gallery.images for name in (image.name, *(near.name for near in image.neighbours))]
    thumbnails = make_thumbnails(session.dataset, names, MAX_BYTES - len(canonical(encode(gallery))))
    gallery = replace(gallery, thumbnails=thumbnails)
    path = GALLERIES.save(session.reports, gallery)
    session.console.say(f"{title}: written to {path}, {path.stat().st_size:,} bytes")
    return gallery


def _without_thumbnails(
    session: Session,
    features: ProbeFeatures,
    rows: Sequence[Sequence[Score]],
    shared: SharedErrors,
    titles: Mapping[str, str],
) -> Gallery:
    probe, splits = features.score, session.splits
    firsts = [row[0] for row in rows]
    fold, (all_probabilities, facts) = features.fold, features.refit
    k = min(NEIGHBOURS, len(fold.X))
    nearest_rows, cosines = nearest(fold.X, fold.X_heldout[shared.shown], k)
    names, test = session.dataset.class_names, session.dataset.parts[splits.test.part]
    train = session.dataset.parts[splits.train.part]

    def neighbour(index: int, cosine: float) -> NearestTrainImage:
        row = int(splits.train.rows[index])
        name = _name(splits.train, index)
        return NearestTrainImage(name, train.sample_ids[row], names[train.labels[row]], round(cosine, 4))

    images = []
    for index, indices, closeness in zip(shared.shown.tolist(), nearest_rows.tolist(), cosines.tolist(), strict=True):
        true, probabilities = probe.labels[index], all_probabilities[index]
        images.append(
            Misclassified(
                name=_name(splits.test, index),
                sample_id=test.sample_ids[int(splits.test.rows[index])],
                true=names[true],
                predicted=tuple(names[score.predictions[index]] for score in firsts),
                wrong=int(shared.counts[index]),
                chance=round(float(probabilities[probe.predictions[index]]), 6) if facts.held else None,
                true_chance=round(float(probabilities[true]), 6) if facts.held else None,
                neighbours=tuple(map(neighbour, indices, closeness)),
            )
        )
    title, caption = gallery_text(probe, shared, len(rows), facts, k)
    return Gallery(
        backbone=probe.backbone,
        weights=probe.weights,
        of=gallery_of(rows, probe),
        rows=tuple(GalleryRow(score.key, score.method, titles[score.key]) for score in firsts),
        probe=[score.key for score in firsts].index(probe.key),
        tap=probe.tap,
        refit=facts,
        n_test=len(shared.counts),
        wrong=len(shared.errors),
        shared=int((shared.counts == len(rows)).sum()),
        images=tuple(images),
        thumbnails={},
        title=title,
        caption=caption,
    )


def _name(split: Split, index: int) -> str:
    return f"{split.part}:{split.rows[index]}"


def gallery_text(probe: Score, shared: SharedErrors, rows: int, refit: ProbeRefit, neighbours: int) -> tuple[str, str]:
    """Return a gallery's title and caption."""
    wrong, shown, by_several = len(shared.errors), len(shared.shown), int((shared.counts > 1).sum())
    n_test, by_all = len(shared.counts), int((shared.counts == rows).sum())
    where = describe_tap(probe.tap, probe.views)
    which = f"the exact linear probe{' ' * bool(where)}{where}"
    by = f"at least one of {rows} rows, {by_all:,} by all (first seed of each row)" if rows > 1 else which
    order = "most frequent errors first" if rows > 1 else "in data set order"
    if shown == by_several < wrong:
        order = f"all images that several rows misclassify, {order}"
    fit = f"{which}, {option('l2', refit.l2)}, refitted on the cached features"
    same = f"{refit.same:,} of its {refit.n_test:,} predictions are the same"
    if refit.held:
        probabilities = f"Probabilities are those of {fit}, at temperature {refit.temperature:.3g}: {same}."
    else:
        probabilities = f"No probabilities: {fit}, does not reproduce its score, as only {same}."
    closest = "the nearest train image" if neighbours == 1 else f"the {neighbours} nearest train images"
    return f"Most common errors of {probe.backbone}", " ".join(
        (
            f"{wrong:,} of {n_test:,} test images {'are' if wrong > 1 else 'is'} misclassified by {by}.",
            f"Shown: {'all' if shown == wrong else shown}, {order}.",
            probabilities,
            f"Below each image: {closest}, by cosine similarity of this probe's standardised features.",
        )
    )
