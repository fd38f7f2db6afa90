"""Rows: seeds averaged, blocks formed, differences tested. The scores made here serve all tests of the room."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from probeline.errors import BadData, UnknownName
from probeline.identity import digest
from probeline.metrics.intervals import holm, mcnemar, wilson
from probeline.metrics.scores import macro, reliability, top1
from probeline.report.model.row import Row
from probeline.report.model.rows import blocks
from probeline.results.score import Score
from probeline.types import IntArray

CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
OPTIONS: dict[str, dict[str, Any]] = {
    "probe": {"l2": [1e-6, 1e-3, 1.0, 1e5]},
    "probe-sgd": {"lr": [1e-4, 1e-3], "optimizer": ["adam"]},
    "finetune": {"lr": 0.01, "epochs": 20},
}
METHODS = ("probe", "probe-refit", "probe-sgd", "logistic", "ridge", "knn", "centroid", "finetune", "scratch")
RANDOM = ("probe-sgd", "finetune", "scratch")
GAIN = dict(zip(METHODS, (0.0, 0.004, -0.003, 0.0, -0.01, -0.06, -0.09, 0.09, -0.25), strict=True))
SECONDS = dict(zip(METHODS, (12.6, 3.1, 44.0, 71.0, 0.9, 1.9, 0.04, 2900.0, 5200.0), strict=True))
CHOSEN: dict[str, dict[str, Any]] = {
    "probe": {"l2": 0.001},
    "probe-refit": {"l2": 0.001},
    "probe-sgd": {"lr": 0.0003, "epochs": 20},
    "logistic": {"C": 0.02},
    "ridge": {"l2": 0.1},
    "knn": {"k": 20},
    "centroid": {},
    "finetune": {"lr": 0.0003, "epoch": 9},
    "scratch": {"lr": 0.003, "epoch": 10},
}
HERE = {
    "machine": "Linux x86_64",
    "processor": "Xeon",
    "cores": 2,
    "device": "CPU",
    "python": "3.12.3",
    "torch": "2.13.0",
    "numpy": "2.4.1",
}


def aggregate(scores: Sequence[Score]) -> list[Row]:
    return [row for block in blocks(scores) for row in block.rows]


def make_score(
    method: str = "probe",
    backbone: str = "mobilenet_v2",
    accuracy: float = 0.78,
    *,
    seed: int | None = None,
    class_names: Sequence[str] = CIFAR,
    n_test: int = 500,
    draw: int = 0,
    **changes: Any,
) -> Score:
    """Return a score whose predictions are right about as often as `accuracy` says, on images of unequal difficulty.

    The images are the same for all scores of one `draw`, and a hard one is hard for every method: so predictions of
    two methods agree as those of real ones do.
    """
    k = len(class_names)
    images = np.random.default_rng([draw, k, n_test])
    labels = images.permutation(np.arange(n_test) % k)
    difficulty = images.normal(size=n_test) + np.linspace(-0.5, 0.5, k)[labels]
    own = np.random.default_rng([draw, zlib.crc32(f"{backbone}/{method}/{seed}".encode())])
    strength = difficulty + own.normal(scale=0.6, size=n_test)
    wrong = strength > np.quantile(strength, np.clip(accuracy, 0, 1))
    near = (labels + np.where(own.random(n_test) < 0.6, k // 2 or 1, own.integers(1, max(k, 2), n_test))) % k
    predictions = np.where(wrong, near, labels)
    cold = 0 if method == "scratch" else 180.0
    values: dict[str, Any] = {
        "dataset": "cifar10",
        "backbone": backbone,
        "weights": "none" if method == "scratch" else "IMAGENET1K_V1",
        "method": method,
        "image_size": 224,
        "precision": "fp32",
        "seed": seed,
        "n_train": 50_000 if method == "probe-refit" else 45_000,
        "n_val": 0 if method == "probe-refit" else 5_000,
        "n_test": n_test,
        "class_names": tuple(class_names),
        "top1": top1(labels, predictions),
        "macro": macro(labels, predictions, k),
        "interval": wilson(int((labels == predictions).sum()), n_test),
        "val_top1": accuracy,
        "top5": None if k <= 10 else min(1.0, accuracy + 0.1),
        "temperature": 1.5,
        "nll": 1.8 - 1.5 * accuracy,
        "brier": 1.2 - 1.1 * accuracy,
        "ece": 0.02,
        "raw_nll": 2.0 - 1.5 * accuracy,
        "raw_ece": 0.06,
        "bins": _bins(labels, predictions, k, 1.0),
        "raw_bins": _bins(labels, predictions, k, 0.5),
        "optimism": None if method in ("centroid", "finetune", "scratch") else 0.004,
        "splits": digest([draw, n_test, k]),
        "options": {"version": 1, **OPTIONS.get(method, {})},
        "predictions": tuple(predictions.tolist()),
        "labels": tuple(labels.tolist()),
        "chosen": CHOSEN[method],
        "chosen_by": "val (n=5000)",
        "trainable": {"knn": 0, "centroid": 0, "finetune": 2_236_682, "scratch": 2_236_682}.get(method, 12_810),
        "total": 2_236_682,
        "warm_seconds": SECONDS[method],
        "cold_seconds": SECONDS[method] + cold * len(backbone) / 12,
        "converged": True,
        "history": _history(accuracy, own) if method in RANDOM else (),
        "path": _path(accuracy) if method == "probe" else (),
        "environment": HERE,
        **changes,
    }
    key = values.pop("key", None) or digest([method, backbone, seed, draw, repr(sorted(values.items()))])
    return Score(key=key, **values)


def _bins(labels: IntArray, predictions: IntArray, k: int, power: float) -> tuple[tuple[int, float, float], ...]:
    """Return the bins of chances that are the higher, the oftener the images are right, or the other way round."""
    n = len(labels)
    sure = 1 / k + (1 - 1 / k) * np.random.default_rng([n, k]).random(n) ** power
    chances = np.repeat(((1 - sure) / max(k - 1, 1))[:, None], k, axis=1)
    chances[np.arange(n), predictions] = sure
    return reliability(labels, chances / chances.sum(axis=1, keepdims=True))


def make_scores(
    backbones: Sequence[str] = ("mobilenet_v2",), methods: Sequence[str] = METHODS, *, seeds: int = 1, **changes: Any
) -> list[Score]:
    """Return the scores of a whole table, each backbone a little weaker than the one before."""
    return [
        make_score(
            method,
            backbone,
            0.8 - 0.4 * i / (i + 12) + GAIN[method] * (1 + 0.1 * i) + 0.004 * (seed or 0),
            seed=seed,
            **changes,
        )
        for i, backbone in enumerate(backbones)
        for method in methods
        for seed in (range(seeds) if method in RANDOM else [None])
    ]


def _history(accuracy: float, noise: np.random.Generator) -> tuple[dict[str, float], ...]:
    entries = []
    for epoch in range(1, 11):
        grown = 1 - np.exp(-epoch / 3)
        train, val = accuracy * grown * 1.08, accuracy * grown + noise.normal(scale=0.005)
        losses = {"train_loss": float(2.3 * (1.05 - train)), "val_loss": float(2.3 * (1.1 - val) + 0.01 * epoch)}
        entries.append({"epoch": epoch, "train_top1": float(train), "val_top1": float(val), **losses})
    return tuple(entries)


def _path(accuracy: float) -> tuple[dict[str, float], ...]:
    return tuple(
        {
            "l2": 10.0**power,
            "top1": accuracy - 0.01 * (power + 3) ** 2,
            "nll": 1.8 - 1.5 * accuracy + 0.05 * (power + 3.3) ** 2,
            "test_top1": accuracy - 0.02 - 0.012 * (power + 2.8) ** 2,
            "test_nll": 1.85 - 1.5 * accuracy + 0.06 * (power + 3.1) ** 2,
        }
        for power in range(-7, 1)
    )


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


def test_runs_that_differ_in_a_digit_are_told_with_it() -> None:
    rates = (1e-3, 0.0010001)
    rows = aggregate([make_score("finetune", seed=0, options={"version": 1, "lr": lr}) for lr in rates])
    assert [(row.variant, row.differing) for row in rows] == [("run A", "lr 0.001"), ("run B", "lr 0.0010001")]


def test_scratch_stands_beside_the_pretrained_backbone() -> None:
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


def test_rows_of_one_method_are_told_apart() -> None:
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


def test_a_tap_is_told_beside_what_else_differs() -> None:
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
    (row,) = aggregate([make_score(seed=seed, chosen=chosen) for seed, chosen in enumerate(choices)])
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
