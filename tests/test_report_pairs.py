"""Any two rows: differences with their intervals, every pair tested together, no more rows than can be read."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from made_scores import make_score, make_scores
from probeline.metrics.intervals import holm, mcnemar, paired_bootstrap
from probeline.report.model.differences import differences
from probeline.report.model.pairs import MAX_ROWS, matrix
from probeline.report.model.rows import blocks
from probeline.report.sections.scores.comparisons import matrix_notes, matrix_table


def test_a_difference_averages_seeds_and_tests_the_first() -> None:
    a = [make_score("finetune", seed=seed, accuracy=0.8 + 0.02 * seed, n_test=300) for seed in range(3)]
    b = [make_score("probe", accuracy=0.75, n_test=300)]
    found = differences([(0, 1)], [a, b])[0, 1]
    labels, predicted, other = (np.array(x) for x in (b[0].labels, [s.predictions for s in a], b[0].predictions))
    assert found.top1 == pytest.approx(np.mean([score.top1 for score in a]) - b[0].top1)
    assert found.interval == paired_bootstrap(labels, predicted, other)
    assert found.interval[0] < found.top1 < found.interval[1]
    assert found.p == mcnemar(labels, predicted[0], other)


def test_all_pairs_are_adjusted_together() -> None:
    scores = [make_score(method, accuracy=top1) for method, top1 in (("probe", 0.8), ("knn", 0.77), ("centroid", 0.7))]
    found = matrix(blocks(scores))
    assert list(found.differences) == [(1, 0), (2, 0), (2, 1)]
    labels, *predicted = (np.array(x) for x in (scores[0].labels, *(score.predictions for score in scores)))
    raw = [mcnemar(labels, predicted[i], predicted[j]) for i, j in found.differences]
    assert [difference.p for difference in found.differences.values()] == holm(raw)
    assert found.differences[2, 0].top1 == pytest.approx(-0.1)
    assert found.left_out == 0


def test_many_rows_are_cut_by_val_and_never_by_test() -> None:
    scores = make_scores(("one", "two"), n_test=50)
    scores = [score for score in scores if score.method != "probe-refit"]
    found = matrix(blocks(scores))
    kept = {(row.backbone, row.method) for _, row, _ in found.rows}
    by_val = sorted(scores, key=lambda score: -score.val_top1)
    assert kept == {(score.backbone, score.method) for score in by_val[:MAX_ROWS]}
    assert (len(found.rows), found.left_out) == (MAX_ROWS, 16 - MAX_ROWS)
    assert len(found.differences) == MAX_ROWS * (MAX_ROWS - 1) / 2
    assert any("4 are left out" in note for note in matrix_notes(found))


def test_rows_read_on_other_images_have_an_empty_cell() -> None:
    scores = [make_score("probe"), make_score("knn", draw=1), make_score("centroid", accuracy=0.7)]
    found = matrix(blocks(scores))
    assert set(found.differences) == {(2, 0)}
    assert any("different test images" in note for note in matrix_notes(found))
    head, _, *body = [line.split("|")[1:-1] for line in matrix_table(found).markdown().splitlines()]
    assert [cell.strip() for cell in head] == ["No.", "Row", "− no. 1", "− no. 2"]
    cells = [[cell.strip() for cell in line] for line in body]
    assert cells[1] == ["2", "k-NN", "", ""]
    assert cells[2][2].startswith("−8.0 (")


def test_rows_of_several_backbones_are_distinguished() -> None:
    text = matrix_table(matrix(blocks(make_scores(("one", "two"), ("probe", "knn"), n_test=60)))).markdown()
    assert "linear probe (exact), one" in text
    assert "k-NN, two" in text


def test_rows_of_several_taps_are_distinguished() -> None:
    scores = [make_score(tap=tap, n_test=60) for tap in ("penultimate", "layer3")]
    text = matrix_table(matrix(blocks(scores))).markdown()
    assert "| linear probe (exact)            |" in text
    assert "| linear probe (exact), at layer3 |" in text


def test_no_rows_have_no_pairs() -> None:
    found = matrix([])
    assert (found.rows, dict(found.differences), found.left_out) == ((), {}, 0)


def test_every_pair_stands_once_and_below_the_diagonal() -> None:
    found = matrix(blocks(make_scores(n_test=80)))
    assert set(found.differences) == {(later, earlier) for earlier, later in combinations(range(9), 2)}


def test_only_significant_differences_are_reported() -> None:
    """By the first seeds alone the first two differ, by the means they do not."""
    scores = [
        make_score(accuracy=0.8, n_test=1000),
        make_score("finetune", seed=0, accuracy=0.88, n_test=1000),
        make_score("finetune", seed=1, accuracy=0.7, n_test=1000),
        make_score("knn", accuracy=0.5, n_test=1000),
    ]
    found = matrix(blocks(scores))
    real = {pair for pair, difference in found.differences.items() if difference.real}
    assert 0 < len(real) < len(found.differences)
    assert any(difference.p < 0.05 for pair, difference in found.differences.items() if pair not in real)
    cells = [cell for line in matrix_table(found).grid[1:] for cell in line[2:] if "(" in cell]
    assert len(cells) == len(real)
    assert matrix_notes(found)[0].startswith(f"{len(real)} of the 3 differences are significant")
