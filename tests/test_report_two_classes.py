"""Rates of two classes against scikit-learn's, and the table of metrics by class."""

from __future__ import annotations

import csv
import io
import random
from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as reference

from made_scores import aggregate, judged, make_score
from pages import make_content, markdown_of, page_of, table
from probeline.metrics.intervals import wilson
from probeline.metrics.scores import macro
from probeline.report.model.rows import blocks
from probeline.report.model.two_classes import TwoClasses, positive_class, two_classes
from probeline.report.terminal import csv_table
from probeline.results.score import Score


def score_of(labels: list[int], predictions: list[int], *, seed: int | None = None, method: str = "probe") -> Score:
    score = make_score(method, class_names=("fine", "rare"), n_test=len(labels), seed=seed)
    changed = judged(score, labels=tuple(labels), predictions=tuple(predictions))
    return replace(changed, macro=macro(np.array(labels), np.array(predictions), 2))


def rates(*scores: Score) -> TwoClasses:
    found = two_classes(scores, positive_class([scores]))
    assert found is not None
    return found


@pytest.mark.parametrize("number", range(40))
def test_rates_are_scikit_learns(number: int) -> None:
    draw = random.Random(number)
    share, right = draw.choice((0.05, 0.5, 0.9)), draw.choice((0.0, 0.5, 0.9, 1.0))
    labels = [0, 1, *(int(draw.random() < share) for _ in range(40))]
    guesses = [own if draw.random() < right else 1 - own for own in labels]
    positive = 0 if labels.count(0) < labels.count(1) else 1
    found = rates(score_of(labels, guesses))
    facts = {"y_true": labels, "y_pred": guesses, "zero_division": 0}
    assert found.positive == ("fine", "rare")[positive]
    assert found.sensitivity is not None
    assert found.specificity is not None
    assert found.sensitivity.share == pytest.approx(reference.recall_score(**facts, pos_label=positive), abs=1e-12)
    assert found.specificity.share == pytest.approx(reference.recall_score(**facts, pos_label=1 - positive), abs=1e-12)
    assert found.precision == pytest.approx(reference.precision_score(**facts, pos_label=positive), abs=1e-12)
    assert (found.sensitivity.n, found.specificity.n) == (labels.count(positive), labels.count(1 - positive))
    right_ones = sum(own == guess == positive for own, guess in zip(labels, guesses, strict=True))
    assert found.sensitivity.interval == pytest.approx(wilson(right_ones, labels.count(positive)), abs=1e-12)


def test_the_positive_class_is_the_rarer_one_and_of_equals_the_second() -> None:
    assert rates(score_of([0, 0, 1], [0, 0, 0])).positive == "rare"
    assert rates(score_of([0, 1, 1], [0, 0, 0])).positive == "fine"
    assert rates(score_of([0, 1], [0, 0])).positive == "rare"
    assert positive_class([[make_score(class_names="abc")]]) is None
    assert positive_class([[make_score(class_names="a")]]) is None
    assert positive_class([]) is None


def test_all_rows_have_one_positive_class_whatever_test_images_they_have() -> None:
    few = replace(score_of([0] + [1] * 4, [0] * 5), splits="a" * 64)
    many = replace(score_of([0] * 9 + [1], [0] * 10, method="knn"), splits="b" * 64)
    assert [row.two_classes and row.two_classes.positive for row in aggregate([few, many])] == ["rare", "rare"]
    # Images that several rows share count once.
    others = [replace(few, method=name, key=digit * 64) for name, digit in (("ridge", "1"), ("centroid", "2"))]
    assert {row.two_classes.positive for row in aggregate([few, many, *others]) if row.two_classes} == {"rare"}


def test_a_class_without_test_images_has_no_rate() -> None:
    found = rates(score_of([0, 0, 0, 0], [0, 0, 0, 1]))
    assert (found.positive, found.sensitivity, found.precision) == ("rare", None, 0)
    assert found.specificity is not None
    assert found.specificity.share == 0.75
    (line,) = table(markdown_of(make_content([score_of([0, 0, 0, 0], [0, 0, 0, 1])])), 1)
    assert not [head for head in line if head.startswith("Sensitivity")]
    assert line["Specificity % (95 % interval)"].startswith("75.0 (")


def test_seeds_are_averaged() -> None:
    first = score_of([0, 0, 0, 1, 1], [0, 0, 1, 1, 1], seed=0, method="probe-sgd")
    second = score_of([0, 0, 0, 1, 1], [0, 0, 0, 0, 0], seed=1, method="probe-sgd")
    found = rates(first, second)
    assert found.sensitivity is not None
    assert found.sensitivity.share == 0.5
    assert found.sensitivity.interval == wilson(1, 2)
    assert found.precision == pytest.approx((2 / 3 + 0) / 2)
    (row,) = aggregate([first, second])
    by_seed = [reference.f1_score(one.labels, one.predictions, average="macro") for one in (first, second)]
    assert row.macro_f1 == pytest.approx(np.mean(by_seed))


def test_the_table_has_the_rates_and_states_the_rule() -> None:
    score = score_of([0] * 24 + [1] * 3, [0] * 23 + [1] * 2 + [0] * 2)
    text = markdown_of(make_content([score]))
    (line,) = table(text, 1)
    low, high = (f"{100 * end:.1f}" for end in wilson(1, 3))
    assert line["Sensitivity % (95 % interval)"] == f"33.3 ({low}–{high})"
    assert line["Precision %"] == "50.0"
    for head, average in (("Macro F1 %", "macro"), ("Weighted F1 %", "weighted")):
        assert line[head] == f"{100 * reference.f1_score(score.labels, score.predictions, average=average):.1f}"
    assert line["Macro %"] == f"{100 * score.macro:.1f}"
    assert (
        "The positive class is 'rare': the one with fewer test images, or the second class if both have as many" in text
    )
    assert "predicted negative (3 and 24 test images)." in text
    page = page_of([score])
    assert 'id="table-metrics"' in page
    assert f"33.3 ({low}–{high})" in page


def test_of_more_classes_there_are_no_rates() -> None:
    text = markdown_of(make_content([make_score()]))
    (line,) = table(text, 1)
    assert line.keys() == {"Backbone", "Method", "Macro F1 %", "Weighted F1 %"}, "macro is top-1: the classes are even"
    assert "positive class" not in text


def test_csv_has_the_metrics_as_single_values() -> None:
    two = score_of([0] * 24 + [1] * 3, [0] * 23 + [1] * 2 + [0] * 2)
    (line,) = csv.DictReader(io.StringIO(csv_table(blocks([two]))))
    (row,) = aggregate([two])
    assert row.two_classes is not None
    assert row.two_classes.sensitivity is not None
    assert (line["positive_class"], line["positive_precision"]) == ("rare", "0.5")
    assert (float(line["sensitivity"]), line["sensitivity_n"]) == (1 / 3, "3")
    ends = (float(line["sensitivity_low"]), float(line["sensitivity_high"]))
    assert ends == row.two_classes.sensitivity.interval
    assert (float(line["macro_f1"]), float(line["weighted_f1"])) == (row.macro_f1, row.weighted_f1)
    (line,) = csv.DictReader(io.StringIO(csv_table(blocks([make_score()]))))
    assert (line["positive_class"], line["sensitivity"], line["specificity_high"]) == ("", "", "")
