"""The quality of cached features: measured from the cache alone, unless its records are up to date."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from probeline.analysis.quality.rows import QualityRows, quality_rows
from probeline.backbones.registry import runs_code
from probeline.cache.reading import require_complete
from probeline.environment import environment
from probeline.errors import BadOption
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.requests import reuse
from probeline.identity import QUALITY_VERSION, digest
from probeline.metrics.features.clusters import cluster_agreement
from probeline.metrics.features.dimension import two_nearest, two_nn
from probeline.metrics.features.retrieval import answerable, bootstrap_interval, retrieve
from probeline.metrics.features.rows import distinct_rows
from probeline.metrics.features.similarity import CentredFeatures, align, centre
from probeline.metrics.features.spectrum import Scatter, effective_rank, rankme, scatter_of, singular_values
from probeline.metrics.features.transfer import between_share, h_score, log_me, shuffled_share
from probeline.metrics.intervals import wilson
from probeline.options.command_line import command_line
from probeline.results.quality.alignment import ALIGNMENTS, MOST, AlignedNet, AlignedPair, FeatureAlignment
from probeline.results.quality.features import (
    QUALITIES,
    ClusterFacts,
    DimensionFacts,
    FeatureQuality,
    RecallAt,
    RetrievalFacts,
    SpectrumFacts,
    TransferFacts,
)
from probeline.session import Session
from probeline.types import DoubleArray, FloatArray

DISTANCES = 5000
"""Images whose distances to each other are computed, for the dimension, and that are compared by CKA."""

CLUSTERED = 10_000
QUERIES = 5000
SEEDS = tuple(range(5))
"""Of k-means."""

KS = (1, 5, 10)
DRAWS, BOOTSTRAP_SEED = 2000, 0

_OPTIONS = {
    "distances": DISTANCES,
    "clustered": CLUSTERED,
    "queries": QUERIES,
    "seeds": list(SEEDS),
    "ks": list(KS),
    "bootstrap": [DRAWS, BOOTSTRAP_SEED],
}


def measure_quality(session: Session) -> tuple[list[FeatureQuality], FeatureAlignment | None]:
    """Return the quality of the features of every backbone and tap, and how alike they are if there are several.

    What is up to date comes from its record. The rest is computed from features that are in the cache: nothing is
    extracted, but for the few rows that are run again if hardware or software has changed since.

    Raises
    ------
    MissingData
        Features are not extracted yet.
    BadOption
        More backbones and taps than one alignment has.
    CannotWrite, ProbelineError
    """
    rows, features = quality_rows(session), list(_requested(session))
    if len(features) > MOST:
        raise BadOption("too many backbones and taps at once", expected=f"up to {MOST}", got=len(features))
    qualities = [_find_quality(session, own, rows) for own in features]
    alignment = _find_alignment(session, features, rows) if len(features) > 1 else None
    is_aligned = alignment is not None or len(features) < 2
    todo = [own for own, quality in zip(features, qualities, strict=True) if quality is None or not is_aligned]
    for own in todo:
        _require_extracted(session, own)
    for own in todo:
        own.check_canary()
    sampled = rows.sample(DISTANCES)
    centred: list[CentredFeatures] = []
    measured: list[FeatureQuality] = []
    for own, quality in zip(features, qualities, strict=True):
        reader = _reader(own)
        X = rows.load(reader) if own in todo else np.empty((0, 0), np.float32)
        measured.append(quality or _measure(session, reader, rows, X))
        if not is_aligned:
            centred.append(centre(X[sampled]))
    return measured, alignment if is_aligned else _align(session, features, rows, centred)


def _requested(session: Session) -> Iterator[CachedFeatures]:
    """Yield the features of every backbone and tap that the settings name, without augmented views."""
    plain = session.without_views()
    for text in plain.settings.nets.backbones:
        for taps in plain.taps(text)[0]:
            yield CachedFeatures(plain, *taps)


def _reader(features: CachedFeatures) -> CachedFeatures:
    """Return the same features with a memory of their own, so that those of all nets are not kept at once."""
    return CachedFeatures(features.session.under(features.session.settings), *features.taps)


def _title(features: CachedFeatures) -> str:
    return features.title("quality", None)


def _require_extracted(session: Session, features: CachedFeatures) -> None:
    if session.has_images:
        for entry in features.entries():
            require_complete(entry, f"run: {command_line(session.settings, 'extract')}")


def _find_quality(session: Session, features: CachedFeatures, rows: QualityRows) -> FeatureQuality | None:
    """Return the record of some features, and say that it is up to date; None if it is to be made."""
    key = digest(_inputs(session, features, rows))
    record = QUALITIES.find(session.reports, features.backbone.name, features.tap, key)
    title = _title(features)
    finished = reuse(session, record, session.reports / "quality", title, f"{title}: up to date, skipped")
    if finished is not None and runs_code(features.backbone.name):
        features.check_canary()
    return finished


def _inputs(session: Session, features: CachedFeatures, rows: QualityRows) -> dict[str, Any]:
    """Return everything that the quality of features is computed from, as JSON values."""
    return {
        "version": QUALITY_VERSION,
        "rows": rows.digest,
        "labels": session.dataset.has_labels,
        "data_seed": rows.data_seed,
        "features": [entry.key for entry in features.entries()],
        "options": _OPTIONS,
    }


def _measure(session: Session, features: CachedFeatures, rows: QualityRows, X: FloatArray) -> FeatureQuality:
    """Return the quality of features whose train rows are float32 [n, D], and keep its record."""
    started, say = time.perf_counter(), session.console.detail
    title, backbone, of = _title(features), features.backbone, _inputs(session, features, rows)
    is_labelled = len(np.unique(rows.labels)) > 1
    say(f"{title}: spectrum of {len(X):,} rows of {X.shape[1]:,} columns")
    scatter = scatter_of(X, rows.labels)
    spectrum = SpectrumFacts(
        n=len(X),
        effective_rank=effective_rank(singular_values(scatter.centred)),
        rankme=rankme(singular_values(scatter.raw)),
    )
    transfer = _transfer(scatter) if is_labelled else None
    say(f"{title}: distances")
    dimension = _dimension(X[rows.sample(DISTANCES)])
    say(f"{title}: clusters")
    clusters = _clusters(X, rows) if is_labelled else None
    quality = FeatureQuality(
        dataset=session.dataset.title,
        backbone=backbone.name,
        weights=backbone.weights,
        tap=features.tap,
        precision=session.settings.nets.precision,
        image_size=backbone.preprocess.crop,
        key=digest(of),
        of=of,
        rows=rows.digest,
        dim=X.shape[1],
        data_seed=rows.data_seed,
        spectrum=spectrum,
        dimension=dimension,
        transfer=transfer,
        retrieval=_retrieval(session, features, rows, X) if is_labelled else None,
        clusters=clusters,
        seconds=time.perf_counter() - started,
        environment=environment(),
    )
    QUALITIES.save(session.reports, quality)
    return quality


def _transfer(scatter: Scatter) -> TransferFacts:
    score = h_score(scatter)
    return TransferFacts(
        n=scatter.n,
        classes=int((scatter.counts > 0).sum()),
        between=between_share(scatter),
        shuffled=shuffled_share(scatter),
        h_score=None if score is None else score[0],
        shrinkage=None if score is None else score[1],
        log_me=log_me(scatter),
    )


def _dimension(X: FloatArray) -> DimensionFacts:
    first, _ = distinct_rows(X)
    value = two_nn(two_nearest(X[first])) if len(first) > 2 else None
    return DimensionFacts(n=len(first), equal=len(X) - len(first), two_nn=value)


def _clusters(X: FloatArray, rows: QualityRows) -> ClusterFacts | None:
    sampled = rows.sample(CLUSTERED)
    y = rows.labels[sampled]
    agreements = [agreement for seed in SEEDS if (agreement := cluster_agreement(X[sampled], y, seed)) is not None]
    if not agreements:
        return None
    nmi, ari = zip(*agreements, strict=True)
    return ClusterFacts(n=len(sampled), clusters=len(np.unique(y)), seeds=SEEDS, nmi=nmi, ari=ari)


def _retrieval(session: Session, features: CachedFeatures, rows: QualityRows, X: FloatArray) -> RetrievalFacts | None:
    """Return how the test images are found among the train images; None if no test image has a class of train."""
    if rows.test is None:
        return None
    sampled = rows.sample_queries(QUERIES)
    queries = features.load_raw(rows.test)[sampled]
    ks = [k for k in KS if k <= len(X)]
    with session.console.bar(f"{_title(features)}, retrieval", len(queries), "query") as bar:
        recalls, precisions = retrieve((X, rows.labels), (queries, rows.test_labels[sampled]), ks, bar.update)
    has_answer = answerable(recalls)
    if not has_answer.any():
        return None
    values: DoubleArray = np.column_stack([recalls, precisions])[has_answer]
    *means, mean_precision = values.mean(axis=0).tolist()
    at_k = [wilson(mean * len(values), len(values)) for mean in means]
    return RetrievalFacts(
        gallery=len(X),
        queries=len(queries),
        test=len(rows.test),
        unanswerable=int((~has_answer).sum()),
        recall=tuple(RecallAt(*facts) for facts in zip(ks, means, at_k, strict=True)),
        mean_precision=mean_precision,
        precision_interval=bootstrap_interval(values[:, -1], draws=DRAWS, seed=BOOTSTRAP_SEED),
        draws=DRAWS,
        seed=BOOTSTRAP_SEED,
    )


def _alignment_inputs(session: Session, features: Sequence[CachedFeatures], rows: QualityRows) -> dict[str, Any]:
    inputs = [_inputs(session, own, rows) for own in features]
    return {**inputs[0], "features": [of["features"] for of in inputs]}


def _find_alignment(session: Session, features: Sequence[CachedFeatures], rows: QualityRows) -> FeatureAlignment | None:
    record = ALIGNMENTS.find(session.reports, digest(_alignment_inputs(session, features, rows)))
    title = f"quality: {session.dataset.name}: CKA of {len(features)} sets of features"
    return reuse(session, record, session.reports / "quality", title, f"{title}: up to date, skipped")


def _align(
    session: Session, features: Sequence[CachedFeatures], rows: QualityRows, centred: Sequence[CentredFeatures]
) -> FeatureAlignment:
    """Return linear CKA of every two sets of features, and keep its record."""
    pairs = []
    places = list(combinations(range(len(centred)), 2))
    with session.console.bar("quality: CKA", len(places), "pair") as bar:
        for i, j in places:
            pairs.append(AlignedPair(i, j, *align(centred[i], centred[j])))
            bar.update(1)
    of = _alignment_inputs(session, features, rows)
    nets = (
        AlignedNet(
            own.backbone.name,
            own.backbone.weights,
            own.tap,
            session.settings.nets.precision,
            own.backbone.preprocess.crop,
            kept.rows.shape[1],
        )
        for own, kept in zip(features, centred, strict=True)
    )
    alignment = FeatureAlignment(
        dataset=session.dataset.title,
        key=digest(of),
        of=of,
        rows=rows.digest,
        n=len(centred[0].rows),
        of_images=len(rows.labels),
        data_seed=rows.data_seed,
        nets=tuple(nets),
        pairs=tuple(pairs),
        environment=environment(),
    )
    ALIGNMENTS.save(session.reports, alignment)
    return alignment
