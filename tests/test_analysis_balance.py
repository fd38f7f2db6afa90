"""How evenly images are spread over classes, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from probeline.analysis.data_checks import measure_balance


def test_even_classes_count_in_full() -> None:
    found = measure_balance(np.array([0, 1, 2, 2, 1, 0]), 3)
    assert (found.counts, found.ratio, found.empty) == ((2, 2, 2), 1.0, ())
    assert found.effective == pytest.approx(3)


def test_an_uneven_spread_and_a_class_without_images() -> None:
    found = measure_balance(np.array([0] * 3 + [2]), 3)
    assert (found.counts, found.ratio, found.empty) == ((3, 0, 1), 3.0, (1,))
    assert found.effective == pytest.approx(math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25))))


def test_no_images_at_all() -> None:
    found = measure_balance(np.array([], np.int64), 2)
    assert (found.ratio, found.effective, found.empty) == (0.0, 0.0, (0, 1))
