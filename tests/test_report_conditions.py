"""Conditions: everything the numbers depend on, printed once, and by row where it differs."""

from __future__ import annotations

from made_scores import HERE, make_score, make_scores
from probeline.report.model.conditions import conditions


def test_what_all_scores_share_is_printed_once() -> None:
    found = conditions(make_scores(methods=("probe", "finetune"), seeds=3, n_test=100), {"Feature caches": ["a", "b"]})
    assert found == {
        "Data": ["cifar10, 10 classes; the most frequent is 10.0 % of test"],
        "Images": ["45,000 train, 5,000 val, 100 test"],
        "Seeds": ["0, 1 and 2"],
        "Selected on": ["val (n=5000)"],
        "Options": [
            "l2 1e-06 to 1e+05 (4) (linear probe (exact))",
            "lr 0.01, epochs 20 (full fine-tune)",
        ],
        "Test": ["used once, after selection"],
        "Weights": ["IMAGENET1K_V1"],
        "Input": ["224 x 224 px, fp32"],
        "Hardware and versions": ["Linux x86_64, Xeon, 2 cores, CPU; numpy 2.4.1, python 3.12.3, torch 2.13.0"],
        "Feature caches": ["a", "b"],
    }


def test_what_differs_names_its_rows() -> None:
    gpu = HERE | {"device": "NVIDIA H200"}
    scores = [
        make_score("probe"),
        make_score("probe", "resnet18"),
        make_score("probe-refit"),
        make_score("finetune", seed=0, environment=gpu, precision="bf16"),
        make_score("scratch", "resnet18", seed=0, environment=gpu, precision="bf16"),
    ]
    found = conditions(scores, {})
    assert found["Images"] == [
        "45,000 train, 5,000 val, 500 test (linear probe (exact), full fine-tune, from scratch)",
        "50,000 train, 0 val, 500 test (linear probe (refit))",
    ]
    assert found["Input"] == [
        "224 x 224 px, fp32 (linear probe (exact), linear probe (refit))",
        "224 x 224 px, bf16 (full fine-tune, from scratch)",
    ]
    assert [line.split(";")[0] for line in found["Hardware and versions"]] == [
        "Linux x86_64, Xeon, 2 cores, CPU",
        "Linux x86_64, Xeon, 2 cores, NVIDIA H200",
    ]


def test_the_line_of_the_most_rows_holds_for_all_others() -> None:
    names = ("probe", "knn", "ridge", "centroid", "logistic")
    scores = [*(make_score(name) for name in names), make_score("probe-refit")]
    assert conditions(scores, {})["Images"] == [
        "50,000 train, 0 val, 500 test (linear probe (refit))",
        "45,000 train, 5,000 val, 500 test (all others)",
    ]


def test_what_chose_nothing_is_none_of_the_others() -> None:
    chose = [make_score(name) for name in ("probe", "knn", "ridge", "logistic", "probe-refit")]
    found = conditions([*chose, make_score("centroid", chosen_by="", chosen={})], {})["Selected on"]
    assert found == ["nothing to select (nearest centroid)", f"{chose[0].chosen_by} (all others)"]


def test_rows_are_named_by_backbone_where_that_says_it() -> None:
    scores = [make_score("probe"), make_score("knn"), make_score("probe", "resnet18", weights="mine.pth")]
    assert conditions(scores, {})["Weights"] == ["IMAGENET1K_V1 (mobilenet_v2)", "mine.pth (resnet18)"]


def test_rows_are_named_by_both_where_neither_says_it() -> None:
    scores = [make_score("probe"), make_score("knn", n_train=9), make_score("probe", "resnet18", n_train=9)]
    assert conditions(scores, {})["Images"] == [
        "45,000 train, 5,000 val, 500 test (mobilenet_v2: linear probe (exact))",
        "9 train, 5,000 val, 500 test (resnet18: linear probe (exact); mobilenet_v2: k-NN)",
    ]


def test_without_conditions_nothing_is_printed() -> None:
    assert conditions([], {}) == {}
    assert conditions([], {"Empty": []}) == {}
    found = conditions([make_score(environment={}, chosen_by="")], {})
    assert found["Hardware and versions"] == ["not recorded"]
    assert found["Seeds"] == ["none: nothing is random"]
    assert "Selected on" not in found
