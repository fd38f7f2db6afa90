"""Samples: of the requested size, in proportion, seeded."""

from __future__ import annotations

import numpy as np

from probeline.data.sampling.stratified import sample

LABELS = np.repeat(np.arange(4), [500, 300, 195, 5])


def test_a_sample_holds_every_class_in_proportion() -> None:
    rows = sample(LABELS, 100, seed=0, purpose=7)
    assert (np.diff(rows) > 0).all()
    # 50, 30, 19.5 and 0.5 of a hundred: largest remainders, the rarest class with one at least.
    assert np.bincount(LABELS[rows]).tolist() in ([50, 30, 19, 1], [50, 30, 20, 0], [50, 29, 20, 1])
    assert (np.bincount(LABELS[rows]) > 0).all()


def test_a_sample_is_of_its_seed_and_purpose() -> None:
    first = sample(LABELS, 100, seed=0, purpose=7)
    assert (sample(LABELS, 100, seed=0, purpose=7) == first).all()
    assert (sample(LABELS, 100, seed=1, purpose=7) != first).any()
    assert (sample(LABELS, 100, seed=0, purpose=8) != first).any()


def test_of_few_rows_all_are_taken() -> None:
    assert sample(LABELS, 1000, seed=0, purpose=7).tolist() == list(range(1000))
    assert sample(LABELS[:3], 1000, seed=0, purpose=7).tolist() == [0, 1, 2]


def test_of_more_classes_than_places_none_is_owed_one() -> None:
    assert len(sample(np.arange(50), 10, seed=0, purpose=7)) == 10
