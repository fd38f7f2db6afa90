"""Which images of a data set the quality of features is measured on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probeline.data.sampling.stratified import sample
from probeline.evaluate.features import CachedFeatures
from probeline.identity import digest
from probeline.session import Session
from probeline.types import FloatArray, IntArray, Split

_PURPOSE = 60
"""Of the samples of train rows."""

_PURPOSE_QUERIES = 61


@dataclass(frozen=True)
class QualityRows:
    """The images that features are measured on: the train rows, and the test rows as queries.

    Without labels they are the images of all parts, `labels` are zeros and there is no `test`. `digest` is over the
    rows with their labels.
    """

    train: tuple[Split, ...]
    labels: IntArray
    """int64 [n]."""
    test: Split | None
    test_labels: IntArray
    digest: str
    data_seed: int

    def load(self, features: CachedFeatures) -> FloatArray:
        """Return the features float32 [n, D] of the train rows, without augmented views."""
        return np.concatenate([features.load_raw(split) for split in self.train])

    def sample(self, most: int) -> IntArray:
        """Return at most so many places of train rows, ascending; the classes in proportion."""
        return sample(self.labels, most, self.data_seed, _PURPOSE)

    def sample_queries(self, most: int) -> IntArray:
        """Return at most so many places of test rows, ascending; the classes in proportion."""
        return sample(self.test_labels, most, self.data_seed, _PURPOSE_QUERIES)


def quality_rows(session: Session) -> QualityRows:
    """Return the rows of a session's data set, which may be without labels."""
    parts, data_seed = session.dataset.parts, session.settings.data.data_seed
    none = np.empty(0, np.int64)
    if not session.dataset.has_labels:
        every = tuple(Split(name, np.arange(len(part)), "train") for name, part in parts.items())
        labels = np.zeros(sum(map(len, every)), np.int64)
        own = digest({name: part.samples_sha256 for name, part in parts.items()})
        return QualityRows(every, labels, None, none, own, data_seed)
    splits = session.splits
    train, test = splits.train, splits.test
    labels, test_labels = (parts[split.part].labels[split.rows] for split in (train, test))
    return QualityRows((train,), labels, test, test_labels, session.splits_sha256, data_seed)
