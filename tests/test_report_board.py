"""A board's numbers: which rows are compared, which of them is shown, and how nets stand over the data sets."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score

from made_boards import THREE, board_of, board_score, make_reports, save_scores, shown
from made_quality import make_quality
from made_records import make_latency
from made_scores import judged, make_score
from probeline.errors import MissingData, UnknownName
from probeline.identity import digest, seal
from probeline.metrics.intervals import holm
from probeline.report.board.cost import costs, hardware
from probeline.report.board.entries import BoardData, Net
from probeline.report.board.standing import complete_block
from probeline.report.board.verdict import caveats, verdict
from probeline.results.latency import LATENCIES, TimedPasses
from probeline.results.owner import ORIGINS, Origin
from probeline.results.quality.features import QUALITIES
from probeline.results.score import SCORES, Score


def test_the_method_of_a_cell_is_the_best_on_validation_and_not_on_test(tmp_path: Path) -> None:
    scores = [
        board_score("alpha", "one", "probe", 0.70, val_top1=0.90),
        board_score("alpha", "one", "knn", 0.95, val_top1=0.60),
        board_score("alpha", "two", "probe", 0.80, val_top1=0.50),
        board_score("alpha", "two", "knn", 0.75, val_top1=0.85),
    ]
    save_scores(tmp_path, scores)
    assert shown(board_of(tmp_path)) == {"alpha": {"one": ("probe", 0.70), "two": ("knn", 0.75)}}


def test_the_recommended_net_is_the_best_on_validation_and_not_on_test(tmp_path: Path) -> None:
    for dataset in ("alpha", "beta", "gamma"):
        save_scores(
            tmp_path,
            [
                board_score(dataset, "one", "probe", 0.70, val_top1=0.90),
                board_score(dataset, "two", "probe", 0.90, val_top1=0.60),
                board_score(dataset, "three", "probe", 0.80, val_top1=0.50),
            ],
        )
    board = board_of(tmp_path)
    assert board.standing is not None
    assert [one.net.backbone for one in board.standing.nets] == ["two", "three", "one"]
    assert board.standing.recommended.net.backbone == "one"
    assert verdict(board)[0].startswith("Recommended: one, because it has the best mean rank on validation (1.00 of 3")
    assert " On test two is ahead (1.00 against 3.00), a significant difference. Its own mean" in verdict(board)[0]


def test_nobody_is_ahead_because_more_was_tried_on_it(tmp_path: Path) -> None:
    tried = {"one": {"probe": 0.70, "knn": 0.60, "finetune": 0.99}, "two": {"probe": 0.80, "knn": 0.75}}
    make_reports(tmp_path, {"alpha": tried})
    board = board_of(tmp_path)
    assert shown(board) == {"alpha": {"one": ("probe", 0.70), "two": ("probe", 0.80)}}
    assert [(one.what, "finetune" in one.command) for one in board.missing.all] == [
        ("two on alpha: full fine-tune", True)
    ]


def test_a_method_with_other_settings_is_another_method(tmp_path: Path) -> None:
    scores = [
        board_score("alpha", "one", "probe", 0.70),
        board_score("alpha", "two", "probe", 0.60),
        board_score("alpha", "one", "finetune", 0.99, seed=0, options={"epochs": 50}),
        board_score("alpha", "two", "finetune", 0.90, seed=0, options={"epochs": 5}),
    ]
    save_scores(tmp_path, scores)
    assert shown(board_of(tmp_path)) == {"alpha": {"one": ("probe", 0.70), "two": ("probe", 0.60)}}
    save_scores(tmp_path, [board_score("alpha", "two", "finetune", 0.92, seed=0, options={"epochs": 50})])
    assert shown(board_of(tmp_path)) == {"alpha": {"one": ("finetune", 0.99), "two": ("finetune", 0.92)}}


def test_the_most_nets_are_compared_and_the_others_are_missing(tmp_path: Path) -> None:
    by_net = {"one": {"probe": 0.7}, "two": {"probe": 0.8}, "three": {"knn": 0.9}}
    make_reports(tmp_path, {"alpha": by_net})
    board = board_of(tmp_path)
    assert shown(board) == {"alpha": {"one": ("probe", 0.7), "two": ("probe", 0.8)}}
    missing = [one.what for one in board.missing.all]
    assert [one.what for one in board.missing.cells] == ["three on alpha: linear probe (exact)"]
    assert set(missing) - {"three on alpha: linear probe (exact)"} == {"one on alpha: k-NN", "two on alpha: k-NN"}


def test_ranks_and_means_are_those_of_other_libraries(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    names, datasets = ["one", "two", "three", "four"], [f"data{i}" for i in range(7)]
    tops = {data: {net: {"probe": float(rng.uniform(0.4, 0.99))} for net in names} for data in datasets}
    make_reports(tmp_path, tops)
    standing = board_of(tmp_path).standing
    assert standing is not None
    by_net = {one.net.backbone: one for one in standing.nets}
    top1 = np.array([[round(200 * tops[data][net]["probe"]) / 200 for net in names] for data in datasets])
    assert [by_net[net].mean_rank for net in names] == pytest.approx(stats.rankdata(-top1, axis=1).mean(axis=0))
    assert [by_net[net].top1 for net in names] == pytest.approx(top1.mean(axis=0))
    assert sorted(one.mean_rank for one in standing.nets) == [one.mean_rank for one in standing.nets]
    tests = standing.tests
    assert tests is not None
    assert tests.friedman.p_chi2 == pytest.approx(stats.friedmanchisquare(*top1.T).pvalue)
    chance = np.array([[data.chance] for data in standing.datasets])
    above = (top1 - chance) / (1 - chance)
    order = [names.index(one.net.backbone) for one in standing.nets]
    pairs = list(combinations(range(4), 2))
    raw = [stats.wilcoxon(above[:, order[i]] - above[:, order[j]]).pvalue for i, j in pairs]
    assert [(pair.better, pair.worse) for pair in tests.pairs] == pairs
    assert [pair.p for pair in tests.pairs] == pytest.approx(holm(raw))
    for pair in tests.pairs:
        own = above[:, order[pair.better]] - above[:, order[pair.worse]]
        assert pair.difference == pytest.approx(own.mean())
        assert pair.wins == ((own > 1e-9).sum(), (abs(own) < 1e-9).sum(), (own < -1e-9).sum())


def test_accuracy_normalised_is_scikit_learns_for_even_classes(tmp_path: Path) -> None:
    """Which calls it adjusted balanced accuracy; on even classes accuracy is balanced."""
    make_reports(tmp_path, {"alpha": {"one": {"probe": 0.7}}})
    (entry,) = board_of(tmp_path).entries
    score = entry.scores[0]
    expected = balanced_accuracy_score(score.labels, score.predictions, adjusted=True)
    assert entry.data.normalised(entry.row.top1) == pytest.approx(expected)
    assert entry.data.normalised(entry.data.chance) == 0
    assert entry.data.normalised(1.0) == 1
    assert replace(entry.data, chance=1.0).normalised(1.0) == 0, "one class tells nothing"


def test_another_net_changes_no_accuracy_normalised(tmp_path: Path) -> None:
    make_reports(tmp_path, {"alpha": {"one": {"probe": 0.7}, "two": {"probe": 0.6}}})
    before = {one.net.backbone: one.normalised for one in board_of(tmp_path).standing.nets}  # type: ignore[union-attr]
    make_reports(tmp_path, {"alpha": {"three": {"probe": 0.99}}})
    after = {one.net.backbone: one.normalised for one in board_of(tmp_path).standing.nets}  # type: ignore[union-attr]
    assert after.items() > before.items()


# What is kept apart


def test_precisions_are_kept_apart(tmp_path: Path) -> None:
    make_reports(tmp_path, THREE)
    make_reports(tmp_path, {"alpha": {"one": {"probe": 0.99}}}, precision="bf16")
    board = board_of(tmp_path)
    assert shown(board)["alpha"]["one"] == ("probe", 0.90)
    assert board.records.left_out == ("alpha: 1 score in bf16, shown with --precision bf16",)
    assert shown(board_of(tmp_path, precision="bf16")) == {"alpha": {"one": ("probe", 0.99)}}


def test_taps_views_metrics_and_methods_are_kept_apart(tmp_path: Path) -> None:
    make_reports(tmp_path, {"alpha": {"one": {"probe": 0.90}}})
    make_reports(tmp_path, {"alpha": {"one": {"probe": 0.91}}}, tap="layer3")
    make_reports(tmp_path, {"alpha": {"one": {"probe": 0.92}}}, views=2)
    make_reports(tmp_path, {"alpha": {"one": {"probe": 0.93}}}, options={"select_by": "macro"}, val_score=0.5)
    make_reports(tmp_path, {"alpha": {"one": {"knn": 0.94}}})
    for options, top1 in (
        ({"method": "probe"}, 0.90),
        ({"taps": ("layer3",)}, 0.91),
        ({"views": 2}, 0.92),
        ({"metric": "macro"}, 0.93),
        ({"method": "knn"}, 0.94),
    ):
        board = board_of(tmp_path, **options)
        assert [entry.row.top1 for entry in board.cells.values()] == [top1]
    assert set(board_of(tmp_path).records.left_out) == {
        "alpha: 1 score at the tap layer3, shown with --tap layer3",
        "alpha: 1 score with 2 views, shown with --views 2",
        "alpha: 1 score selected by macro, shown with --metric macro",
    }


def test_splits_are_kept_apart(tmp_path: Path) -> None:
    """One division of a data set is shown: that of the most nets, and of equal ones the newest."""
    make_reports(tmp_path, {"alpha": {"one": {"probe": 0.7}, "two": {"probe": 0.6}}})
    make_reports(tmp_path, {"alpha": {"one": {"probe": 0.9}}}, splits="f" * 64)
    board = board_of(tmp_path)
    assert shown(board) == {"alpha": {"one": ("probe", 0.7), "two": ("probe", 0.6)}}
    assert len(board.datasets) == 1
    (line,) = board.records.left_out
    assert line.startswith("alpha: 1 score of other splits or labels")
    make_reports(tmp_path, {"alpha": {"two": {"probe": 0.8}}}, splits="f" * 64)
    for path in tmp_path.glob("alpha/scores/*/*.json"):
        os.utime(path, (1, 1))
    newest = next(path for path in tmp_path.glob("alpha/scores/two-*/*.json") if b'"top1":0.8' in path.read_bytes())
    os.utime(newest, (2, 2))
    assert shown(board_of(tmp_path)) == {"alpha": {"one": ("probe", 0.9), "two": ("probe", 0.8)}}


def test_scores_with_other_labels_of_one_division_are_left_out(tmp_path: Path) -> None:
    scores = [board_score("alpha", net, "probe", 0.7) for net in ("one", "two", "three")]
    odd = judged(scores[2], labels=(*scores[2].labels[1:], scores[2].labels[0]))
    save_scores(tmp_path, [*scores[:2], odd])
    board = board_of(tmp_path)
    assert set(shown(board)["alpha"]) == {"one", "two"}
    assert board.records.left_out == ("alpha: 1 score with other test labels",)


def test_image_sizes_of_one_net_are_kept_apart(tmp_path: Path) -> None:
    make_reports(tmp_path, THREE)
    make_reports(tmp_path, {"alpha": {"one": {"probe": 0.99}}}, image_size=64)
    board = board_of(tmp_path)
    assert shown(board)["alpha"]["one"] == ("probe", 0.90)
    (line,) = board.records.left_out
    assert line == "one, 64 px on alpha: shown at another size; --image-size 64 shows this one"
    assert shown(board_of(tmp_path, image_size=64)) == {"alpha": {"one": ("probe", 0.99)}}


def test_nets_of_other_sizes_are_compared_with_their_sizes_beside_them(tmp_path: Path) -> None:
    make_reports(tmp_path, {"alpha": {"one": {"probe": 0.9}}})
    make_reports(tmp_path, {"alpha": {"two": {"probe": 0.8}}}, image_size=64)
    board = board_of(tmp_path)
    assert set(shown(board)["alpha"]) == {"one, 224 px", "two, 64 px"}
    assert any("different image sizes" in line for line in caveats(board))


def test_two_files_of_one_name_are_two_nets(tmp_path: Path) -> None:
    for digits, accuracy in (("a" * 12, 0.9), ("b" * 12, 0.5)):
        make_reports(tmp_path, {"alpha": {"one": {"probe": accuracy}}}, weights="net.pth", options={"weights": digits})
    assert shown(board_of(tmp_path)) == {
        "alpha": {"one, weights aaaaaaaaaaaa": ("probe", 0.9), "one, weights bbbbbbbbbbbb": ("probe", 0.5)}
    }


def test_from_scratch_says_nothing_of_a_backbone(tmp_path: Path) -> None:
    make_reports(tmp_path, {"alpha": {"one": {"probe": 0.7, "scratch": 0.9}}})
    board = board_of(tmp_path)
    assert shown(board) == {"alpha": {"one": ("probe", 0.7)}}
    assert board.records.left_out == ("alpha: 1 score without pretrained weights",)


def test_slices_of_one_data_set_count_once(tmp_path: Path) -> None:
    for name in ("alpha", "alpha-limit60", "alpha-limit60-dataseed3", "alpha--labels-0123abcd", "alpha-limits"):
        nets = ("one", "two") if name == "alpha-limit60" else ("one",)
        save_scores(tmp_path, [board_score(name, net, "probe", 0.7) for net in nets])
    board = board_of(tmp_path)
    assert [data.name for data in board.datasets] == ["alpha-limit60", "alpha-limits"], (
        "the most nets, and another name"
    )
    assert len(board.records.left_out) == 3
    assert board.records.left_out[0].startswith("alpha: it shares images with alpha-limit60; probeline board alpha ...")
    both = board_of(tmp_path, "alpha", "alpha-limit60")
    assert [data.name for data in both.datasets] == ["alpha", "alpha-limit60"], "who names them is shown them"
    assert "alpha and alpha-limit60 share images, so that they count more than once." in caveats(both)


def test_a_data_set_of_the_same_name_from_another_place_is_another_one(tmp_path: Path) -> None:
    for name in ("folder--flowers", "folder--flowers-0123abcd"):
        save_scores(tmp_path, [board_score("folder--flowers", "one", "probe", 0.7)], name)
    assert [data.name for data in board_of(tmp_path).datasets] == ["folder--flowers", "folder--flowers-0123abcd"]


def test_scores_of_another_data_set_and_of_earlier_versions_are_left_out(tmp_path: Path) -> None:
    make_reports(tmp_path, {"alpha": {"one": {"probe": 0.7}}})
    save_scores(tmp_path, [board_score("beta", "two", "probe", 0.9)], "alpha")
    SCORES.save(tmp_path / "alpha", board_score("alpha", "two", "knn", 0.9, options={"version": 1}))
    board = board_of(tmp_path)
    assert shown(board) == {"alpha": {"one": ("probe", 0.7)}}
    assert board.records.left_out == (
        "alpha: 1 score of another data set",
        "alpha: 1 score of an earlier version of their method",
    )


def test_a_row_that_was_run_again_on_other_features_is_shown_as_it_was_run_last(tmp_path: Path) -> None:
    for key, accuracy, time in (("a" * 64, 0.7, 2), ("b" * 64, 0.9, 1)):
        score = board_score("alpha", "one", "probe", accuracy, key=key)
        os.utime(SCORES.save(tmp_path / "alpha", score), (time, time))
    assert shown(board_of(tmp_path)) == {"alpha": {"one": ("probe", 0.7)}}


@pytest.mark.parametrize("damage", ["cut", "other fields", "link"])
def test_a_corrupt_record_is_skipped_and_named(damage: str, tmp_path: Path) -> None:
    make_reports(tmp_path / "reports", {"alpha": {"one": {"probe": 0.7}, "two": {"probe": 0.6}}})
    path = next((tmp_path / "reports").glob("alpha/scores/two-*/*.json"))
    if damage == "cut":
        os.truncate(path, 100)
    elif damage == "other fields":
        path.write_bytes(seal({"version": SCORES.version, "score": {"dataset": "alpha"}}))
    else:
        path.unlink()
        path.symlink_to(tmp_path / "nowhere")
    board = board_of(tmp_path / "reports")
    assert shown(board) == {"alpha": {"one": ("probe", 0.7)}}
    (line,) = board.records.left_out
    assert line.startswith(f"alpha: {path.relative_to(tmp_path / 'reports' / 'alpha')} ")


# Missing cells


def test_means_are_of_data_sets_and_nets_without_a_missing_cell(tmp_path: Path) -> None:
    tops = {data: dict(nets) for data, nets in THREE.items()}
    tops["delta"] = {"one": {"probe": 0.2}}
    tops["gamma"] = {**THREE["gamma"], "four": {"probe": 0.99, "knn": 0.99}}
    make_reports(tmp_path, tops)
    board = board_of(tmp_path)
    assert board.standing is not None
    assert [data.name for data in board.standing.datasets] == ["alpha", "beta", "gamma"]
    assert [one.net.backbone for one in board.standing.nets] == ["one", "two", "three"]
    assert [net.backbone for net in board.nets] == ["one", "two", "three", "four"]
    assert "Without a rank, as rows are missing on some of these data sets: four." in caveats(board)
    assert any(line.startswith("Not in the means and ranks, as rows of some") for line in caveats(board))
    assert {one.what.partition(":")[0] for one in board.missing.all} >= {
        "four on alpha",
        "four on beta",
        "two on delta",
    }


def test_the_block_without_missing_cells_is_the_one_with_most_to_compare() -> None:
    def net(name: str) -> Net:
        return Net(name, "W", 224)

    def data(name: str) -> BoardData:
        return BoardData(name, "0" * 64, 2, 10, 10, 10, 0.5, "val (n=10)", has_page=False)

    for seed in range(30):
        rng = np.random.default_rng(seed)
        there = rng.random((5, 6)) < 0.75
        cells = {(net(f"n{i}"), data(f"d{j}")) for i in range(5) for j in range(6) if there[i, j]}
        datasets, nets = complete_block(cells)
        assert all((one, of) in cells for one in nets for of in datasets)
        most = 0
        for size in range(1, 7):
            for chosen in combinations(range(6), size):
                k = int(there[:, list(chosen)].all(axis=1).sum())
                most = max(most, (size - 1) * (k - 1) if k else 0)
        assert (len(datasets) - 1) * (len(nets) - 1) == most
    assert complete_block(set()) == ([], [])


def test_commands_say_which_images_and_which_net(tmp_path: Path) -> None:
    make_reports(tmp_path / "reports", {"alpha": {"one": {"probe": 0.7}, "two": {"probe": 0.6, "knn": 0.5}}})
    splits = board_score("alpha", "one", "probe", 0.7).splits
    origin = Origin(splits, "folder:/photos of mine", "/data", limit=60, data_seed=3, labels="/new.csv")
    ORIGINS.save(tmp_path / "reports" / "alpha", origin)
    (missing,) = board_of(tmp_path / "reports", precision="fp32").missing.all
    assert missing.what == "one on alpha: k-NN"
    assert missing.command == (
        "probeline baselines --dataset 'folder:/photos of mine' --data /data --limit 60 --data-seed 3 "
        f"--labels /new.csv --backbone one --weights IMAGENET1K_V1 --image-size 224 --reports {tmp_path / 'reports'}"
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cifar10-limit500-dataseed7", "--dataset cifar10 --limit 500 --data-seed 7"),
        ("digits", "--dataset digits"),
        ("folder--flowers", "--dataset PATH-TO/folder--flowers"),
    ],
)
def test_records_without_an_origin_are_of_the_data_set_that_they_are_called_after(
    name: str, words: str, tmp_path: Path
) -> None:
    make_reports(tmp_path, {name: {"one": {"probe": 0.7, "knn": 0.6}, "two": {"probe": 0.6}}})
    (missing,) = board_of(tmp_path).missing.all
    assert missing.command.startswith(f"probeline baselines {words} --backbone two ")


def test_the_block_is_neither_many_nets_on_one_data_set_nor_two_on_many() -> None:
    def cells(**nets_on: int) -> set[tuple[Net, BoardData]]:
        return {
            (Net(f"n{i}", "W", 224), BoardData(name, "0" * 64, 2, 1, 1, 1, 0.5, "val", has_page=False))
            for name, nets in nets_on.items()
            for i in range(nets)
        }

    datasets, nets = complete_block(cells(a=10, b=3, c=3))
    assert ([data.name for data in datasets], len(nets)) == (["a", "b", "c"], 3)
    datasets, nets = complete_block(cells(a=10, b=10, c=10, d=2, e=2))
    assert ([data.name for data in datasets], len(nets)) == (["a", "b", "c"], 10)
    datasets, nets = complete_block(cells(a=4, b=1))
    assert ([data.name for data in datasets], len(nets)) == (["a"], 4), "the most cells, where nothing can be tested"


# Few data sets and nets


def test_one_data_set_is_no_evidence_about_others(tmp_path: Path) -> None:
    make_reports(tmp_path, {"alpha": THREE["alpha"]})
    board = board_of(tmp_path)
    assert board.standing is not None
    assert board.standing.tests is None
    assert verdict(board)[-1] == "No test over data sets and no critical-difference diagram: 1 data set of 3 needed."


def test_two_data_sets_are_not_tested(tmp_path: Path) -> None:
    make_reports(tmp_path, {name: THREE[name] for name in ("alpha", "beta")})
    board = board_of(tmp_path)
    assert board.standing is not None
    assert board.standing.tests is None
    assert verdict(board)[-1] == (
        "No test over data sets and no critical-difference diagram: 2 data sets of 3 needed; even if all data sets "
        "agreed, Friedman's test would give p = 0.167."
    )


def test_two_nets_are_not_tested(tmp_path: Path) -> None:
    make_reports(tmp_path, {data: {net: nets[net] for net in ("one", "two")} for data, nets in THREE.items()})
    board = board_of(tmp_path)
    assert board.standing is not None
    assert board.standing.tests is None
    assert "2 backbones of 3 needed" in verdict(board)[-1]


def test_three_data_sets_that_agree_have_little_power(tmp_path: Path) -> None:
    make_reports(tmp_path)
    board = board_of(tmp_path)
    said = " ".join(verdict(board))
    assert (
        "Friedman's test finds a significant difference among the 3 backbones over the 3 data sets (p = 0.0278" in said
    )
    assert "Nemenyi's critical difference of mean ranks is 1.91: one and three differ by as much." in said
    assert "3 data sets have little power: Friedman's test gives at least p = 0.028, if all agree, and" in said
    assert "Wilcoxon's test of a pair at least 0.75, so that no pair can be significant." in said


def test_a_folder_without_scores_has_nothing_to_compare(tmp_path: Path) -> None:
    (tmp_path / "sample" / "digits" / "scores").mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("mine")
    board = board_of(tmp_path)
    assert board.entries == ()
    assert verdict(board) == ["Nothing comparable has been scored yet."]


def test_what_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="no such folder of reports"):
        board_of(tmp_path / "reports")
    make_reports(tmp_path)
    with pytest.raises(UnknownName, match=r"unknown report with scores in .* 'alfa' .*did you mean alpha\?"):
        board_of(tmp_path, "alfa")
    with pytest.raises(UnknownName, match="unknown method 'prob'"):
        board_of(tmp_path, method="prob")


def test_scores_of_several_labels_or_of_numbers_are_named(tmp_path: Path) -> None:
    make_reports(tmp_path, {"alpha": THREE["alpha"]})
    for name in ("alpha", "ages"):
        (tmp_path / name / "targets").mkdir(parents=True)
    assert board_of(tmp_path).records.left_out == ("ages: its scores are of several labels or of numbers",)


# Predictors


def test_predictors_are_correlated_as_scipy_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [f"net{i}" for i in range(6)]
    expected: dict[str, list[tuple[float, float]]] = {"log_me": [], "rankme": []}
    for dataset in ("alpha", "beta"):
        tops, values = rng.uniform(0.4, 0.95, 6).round(2), {name: rng.normal(size=6) for name in expected}
        for i, name in enumerate(names):
            score = board_score(dataset, name, "probe", float(tops[i]))
            save_scores(tmp_path, [score])
            save_quality(
                tmp_path, score, log_me=float(values["log_me"][i]), rankme=float(np.exp(values["rankme"][i])) + 1
            )
        for name, own in values.items():
            expected[name].append((stats.kendalltau(own, tops).statistic, stats.spearmanr(own, tops).statistic))
    found = {one.name: one for one in board_of(tmp_path).predictors}
    assert set(found) == {"log_me", "rankme"}, "what is the same for all backbones has no correlation"
    for name, pairs in expected.items():
        assert [(one.kendall, one.spearman) for one in found[name].correlations] == [
            pytest.approx(own) for own in pairs
        ]
        assert [(one.data, one.n) for one in found[name].correlations] == [("alpha", 6), ("beta", 6)]
        assert found[name].kendall == pytest.approx(np.mean([tau for tau, _ in pairs]))
    assert [one.kendall for one in board_of(tmp_path).predictors] == sorted(one.kendall for one in found.values())[::-1]


def test_predictors_of_other_rows_or_of_two_backbones_are_not_shown(tmp_path: Path) -> None:
    scores = [board_score("alpha", name, "probe", top1) for name, top1 in (("one", 0.9), ("two", 0.8), ("three", 0.7))]
    save_scores(tmp_path, scores)
    for i, score in enumerate(scores):
        save_quality(tmp_path, score, rows="f" * 64 if i == 2 else score.splits, log_me=float(i), rankme=10.0)
    assert board_of(tmp_path).predictors == []
    save_quality(tmp_path, scores[2], log_me=2.0, rankme=10.0)
    (predictor,) = board_of(tmp_path).predictors
    assert (predictor.name, predictor.kendall, predictor.spearman) == ("log_me", -1.0, -1.0)


def test_predictors_are_those_of_their_own_report(tmp_path: Path) -> None:
    """Of two data sets of one name, from two places, on which the order of the nets is reversed."""
    for name, splits, sign in (("flowers", "a" * 64, 1), ("flowers-0123abcd", "b" * 64, -1)):
        for i, net in enumerate(("one", "two", "three")):
            score = board_score("flowers", net, "probe", 0.9 - 0.1 * i, splits=splits)
            save_scores(tmp_path, [score], name)
            save_quality(tmp_path, score, name=name, log_me=-float(sign * i), rankme=10.0)
    (predictor,) = board_of(tmp_path).predictors
    assert [(one.data, one.kendall) for one in predictor.correlations] == [("flowers", 1.0), ("flowers-0123abcd", -1.0)]


def save_quality(
    reports: Path, score: Score, *, log_me: float, rankme: float, rows: str | None = None, name: str = ""
) -> None:
    """Write what the features of a score say of themselves."""
    quality = make_quality(
        score.backbone,
        dataset=score.dataset,
        weights=score.weights,
        rows=rows or score.splits,
        key=digest([score.key, rows]),
        transfer=replace(make_quality().transfer, log_me=log_me),  # type: ignore[type-var]
        spectrum=replace(make_quality().spectrum, rankme=rankme),
    )
    QUALITIES.save(reports / (name or score.dataset), quality)


# Differences and costs


def test_a_net_is_compared_with_the_best_on_validation_of_its_data_set(tmp_path: Path) -> None:
    make_reports(tmp_path)
    board = board_of(tmp_path)
    by_title = {(board.titles[net], data.name): found for (net, data), found in board.differences.items()}
    assert ("one", "alpha") not in by_title, "the reference itself"
    assert by_title["three", "alpha"].real
    assert by_title["three", "alpha"].top1 == pytest.approx(-0.2)
    assert not by_title["two", "beta"].real or by_title["two", "beta"].p < 0.05


def test_no_other_net_beats_those_of_a_front(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(6):
        seconds, accuracy = float(rng.uniform(1, 100)), float(rng.uniform(0.5, 0.95))
        scores = [
            board_score(data, f"net{i}", "probe", accuracy, cold_seconds=seconds, warm_seconds=1.0, total=1000 + i)
            for data in ("alpha", "beta")
        ]
        save_scores(tmp_path, scores)
    standing = board_of(tmp_path).standing
    assert standing is not None
    by_name = {one.name: one for one in costs(standing, ())}
    assert list(by_name) == ["cold time", "warm time", "parameters"]
    for one in by_name.values():
        for i, net in enumerate(standing.nets):
            beaten = any(
                other.normalised >= net.normalised
                and one.values[j] <= one.values[i]
                and (other.normalised, -one.values[j]) != (net.normalised, -one.values[i])
                for j, other in enumerate(standing.nets)
            )
            assert (i in one.front) == (not beaten) or one.name == "warm time"
        assert [one.values[i] for i in one.front] == sorted(one.values[i] for i in one.front)
    assert by_name["cold time"].values == pytest.approx([2 * net.entries[0].row.cold_seconds for net in standing.nets])


def test_times_of_other_hardware_are_not_compared(tmp_path: Path) -> None:
    here, there = ({"machine": "Linux", "processor": name, "cores": 2, "device": "CPU"} for name in ("EPYC", "Xeon"))
    save_scores(tmp_path, [board_score("alpha", "one", "probe", 0.9, environment=here)])
    save_scores(tmp_path, [board_score("alpha", "two", "probe", 0.8, environment=there)])
    board = board_of(tmp_path)
    assert board.standing is not None
    assert hardware(board.standing) == ["Linux, EPYC, 2 cores, CPU", "Linux, Xeon, 2 cores, CPU"]
    assert [one.name for one in costs(board.standing, ())] == ["parameters"]
    assert any("Times are not compared" in line for line in caveats(board))


def test_memory_is_of_one_batch_on_one_device_where_all_have_it(tmp_path: Path) -> None:
    make_reports(tmp_path, {"alpha": {"one": {"probe": 0.9}, "two": {"probe": 0.8}}})

    def save(backbone: str, device: str, **peaks: int) -> None:
        passes = tuple(TimedPasses(int(batch[1:]), (0.1,), peak) for batch, peak in peaks.items())
        LATENCIES.save(tmp_path / "alpha", make_latency(backbone, passes=passes, environment={"device": device}))

    save("one", "GPU", b1=10_000_000, b8=80_000_000)
    standing = board_of(tmp_path).standing
    assert standing is not None
    assert "memory" not in {one.name for one in costs(standing, board_of(tmp_path).records.latencies)}
    save("two", "GPU", b1=5_000_000)
    memory = next(one for one in costs(standing, board_of(tmp_path).records.latencies) if one.name == "memory")
    assert memory.values == (10.0, 5.0), "of the largest batch that both have"


def test_a_data_set_has_the_train_images_of_rows_that_use_them() -> None:
    without = replace(make_score("knn"), method="zero-shot", n_train=0)
    scores = [without, make_score("probe"), make_score("probe", n_val=0, n_train=50_000)]
    assert BoardData.of("cifar10", scores, has_page=False).n_train == scores[1].n_train > 0
