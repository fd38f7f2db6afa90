"""Multi-label scores against scikit-learn's and torchmetrics', with unknown entries, ties and degenerate labels."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as torchmetrics
from scipy.special import expit
from sklearn import metrics as reference

from probeline.metrics import multi_label as scores

N, L = 60, 7
THRESHOLDS = np.linspace(-0.6, 0.6, L)
KINDS = ["random", "tied", "masked", "rare", "constant", "single"]


def made(kind: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return truth and scores [N, L] of a kind of difficulty."""
    rng = np.random.default_rng(seed)
    n = 1 if kind == "single" else N
    Y = (rng.random((n, L)) < 0.3).astype(np.float64)
    logits = (rng.normal(size=(n, L)) + Y).astype(np.float32)
    if kind == "tied":
        logits = np.round(logits)
    elif kind == "masked":
        Y[rng.random(Y.shape) < 0.3] = np.nan
        Y[:, 5] = np.nan
        Y[9] = np.nan
    elif kind == "rare":
        Y[:, :3] = 0
        Y[3, 0] = 1
        Y[:, 4] = 1
    elif kind == "constant":
        logits[:, ::2] = 0.25
    return Y, logits


def by_label(Y: np.ndarray, values: np.ndarray, measure: Callable[..., Any], *, both: bool = True) -> np.ndarray:
    """Return another library's measure of each label's known entries; NaN where these have one value or none."""
    found = []
    for truth, of_label in zip(Y.T, values.T, strict=True):
        known = ~np.isnan(truth)
        if not known.any() or (both and len(np.unique(truth[known])) < 2):
            found.append(np.nan)
        else:
            found.append(float(measure(truth[known].astype(np.int64), of_label[known])))
    return np.array(found)


@pytest.fixture(params=[(kind, seed) for kind in KINDS for seed in range(3)], ids=lambda each: f"{each[0]} {each[1]}")
def data(request: pytest.FixtureRequest) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the other libraries, about labels without positives
        yield made(*request.param)


def same(ours: float | None, expected: float) -> bool:
    return (ours is None and bool(np.isnan(expected))) or ours == pytest.approx(expected, abs=1e-9)


def test_average_precision_is_scikit_learns(data: tuple[np.ndarray, np.ndarray]) -> None:
    Y, logits = data
    expected = by_label(Y, logits, reference.average_precision_score)
    np.testing.assert_allclose(scores.average_precision_per_label(Y, logits), expected, rtol=0, atol=1e-12)
    mean = scores.mean_average_precision(Y, logits)
    assert mean.left_out == np.isnan(expected).sum()
    assert same(mean.value, np.mean(expected[~np.isnan(expected)]) if mean.left_out < L else np.nan)
    pooled = by_label(Y.reshape(-1, 1), logits.reshape(-1, 1), reference.average_precision_score)[0]
    assert same(scores.micro_average_precision(Y, logits), pooled)


def test_area_is_scikit_learns(data: tuple[np.ndarray, np.ndarray]) -> None:
    Y, logits = data
    expected = by_label(Y, logits, reference.roc_auc_score)
    np.testing.assert_allclose(scores.auroc_per_label(Y, logits), expected, rtol=0, atol=1e-12)
    mean = scores.macro_auroc(Y, logits)
    assert mean.left_out == np.isnan(expected).sum()
    assert same(mean.value, np.mean(expected[~np.isnan(expected)]) if mean.left_out < L else np.nan)
    pooled = by_label(Y.reshape(-1, 1), logits.reshape(-1, 1), reference.roc_auc_score)[0]
    assert same(scores.micro_auroc(Y, logits), pooled)


@pytest.mark.parametrize("masked", [False, True])
def test_rankings_are_torchmetrics_too(masked: bool) -> None:
    Y, logits = made("random", 4)
    if masked:
        Y[np.random.default_rng(0).random(Y.shape) < 0.2] = np.nan
    preds, target = torch.from_numpy(expit(logits)), torch.from_numpy(np.where(np.isnan(Y), -1, Y).astype(np.int64))
    for average, of_ap, of_area in (
        ("macro", scores.mean_average_precision(Y, logits).value, scores.macro_auroc(Y, logits).value),
        ("micro", scores.micro_average_precision(Y, logits), scores.micro_auroc(Y, logits)),
    ):
        options = {"num_labels": L, "average": average, "ignore_index": -1}
        assert of_ap == pytest.approx(float(torchmetrics.multilabel_average_precision(preds, target, **options)), 1e-5)
        assert of_area == pytest.approx(float(torchmetrics.multilabel_auroc(preds, target, **options)), 1e-5)


def test_f1_and_errors_are_scikit_learns(data: tuple[np.ndarray, np.ndarray]) -> None:
    Y, logits = data
    predicted = (logits >= THRESHOLDS).astype(np.int64)

    def f1(truth: np.ndarray, guess: np.ndarray) -> float:
        return reference.f1_score(truth, guess, zero_division=np.nan)

    expected = by_label(Y, predicted, f1, both=False)
    np.testing.assert_allclose(scores.f1_per_label(Y, logits, THRESHOLDS), expected, rtol=0, atol=1e-12)
    mean = scores.macro_f1(Y, logits, THRESHOLDS)
    assert mean.left_out == np.isnan(expected).sum()
    assert same(mean.value, np.nanmean(expected))
    flat = Y.reshape(-1, 1), predicted.reshape(-1, 1)
    assert same(scores.micro_f1(Y, logits, THRESHOLDS), by_label(*flat, f1, both=False)[0])
    assert same(scores.samples_f1(Y, logits, THRESHOLDS), np.nanmean(by_label(Y.T, predicted.T, f1, both=False)))
    wrong = by_label(*flat, reference.zero_one_loss, both=False)[0]
    assert same(scores.hamming_loss(Y, logits, THRESHOLDS), wrong)
    right = by_label(Y.T, predicted.T, lambda truth, guess: (truth == guess).all(), both=False)
    assert same(scores.exact_match(Y, logits, THRESHOLDS), np.nanmean(right))


def test_without_unknown_entries_scikit_learn_takes_all_labels_at_once() -> None:
    Y, logits = made("random", 7)
    truth, predicted = Y.astype(np.int64), (logits >= THRESHOLDS).astype(np.int64)
    assert scores.exact_match(Y, logits, THRESHOLDS) == pytest.approx(reference.accuracy_score(truth, predicted))
    assert scores.hamming_loss(Y, logits, THRESHOLDS) == pytest.approx(reference.hamming_loss(truth, predicted))
    for average, ours in (("macro", scores.macro_f1), ("micro", scores.micro_f1), ("samples", scores.samples_f1)):
        found = ours(Y, logits, THRESHOLDS)
        value = found.value if isinstance(found, scores.LabelMean) else found
        expected = reference.f1_score(truth, predicted, average=average, zero_division=np.nan)
        assert value == pytest.approx(expected, abs=1e-12)


def test_losses_are_scikit_learns(data: tuple[np.ndarray, np.ndarray]) -> None:
    Y, logits = data
    chances = expit(logits.astype(np.float64))

    def log_loss(truth: np.ndarray, chance: np.ndarray) -> float:
        return reference.log_loss(truth, chance, labels=[0, 1])

    expected = by_label(Y, chances, log_loss, both=False)
    np.testing.assert_allclose(scores.nll_per_label(Y, logits), expected, rtol=1e-9)
    expected = by_label(Y, chances, reference.brier_score_loss)
    found = scores.brier_per_label(Y, chances)
    np.testing.assert_allclose(found[~np.isnan(expected)], expected[~np.isnan(expected)], rtol=1e-9)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(Y).all(axis=0))


def test_calibration_error_is_torchmetrics(data: tuple[np.ndarray, np.ndarray]) -> None:
    Y, logits = data

    def error(truth: np.ndarray, chance: np.ndarray) -> float:
        return float(
            torchmetrics.binary_calibration_error(torch.from_numpy(chance), torch.from_numpy(truth), n_bins=15)
        )

    chances = expit(logits.astype(np.float64))
    expected = by_label(Y, chances, error, both=False)
    np.testing.assert_allclose(scores.ece_per_label(Y, chances), expected, rtol=0, atol=1e-6)


def test_calibration_by_hand() -> None:
    Y = np.array([[1, np.nan], [0, np.nan], [1, np.nan], [np.nan, np.nan]])
    chances = np.array([[0.5, 0.1], [0.25, 0.1], [1.0, 0.1], [0.7, 0.1]])
    # Two bins, closed above: 0.5 and 0.25 with one of two positive, and 1 alone.
    np.testing.assert_allclose(scores.ece_per_label(Y, chances, bins=2), [abs(1 - 0.75) / 3, np.nan])
    np.testing.assert_allclose(scores.brier_per_label(Y, chances), [(0.25 + 0.0625) / 3, np.nan])


def test_a_loss_of_logits_does_not_overflow_and_loses_nothing() -> None:
    Y, logits = np.array([[1.0, 0.0, 1.0]]), np.array([[-1e4, -50.0, 50.0]])
    np.testing.assert_allclose(scores.nll_per_label(Y, logits), [1e4, np.exp(-50), np.exp(-50)])


@pytest.mark.parametrize("kind", KINDS)
def test_thresholds_give_the_highest_f1_of_all(kind: str) -> None:
    for seed in range(5):
        Y, logits = made(kind, seed)
        chosen = scores.choose_thresholds(Y, logits)
        assert chosen.dtype == np.float64
        assert np.isfinite(chosen).all()
        found = np.nan_to_num(scores.f1_per_label(Y, logits, chosen))
        for label in range(L):
            candidates = np.append(logits[:, label], np.inf).astype(np.float64)
            rates = []
            for threshold in candidates:
                own = scores.f1_per_label(Y[:, [label]], logits[:, [label]], np.array([threshold]))
                rates.append(np.nan_to_num(own[0]))
            assert found[label] == max(rates)
            # None that is higher does as well, but those between the same two scores.
            highest = candidates[np.isfinite(candidates) & (np.array(rates) == max(rates))].max()
            if (Y[:, label] == 1).any():
                assert chosen[label] <= highest
            else:
                assert chosen[label] > logits[:, label].max()


def test_thresholds_by_hand() -> None:
    unknown = np.nan
    Y = np.array([[1, 0, 1, 0, 1, unknown], [1, 0, 0, 1, 1, unknown], [0, 0, 1, unknown, 1, unknown]], np.float64)
    logits = np.array([[4, 1, 3, 1, 3, 1], [2, 2, 2, 5, 2, 7], [0, 3, 1, 3, 1, 2]], np.float32)
    chosen = scores.choose_thresholds(Y, logits)
    # Between 2 and 0; never; all, at the lowest score, 4/5 as against 2/3 for one alone; between 5 and the next known
    # score, 1; all; never, above the highest score of an unknown one.
    np.testing.assert_allclose(chosen, [1, np.nextafter(np.float32(3), 4), 1, 3, 1, np.nextafter(np.float32(7), 8)])
    assert chosen[1] > 3
    # Of equal F1 the highest threshold: 1 of 1 right with 3 to find, or 2 of 3 ... 2/4 as 3/6.
    Y, logits = np.array([[1.0], [0], [0], [1], [1]]), np.array([[9.0], [8], [7], [6], [5]])
    assert scores.choose_thresholds(Y, logits)[0] == 5  # 6/8
    Y, logits = np.array([[1.0], [0], [1], [0], [0], [1]]), np.array([[9.0], [8], [7], [6], [5], [4]])
    assert scores.choose_thresholds(Y, logits)[0] == 6.5  # 4/6, as 6/9 of all


def test_thresholds_of_neighbouring_floats_part_them() -> None:
    low = 1.0
    high = np.nextafter(low, 2)
    Y, logits = np.array([[0.0], [1.0]]), np.array([[low], [high]])
    np.testing.assert_array_equal(scores.predict_labels(logits, scores.choose_thresholds(Y, logits)), [[0], [1]])


def test_what_is_unknown_counts_in_nothing() -> None:
    Y, logits = made("masked")
    other = logits.copy()
    other[np.isnan(Y)] = np.random.default_rng(5).normal(size=int(np.isnan(Y).sum()))
    chances, moved = expit(logits), expit(other)
    for measure in (scores.average_precision_per_label, scores.auroc_per_label, scores.nll_per_label):
        np.testing.assert_array_equal(measure(Y, logits), measure(Y, other))
    for measure in (scores.micro_average_precision, scores.micro_auroc):
        assert measure(Y, logits) == measure(Y, other)
    for at in (scores.f1_per_label, scores.micro_f1, scores.samples_f1, scores.hamming_loss, scores.exact_match):
        np.testing.assert_array_equal(at(Y, logits, THRESHOLDS), at(Y, other, THRESHOLDS))
    np.testing.assert_array_equal(scores.brier_per_label(Y, chances), scores.brier_per_label(Y, moved))
    np.testing.assert_array_equal(scores.ece_per_label(Y, chances), scores.ece_per_label(Y, moved))
    known = [label for label in range(L) if not np.isnan(Y[:, label]).all()]
    np.testing.assert_array_equal(scores.choose_thresholds(Y, logits)[known], scores.choose_thresholds(Y, other)[known])


def test_nothing_known_or_nothing_to_find_has_no_score() -> None:
    nothing, logits = np.full((3, 2), np.nan), np.zeros((3, 2))
    never = np.full(2, np.inf)
    empty = scores.LabelMean(None, 2)
    assert scores.mean_average_precision(nothing, logits) == scores.macro_auroc(nothing, logits) == empty
    assert scores.micro_average_precision(nothing, logits) is scores.micro_auroc(nothing, logits) is None
    assert scores.macro_f1(nothing, logits, never) == scores.macro_f1(np.zeros((3, 2)), logits, never) == empty
    for measure in (scores.micro_f1, scores.samples_f1, scores.hamming_loss, scores.exact_match):
        assert measure(nothing, logits, np.zeros(2)) is None
    assert scores.hamming_loss(np.zeros((3, 2)), logits, never) == 0
    assert scores.exact_match(np.zeros((3, 2)), logits, never) == 1


def test_wrong_arrays_are_refused() -> None:
    Y, logits = made("random")
    with pytest.raises(ValueError, match="one shape"):
        scores.mean_average_precision(Y[:, 1:], logits)
    with pytest.raises(ValueError, match="one shape"):
        scores.mean_average_precision(Y.astype(np.int64), logits)
    with pytest.raises(ValueError, match="an image and a label"):
        scores.micro_auroc(Y[:0], logits[:0])
    with pytest.raises(ValueError, match="0, 1 or NaN"):
        scores.auroc_per_label(Y + 0.5, logits)
    with pytest.raises(ValueError, match="not a number"):
        scores.auroc_per_label(Y, np.where(Y > 0, np.nan, logits))
    with pytest.raises(ValueError, match="thresholds must be"):
        scores.micro_f1(Y, logits, THRESHOLDS[1:])
    with pytest.raises(ValueError, match="thresholds must be"):
        scores.micro_f1(Y, logits, np.full(L, np.nan))
    with pytest.raises(ValueError, match="finite"):
        scores.choose_thresholds(Y, np.full_like(logits, np.inf))
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        scores.brier_per_label(Y, logits)
    with pytest.raises(ValueError, match="a bin"):
        scores.ece_per_label(Y, expit(logits), bins=0)
