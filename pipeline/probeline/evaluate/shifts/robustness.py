"""The exact probe on corrupted copies of the test images: fitted on clean train rows, with nothing selected anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from probeline.data.assemble import select_rows
from probeline.environment import environment
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.heads.exact import PROBE
from probeline.evaluate.requests import reuse
from probeline.evaluate.score import refit_logits, score_head
from probeline.extraction.fill import fill_missing
from probeline.identity import ROBUSTNESS_VERSION, digest
from probeline.images import Corruption
from probeline.metrics.intervals import paired_bootstrap
from probeline.results.score import Score
from probeline.results.shifts.corruptions import ROBUSTNESS, CorruptedScore, Robustness
from probeline.session import Session
from probeline.types import IntArray, Part, Split, Splits


def measure_robustness(features: CachedFeatures, corruptions: Sequence[Corruption]) -> Robustness:
    """Return how the exact probe on some features scores under each corruption; a record that exists is returned.

    The probe is scored first if it is not yet. Then the test images are extracted once for each corruption, into an
    entry of the cache of their own.

    Raises
    ------
    ProbelineError
        As of extraction and fits.
    """
    session = features.session
    score = score_head(features, PROBE)
    corrupted = see_corrupted(session, corruptions)
    part = session.splits.test.part
    keys = [corrupted.entry(tap, part, corruption).key for tap in features.taps for corruption in corruptions]
    key = digest({"version": ROBUSTNESS_VERSION, "score": score.key, "entries": keys})
    found = ROBUSTNESS.find(session.reports, features.backbone.name, key)
    title = features.title("robustness", None)
    folder = session.reports / "robustness"
    if record := reuse(session, found, folder, title, f"{title}: up to date, skipped"):
        return record
    fill_missing(corrupted, session.asked_as(features.backbone.name, features.backbone.weights), "robustness")
    record = _measure(features, score, key, corrupted)
    ROBUSTNESS.save(session.reports, record)
    return record


def see_corrupted(session: Session, corruptions: Sequence[Corruption]) -> Session:
    """Return a session whose only images are the test images, seen under each corruption."""
    dataset, test = session.dataset, session.splits.test
    whole, rows = dataset.parts[test.part], test.rows.tolist()
    part = Part(
        whole.dataset,
        whole.name,
        tuple(whole.sample_ids[row] for row in rows),
        tuple(whole.content[row] for row in rows),
        whole.labels[test.rows],
        whole.class_names,
    )
    images = {part.name: select_rows(dataset.images[part.name], test.rows)}
    alone = replace(
        dataset, parts={part.name: part}, images=images, groups={}, train=part.name, test=part.name, val=None
    )
    none, every = np.zeros(0, np.int64), np.arange(len(part))
    splits = Splits(
        train=Split(part.name, none, "train"),
        val=Split(part.name, none, "val"),
        test=Split(part.name, every, "test"),
        folds=(),
        data_seed=session.splits.data_seed,
    )
    settings = session.settings.changed(views=0)
    corrupted = replace(session, settings=settings, data=alone, corruptions=tuple(corruptions))
    corrupted.__dict__.update(memo=session.memo, verdicts=session.verdicts, splits=splits)
    return corrupted


def _measure(features: CachedFeatures, score: Score, key: str, corrupted: Session) -> Robustness:
    session, split = features.session, corrupted.splits.test
    logits = refit_logits(features, score)
    labels = np.asarray(score.labels, np.int64)

    def predict(source: CachedFeatures, rows: Split, corruption: Corruption | None) -> IntArray:
        predicted: IntArray = logits(source.load_raw(rows, corruption)).argmax(axis=1).astype(np.int64)
        return predicted

    clean = predict(features, session.splits.test, None)
    if changed := int((clean != np.asarray(score.predictions)).sum()):
        session.console.say(f"{features.title('robustness', None)}: refit, {changed:,} clean predictions changed")
    predictions, seconds = [], 0.0
    for corruption in corrupted.corruptions:
        one = CachedFeatures(corrupted.under(corrupted.settings), *features.taps)  # its features are dropped after use
        predictions.append(predict(one, split, corruption))
        seconds += max(one.session.features(tap, split.part, corruption).seconds for tap in features.taps)
    right = [int((predicted == labels).sum()) for predicted in predictions]
    return Robustness(
        dataset=session.dataset.title,
        splits=session.splits_sha256,
        backbone=score.backbone,
        weights=score.weights,
        image_size=score.image_size,
        precision=score.precision,
        tap=score.tap,
        method=score.method,
        score=score.key,
        key=key,
        seed=corrupted.corruptions[0].seed,
        n_test=len(labels),
        clean_right=int((clean == labels).sum()),
        corrupted=tuple(
            CorruptedScore(corruption.name, corruption.severity, count)
            for corruption, count in zip(corrupted.corruptions, right, strict=True)
        ),
        drop_interval=paired_bootstrap(labels, clean, np.stack(predictions)),
        seconds=seconds,
        environment=environment(str(score.environment.get("device", "CPU"))),
    )
