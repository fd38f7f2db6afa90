"""Published numbers next to ours: which rows and steps compare, the text for those that do not, and the section."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from made_records import make_curve
from made_scores import aggregate, make_score
from pages import make_content, table, write_report
from probeline.metrics.intervals import wilson
from probeline.recipes import Published
from probeline.report.model.row import Row
from probeline.report.records.published import Ours, PublishedComparison, compare_published, curve_step
from probeline.report.sections.scores.published import PublishedNumbers
from probeline.results.curve import Curve
from probeline.results.score import Score

PROBE = Published("mobilenet_v2", "probe-sgd", 0.941, trainable=1_026, note="about")
TUNED = Published("mobilenet_v2", "finetune", 0.961)
HALF = Published("mobilenet_v2", "probe", 0.8299, portion=50)
ASKED: dict[str, Any] = {"backbones": ("mobilenet_v2",), "data": None}


def scores(backbone: str = "mobilenet_v2", **changes: Any) -> list[Score]:
    return [make_score("probe-sgd", backbone, seed=seed, **changes) for seed in (0, 1)]


def rows(*of: Score) -> list[Row]:
    return aggregate(of)


def section(published: PublishedComparison) -> str:
    return PublishedNumbers().markdown(make_content(published=published)) or ""


def ours(*published: Published, rows: Any = (), curves: Any = (), **changes: Any) -> list[Ours | None]:
    return [mine for _, mine in compare_published(published, rows, curves, **{**ASKED, **changes})]


def test_a_number_stands_next_to_the_row_of_its_net_and_method() -> None:
    (row,) = rows(*scores())
    (mine,) = ours(PROBE, rows=rows(*scores(), *scores("resnet18"), make_score("probe"), make_score("knn")))
    assert mine is not None
    assert (mine.backbone, mine.top1, mine.interval) == ("mobilenet_v2", row.top1, row.interval)
    assert (mine.n_train, mine.n_test) == ((row.n_train, row.n_train), row.n_test)
    assert (mine.runs, mine.trainable, mine.other) == ("2 seeds", row.trainable, ())


def test_what_nothing_compares_with_was_not_run() -> None:
    assert ours(TUNED, HALF, rows=rows(*scores())) == [None, None]
    assert ours(PROBE, rows=rows(*scores("resnet18"))) == [None], "another net that nobody asked for is no stand-in"


def test_heads_elsewhere_in_the_net_are_not_what_was_published() -> None:
    elsewhere = rows(*scores(tap="features.3"), *scores(views=2))
    assert len(elsewhere) == 2
    assert ours(PROBE, rows=elsewhere) == [None]


def test_a_requested_net_stands_in_for_those_that_were_not() -> None:
    other = Published("alexnet", "probe-sgd", 0.8107)
    found = ours(PROBE, other, rows=rows(*scores("resnet18", weights="none")), backbones=("resnet18",), data="digits")
    assert [mine and (mine.backbone, mine.other) for mine in found] == [
        ("resnet18", ("resnet18", "digits", "untrained"))
    ] * 2
    both = rows(*scores(), *scores("resnet18"))
    found = ours(PROBE, other, rows=both, backbones=("mobilenet_v2", "resnet18"))
    assert [mine and mine.backbone for mine in found] == ["mobilenet_v2", "resnet18"]


def test_a_net_from_scratch_is_not_called_untrained() -> None:
    scratch = Published("mobilenet_v2", "scratch", 0.68)
    (mine,) = ours(scratch, rows=rows(make_score("scratch", seed=0)))
    assert mine is not None
    assert (mine.other, mine.runs) == ((), "1 seed")


def test_two_runs_are_two_lines() -> None:
    two = rows(*scores(options={"lr": [0.1]}), *scores(options={"lr": [0.2]}))
    assert [mine and mine.other for mine in ours(PROBE, rows=two)] == [("run A",), ("run B",)]


def test_a_portion_stands_next_to_the_step_of_a_learning_curve() -> None:
    curve = make_curve(draws=3, n_test=400)
    (mine,) = ours(HALF, curves=[make_curve("resnet18"), curve])
    points = [point for point in curve.points if (point.kind, point.amount) == ("fraction", 50)]
    mean = sum(point.test_top1 for point in points) / 3
    assert mine is not None
    assert mine.top1 == pytest.approx(mean)
    assert mine.interval == pytest.approx(wilson(mean * 400, 400))
    assert (mine.n_train, mine.n_test, mine.runs) == ((22_500, 22_500), 400, "3 draws")


@pytest.mark.parametrize(
    ("curve", "net", "name", "portion"),
    [
        (make_curve(), "mobilenet_v2", "probe", 25),
        (make_curve(), "mobilenet_v2", "finetune", 50),
        (make_curve(), "resnet18", "probe", 50),
        (replace(make_curve(), tap="features.3"), "mobilenet_v2", "probe", 50),
        # 16 images a class are no 16 %.
        (make_curve(percents=(1,), shots=(16,)), "mobilenet_v2", "probe", 16),
    ],
)
def test_a_step_of_another_curve_or_size_is_none(curve: Curve, net: str, name: str, portion: float) -> None:
    assert curve_step([make_curve()], "mobilenet_v2", "probe", 50) is not None
    assert curve_step([curve], net, name, portion) is None


def make_comparison(**changes: Any) -> PublishedComparison:
    lines = compare_published((PROBE, HALF, TUNED), rows(*scores()), [make_curve(draws=1, n_test=400)], **ASKED)
    differences = ("They chose on *test*.", "We did not.")
    return replace(PublishedComparison("day8", "A course, day 8.", lines, (), differences), **changes)


def test_the_section_is_a_table_and_the_differences() -> None:
    text = section(make_comparison(changed=("epochs 1", "limit 30")))
    assert text.startswith("Recipe day8. A course, day 8.\n\n| Backbone ")
    assert "Options that differ from the recipe's: epochs 1, limit 30." in text
    assert text.endswith("\n\n- They chose on \\*test\\*.\n- We did not.")
    probe, half, tuned = table(text + "\n")
    (row,) = rows(*scores())
    low, high = (f"{100 * end:.1f}" for end in row.interval)
    assert probe["Method"] == "linear head (minibatch), about"
    assert (probe["Train %"], probe["Published top-1 %"]) == ("", "94.1")
    assert probe["Ours: test top-1 % (95 % interval)"] == f"{100 * row.top1:.1f} ({low}–{high})"
    assert (probe["Test images"], probe["Runs"], probe["Train images"]) == ("500", "2 seeds", "45,000")
    assert probe["Trainable, published / ours"] == f"1,026 / {row.trainable:,}"
    assert (half["Train %"], half["Published top-1 %"], half["Runs"]) == ("50", "82.99", "1 draw")
    assert half["Trainable, published / ours"] == ""
    assert (tuned["Published top-1 %"], tuned["Ours: test top-1 % (95 % interval)"]) == ("96.1", "not run")
    assert (tuned["Test images"], tuned["Runs"]) == ("", "")
    assert "Difference" not in probe, "a column without anything to say"


def test_without_numbers_there_are_the_differences_alone() -> None:
    text = section(make_comparison(lines=()))
    assert "|" not in text
    assert "- We did not." in text


def test_a_report_holds_the_section_and_its_record(tmp_path: Path) -> None:
    report = write_report(tmp_path, published=make_comparison())
    assert f"## Published numbers\n\n{section(make_comparison())}" in report.markdown.read_text(encoding="utf-8")
    found = json.loads(report.json.read_text(encoding="utf-8"))["published"]
    assert (found["recipe"], found["differences"]) == ("day8", ["They chose on *test*.", "We did not."])
    probe, half, tuned = found["lines"]
    assert (probe["backbone"], probe["top1"], probe["ours"]["runs"]) == ("mobilenet_v2", 0.941, "2 seeds")
    assert (half["portion"], tuned["ours"]) == (50, None)
    assert not write_report(tmp_path, published=make_comparison()).written
    assert write_report(tmp_path, published=make_comparison(changed=("epochs 1",))).written
    assert write_report(tmp_path).written
    assert "published" not in json.loads(report.json.read_text(encoding="utf-8"))
