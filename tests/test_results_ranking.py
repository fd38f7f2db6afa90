"""One ranking: whoever asks which row is best on validation gets the same answer."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from made_scores import make_score
from probeline.report.model.confusion_rows import select_confusion_rows
from probeline.report.model.pairs import MAX_ROWS, matrix
from probeline.report.model.recommendation import recommend
from probeline.report.model.rows import blocks
from probeline.report.model.verdict import verdict
from probeline.report.page.answer import summary
from probeline.results.ranking import best_by_validation, best_probe, rank_by_validation
from probeline.results.score import Score

NET = "mobilenet_v2"


def tied(first: Score, second: Score) -> list[Score]:
    return [replace(first, val_top1=0.9), replace(second, val_top1=0.9 + 1e-12)]


CASES = {
    "a probe at an inner tap and a head at the last": (
        tied(make_score("probe", tap="layer3"), make_score("probe-sgd", seed=0)),
        ("probe", "layer3"),
    ),
    "two taps": (tied(make_score("probe", tap="layer3"), make_score("probe")), ("probe", "penultimate")),
    "taps by number": (
        tied(make_score("ridge", tap="layer10"), make_score("ridge", tap="layer9")),
        ("ridge", "layer9"),
    ),
    "views": (tied(make_score("probe", views=2), make_score("probe")), ("probe", "penultimate")),
    "two heads": (tied(make_score("knn"), make_score("ridge")), ("ridge", "penultimate")),
    "a training and a head at an inner tap": (
        tied(make_score("knn", tap="layer3"), make_score("finetune", seed=0)),
        ("finetune", "penultimate"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_ties_on_validation_are_broken_the_same_everywhere(case: str) -> None:
    scores, expected = CASES[case]
    worse = make_score("centroid", val_top1=0.5)
    for some in permutations([*scores, worse]):
        table = blocks(some)
        (block,) = table
        rows = rank_by_validation(some)
        answers = {
            "ranking": rows[0][0],
            "best": (best_by_validation(some) or ())[0],
            "page": min(block.rows, key=lambda row: row.rank),
            "confusion matrices": select_confusion_rows(table)[-1].row
            if len(select_confusion_rows(table)) > 1
            else select_confusion_rows(table)[0].row,
        }
        assert {name: (row.method, row.tap) for name, row in answers.items()} == dict.fromkeys(answers, expected)
        assert [row[0].method for row in rows] == [row.method for row in sorted(block.rows, key=lambda row: row.rank)]


def test_the_reference_is_the_probe_that_ranks_first() -> None:
    scores = [*tied(make_score("probe", tap="layer3"), make_score("probe")), make_score("probe", views=1, val_top1=0.8)]
    (block,) = blocks(scores)
    (reference,) = [row for row in block.rows if row.reference]
    assert best_probe(scores) == scores[1]
    assert (reference.tap, reference.views) == ("penultimate", 0)
    assert {row.tap for row in block.leading().rows} == {"penultimate"}


def test_the_rows_of_the_pairs_are_those_that_rank_first() -> None:
    # All equal on validation: which of too many rows are shown must not depend on the order of the files.
    scores = [make_score("ridge", tap=f"layer{n}", val_top1=0.9) for n in range(MAX_ROWS + 2)]
    kept = {row.tap for _, row, _ in matrix(blocks(scores[::-1])).rows}
    assert kept == {row[0].tap for row in rank_by_validation(scores)[:MAX_ROWS]}


def test_test_accuracy_has_no_say() -> None:
    scores = tied(make_score("knn", accuracy=0.95), make_score("ridge", accuracy=0.5))
    assert (best_by_validation(scores) or ())[0].method == "ridge"


def test_of_several_seeds_the_mean_counts() -> None:
    seeds = [make_score("probe-sgd", seed=seed, val_top1=val) for seed, val in ((0, 0.9), (1, 0.7))]
    assert [row[0].method for row in rank_by_validation([*seeds, make_score("knn", val_top1=0.81)])] == [
        "knn",
        "probe-sgd",
    ]
    assert best_by_validation([]) is None


def by_macro(score: Score, val_score: float) -> Score:
    return replace(score, options={**score.options, "select_by": "macro"}, val_score=val_score)


def test_rows_that_another_metric_selected_are_ranked_by_it() -> None:
    high = by_macro(make_score("probe", val_top1=0.9), 0.5)
    fair = by_macro(make_score("knn", val_top1=0.8), 0.7)
    for some in permutations([high, fair]):
        assert rank_by_validation(some) == [(fair,), (high,)]
        decision = recommend(blocks(some))
        assert decision.best_on_validation is not None
        assert decision.best_on_validation.row.method == "knn"
        assert "best on validation (macro 70.0 %)" in verdict(blocks(some)).answer
        assert summary(decision)[0].cells[2] == "macro 70.0"
        assert "selected by different metrics" not in " ".join(decision.caveats)
    seeds = [by_macro(make_score("finetune", seed=seed, val_top1=0.1), 0.6 + 0.3 * seed) for seed in (0, 1)]
    assert best_by_validation([high, fair, *seeds]) == tuple(seeds), "the mean of the seeds is 0.75"


def test_rows_that_different_metrics_selected_are_ranked_by_top1_and_that_is_said() -> None:
    fair, other = by_macro(make_score("knn", val_top1=0.8), 1.0), make_score("probe", val_top1=0.9)
    assert rank_by_validation([fair, other]) == [(other,), (fair,)]
    decision = recommend(blocks([fair, other]))
    words = "Rows were selected by different metrics, macro and top1: all of them are ranked by validation top-1."
    assert words in decision.caveats
    assert "best on validation (90.0 %)" in verdict(blocks([fair, other])).answer


def test_a_metric_and_its_value_come_together() -> None:
    for changes in ({"options": {"select_by": "macro"}}, {"val_score": 0.5}):
        with pytest.raises(ValueError, match="val_score"):
            replace(make_score("knn"), **changes)
