"""The exact probe's path ends where validation cannot select a weaker l2, and chooses what the full path does."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from probeline.evaluate.heads.exact import PROBE, PROBE_REFIT
from probeline.evaluate.heads.method import FitSettings, Fold, Selection, make_fold
from probeline.evaluate.heads.path_watch import FAR_BELOW, RISES, SIGNIFICANT, PathWatch
from probeline.evaluate.selection import select
from probeline.evaluate.task import SingleLabel
from probeline.heads.linear import Head
from probeline.heads.select import L2_GRID
from probeline.metrics.scores import nll
from probeline.types import FloatArray, IntArray

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIONS: dict[str, Any] = {"l2": list(L2_GRID)}


def task(
    rows: int, columns: int, classes: int, *, noise: float, seed: int = 0, held_out: int = 4000
) -> tuple[FloatArray, IntArray, FloatArray, IntArray]:
    """Return rows to fit on and held-out ones of a linear problem with random labels in part: weak l2 overfit them."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((rows + held_out, columns)).astype(np.float32)
    W = rng.standard_normal((classes, columns)) / math.sqrt(columns)
    y = (X @ W.T + noise * rng.gumbel(size=(len(X), classes))).argmax(1)
    return X[:rows], y[:rows], X[rows:], y[rows:]


def selected(fold: Fold, classes: int, *, metric: str = "top1", full_path: bool = False) -> Selection[Head]:
    settings = FitSettings(OPTIONS, classes, full_path=full_path)
    return select([fold], PROBE, settings, SingleLabel(classes, metric))


@pytest.mark.parametrize(
    ("rows", "columns", "classes", "noise"), [(600, 150, 3, 0.5), (800, 150, 5, 0.5), (500, 200, 2, 0.8)]
)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_path_that_ends_early_chooses_what_the_full_one_does(
    rows: int, columns: int, classes: int, noise: float, seed: int
) -> None:
    fold = make_fold(*task(rows, columns, classes, noise=noise, seed=seed))
    short, full = selected(fold, classes), selected(fold, classes, full_path=True)
    assert len(full.path) == len(L2_GRID)
    assert len(short.path) < len(full.path) - 5, "random labels are overfitted long before 1e-6"
    assert short.selected == full.selected
    assert short.diverged == ()
    assert not short.is_at_edge
    left_out = len(full.path) - len(short.path)
    assert short.path == full.path[left_out:], "weaker values have no part in the stronger ones"
    for head, other in zip(short.heads, full.heads[left_out:], strict=True):
        np.testing.assert_array_equal(head.weight, other.weight)
    np.testing.assert_array_equal(short.val_logits, full.val_logits)


def test_what_is_left_out_is_significantly_worse() -> None:
    fold = make_fold(*task(600, 150, 3, noise=0.5))
    short, full = selected(fold, 3), selected(fold, 3, full_path=True)
    losses = [point["nll"] for point in full.path]
    left_out = len(full.path) - len(short.path)
    best = next(PROBE.logits([full.head], fold.X_heldout)).argmax(1) == fold.y_heldout
    for i, logits in enumerate(PROBE.logits(full.heads[: left_out + FAR_BELOW], fold.X_heldout)):
        right = logits.argmax(1) == fold.y_heldout
        lost, gained = int((best & ~right).sum()), int((right & ~best).sum())
        assert lost - gained >= SIGNIFICANT * math.sqrt(lost + gained), f"{left_out - i} values below the last one"
    for weaker, stronger in pairwise(losses[: left_out + RISES + 1]):
        assert weaker > stronger


def test_level_accuracy_never_ends_a_path() -> None:
    X, y, X_val, y_val = task(300, 20, 3, noise=0.0)
    assert len(selected(make_fold(X, y, X_val, y_val), 3).path) == len(L2_GRID)


def test_few_held_out_rows_tell_nothing() -> None:
    fold = make_fold(*task(600, 150, 3, noise=0.5, held_out=30))
    assert len(selected(fold, 3).path) == len(L2_GRID)


def test_folds_and_other_metrics_have_the_full_path() -> None:
    fold = make_fold(*task(400, 100, 3, noise=0.5, seed=1))
    assert len(selected(fold, 3).path) < len(L2_GRID)
    assert len(selected(fold, 3, metric="macro").path) == len(L2_GRID)
    settings = FitSettings(OPTIONS, 3)
    assert len(select([fold, fold], PROBE, settings, SingleLabel(3)).path) == len(L2_GRID)


def test_a_head_is_refitted_bit_for_bit_without_the_weaker_ones() -> None:
    fold = make_fold(*task(300, 60, 3, noise=0.5))
    settings = FitSettings(OPTIONS, 3)
    heads = PROBE.fit(fold, settings, PROBE.candidates(settings, 300))
    for index in (44, 20, 9):
        again = PROBE.refit(fold, settings, {"l2": L2_GRID[index]})
        np.testing.assert_array_equal(again.weight, heads[index].weight)
        np.testing.assert_array_equal(again.bias, heads[index].bias)
    alone = PROBE_REFIT.refit(fold, settings, {"l2": L2_GRID[20]}, alone=True)
    assert alone.certificate.objective == pytest.approx(heads[20].certificate.objective, rel=2e-6, abs=2e-8)


def logits_of(right: IntArray, sureness: float) -> FloatArray:
    """Return logits of two classes whose right one is 0, for rows that are right or not."""
    return np.stack([np.where(right, sureness, -sureness), np.zeros(len(right))], axis=1).astype(np.float32)


def test_a_rise_or_a_recovery_goes_on() -> None:
    y = np.zeros(1000, np.int64)
    good, bad = np.arange(1000) < 900, np.arange(1000) < 850  # z = 50 / sqrt(50) = 7
    rising = [2.0, 2.5, 3.0, 3.5, 4.0, 4.5]
    assert [nll(y, logits_of(bad, s)) for s in rising] == sorted(nll(y, logits_of(bad, s)) for s in rising)

    def seen(*heads: tuple[Any, float]) -> list[bool]:
        watch = PathWatch(y)
        return [watch.is_over(logits_of(right, sureness)) for right, sureness in heads]

    first = (good, 1.2)
    assert seen(first, *((bad, s) for s in rising)) == [False] * 4 + [True] * 3
    # One value at the best accuracy again, or one at which the loss falls, begins the count again.
    assert not any(seen(first, (bad, 2.0), (bad, 2.5), (bad, 3.0), (good, 5.0), (bad, 5.0)))
    assert not any(seen(first, (bad, 2.0), (bad, 2.5), (bad, 3.0), (bad, 2.9), (bad, 3.1)))


def test_a_path_that_begins_again_forgets() -> None:
    y = np.zeros(1000, np.int64)
    good, bad = np.arange(1000) < 900, np.arange(1000) < 850
    watch = PathWatch(y)
    for sureness in (1.2, 2.0, 2.5, 3.0):
        assert not watch.is_over(logits_of(good if sureness == 1.2 else bad, sureness))
    watch.start()
    assert not watch.is_over(logits_of(bad, 3.5))
