"""The benchmark with peers: what is planted, how heads and findings are judged, and that the page has the tables."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench_peers import planted
from bench_peers.__main__ import merge
from bench_peers.cached import delete_file, flip_bit
from bench_peers.contests import CONTESTS
from bench_peers.objective import FloatArray, Head, IntArray, excesses, objective_of, run_protocol
from bench_peers.process import ask, run_process
from bench_peers.tables import MAKERS, tables
from probeline.heads.logistic.path import fit_path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "tests" / "bench_peers"


def test_labels_are_flipped_at_the_stated_rate_and_always_to_another_class() -> None:
    labels = np.arange(1000, dtype=np.int64) % 7
    flipped = planted.flip_labels(labels, 7, 0.05, seed=3)
    assert (flipped != labels).sum() == 50
    assert flipped.min() >= 0
    assert flipped.max() < 7
    assert np.array_equal(flipped, planted.flip_labels(labels, 7, 0.05, seed=3))
    assert not np.array_equal(flipped, planted.flip_labels(labels, 7, 0.05, seed=4))


def test_each_kind_of_copy_has_as_many_and_no_image_has_two() -> None:
    copies = planted.plan_copies(100, 20, seed=0)
    assert len({copy.original for copy in copies}) == len(copies) == 20 * len(planted.KINDS)
    assert all(sum(copy.kind == kind for copy in copies) == 20 for kind in planted.KINDS)


def decoded(content: bytes) -> planted.PixelArray:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_copies_are_of_the_shot_that_they_copy() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).repeat(4, axis=0).repeat(4, axis=1).astype(np.uint8)
    rng = np.random.default_rng(1)
    content, suffix = planted.make_copy(pixels, "mirrored", rng)
    assert suffix == ".png"
    assert np.array_equal(decoded(content)[:, ::-1], pixels)
    content, suffix = planted.make_copy(pixels, "jpeg", rng)
    assert suffix == ".jpg"
    assert Image.open(io.BytesIO(content)).format == "JPEG"
    assert 0 < np.abs(decoded(content).astype(int) - pixels).mean() < 40  # of 256; another picture is some 85 away
    for _ in range(20):
        shifted = decoded(planted.make_copy(pixels, "shifted", rng)[0])
        inner = slice(planted.MOST_PIXELS, -planted.MOST_PIXELS)
        moves = [(down, right) for down in range(-3, 4) for right in range(-3, 4) if down and right]
        moved = [np.roll(pixels, (-down, -right), axis=(0, 1))[inner, inner] for down, right in moves]
        assert sum(np.array_equal(shifted[inner, inner], one) for one in moved) == 1
        assert shifted.shape == pixels.shape
        brighter = decoded(planted.make_copy(pixels, "brightness", rng)[0])
        expected = [np.clip(np.round(pixels * factor), 0, 255) for factor in planted.FACTORS]
        assert sum(np.array_equal(brighter, one) for one in expected) == 1


def test_the_tables_say_what_was_planted(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3)).astype(np.uint8)
    labels = np.arange(40) % 4
    planted.write_planted(tmp_path, images, labels, "abcd", share=0.1, per_kind=3, seed=0)
    flipped, copies = (planted.read_table(tmp_path / f"{name}.csv") for name in ("flipped", "copies"))
    assert sum(row["label"] != row["truth"] for row in flipped) == 4
    assert [row["truth"] for row in flipped] == ["abcd"[label] for label in labels]
    assert len(copies) == 40 + 12
    names = {row["path"]: row["label"] for row in copies}
    assert sorted(names) == sorted(path.name for path in (tmp_path / "images").iterdir())
    assert all(names[row["original"]] == row["label"] for row in copies if row["original"])


def test_findings_are_judged_by_what_was_planted() -> None:
    found = planted.judge_rows(flagged=[1, 2, 3, 9], ranked=[9, 1, 5, 2, 3], wrong=[1, 2, 7])
    assert found == {
        "planted": 3,
        "flagged": 4,
        "recall": 2 / 3,
        "precision": 0.5,
        "precision_at_planted": pytest.approx(1 / 3),
    }
    table = [
        {"path": "a", "original": "", "kind": ""},
        {"path": "copy1", "original": "a", "kind": "jpeg"},
        {"path": "copy2", "original": "b", "kind": "jpeg"},
        {"path": "copy3", "original": "c", "kind": "mirrored"},
    ]
    pairs = planted.judge_pairs([("a", "copy1"), ("copy1", "a"), ("c", "copy3"), ("a", "b"), ("c", "c")], table)
    assert pairs == {
        "planted": 3,
        "pairs": 3,
        "recall": 2 / 3,
        "recall_jpeg": 0.5,
        "recall_mirrored": 1.0,
        "precision": 2 / 3,
        "not_planted": 1,
    }


def made(rows: int, seed: int) -> tuple[FloatArray, IntArray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=rows)
    return (rng.normal(size=(rows, 6)) + np.eye(3, 6)[y]).astype(np.float32), y


def fit(X: FloatArray, y: IntArray, classes: int, values: Sequence[float]) -> list[Head]:
    heads = fit_path(X, y, classes, [1 / (C * len(X)) for C in values])
    return [(head.weight, head.bias, head.certificate.converged) for head in heads]


def test_the_objective_is_the_one_that_is_minimised() -> None:
    X, y = made(120, 0)
    for C in (1e-3, 1.0, 1e2):
        (head,) = fit_path(X, y, 3, [1 / (C * len(X))])
        found = objective_of(X, y, head.weight, head.bias, C)
        assert found == pytest.approx(head.certificate.objective, rel=1e-6)
        assert found < objective_of(X, y, 1.1 * head.weight, head.bias, C)
        assert found < objective_of(X, y, 0.9 * head.weight, head.bias, C)


def test_every_contender_is_selected_on_val_and_refitted_on_both(tmp_path: Path) -> None:
    sizes = {"train": 60, "val": 30, "test": 40}
    for seed, (role, size) in enumerate(sizes.items()):
        X, y = made(size, seed)
        np.save(tmp_path / f"X_{role}.npy", X)
        np.save(tmp_path / f"y_{role}.npy", y)
    refitted: list[tuple[int, list[float]]] = []

    def refit(X: FloatArray, y: IntArray, classes: int, values: Sequence[float]) -> list[Head]:
        refitted.append((len(X), list(values)))
        return fit(X, y, classes, values)

    found = run_protocol(tmp_path, fit, refit, (-4, 2, 7))
    assert found["values"] == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1, 10, 100])
    assert refitted[-1] == (90, [found["C"]])
    X, y = made(60, 0)
    X_val, y_val = made(30, 1)
    rights = [((X_val @ w.T + b).argmax(axis=1) == y_val).mean() for w, b, _ in fit(X, y, 3, found["values"])]
    assert found["C"] == found["values"][int(np.argmax(rights))]
    assert found["val_top1"] == max(rights)
    assert found["said_converged"] == found["fits"] == 7
    assert found["objectives"] == sorted(found["objectives"], reverse=True)


def test_an_early_stop_shows_in_the_objective() -> None:
    judged = excesses({"exact": [1.0, 2.0, 3.0], "early": [1.0, 2.1, 6.0], "near": [1.00001, 2.0, 3.0]})
    assert judged["exact"] == {"at_minimum": 3, "worst_excess": 0.0}
    assert judged["early"] == {"at_minimum": 1, "worst_excess": pytest.approx(1.0)}
    assert judged["near"]["at_minimum"] == 3
    assert excesses({}) == {}


def test_a_cache_is_damaged_in_one_place(tmp_path: Path) -> None:
    for name, size in (("a", 10), ("b", 1000)):
        (tmp_path / name).write_bytes(bytes(size))
    flip_bit(tmp_path, np.random.default_rng(0))
    flipped = np.frombuffer((tmp_path / "a").read_bytes() + (tmp_path / "b").read_bytes(), np.uint8)
    assert np.unpackbits(flipped).sum() == 1
    delete_file(tmp_path, np.random.default_rng(0))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_process_is_measured_from_outside() -> None:
    busy = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\nprint('done')"
    found = run_process([sys.executable, "-c", busy])
    assert found["status"] == 0
    assert found["output"] == "done\n"
    assert found["cpu_seconds"] >= 0.3
    assert found["seconds"] >= 0.3
    assert found["peak_bytes"] > 1e6


def test_a_contender_that_fails_is_named_and_stops_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = ask("planted.make_copy", tmp_path, kind="upside down", pixels=[])
    assert "error" in found
    assert "planted.make_copy failed (1)" in capsys.readouterr().out


def test_every_version_is_pinned_and_every_contest_has_a_table() -> None:
    for path in FOLDER.glob("requirements*.txt"):
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
        assert lines
        assert all(re.match(r"[\w.-]+(\[\w+\])?==[\w.]+( *;|$)", line) for line in lines), path
    assert CONTESTS.keys() == MAKERS.keys()


def result() -> dict[str, Any]:
    (path,) = (ROOT / "reports" / "sample" / "bench").glob("peers-*.json")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("name", MAKERS)
def test_a_contest_with_one_contender_has_a_table(name: str) -> None:
    found = result()[name]
    for contender in ("visbench", "timm", "dinov3", "cleanlab", "cleanvision"):
        alone = only(found, contender)
        if alone != found:
            assert tables({name: alone})[name].count("\n") >= 2


def only(found: dict[str, Any], contender: str) -> dict[str, Any]:
    """Return a result without the other contenders, if it has this one."""
    if contender in found:
        return {name: value for name, value in found.items() if name == contender or not isinstance(value, dict | list)}
    return {name: only(value, contender) if isinstance(value, dict) else value for name, value in found.items()}


def test_results_of_other_contenders_are_kept() -> None:
    old = {"rows": 1, "cold": {"ours": [1, 2], "theirs": [3]}}
    assert merge(old, {"rows": 2, "cold": {"theirs": [4]}}) == {"rows": 2, "cold": {"ours": [1, 2], "theirs": [4]}}


@pytest.mark.parametrize("name", MAKERS)
def test_the_page_has_the_tables_of_the_results(name: str) -> None:
    page = (ROOT / "docs" / "benchmarks" / "peers.md").read_text(encoding="utf-8")
    assert tables(result())[name] in page
