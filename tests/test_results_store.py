"""Score files: whole or not there, and read back only if proven."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from probeline.errors import CannotWrite
from probeline.identity import SCORE_VERSION, seal
from probeline.results.score_files import find_score, load_scores, save_score, score_path
from probeline.results.store import Ignored
from test_report_rows import make_score


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    scores = [make_score("finetune", seed=seed, n_test=20) for seed in (0, 1)] + [make_score("probe", n_test=20)]
    for score in scores:
        save_score(tmp_path, score)
    assert load_scores(tmp_path) == (scores, [])
    for score in scores:
        names = {"backbone": score.backbone, "weights": score.weights, "method": score.method, "seed": score.seed}
        assert find_score(tmp_path, **names, key=score.key) == score
        assert find_score(tmp_path, **names, key="0" * 64) is None


@pytest.mark.parametrize(
    ("backbone", "weights", "seed", "place"),
    [
        ("resnet18", "IMAGENET1K_V1", None, "resnet18-IMAGENET1K_V1/probe-seedless-0123456789ab.json"),
        ("timm:a/b.c", "none", 7, "timm--a--b.c-none/probe-seed7-0123456789ab.json"),
        ("r", "my weights (1).pth", 0, "r-my-weights--1-.pth/probe-seed0-0123456789ab.json"),
        ("r", "../../x", 0, "r-..--..--x/probe-seed0-0123456789ab.json"),
        ("r", "w" * 300, 0, f"r-{'w' * 80}/probe-seed0-0123456789ab.json"),
    ],
)
def test_file_names(tmp_path: Path, backbone: str, weights: str, seed: int | None, place: str) -> None:
    score = make_score(backbone=backbone, weights=weights, seed=seed, key="0123456789ab" + "f" * 52, n_test=10)
    assert save_score(tmp_path, score) == tmp_path / place
    assert load_scores(tmp_path) == ([score], [])


def test_saving_again_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    score = make_score(n_test=10)
    path = save_score(tmp_path, score)
    save_score(tmp_path, replace(score, warm_seconds=1.0))
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert load_scores(tmp_path)[0][0].warm_seconds == 1.0


def test_a_damaged_file_is_ignored_wherever_the_damage_is(tmp_path: Path) -> None:
    score = make_score(n_test=10)
    path = save_score(tmp_path, score)
    data = path.read_bytes()
    for at in range(0, len(data), 37):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        scores, (ignored,) = load_scores(tmp_path)
        assert scores == []
        assert ignored.path == path
        assert "damaged" in ignored.reason
    for torn in (b"", data[: len(data) // 2], data + b"\n"):
        path.write_bytes(torn)
        assert [one.path for one in load_scores(tmp_path)[1]] == [path]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"version": SCORE_VERSION + 1, "score": {}}, f"score version {SCORE_VERSION + 1}"),
        ({"score": {}}, "score version None"),
        ({"version": SCORE_VERSION}, "other fields"),
        ({"version": SCORE_VERSION, "score": {"dataset": "digits"}}, "other fields"),
        ({"version": SCORE_VERSION, "score": "text"}, "other fields"),
        ({"version": SCORE_VERSION, "score": None}, "other fields"),
        ({"version": SCORE_VERSION, "score": make_score(n_test=10).to_json() | {"backbone": 3}}, "other fields"),
        ({"version": SCORE_VERSION, "score": make_score(n_test=10).to_json() | {"novel": 1}}, "novel"),
        ({"version": SCORE_VERSION, "score": make_score(n_test=10).to_json() | {"method": "magic"}}, "magic"),
        ({"version": SCORE_VERSION, "score": make_score(n_test=10).to_json() | {"seed": 3}}, "belongs at"),
    ],
)
def test_other_records_are_ignored_with_their_reason(tmp_path: Path, record: dict[str, object], reason: str) -> None:
    score = make_score(n_test=10)
    path = save_score(tmp_path, score)
    path.write_bytes(seal(record))
    found = find_score(
        tmp_path, backbone=score.backbone, weights=score.weights, method=score.method, seed=score.seed, key=score.key
    )
    assert isinstance(found, Ignored)
    assert reason in found.reason
    assert load_scores(tmp_path) == ([], [found])


def test_a_file_in_a_foreign_place_is_ignored(tmp_path: Path) -> None:
    path = save_score(tmp_path, make_score(n_test=10))
    moved = tmp_path / "resnet18-none" / path.name
    moved.parent.mkdir()
    path.rename(moved)
    (ignored,) = load_scores(tmp_path)[1]
    assert ignored.path == moved
    assert "belongs at mobilenet_v2-IMAGENET1K_V1" in ignored.reason


def test_a_key_that_only_begins_alike_is_no_hit(tmp_path: Path) -> None:
    score = make_score(key="a" * 64, n_test=10)
    save_score(tmp_path, score)
    found = find_score(
        tmp_path, backbone=score.backbone, weights=score.weights, method="probe", seed=None, key="a" * 12 + "b" * 52
    )
    assert isinstance(found, Ignored)
    assert "its key is aaaa" in found.reason


def test_what_cannot_be_read_is_ignored(tmp_path: Path) -> None:
    folder = score_path(tmp_path, "resnet18", "none", "probe", None, "a" * 64)
    folder.mkdir(parents=True)
    (ignored,) = load_scores(tmp_path)[1]
    assert "cannot be read" in ignored.reason


def test_a_missing_folder_holds_no_scores(tmp_path: Path) -> None:
    assert load_scores(tmp_path / "nowhere") == ([], [])


def test_a_refusal_of_the_file_system_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CannotWrite, match=r"cannot write: .*file"):
        save_score(tmp_path / "file", make_score(n_test=10))


def test_numbers_that_json_cannot_hold_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        save_score(tmp_path, make_score(n_test=10, warm_seconds=float("nan")))
    assert list(tmp_path.iterdir()) == []
