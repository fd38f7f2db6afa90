"""Rows: seeds averaged, blocks formed, differences tested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from made_scores import CIFAR, METHODS, aggregate, make_score, make_scores
from probeline.errors import BadData, UnknownName
from probeline.metrics.intervals import holm, mcnemar, wilson
from probeline.report.model.row import Row
from probeline.report.model.rows import blocks
from probeline.results.score import Score


def only(rows: Sequence[Row], method: str) -> Row:
    (row,) = [row for row in rows if row.method == method]
    return row


def test_seeds_of_one_row_are_averaged() -> None:
    scores = [
        make_score("finetune", accuracy=0.8 + 0.02 * seed, seed=seed, cold_seconds=10.0 * seed) for seed in range(3)
    ]
    (row,) = aggregate(scores)
    assert row.seeds == 3
    assert row.top1 == pytest.approx(np.mean([score.top1 for score in scores]))
    assert row.macro == pytest.approx(np.mean([score.macro for score in scores]))
    assert row.seed_std == pytest.approx(np.std([score.top1 for score in scores], ddof=1))
    assert row.top1_by_seed == tuple(score.top1 for score in scores)
    assert row.cold_seconds == 10.0
    assert row.interval == pytest.approx(wilson(row.top1 * row.n_test, row.n_test))
    assert row.interval[0] < row.top1 < row.interval[1]


def test_accuracy_per_class_is_averaged_over_seeds() -> None:
    names = ("ants", "bees", "wasps")
    labels = (0, 0, 1, 1)
    seeds = [
        make_score("finetune", seed=seed, class_names=names, n_test=4, labels=labels, predictions=predictions)
        for seed, predictions in enumerate([(0, 0, 1, 2), (0, 1, 1, 1)])
    ]
    (row,) = aggregate(seeds)
    assert row.per_class == (0.75, 0.75, None)


def test_a_single_score_has_no_seed_spread() -> None:
    (row,) = aggregate([make_score()])
    assert row.seed_std is None
    assert row.seeds == 1
    assert row.reference
    assert row.over_probe is None


@pytest.mark.parametrize("order", [1, -1])
def test_rows_do_not_depend_on_the_order_of_scores(order: int) -> None:
    scores = make_scores(("mobilenet_v2", "resnet18"), seeds=3, n_test=100)
    assert aggregate(scores[::order]) == aggregate(scores)
    assert [row.method for row in aggregate(scores)] == [*METHODS, *METHODS]


def test_the_best_backbone_comes_first() -> None:
    scores = make_scores(("strong", "weak"), ("probe", "knn"), n_test=200)
    assert [block.title for block in blocks(scores)] == ["strong", "weak"]
    assert [block.title for block in blocks(make_scores(("weak", "strong"), ("probe",), n_test=200))] == [
        "weak",
        "strong",
    ]


def test_headroom_is_finetune_minus_probe() -> None:
    scores = [make_score("probe", accuracy=0.7), *(make_score("finetune", accuracy=0.9, seed=seed) for seed in (0, 1))]
    rows = aggregate(scores)
    headroom = only(rows, "finetune").headroom
    assert headroom is not None
    assert headroom.top1 == pytest.approx(only(rows, "finetune").top1 - only(rows, "probe").top1)
    assert headroom.real
    assert only(rows, "probe").headroom is None


@pytest.mark.parametrize(
    "changes",
    [
        {"n_train": 49_000},
        {"n_val": 4_000},
        {"image_size": 96},
        {"weights": "IMAGENET1K_V2"},
        {"backbone": "resnet18"},
        {"draw": 1},
    ],
)
def test_headroom_needs_equal_conditions(changes: dict[str, Any]) -> None:
    rows = aggregate([make_score("probe"), make_score("finetune", accuracy=0.9, seed=0, **changes)])
    assert only(rows, "finetune").headroom is None


def test_headroom_prefers_the_probe_of_its_own_precision() -> None:
    probes = [make_score("probe", precision="bf16", accuracy=0.6), make_score("probe", precision="fp32", accuracy=0.7)]
    for precision, expected in (("bf16", 0.3), ("fp32", 0.2), ("tf32", 0.3)):
        rows = aggregate([*probes, make_score("finetune", accuracy=0.9, seed=0, precision=precision)])
        headroom = only(rows, "finetune").headroom
        assert headroom is not None
        assert headroom.top1 == pytest.approx(expected)


def test_the_reference_is_chosen_on_val() -> None:
    scores = [
        make_score("probe", "resnet18", accuracy=0.8, val_top1=0.70),
        make_score("probe", "resnet50", accuracy=0.7, val_top1=0.75),
        make_score("knn", "resnet18", accuracy=0.6, val_top1=0.99),
    ]
    assert [row.backbone for row in aggregate(scores) if row.reference] == ["resnet50"]


def test_p_values_are_mcnemars_on_first_seeds_adjusted_over_all_pairs() -> None:
    probe = make_score("probe", accuracy=0.70)
    knn = make_score("knn", accuracy=0.66)
    tuned = [make_score("finetune", accuracy=accuracy, seed=seed) for seed, accuracy in ((3, 0.99), (1, 0.73))]
    rows = aggregate([*tuned, knn, probe])

    def p(score: Score) -> float:
        labels, a, b = (np.array(x) for x in (probe.labels, score.predictions, probe.predictions))
        return float(mcnemar(labels, a, b))

    adjusted = holm([p(knn), p(tuned[1])])
    differences = [only(rows, name).over_probe for name in ("knn", "finetune")]
    assert [d.p for d in differences if d] == pytest.approx(list(adjusted))
    assert only(rows, "finetune").headroom == only(rows, "finetune").over_probe


@pytest.mark.parametrize(
    ("accuracies", "holds_0"),
    [
        ((0.4, 0.99, 0.99), False),  # the first seed contradicts the means
        ((0.75, 0.68, 0.674), True),  # the first seed is far above, the others undo that
    ],
)
def test_a_difference_is_real_only_where_both_tests_agree(accuracies: tuple[float, ...], holds_0: bool) -> None:
    probe = make_score("probe", accuracy=0.7)
    tuned = [make_score("finetune", accuracy=accuracy, seed=seed) for seed, accuracy in enumerate(accuracies)]
    headroom = only(aggregate([probe, *tuned]), "finetune").headroom
    assert headroom is not None
    assert headroom.p < 0.05
    assert headroom.top1 > 0
    assert (headroom.interval[0] < 0 < headroom.interval[1]) is holds_0
    assert not headroom.real


def test_rows_read_on_other_test_images_are_not_compared() -> None:
    rows = aggregate([make_score("probe"), make_score("knn", draw=1), make_score("centroid", accuracy=0.3)])
    assert only(rows, "knn").over_probe is None
    assert only(rows, "centroid").over_probe is not None


def test_runs_with_other_options_are_rows_of_their_own() -> None:
    plain = [make_score("finetune", seed=seed) for seed in range(3)]
    longer = [make_score("finetune", seed=seed, options={"version": 1, "lr": 0.01, "epochs": 50}) for seed in range(2)]
    rows = aggregate([*plain, *longer])
    assert [(row.seeds, row.variant, row.differing) for row in rows] == [
        (3, "run A", "epochs 20"),
        (2, "run B", "epochs 50"),
    ]
    assert rows[1].options["epochs"] == 50
    assert len(set(rows[0].keys)) == 3


def test_runs_that_differ_in_a_digit_show_it() -> None:
    rates = (1e-3, 0.0010001)
    rows = aggregate([make_score("finetune", seed=0, options={"version": 1, "lr": lr}) for lr in rates])
    assert [(row.variant, row.differing) for row in rows] == [("run A", "lr 0.001"), ("run B", "lr 0.0010001")]


def test_scratch_stands_next_to_the_pretrained_backbone() -> None:
    scores = [make_score("probe"), make_score("probe", weights="none"), make_score("scratch", seed=0, accuracy=0.5)]
    found = {block.title: [row.method for row in block.rows] for block in blocks(scores)}
    assert found == {"mobilenet_v2, IMAGENET1K_V1": ["probe", "scratch"], "mobilenet_v2, untrained": ["probe"]}


def test_scratch_alone_has_a_block_of_its_own() -> None:
    (block,) = blocks([make_score("scratch", seed=0)])
    assert block.title == "mobilenet_v2"


def test_titles_name_what_differs_and_no_more() -> None:
    scores = [make_score(image_size=96), make_score(image_size=224), make_score("scratch", seed=0, image_size=96)]
    assert sorted(block.title for block in blocks(scores)) == ["mobilenet_v2, 224 px", "mobilenet_v2, 96 px"]
    assert {row.title for row in aggregate(scores)} == {"linear probe (exact)", "from scratch"}


def test_rows_of_one_method_are_distinguished() -> None:
    precision = aggregate([make_score(precision="bf16"), make_score(precision="fp32"), make_score("knn")])
    assert [row.short for row in precision] == ["linear probe (exact), bf16", "linear probe (exact), fp32", "k-NN"]
    fraction = aggregate([make_score(n_train=450), make_score(n_train=45_000)])
    assert [row.variant for row in fraction] == ["450 train", "45,000 train"]


PLACES: tuple[dict[str, Any], ...] = ({}, {"tap": "layer10"}, {"tap": "layer3", "views": 3}, {"tap": "layer3+layer10"})


def test_taps_and_views_stand_in_one_block() -> None:
    heads = [make_score(method, **place) for place in PLACES for method in ("knn", "probe")]
    (block,) = blocks([*heads[::-1], make_score("finetune", seed=0), make_score("scratch", seed=0)])
    assert block.title == "mobilenet_v2"
    assert [row.title for row in block.rows] == [
        "linear probe (exact)",
        "k-NN",
        "full fine-tune",
        "from scratch",
        "linear probe (exact), at layer3, 3 views",
        "k-NN, at layer3, 3 views",
        "linear probe (exact), at layer10",
        "k-NN, at layer10",
        "linear probe (exact), at layer3+layer10",
        "k-NN, at layer3+layer10",
    ]
    assert [(part.title, len(part.rows)) for part in block.parts()] == [
        ("mobilenet_v2", 4),
        ("mobilenet_v2 at layer3, 3 views", 2),
        ("mobilenet_v2 at layer10", 2),
        ("mobilenet_v2 at layer3+layer10", 2),
    ]
    assert all(part.scores[0][0].method == "probe" for part in block.parts())
    assert {row.short for row in block.rows[4:]} == {"linear probe (exact)", "k-NN"}


def test_a_tap_is_named_next_to_other_differences() -> None:
    scores = [make_score(views=1, precision=precision) for precision in ("bf16", "fp32")]
    rows = aggregate([*scores, make_score(views=2)])
    assert [row.variant for row in rows] == ["1 view, bf16", "1 view, fp32", "2 views"]
    assert [row.short for row in rows[:2]] == ["linear probe (exact), bf16", "linear probe (exact), fp32"]
    assert blocks(scores)[0].parts()[0].title == "mobilenet_v2, 1 view"


def test_headroom_is_from_the_penultimate_probe_without_views() -> None:
    tuned = make_score("finetune", accuracy=0.9, seed=0)
    others = [make_score(accuracy=0.8, **place) for place in (*PLACES[1:], {"views": 1})]
    assert only(aggregate([*others, tuned]), "finetune").headroom is None
    headroom = only(aggregate([*others, make_score(accuracy=0.7), tuned]), "finetune").headroom
    assert headroom is not None
    assert headroom.top1 == pytest.approx(0.2)


def test_the_reference_may_be_of_any_tap() -> None:
    scores = [
        make_score(val_top1=0.7),
        make_score(tap="layer3", val_top1=0.8),
        make_score("knn"),
        make_score("scratch"),
    ]
    (block,) = blocks(scores)
    assert [row.tap for row in block.rows if row.reference] == ["layer3"]
    assert all(row.over_probe for row in block.rows if not row.reference)
    shown = block.leading()
    assert shown.title == "mobilenet_v2 at layer3"
    assert [row.title for row in shown.rows] == ["linear probe (exact), at layer3", "from scratch"]


@pytest.mark.parametrize(
    ("choices", "text"),
    [
        ([{"l2": 0.001}], "l2 0.001"),
        ([{"l2": 10**-2.5}], "l2 0.00316"),
        ([{"lr": 0.001}, {"lr": 0.0001}], "lr 0.0001–0.001"),
        ([{"k": 20}, {"k": 20}], "k 20"),
        ([{"steps": 12000}], "steps 12000"),
        ([{"metric": "cosine", "k": 5}, {"metric": "l2", "k": 5}], "metric cosine/l2, k 5"),
        ([{"edge": True, "l2": 1.0}], "l2 1"),
        ([{"nesterov": True}], "nesterov True"),
        ([{"l2": None}], ""),
        ([{}], ""),
    ],
)
def test_what_was_chosen_in_words(choices: list[dict[str, Any]], text: str) -> None:
    (row,) = aggregate([make_score("knn", seed=seed, chosen=chosen) for seed, chosen in enumerate(choices)])
    assert row.chosen == text


def test_flags_of_any_seed_hold_for_the_row() -> None:
    (row,) = aggregate([make_score(seed=0), make_score(seed=1, converged=False, certificate={"edge": True})])
    assert row.edge
    assert not row.converged
    (row,) = aggregate([make_score(chosen={"l2": 1.0, "edge": False}, certificate={"edge": False})])
    assert not row.edge
    assert row.converged


def test_no_scores_are_no_rows() -> None:
    assert aggregate([]) == []


@pytest.mark.parametrize(
    ("scores", "error", "says"),
    [
        ([make_score(), make_score("knn", dataset="digits")], BadData, "different data sets"),
        ([make_score(), make_score("knn", class_names=CIFAR[::-1])], BadData, "different data sets"),
        ([make_score(key="a" * 64), make_score(key="b" * 64)], BadData, "keys aaaaaaaaaaaa and bbbbbbbbbbbb"),
        ([make_score(method="probe", key="c" * 64), replace(make_score(), method="magic")], UnknownName, "'magic'"),
    ],
)
def test_scores_that_fit_no_table_are_refused(scores: list[Score], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        aggregate(scores)
