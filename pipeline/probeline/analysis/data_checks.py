"""What the data doctor finds in a data set: duplicates, likely label errors, outliers and images that decode oddly."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from probeline.analysis.duplicates import (
    SHIFT,
    correlate,
    group_identical,
    other_pairs,
    select_pairs,
    usual_correlation,
)
from probeline.analysis.examined_images import NEIGHBOURS, ExaminedImages
from probeline.analysis.label_errors import check_labels, confidence_thresholds, expected_flags, plant_errors
from probeline.analysis.outliers import conformal_p_values, distance_threshold, neighbour_distances
from probeline.analysis.thumbnails import make_thumbnails
from probeline.data.pixels.inspection import HELP
from probeline.environment import environment
from probeline.evaluate.exact_probe import predict_out_of_fold
from probeline.evaluate.requests import reuse
from probeline.heads.select import L2_GRID
from probeline.heads.temperature import fit_temperature
from probeline.identity import DOCTOR_VERSION, HEADS_VERSION, digest
from probeline.metrics.scores import chances
from probeline.results.findings import (
    FINDINGS,
    ClassCounts,
    DecodingNote,
    DuplicatePair,
    Duplicates,
    Findings,
    LabelErrors,
    NearSearch,
    Outlier,
    Outliers,
    PairCounts,
    SuspectLabel,
)
from probeline.results.store import SkippedFile
from probeline.session import Session
from probeline.types import Backbone, BoolArray, FloatArray, IntArray

SIMILARITY = 0.7
"""The least score of a near duplicate: cosine of its centred features x correlation of its grey levels."""

BITS = 8
"""Of the 63 bits of perceptual hashes, how many may differ for the pixels of two images to be compared."""

PIXELS = 0.95
"""The least correlation of grey levels that makes near duplicates without the features."""

CONTRAST = 4
"""How many times closer to 1 it must be than the correlation of different images of the data set."""

LEVEL = 0.01
"""Share of train and val that counts as outliers."""

LISTED = {"pairs": 500, "suspects": 500, "remote": 100, "examples": 24}
"""Findings that a record lists at most; it counts all of them."""

SHOWN = 24
"""Findings of each kind whose thumbnails a record holds."""

_THUMBNAIL_BYTES = 400_000
"""Of all thumbnails of a record."""


def examine(session: Session) -> Findings:
    """Return what the one backbone of a session finds in the data set, from the record if it is up to date.

    Raises
    ------
    BadData
        An image cannot be read.
    ProbelineError
    """
    backbone, _ = session.backbone(session.settings.nets.backbones[0])
    name, inputs = backbone.name, list_inputs(session, backbone)
    key, title = digest(inputs), f"doctor: {session.dataset.name} x {name}"
    record = FINDINGS.find(session.reports, name, key)
    sizes = {split.role: len(split) for split in (session.splits.train, session.splits.val, session.splits.test)}
    if isinstance(record, Findings) and (record.images, record.class_names) != (sizes, session.dataset.class_names):
        record = SkippedFile(FINDINGS.path(session.reports, name, key), "has other images or classes than the data set")
    if finished := reuse(session, record, session.reports, title, f"{title}: up to date, skipped"):
        return finished
    started, images = time.perf_counter(), ExaminedImages(session, backbone)
    images.cached.prepare("doctor")
    duplicates, labels, outliers = find_duplicates(images), find_label_errors(images), find_outliers(images)
    shown = _name_shown(duplicates, labels, outliers) if session.has_images else []
    findings = Findings(
        backbone=name,
        weights=backbone.weights,
        precision=session.settings.nets.precision,
        image_size=backbone.preprocess.crop,
        key=key,
        of=inputs,
        class_names=session.dataset.class_names,
        images=images.counts,
        duplicates=duplicates,
        labels=labels,
        outliers=outliers,
        balance={
            role: measure_balance(images.labels[images.roles == number], images.cached.classes)
            for number, role in enumerate(images.counts)
        },
        helped=note_decoding(images),
        thumbnails=make_thumbnails(session.dataset, shown, _THUMBNAIL_BYTES),
        seconds=time.perf_counter() - started,
        environment=environment(images.fit_device.label),
    )
    FINDINGS.save(session.reports, findings)
    return findings


def list_inputs(session: Session, backbone: Backbone) -> dict[str, Any]:
    """Return everything that findings are computed from, as JSON values."""
    parts = session.parts()
    return {
        "version": DOCTOR_VERSION,
        "parts": {name: session.dataset.parts[name].samples_sha256 for name in parts},
        "splits": session.splits_sha256,
        "class_names": list(session.dataset.class_names),
        "backbone": backbone.name,
        "weights_sha256": backbone.weights_sha256,
        "features": [entry.key for entry in session.entries(backbone)],
        "preprocess": backbone.preprocess.identity(),
        "options": {
            "neighbours": NEIGHBOURS,
            "alike": SIMILARITY,
            "bits": BITS,
            "pixels": PIXELS,
            "contrast": CONTRAST,
            "shift": SHIFT,
            "level": LEVEL,
            "listed": LISTED,
            "shown": SHOWN,
            "l2": list(L2_GRID),
            "heads": HEADS_VERSION,
        },
    }


class _NearDuplicates(NamedTuple):
    """Pairs int64 [p, 2], by cosine of features, correlation of pixels, and score, float32 [p]."""

    pairs: IntArray
    cosines: FloatArray
    pixels: FloatArray
    mirrored: BoolArray
    scores: FloatArray
    search: NearSearch


def find_duplicates(images: ExaminedImages) -> Duplicates:
    """Return the exact and near duplicates."""
    content = images.content()
    identical = [(rows[0], other) for rows in group_identical(content) for other in rows[1:]]
    exact = np.array(identical, np.int64).reshape(-1, 2)
    near = _find_near(images, content)
    pairs = np.concatenate([exact, near.pairs])
    is_exact = np.arange(len(pairs)) < len(exact)
    ones = np.ones(len(exact), np.float32)
    cosines, pixels, scores = (np.concatenate([ones, values]) for values in (near.cosines, near.pixels, near.scores))
    mirrored = np.concatenate([np.zeros(len(exact), np.bool_), near.mirrored])
    conflict = images.labels[pairs[:, 0]] != images.labels[pairs[:, 1]]
    known = pairs < images.n_known
    regions = {"known": known.all(axis=1), "across": known[:, 0] & ~known[:, 1], "test": ~known.any(axis=1)}
    leaked_exact, leaked_near = (pairs[regions["across"] & kind, 1] - images.n_known for kind in (is_exact, ~is_exact))
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -scores, ~is_exact, ~regions["across"]))
    return Duplicates(
        regions={
            name: PairCounts(*(int((region & kind).sum()) for kind in (is_exact, ~is_exact, conflict)))
            for name, region in regions.items()
        },
        leaked_exact=tuple(np.unique(leaked_exact).tolist()),
        leaked_near=tuple(np.setdiff1d(leaked_near, leaked_exact).tolist()),
        search=near.search,
        pairs=tuple(
            DuplicatePair(
                first=images.reference(int(pairs[i, 0])),
                second=images.reference(int(pairs[i, 1])),
                kind="exact" if is_exact[i] else "near",
                features=_round(cosines[i]),
                pixels=_round(pixels[i]),
                mirrored=bool(mirrored[i]),
                score=_round(scores[i]),
            )
            for i in order[: LISTED["pairs"]]
        ),
    )


def _find_near(images: ExaminedImages, content: Sequence[str]) -> _NearDuplicates:
    """Return the pairs of near duplicates: neighbours by features or by hash whose pixels agree.

    Without images there are none, since features alone do not tell near duplicates from images of one kind.
    """
    if not images.session.has_images:
        none = np.empty(0, np.float32)
        return _NearDuplicates(np.empty((0, 2), np.int64), none, none, np.empty(0, np.bool_), none, NearSearch())
    known, test = images.neighbours
    candidates = [select_pairs(np.arange(len(images)), known.indices, known.cosines, SIMILARITY)]
    if test is not None:
        rows = images.n_known + np.arange(len(test.indices))
        candidates.append(select_pairs(rows, test.indices, test.cosines, SIMILARITY))
    grey = images.inspected[0]
    least = max(PIXELS, 1 - (1 - usual_correlation(grey)) / CONTRAST)
    hashed = images.near_hashes(BITS)
    by_features = np.concatenate([pairs for pairs, _ in candidates])
    by_hash = other_pairs(hashed.pairs, by_features)
    pairs = np.concatenate([by_features, by_hash])
    cosines = np.concatenate([*(cosines for _, cosines in candidates), images.cosines(by_hash)])
    differ = np.array([content[i] != content[j] for i, j in pairs.tolist()], np.bool_)
    pairs, cosines = pairs[differ], cosines[differ]
    pixels, mirrored = correlate(grey, pairs)
    scores = np.where(pixels >= least, pixels, cosines * pixels)
    near = scores >= SIMILARITY
    search = NearSearch(
        compared=len(pairs),
        by_hash=int(differ[len(by_features) :].sum()),
        crowded=len(hashed.crowded),
        pixels=_round(least),
        copied=int((np.bincount(pairs[near].ravel(), minlength=1) >= NEIGHBOURS).sum()),
    )
    return _NearDuplicates(pairs[near], cosines[near], pixels[near], mirrored[near], scores[near], search)


def find_label_errors(images: ExaminedImages) -> LabelErrors:
    """Return the likely label errors, by out-of-fold predictions of the exact probe."""
    predictions = predict_out_of_fold(images.cached, images.fit_device)
    y, judged, known = images.labels, predictions.unseen, np.arange(len(images)) < images.n_known
    judged_known = np.flatnonzero(judged & known)
    temperature = fit_temperature(y[judged_known], predictions.logits[judged_known])
    probabilities = chances(predictions.logits, temperature)
    thresholds = confidence_thresholds(probabilities[judged_known], y[judged_known])
    neighbours = y[images.neighbours[0].indices]
    checked = check_labels(probabilities, y, thresholds, neighbours)
    flagged = checked.flagged & judged
    rows, wrong = plant_errors(y[judged_known], images.cached.classes)
    planted = judged_known[rows]
    trial = check_labels(probabilities[planted], wrong, thresholds, neighbours[planted])
    median = float(np.median(np.where(trial.flagged, trial.score, -1)))
    order = np.flatnonzero(flagged)
    order = order[np.argsort(-checked.score[order], kind="stable")]
    return LabelErrors(
        judged=images.count_by_role(judged),
        flagged=images.count_by_role(flagged),
        expected=_round(expected_flags(probabilities[judged_known])),
        planted=len(rows),
        planted_flagged=_round(trial.flagged.mean()),
        planted_rank=int((flagged & known & (checked.score >= median)).sum()) if median >= 0 else None,
        l2=predictions.l2,
        temperature=temperature,
        top1=float((predictions.logits[judged_known].argmax(axis=1) == y[judged_known]).mean()),
        folds=predictions.folds,
        converged=predictions.converged,
        neighbours=neighbours.shape[1],
        suspects=tuple(
            SuspectLabel(
                image=images.reference(i),
                suggested=int(checked.suggested[i]),
                chance_label=_round(probabilities[i, y[i]]),
                chance_suggested=_round(probabilities[i, checked.suggested[i]]),
                disagreement=_round(checked.disagreement[i]),
                score=_round(checked.score[i]),
            )
            for i in order[: LISTED["suspects"]].tolist()
        ),
    )


def find_outliers(images: ExaminedImages) -> Outliers:
    """Return the images that are unlike all of train and val."""
    n_known, indices = images.n_known, images.neighbours[0].indices
    distances = neighbour_distances(images.features[:n_known], images.features, indices)
    known = distances[:n_known]
    p = conformal_p_values(known, distances)
    # A known image is among the known ones already.
    p[:n_known] = (p[:n_known] * (1 + n_known) - 1) / n_known
    level = max(LEVEL, 1 / (1 + n_known))  # of few images, the furthest alone are outliers
    order = np.argsort(-distances, kind="stable")[: LISTED["remote"]]
    return Outliers(
        level=level,
        threshold=_round(distance_threshold(known, level)),
        flagged=images.count_by_role(p <= level),
        images=images.counts,
        neighbours=indices.shape[1],
        remote=tuple(Outlier(images.reference(i), _round(distances[i]), _round(p[i])) for i in order.tolist()),
    )


def note_decoding(images: ExaminedImages) -> tuple[DecodingNote, ...]:
    """Return which images were converted when decoded, by kind of conversion."""
    notes: list[DecodingNote] = []
    if not images.session.has_images:
        return ()
    for kind, description in HELP.items():
        flags = np.array([kind in kinds for kinds in images.inspected[1]], np.bool_)
        if flags.any():
            examples = np.flatnonzero(flags)[: LISTED["examples"]].tolist()
            notes.append(
                DecodingNote(kind, description, images.count_by_role(flags), tuple(map(images.name, examples)))
            )
    return tuple(notes)


def measure_balance(labels: IntArray, classes: int) -> ClassCounts:
    """Return the class distribution of labels int64 [n].

    The effective number of classes is exp of Shannon's entropy: that many classes of equal size have the same one. Hill
    1973, "Diversity and evenness", Ecology 54.
    """
    counts = np.bincount(labels, minlength=classes)
    present = counts[counts > 0]
    shares = present / max(int(present.sum()), 1)
    return ClassCounts(
        counts=tuple(counts.tolist()),
        ratio=float(present.max() / present.min()) if len(present) else 0.0,
        effective=float(np.exp(-(shares * np.log(shares)).sum())) if len(present) else 0.0,
        empty=tuple(np.flatnonzero(counts == 0).tolist()),
    )


def _name_shown(duplicates: Duplicates, labels: LabelErrors, outliers: Outliers) -> list[str]:
    """Return the names of the images whose thumbnails are stored, without repetition."""
    images = [image for pair in duplicates.pairs[:SHOWN] for image in (pair.first, pair.second)]
    images += [suspect.image for suspect in labels.suspects[:SHOWN]]
    images += [outlier.image for outlier in outliers.remote[:SHOWN]]
    return list(dict.fromkeys(image.name for image in images))


def _round(value: float) -> float:
    return round(float(value), 6)
