"""Classes that have an order: from the words of ``--ordinal`` to the rows of a report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, mean_absolute_error

import probeline
from probeline.errors import BadOption, UnknownName
from probeline.evaluate.score import refit_logits
from probeline.files.decode import BadRecord, decode, encode
from probeline.metrics.bootstrap import bootstrap, draw_counts
from probeline.metrics.resampled import resampled_kappa
from probeline.metrics.scores import class_error
from probeline.options.class_order import class_order
from probeline.report.model.rows import blocks
from probeline.report.sections.scores.class_metrics import metric_columns, metric_notes
from probeline.report.terminal import row_record
from probeline.results.score import Score
from probeline.types import FloatArray, IntArray

SIZES = ("small", "medium", "large", "huge")
"""Their order is not that of the alphabet, by which classes are numbered."""


def task(n: int = 600, seed: int = 0) -> tuple[FloatArray, list[str], IntArray]:
    """Return features [n, 8], names, and ranks that follow one direction of the features."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 8)).astype(np.float32)
    value = X @ np.linspace(-1, 1, 8) + rng.logistic(size=n) * 0.6
    ranks = np.searchsorted(np.quantile(value, [0.2, 0.5, 0.8]), value)
    return X, [SIZES[rank] for rank in ranks], ranks


def probed(method: str, **options: Any) -> probeline.Result:
    X, names, _ = task()
    rows = {"test": np.arange(0, 600, 3), "val": np.arange(1, 600, 6)}
    return probeline.probe(X, names, method=method, **rows, **options)


def test_the_ordinal_probe_end_to_end() -> None:
    result = probed("ordinal", ordinal=SIZES)
    (score,) = result.scores
    X, names, ranks = task()
    test = np.arange(0, 600, 3)
    assert score.method == "ordinal"
    assert score.options["order"] == list(SIZES)
    assert score.class_names == tuple(sorted(SIZES)), "classes keep their numbers"
    assert score.chosen_by == "val (n=100)"
    assert score.converged
    assert score.trainable == 8 + 3
    best = max(one["top1"] for one in score.path)
    assert score.val_top1 == best
    # its ranks are those that were made, and it errs by little
    found = np.array([SIZES.index(score.class_names[one]) for one in score.predictions])
    assert [score.class_names[one] for one in score.labels] == [names[row] for row in test]
    assert np.abs(found - ranks[test]).mean() < 0.5
    assert np.corrcoef(found, ranks[test])[0, 1] > 0.7
    # fitted again it predicts what was scored, and a wrong order of classes would not fit as well
    again = refit_logits(result.features.cached, score)(X[test]) if result.features else np.empty(0)
    assert again.argmax(axis=1).tolist() == list(score.predictions)
    with pytest.raises(BadOption, match="cannot be exported"):
        _ = result.head
    confused = probed("ordinal", ordinal=("small", "large", "medium", "huge")).scores[0]
    assert confused.key != score.key
    assert confused.nll > score.nll + 0.1


def test_the_reversed_order_is_the_same_model() -> None:
    score, turned = (probed("ordinal", ordinal=order).scores[0] for order in (SIZES, SIZES[::-1]))
    assert score.chosen == turned.chosen
    assert score.nll == pytest.approx(turned.nll, abs=1e-4)


def test_an_order_is_required_and_checked() -> None:
    with pytest.raises(BadOption, match="ordinal without an order of the classes"):
        probed("ordinal")
    with pytest.raises(BadOption, match=r"an order without huge and small"):
        probed("ordinal", ordinal=("medium", "large"))
    with pytest.raises(UnknownName, match="tiny"):
        probed("ordinal", ordinal=("tiny", *SIZES))


def test_several_labels_have_no_order() -> None:
    X, names, _ = task(200)
    labels = [[name, "image"] for name in names]
    with pytest.raises(BadOption, match=r"ordinal is about classes .*task multi-label"):
        probeline.probe_targets(X, labels, task="multi-label", ordinal=SIZES)


def test_words_give_an_order() -> None:
    assert class_order((), SIZES) == ()
    assert class_order(SIZES, sorted(SIZES)) == SIZES
    assert class_order((",".join(SIZES),), sorted(SIZES)) == SIZES
    assert class_order(("numeric",), ["10", "9", "-1.5"]) == ("-1.5", "9", "10")
    assert class_order(("a,b", "c"), ["c", "a,b"]) == ("a,b", "c"), "a comma may be part of a name"
    assert class_order(("a,b",), ["a,b"]) == ("a,b",)


@pytest.mark.parametrize(
    ("words", "names", "message"),
    [
        (("numeric",), ["1", "2", "many"], "without numbers .*many"),
        (("numeric",), ["1", "2", "nan"], "without numbers .*nan"),
        (("numeric",), ["1", "01", "2"], "no order .*1 and 01"),
        (("a", "a", "b"), ["a", "b"], "a twice"),
        (("a",), ["a", *"bcdefgh"], "without b, c, d, e, f and 2 more"),
    ],
)
def test_unclear_orders_are_refused(words: tuple[str, ...], names: list[str], message: str) -> None:
    with pytest.raises(BadOption, match=message):
        class_order(words, names)


def test_errors_and_kappa_are_scikit_learns() -> None:
    rng = np.random.default_rng(3)
    ranks = np.array([2, 0, 3, 1])
    labels = rng.integers(0, 4, 300)
    predictions = np.where(rng.random(300) < 0.6, labels, rng.integers(0, 4, 300))
    assert class_error(labels, predictions, ranks) == mean_absolute_error(ranks[labels], ranks[predictions])
    statistic = resampled_kappa(labels, predictions, ranks)
    counts = next(iter(draw_counts(300, 5, seed=1)))
    for value, count in zip(statistic(counts), counts, strict=True):
        rows = np.repeat(np.arange(300), count)
        truth, guess = ranks[labels[rows]], ranks[predictions[rows]]
        assert value == pytest.approx(cohen_kappa_score(truth, guess, weights="quadratic"), abs=1e-12)
    found = bootstrap(statistic, 300)
    assert found is not None
    assert found.low < found.value < found.high
    same = np.zeros(10, np.int64)
    assert bootstrap(resampled_kappa(same, same, ranks), 10) is None


def test_all_rows_of_a_report_get_what_an_order_gives() -> None:
    ordinal, probe = probed("ordinal", ordinal=SIZES).scores[0], probed("exact").scores[0]
    rows = [row for block in blocks([ordinal, probe]) for row in block.rows]
    heads = [column.head for column in metric_columns(rows)]
    assert "Classes off" in heads
    assert "Kappa (95 % interval)" in heads
    for row, score in zip(rows, [probe, ordinal], strict=True):
        assert row.method == score.method
        ranks = [[SIZES.index(score.class_names[one]) for one in of] for of in (score.labels, score.predictions)]
        assert row.ordered is not None
        assert row.ordered.kappa == pytest.approx(cohen_kappa_score(*ranks, weights="quadratic"), abs=1e-12)
        assert row.ordered.error == pytest.approx(mean_absolute_error(*ranks))
        low, high = row.ordered.interval or (0, 0)
        assert low < row.ordered.kappa < high
        flat = row_record("made", row)
        assert (flat["class_error"], flat["kappa"], flat["kappa_low"]) == (row.ordered.error, row.ordered.kappa, low)
    assert any("quadratic" in note for note in metric_notes(rows))
    (alone,) = (row for block in blocks([probe]) for row in block.rows)
    assert alone.ordered is None
    assert "Classes off" not in [column.head for column in metric_columns([alone])]
    # two orders contradict each other: no row gets either
    other = replace(ordinal, key="0" * 64, options={**ordinal.options, "order": list(SIZES[::-1])})
    assert all(row.ordered is None for block in blocks([ordinal, probe, other]) for row in block.rows)


def test_a_record_whose_order_is_of_other_classes_is_refused() -> None:
    score = probed("ordinal", ordinal=SIZES).scores[0]
    record = encode(score)
    assert decode(Score, record) == score
    for order in (list(SIZES[:3]), [*SIZES[:3], "tiny"], "small", None):
        with pytest.raises(BadRecord, match="order of all classes"):
            decode(Score, {**record, "options": {**record["options"], "order": order}})
