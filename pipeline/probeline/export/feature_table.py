"""The cached features of a data set as one table: what is known of each row, and its embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from probeline.analysis.embedding_map import project_pca
from probeline.evaluate.exact_probe import predict_out_of_fold
from probeline.evaluate.features import CachedFeatures
from probeline.names import PENULTIMATE
from probeline.session import Session
from probeline.types import DROPPED, AnyArray, FloatArray


@dataclass(frozen=True)
class FeatureTable:
    """The rows of all parts of a data set, one part after the other.

    Attributes
    ----------
    columns : mapping of str to array [N]
        ``sample_id``, ``part``, ``split`` and ``label``, text that is empty where there is none; ``prediction``, also
        text, and ``projection_x`` and ``projection_y``, float32. With several embeddings the last three are those of
        each, as ``prediction_NAME`` and so on.
    embeddings : mapping of str to float32 [N, D]
        By name: ``embedding``, or of several the backbone with its tap.
    keys : mapping of str to tuple of str
        The keys of the cache entries that each embedding was read from.
    """

    columns: Mapping[str, AnyArray]
    embeddings: Mapping[str, FloatArray]
    keys: Mapping[str, tuple[str, ...]]


def tabulate_features(session: Session, features: Sequence[CachedFeatures]) -> FeatureTable:
    """Return the table of some features of one data set.

    A prediction is that of the exact probe at its selected l2, out-of-fold for the rows that it is fitted on; without
    labels there is none. The projection is the first two principal components of all rows.

    Raises
    ------
    MissingData
        Features that are not extracted.
    """
    parts = session.parts()
    own = [session.dataset.parts[part] for part in parts]
    names = np.array([*session.dataset.class_names, ""], dtype=object)
    columns: dict[str, AnyArray] = {
        "sample_id": np.array([name for part in own for name in part.sample_ids], dtype=object),
        "part": np.repeat(np.array(parts, dtype=object), [len(part) for part in own]),
        "split": _roles(session, parts),
        "label": names[np.concatenate([part.labels for part in own])],
    }
    if (targets := session.dataset.targets) is not None:
        del columns["label"]
        values = np.concatenate([targets.by_part[part] for part in parts])
        columns |= {f"target_{name}": own for name, own in zip(targets.names, values.T, strict=True)}
    embeddings: dict[str, FloatArray] = {}
    keys = {}
    for cached in features:
        name = _name(cached, features)
        suffix = f"_{name}" if len(features) > 1 else ""
        values = np.concatenate(
            [np.concatenate([session.features(tap, part).features for tap in cached.taps], axis=1) for part in parts]
        )
        embeddings[name] = values
        keys[name] = tuple(session.entry(tap, part).key for tap in cached.taps for part in parts)
        if session.dataset.class_names:
            columns[f"prediction{suffix}"] = names[_predict(cached, parts)]
        if min(values.shape) > 1:
            centred = values - values.mean(axis=0, dtype=np.float64)
            projection = project_pca(centred.astype(np.float32), centred.astype(np.float32))[0]
            columns[f"projection_x{suffix}"], columns[f"projection_y{suffix}"] = projection.astype(np.float32).T
    return FeatureTable(columns, embeddings, keys)


def _name(features: CachedFeatures, among: Sequence[CachedFeatures]) -> str:
    if len(among) == 1:
        return "embedding"
    at = "" if features.tap == PENULTIMATE else f"_{features.tap}"
    weights = {other.backbone.weights for other in among if other.backbone.name == features.backbone.name}
    return features.backbone.name + (f"@{features.backbone.weights}" if len(weights) > 1 else "") + at


def _roles(session: Session, parts: Sequence[str]) -> AnyArray:
    """Return train, val or test for each row; empty for a row that is in no split, or if nothing is labelled."""
    roles = {part: np.full(len(session.dataset.parts[part]), "", dtype=object) for part in parts}
    if session.dataset.has_labels:
        for split in (session.splits.train, session.splits.val, session.splits.test):
            roles[split.part][split.rows] = split.role
    return np.concatenate(list(roles.values()))


def _predict(features: CachedFeatures, parts: Sequence[str]) -> AnyArray:
    """Return the predicted class of each row, int64 [N], `DROPPED` for a row that is in no split."""
    splits = features.session.splits
    predicted = predict_out_of_fold(features).logits.argmax(axis=1)
    by_part = {part: np.full(len(features.session.dataset.parts[part]), DROPPED) for part in parts}
    start = 0
    for split in (splits.train, splits.val, splits.test):
        by_part[split.part][split.rows] = predicted[start : start + len(split)]
        start += len(split)
    return np.concatenate(list(by_part.values()))
