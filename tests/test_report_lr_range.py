"""Range tests: their titles, table and figure, and their files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from figure_checks import drawn
from made_scores import HERE, LONG
from pages import make_content, record_of, write_report
from probeline.identity import digest
from probeline.metrics.lr_range import EARLY, STEPS, rising
from probeline.report.figures.curves import range_tests
from probeline.report.figures.sheet import default_look, png
from probeline.report.records.range_tests import range_test_titles, round_rate, suggest_rates, suggestion_in_words
from probeline.report.sections.scores.ranges import range_notes, range_table
from probeline.results.range_test import RANGE_TESTS, RangeTest
from probeline.results.store import SkippedFile
from variants import slow_after


def make_test(
    backbone: str = "mobilenet_v2", method: str = "finetune", *, middle: int = 60, steps: int = 90
) -> RangeTest:
    """Return a test whose loss falls around the step `middle` and rises from 20 steps later on."""
    step = np.arange(steps)
    noise = 0.05 * np.random.default_rng(middle).normal(size=steps)
    losses = 2.3 - 1.8 / (1 + np.exp(-(step - middle) / 3)) + np.exp(np.minimum((step - middle - 20) / 2, 4.0)) + noise
    return RangeTest(
        dataset="cifar10",
        backbone=backbone,
        weights="none" if method == "scratch" else "IMAGENET1K_V1",
        method=method,
        precision="fp32",
        key=digest([backbone, method, middle]),
        splits="0" * 64,
        options={"version": 2, "weights": "0123456789ab", "optimizer": "adamw", "body": 0.1},
        image_size=224,
        n_train=45_000,
        seed=0,
        rates=tuple(rising()[:steps]),
        losses=tuple(losses.tolist()),
        ended="loss too high",
        seconds=12.0,
        environment=HERE,
    )


def level(test: RangeTest, steps: int = STEPS) -> RangeTest:
    """Return a test whose loss never falls."""
    return replace(test, rates=tuple(rising()[:steps]), losses=(1.0,) * steps, ended="highest rate", key=digest(steps))


def test_the_suggested_rate_has_two_digits() -> None:
    test = make_test()
    place = suggest_rates(test)
    assert place is not None
    steepest, tenth, lowest = (f"{round_rate(value):g}" for value in (place.steepest, place.tenth, place.lowest))
    assert suggestion_in_words(test) == (
        f"the loss falls fastest at lr {steepest} and is lowest at lr {lowest}, a tenth of which is {tenth}"
    )
    assert (round_rate(0.0012345), round_rate(0.98765), round_rate(3.1415e-5)) == (0.0012, 0.99, 3.1e-5)
    assert suggestion_in_words(level(test)) == "the loss never falls beyond its scatter: no rate is suggested"
    assert range_table([test]).grid[1] == [
        "mobilenet_v2, full fine-tune",
        steepest,
        tenth,
        lowest,
        "90",
        "loss too high",
    ]
    assert range_table([level(test)]).grid[1][1:] == ["", "", "", "100", "highest rate"]
    (test_record,) = record_of(make_content(range_tests=[test]))["range_tests"]
    assert (test_record["steepest"], test_record["tenth"], test_record["lowest"]) == (
        place.steepest,
        place.tenth,
        place.lowest,
    )


def test_what_is_unusual_is_marked_and_explained() -> None:
    test = make_test()
    falling = replace(test, rates=tuple(rising()), losses=tuple(2.0 - 0.01 * step for step in range(STEPS)))
    plain = "\n".join(range_notes([test]))
    for words in ("No rate", "‡"):
        assert words not in plain
    assert f"never below the first {EARLY} losses" in "\n".join(range_notes([test, level(test)]))
    assert range_table([falling]).grid[1][3].endswith(" ‡")
    assert "‡ the loss was still falling at the highest rate" in "\n".join(range_notes([falling]))
    assert ", the end of the test, a tenth" in suggestion_in_words(falling)


def test_titles_tell_tests_apart() -> None:
    test = make_test()
    assert range_test_titles([test, make_test("resnet18"), make_test(method="scratch")]) == [
        "mobilenet_v2, full fine-tune",
        "resnet18, full fine-tune",
        "mobilenet_v2, from scratch",
    ]
    sgd = replace(test, options={**test.options, "optimizer": "sgd"})
    seeds = [replace(test, seed=1), replace(test, seed=2, image_size=64)]
    assert range_test_titles([test, sgd]) == [
        f"mobilenet_v2, full fine-tune, optimizer {name}" for name in ("adamw", "sgd")
    ]
    assert range_test_titles(seeds) == [
        "mobilenet_v2, full fine-tune, 224 px, seed 1",
        "mobilenet_v2, full fine-tune, 64 px, seed 2",
    ]
    assert range_test_titles([test, replace(test, weights="none")]) == [
        "mobilenet_v2, full fine-tune, IMAGENET1K_V1",
        "mobilenet_v2, full fine-tune, untrained",
    ]


def test_range_tests_alone_make_a_report(tmp_path: Path) -> None:
    test = make_test()
    report = write_report(tmp_path, range_tests=[test])
    assert [path.name for path in report.figures] == ["range-tests.png"]
    text = report.markdown.read_text(encoding="utf-8")
    assert text.startswith("# cifar10: frozen features and fine-tuning")
    assert "## Learning-rate range tests" in text
    assert "45,000 train; seed 0; optimizer adamw, body 0.1; 12 s; Linux x86" in text.replace("\\_", "_")
    assert not write_report(tmp_path, range_tests=[test]).written
    assert write_report(tmp_path, range_tests=[replace(test, losses=(*test.losses[:-1], 2.0))]).written
    assert write_report(tmp_path).figures == ()
    assert "range test" not in report.markdown.read_text(encoding="utf-8")


TWO = [make_test(), make_test("resnet18", "scratch", middle=50)]
SETS: dict[str, Sequence[RangeTest]] = {
    "one": [make_test()],
    "two": TWO,
    "three, one level": [*TWO, level(make_test(LONG, "lp-ft"))],
    "many": [make_test(f"timm:net_{number}", "last-4", middle=40 + 5 * number) for number in range(7)],
    "long": [make_test(LONG, method) for method in ("gradual", "freeze-middle")],
    "short": [level(make_test(), 4), level(make_test("resnet18"), 0)],
    "near each other": [make_test(steps=62)],
}


@pytest.mark.parametrize("case", slow_after(3, SETS))
def test_no_text_is_clipped_or_covers_another(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with default_look():
        figure = range_tests(SETS[case])
        texts = drawn(figure, monkeypatch)
        boxes = [(text, text.get_window_extent()) for text in texts]
    for text, box in boxes:
        assert (box.min >= figure.bbox.min).all(), text
        assert (box.max <= figure.bbox.max).all(), text
    for (text, box), (other, its) in combinations(boxes, 2):
        overlap = np.minimum(box.max, its.max) - np.maximum(box.min, its.min)
        assert (overlap <= 1).any(), (text, other)
    shown = "\n".join(text.get_text() for text in texts)
    for title in range_test_titles(SETS[case]):
        assert title[:20] in shown


def test_marks_stand_at_the_suggested_rates() -> None:
    test = make_test()
    place = suggest_rates(test)
    assert place is not None
    with default_look():
        (axes,) = range_tests([test]).axes
    marks = {line.get_marker(): line for line in axes.get_lines() if line.get_marker() not in ("", "None")}
    upright = {
        line.get_linestyle(): line.get_xdata()[0]
        for line in axes.get_lines()
        if line.get_xdata()[0] == line.get_xdata()[-1]
    }
    assert marks["v"].get_xdata()[0] == place.tenth == upright["--"]
    assert upright["-"] == place.steepest
    assert marks["o"].get_xdata()[0] == place.lowest, "the ring is drawn last"
    assert axes.get_xscale() == "log"
    low, high = axes.get_ylim()
    assert low < min(test.losses)
    assert max(test.losses[:EARLY]) < high < max(test.losses), "what rises far above the beginning is cut off"
    with default_look():
        (bare,) = range_tests([level(test)]).axes
    assert len(bare.get_lines()) == 2, "the losses and their mean alone"


def test_equal_tests_give_equal_bytes() -> None:
    with default_look():
        assert png(range_tests(TWO)) == png(range_tests(TWO))


def test_what_is_saved_is_found(tmp_path: Path) -> None:
    for test in TWO:
        path = RANGE_TESTS.save(tmp_path, test)
        assert path == RANGE_TESTS.path(tmp_path, test.backbone, test.method, test.key)
        assert path.name == f"{test.backbone}-{test.method}-{test.key[:12]}.json"
        assert RANGE_TESTS.find(tmp_path, test.backbone, test.method, test.key) == test
        other = RANGE_TESTS.find(tmp_path, test.backbone, test.method, test.key[:12] + "0" * 52)
        assert isinstance(other, SkippedFile)
        assert other.reason.startswith("its key is ")
        assert RANGE_TESTS.find(tmp_path, test.backbone, test.method, "0" * 64) is None
    tests, ignored = RANGE_TESTS.load(tmp_path)
    assert sorted(tests, key=lambda test: test.backbone) == TWO
    assert ignored == []
    assert RANGE_TESTS.load(tmp_path / "nowhere") == ([], [])


def test_a_damaged_moved_or_foreign_file_is_ignored(tmp_path: Path) -> None:
    path = RANGE_TESTS.save(tmp_path, TWO[0])
    data = path.read_bytes()
    for at in range(0, len(data), 501):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert isinstance(RANGE_TESTS.find(tmp_path, TWO[0].backbone, TWO[0].method, TWO[0].key), SkippedFile)
        tests, (ignored,) = RANGE_TESTS.load(tmp_path)
        assert (tests, ignored.path) == ([], path)
    path.write_bytes(data)
    path.rename(path.with_name("other.json"))
    assert "holds the range test that belongs at" in RANGE_TESTS.load(tmp_path)[1][0].reason
