"""Bootstrap intervals: the same draws everywhere, of any metric, and as wide as theory and slow resampling say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import bootstrap as scipys
from scipy.stats import norm

from probeline.metrics import bootstrap as module
from probeline.metrics import multi_label, regression, resampled
from probeline.metrics.bootstrap import Statistic, bootstrap, bootstrap_difference, draw_counts, of_rows
from probeline.metrics.resampled import ratio_of_sums

N, L = 40, 4
GOLDEN = [[1, 1, 1, 1, 1, 1], [1, 2, 0, 0, 2, 1], [0, 2, 4, 0, 0, 0], [0, 1, 4, 0, 0, 1]]
THRESHOLDS = np.array([0.0, 0.5, -0.5, 1.0])


def labels(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return truth and scores of labels, of which the last is so rare that many resamples lack it."""
    rng = np.random.default_rng(3)
    Y = (rng.random((N, L)) < 0.3).astype(np.float64)
    Y[:, 3] = np.arange(N) == 7
    scores = rng.normal(size=(N, L)) + Y
    if kind == "masked":
        Y[rng.random(Y.shape) < 0.3] = np.nan
        Y[11] = np.nan
    return Y, (np.round(scores) if kind == "tied" else scores).astype(np.float32)


def numbers() -> tuple[np.ndarray, np.ndarray]:
    """Return two targets, the second of which has one value for all images but two."""
    rng = np.random.default_rng(4)
    truth = np.column_stack([rng.normal(size=N), np.where(np.arange(N) < 2, 0.3, 0.1)])
    return truth, truth + rng.normal(size=truth.shape)


def value_of(found: multi_label.LabelMean | float | None) -> float | None:
    return found.value if isinstance(found, multi_label.LabelMean) else found


OF_SCORES = {
    resampled.resampled_map: multi_label.mean_average_precision,
    resampled.resampled_micro_average_precision: multi_label.micro_average_precision,
    resampled.resampled_macro_auroc: multi_label.macro_auroc,
    resampled.resampled_micro_auroc: multi_label.micro_auroc,
}
OF_DECISIONS = {
    resampled.resampled_macro_f1: multi_label.macro_f1,
    resampled.resampled_micro_f1: multi_label.micro_f1,
    resampled.resampled_samples_f1: multi_label.samples_f1,
    resampled.resampled_hamming_loss: multi_label.hamming_loss,
    resampled.resampled_exact_match: multi_label.exact_match,
}
OF_NUMBERS = {
    resampled.resampled_r2: regression.r2,
    resampled.resampled_mae: regression.mae,
    resampled.resampled_rmse: regression.rmse,
}


def assert_is_the_metric(statistic: Statistic, metric: Callable[[np.ndarray], float | None]) -> None:
    """Compare a statistic with the metric itself on repeated rows."""
    counts = np.concatenate([np.ones((1, N), np.int64), *draw_counts(N, 60, 5), np.eye(N, dtype=np.int64)[:2]])
    np.testing.assert_allclose(statistic(counts), of_rows(metric)(counts), rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ["random", "tied", "masked"])
def test_statistics_of_labels_are_the_metrics_on_repeated_rows(kind: str) -> None:
    Y, scores = labels(kind)
    for make, metric in OF_SCORES.items():
        assert_is_the_metric(make(Y, scores), lambda rows, metric=metric: value_of(metric(Y[rows], scores[rows])))
    for make, metric in OF_DECISIONS.items():
        assert_is_the_metric(
            make(Y, scores, THRESHOLDS),
            lambda rows, metric=metric: value_of(metric(Y[rows], scores[rows], THRESHOLDS)),
        )


def test_statistics_of_numbers_are_the_metrics_on_repeated_rows() -> None:
    truth, predictions = numbers()
    for make, metric in OF_NUMBERS.items():
        assert_is_the_metric(
            make(truth, predictions), lambda rows, metric=metric: metric(truth[rows], predictions[rows])
        )


def test_a_metric_by_rows_has_the_same_interval() -> None:
    Y, scores = labels("masked")
    fast = bootstrap(resampled.resampled_map(Y, scores), N, draws=50)
    slow = bootstrap(of_rows(lambda rows: multi_label.mean_average_precision(Y[rows], scores[rows]).value), N, draws=50)
    assert fast is not None
    assert slow is not None
    assert (fast.value, fast.low, fast.high) == pytest.approx((slow.value, slow.low, slow.high), abs=1e-12)


def test_draws_are_the_same_on_every_machine() -> None:
    (counts,) = draw_counts(6, 4, 0)
    # 64-bit numbers of PCG64 by SeedSequence([0, 200]), modulo 6.
    assert counts.tolist() == GOLDEN
    assert (counts.sum(axis=1) == 6).all()
    assert next(iter(draw_counts(6, 4, 1))).tolist() != GOLDEN


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = np.arange(N) // 3
    whole = [np.concatenate(list(draw_counts(N, 30, 2, of))) for of in (None, groups)]
    monkeypatch.setattr(module, "_BLOCK", 7 * N)
    parts = [list(draw_counts(N, 30, 2, of)) for of in (None, groups)]
    assert [len(part) for part in parts[0]] == [7, 7, 7, 7, 2]
    for one, others in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, np.concatenate(others))


def test_each_image_is_as_likely() -> None:
    counts = np.concatenate(list(draw_counts(50, 4000, 0)))
    # Each count is nearly a Poisson number of mean 1: means over 4,000 resamples within 4.5 / sqrt(4000) of it.
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=4.5 / np.sqrt(4000))
    assert counts.var() == pytest.approx(1 - 1 / 50, abs=0.02)


@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_the_interval_of_a_mean_is_that_of_theory_and_of_scipy(confidence: float) -> None:
    values = np.random.default_rng(0).exponential(size=400)
    found = bootstrap(ratio_of_sums(values, np.ones(400)), 400, draws=8000, confidence=confidence)
    assert found is not None
    half = norm.ppf((1 + confidence) / 2) * values.std() / np.sqrt(400)
    # The skew of a mean of 400 moves the ends by some hundredths of a half, and so does the luck of 8,000 draws.
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)
    theirs = scipys(
        (values,), np.mean, n_resamples=8000, confidence_level=confidence, method="percentile", rng=1
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.1 * half)
    assert (found.draws, found.undefined) == (8000, 0)


def test_groups_are_drawn_whole() -> None:
    rng = np.random.default_rng(1)
    groups = rng.choice(["a", "b", "c", "d", "e"], N)
    for counts in draw_counts(N, 20, 0, groups):
        for name in np.unique(groups):
            assert (counts[:, groups == name] == counts[:, groups == name][:, :1]).all()
        first = [int(np.flatnonzero(groups == name)[0]) for name in np.unique(groups)]
        assert (counts[:, first].sum(axis=1) == 5).all()


def test_copies_in_a_group_are_no_evidence() -> None:
    values = np.random.default_rng(2).normal(size=30)
    alone = bootstrap(ratio_of_sums(values, np.ones(30)), 30)
    copied, groups = np.repeat(values, 4), np.repeat(np.arange(30), 4)
    together = bootstrap(ratio_of_sums(copied, np.ones(120)), 120, groups=groups)
    assert alone is not None
    assert together is not None
    assert (alone.low, alone.high) == pytest.approx((together.low, together.high))
    apart = bootstrap(ratio_of_sums(copied, np.ones(120)), 120)
    assert apart is not None
    assert apart.high - apart.low < 0.6 * (alone.high - alone.low)


def test_resamples_without_a_value_are_left_out_and_counted() -> None:
    Y, scores = labels("random")
    rare = resampled.resampled_map(Y[:, 3:], scores[:, 3:])
    found = bootstrap(rare, N, draws=2000)
    assert found is not None
    assert found.draws + found.undefined == 2000
    # Its one positive image is in no resample with (1 - 1/40)^40 = 36 %.
    assert found.undefined / 2000 == pytest.approx((1 - 1 / N) ** N, abs=0.04)
    assert found.low <= found.high


def test_a_difference_is_paired() -> None:
    rng = np.random.default_rng(5)
    images = rng.normal(size=200)
    a, b = images + 0.05 * rng.normal(size=200) + 0.02, images + 0.05 * rng.normal(size=200)
    ones = np.ones(200)
    found = bootstrap_difference(ratio_of_sums(a, ones), ratio_of_sums(b, ones), 200, draws=4000)
    assert found is not None
    assert found.value == pytest.approx((a - b).mean())
    half = 1.96 * (a - b).std() / np.sqrt(200)
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=0.15 * half)
    z = abs(found.value) / ((a - b).std() / np.sqrt(200))
    assert found.p == pytest.approx(2 * norm.sf(z), abs=0.02)
    other = bootstrap_difference(ratio_of_sums(b, ones), ratio_of_sums(a, ones), 200, draws=4000)
    assert other is not None
    assert (other.value, other.low, other.high) == pytest.approx((-found.value, -found.high, -found.low))
    assert other.p == found.p


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.2, 0.3])
def test_the_p_value_is_where_the_interval_begins_to_exclude_nothing(shift: float) -> None:
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=(2, 60)) + np.array([[shift], [0]])
    of = ratio_of_sums(a, np.ones(60)), ratio_of_sums(b, np.ones(60))
    found = bootstrap_difference(*of, 60)
    assert found is not None
    for p, is_outside in ((found.p + 0.004, True), (found.p - 0.006, False)):  # two draws of 1,000 each side
        if 0 < p < 1:
            at = bootstrap_difference(*of, 60, confidence=1 - p)
            assert at is not None
            assert (at.low > 0 or at.high < 0) == is_outside


def test_equal_predictors_do_not_differ_and_far_ones_do() -> None:
    values = np.random.default_rng(7).random(50)
    same = ratio_of_sums(values, np.ones(50))
    found = bootstrap_difference(same, same, 50)
    assert found is not None
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)
    found = bootstrap_difference(ratio_of_sums(values + 9, np.ones(50)), same, 50, draws=999)
    assert found is not None
    assert found.p == pytest.approx(2 / 1000)


def test_without_a_difference_few_tests_reject() -> None:
    rng = np.random.default_rng(8)
    rejected = 0
    for seed in range(200):
        difference = ratio_of_sums(rng.normal(size=80), np.ones(80))
        found = bootstrap_difference(difference, ratio_of_sums(np.zeros(80), np.ones(80)), 80, draws=399, seed=seed)
        assert found is not None
        rejected += found.p < 0.05
    assert 2 <= rejected <= 22  # 10 expected of 200, and 3.1 is one sd; percentile intervals are a little narrow


def test_a_metric_without_a_value_has_no_interval() -> None:
    nothing = of_rows(lambda rows: None)
    assert bootstrap(nothing, 5) is bootstrap_difference(nothing, nothing, 5) is None
    mean = ratio_of_sums(np.arange(5.0), np.ones(5))
    assert bootstrap(mean, 5) is not None
    assert bootstrap(mean, 5, groups=np.zeros(5)) is None
    assert bootstrap(ratio_of_sums(np.ones(1), np.ones(1)), 1) is None
    only_itself = of_rows(lambda rows: 1.0 if len(np.unique(rows)) == 30 else None)
    assert bootstrap(only_itself, 30, draws=20) is None


@pytest.mark.parametrize(
    "options", [{"draws": 0}, {"confidence": 1.0}, {"seed": -1}, {"groups": np.zeros(4)}], ids=lambda each: str([*each])
)
def test_impossible_requests_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"no interval|groups"):
        bootstrap(ratio_of_sums(np.ones(5), np.ones(5)), 5, **options)  # type: ignore[arg-type]
