"""Images of another data set against the test images, by their distance to the train images."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np

from probeline.environment import environment
from probeline.errors import BadOption
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.requests import reuse
from probeline.extraction.fill import fill_missing
from probeline.format import plural
from probeline.heads.neighbours import nearest
from probeline.identity import ROBUSTNESS_VERSION, digest
from probeline.metrics.separation import separation
from probeline.results.shifts.unlike import UNLIKE, Unlike
from probeline.session import Session
from probeline.types import Split

K = 5
"""The neighbour whose distance counts, as for what ``predict`` calls unlike; the last of fewer train images."""


def measure_unlike(features: CachedFeatures, other: Session) -> Unlike:
    """Return how well distances to the train images tell the test images from those of `other`; a record is reused.

    The distance is that of ``predict``: one minus the cosine to the fifth nearest train image.
    """
    session = features.session
    elsewhere = CachedFeatures(other, *features.taps)
    features.prepare("robustness")
    keys = [entry.key for of in (features, elsewhere) for entry in of.entries()]
    key = digest({"version": ROBUSTNESS_VERSION, "splits": session.splits_sha256, "k": K, "entries": keys})
    title = features.title(f"robustness against {other.dataset.name}", None)
    found = UNLIKE.find(session.reports, features.backbone.name, key)
    if record := reuse(session, found, session.reports / "unlike", title, f"{title}: up to date, skipped"):
        return record
    fill_missing(other, session.asked_as(features.backbone.name, features.backbone.weights), "robustness")
    splits = session.splits
    train = features.load_raw(splits.train)
    k = min(K, len(train))
    rows = {name: np.arange(len(part)) for name, part in other.dataset.parts.items()}
    strange = np.concatenate([elsewhere.load_raw(Split(name, own, "test")) for name, own in rows.items()])
    usual, others = (1 - nearest(train, X, k)[1][:, -1] for X in (features.load_raw(splits.test), strange))
    known = {content for part in session.dataset.parts.values() for content in part.content}
    shared = sum(content in known for part in other.dataset.parts.values() for content in part.content)
    if shared:
        session.console.warn(f"{other.dataset.name}: {plural(shared, 'image')} are in {session.dataset.name} too")
    record = Unlike(
        dataset=session.dataset.title,
        splits=session.splits_sha256,
        backbone=features.backbone.name,
        weights=features.backbone.weights,
        image_size=features.backbone.preprocess.crop,
        precision=session.settings.nets.precision,
        tap=features.tap,
        key=key,
        other=other.dataset.name,
        k=k,
        n_train=len(train),
        n_test=len(usual),
        n_other=len(others),
        shared=shared,
        **asdict(separation(usual, others)),
        environment=environment(),
    )
    UNLIKE.save(session.reports, record)
    return record


def other_session(session: Session, spec: str) -> Session:
    """Return the session of another data set, all of whose images are used, whatever their labels.

    Raises
    ------
    BadOption
        It is the same data set, or has no images.
    """
    plain = {"labels": None, "groups": None, "columns": (), "images": None, "views": 0}
    own = Session(session.settings.changed(dataset=spec, **plain), session.remember)
    if not own.has_images:
        raise BadOption("--ood needs images", expected="a data set of images", got=spec)
    if spec == session.settings.data.dataset:
        raise BadOption("--ood names the data set itself", expected="another data set", got=spec)
    other = replace(own, data=replace(own.dataset, class_names=(), groups={}))
    other.__dict__.update(memo=own.memo, verdicts=own.verdicts)
    return other
