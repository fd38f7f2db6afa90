"""The cost of rows at thresholds that validation chose: its numbers, the section, and where costs come from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import recall_score

import probeline
from made_scores import judged, make_score
from pages import make_content, markdown_of, page_of, parsed, table
from probeline.cli.program import main
from probeline.errors import BadOption, UnknownName
from probeline.files.decode import BadRecord, decode, encode
from probeline.metrics.operating_point import choose_threshold
from probeline.options.costs import costs_of_classes, parse_costs
from probeline.report.model.operating import cheapest_class, operating_point
from probeline.results.score import SCORES, OddsOfTwo, Score
from small_runs import make_photos

NAMES = ("fine", "rare")


def score_with_odds(*, seed: int | None = None, method: str = "probe", n: int = 200) -> Score:
    """Return a score of which the log-odds on test and on as many validation images are two bells, two apart."""
    random = np.random.default_rng([seed or 0, n])
    score = make_score(method, class_names=NAMES, n_test=n, seed=seed)
    val_labels = (random.random(n) < 0.3).astype(np.int64)
    test, val = (2 * (labels - 0.5) + random.normal(size=n) for labels in (np.array(score.labels), val_labels))
    narrow = [tuple(odds.astype(np.float32).tolist()) for odds in (test, val)]
    odds = OddsOfTwo(narrow[0], narrow[1], tuple(val_labels.tolist()))
    return judged(replace(score, odds=odds), predictions=tuple((test > 0).astype(int).tolist()))


@pytest.mark.parametrize("positive", [0, 1])
def test_a_row_is_measured_on_test_at_the_thresholds_of_validation(positive: int) -> None:
    scores, costs = [score_with_odds(seed=seed, method="probe-sgd") for seed in range(3)], (1.0, 8.0)
    found = operating_point(scores, costs, positive)
    assert found is not None
    labels, paid, thresholds, recalls = np.array(scores[0].labels), [], [], []
    for score in scores:
        assert score.odds is not None
        threshold = choose_threshold(np.array(score.odds.val_labels), np.array(score.odds.val), costs)
        called = (np.array(score.odds.test) >= threshold).astype(int)
        paid.append(np.where(called == labels, 0, np.where(labels == 1, 8.0, 1.0)))
        thresholds.append(expit(threshold if positive == 1 else -threshold))
        recalls.append([recall_score(labels, called, pos_label=one) for one in (positive, 1 - positive)])
    each = np.mean(paid, axis=0)
    assert found.thresholds == pytest.approx(thresholds)
    assert found.cost.value == pytest.approx(each.mean())
    assert found.two_classes.positive == NAMES[positive]
    rates = [found.two_classes.sensitivity, found.two_classes.specificity]
    assert [rate.share for rate in rates if rate] == pytest.approx(np.mean(recalls, axis=0))
    # Means of 200 images are nearly normal. A bootstrap of 1,000 draws is off by 2 % of the width, skewness adds some.
    half = 1.96 * each.std() / np.sqrt(len(each))
    assert found.cost.interval == pytest.approx((each.mean() - half, each.mean() + half), abs=0.2 * half)
    plain = [np.where(np.array(score.predictions) == labels, 0, np.where(labels == 1, 8.0, 1.0)) for score in scores]
    saved = each - np.mean(plain, axis=0)
    assert found.plain.value == pytest.approx(np.mean(plain))
    assert found.saved.value == pytest.approx(saved.mean())
    half = 1.96 * saved.std() / np.sqrt(len(saved))
    assert found.saved.interval == pytest.approx((saved.mean() - half, saved.mean() + half), abs=0.2 * half)
    assert found.saved.value < 0, "a threshold that costs more than none"


def test_the_cheapest_single_class_is_found() -> None:
    score = score_with_odds()
    rare = np.mean(score.labels)
    assert cheapest_class([score], (1.0, 8.0)) == ("rare", pytest.approx(1 - rare))
    assert cheapest_class([score], (9.0, 1.0)) == ("fine", pytest.approx(rare))


def test_a_score_of_an_earlier_version_has_no_threshold() -> None:
    without = replace(score_with_odds(), odds=None)
    assert operating_point([score_with_odds(), without], (1.0, 1.0), 1) is None
    assert "odds" not in encode(without)
    assert decode(Score, encode(without)) == without
    known = score_with_odds()
    assert decode(Score, json.loads(json.dumps(encode(known)))) == known


@pytest.mark.parametrize(
    "changes",
    [
        {"test": (0.0,) * 199},
        {"val": (0.0,)},
        {"val_labels": (2,) * 200},
        {"test": (float("nan"),) * 200},
    ],
)
def test_odds_of_other_images_are_refused(changes: dict[str, Any]) -> None:
    score = score_with_odds()
    assert score.odds is not None
    values = encode(score)
    values["odds"] = encode(SimpleOdds(**{**vars(score.odds), **changes}))
    with pytest.raises(BadRecord):
        decode(Score, values)


def test_only_two_classes_have_odds() -> None:
    odds = score_with_odds().odds
    with pytest.raises(ValueError, match="class_names"):
        replace(make_score(class_names=("a", "b", "c"), n_test=200), odds=odds)


class SimpleOdds(OddsOfTwo):
    """Odds that are not checked."""

    def __post_init__(self) -> None:
        """Nothing is refused."""


def test_the_section_shows_thresholds_costs_and_what_is_left_out() -> None:
    scores = [score_with_odds(), replace(score_with_odds(method="ridge"), odds=None)]
    content = make_content(scores, costs=(1.0, 8.0))
    section = markdown_of(content).partition("## Cost at an operating point\n")[2].partition("\n## ")[0]
    (row,) = table(section)
    point = operating_point(scores[:1], (1.0, 8.0), 1)
    assert point is not None
    assert point.cost.interval is not None
    low, high = point.cost.interval
    assert row["Cost (95 % interval)"] == f"{point.cost.value:.3f} ({low:.3f} to {high:.3f})"
    assert row["Called rare from"] == f"{100 * point.thresholds[0]:.3g} %"
    assert "An image of fine that is called rare costs 1, the other way round 8" in section
    assert "1 of 2 rows without a threshold" in section
    page = parsed(page_of(scores, costs=(1.0, 8.0)))
    (shown,) = page.all("section", id="operating")
    assert row["Cost (95 % interval)"] in shown.text
    assert any(term.text == "operating point" for term in page.all("dt"))
    assert not parsed(page_of(scores)).all("section", id="operating")


def test_equal_costs_show_no_signed_zero() -> None:
    score = score_with_odds()
    assert score.odds is not None
    same = replace(score, odds=replace(score.odds, val=score.odds.test, val_labels=score.labels))
    content = make_content([same], costs=(5.0, 5.0))
    assert "−0.00 " not in markdown_of(content)
    assert "+0.00 " not in markdown_of(content)


@pytest.mark.parametrize(
    "words", ["a", "a=1", "a=1 a=2", "a=1 b=0", "a=1 b=x", "a=1 b=inf", "a=1e300 b=1", "a=1e-300 b=1", "a=1 b=2 c=3"]
)
def test_other_words_than_two_costs_are_refused(words: str) -> None:
    with pytest.raises(BadOption, match="bad --costs"):
        parse_costs(words.split())


def test_costs_are_in_the_order_of_the_classes_and_of_two_alone() -> None:
    assert costs_of_classes([], ("a", "b", "c")) is None
    assert costs_of_classes(["b=2", "a=1"], ("a", "b")) == (1.0, 2.0)
    with pytest.raises(UnknownName):
        costs_of_classes(["b=2", "c=1"], ("a", "b"))
    with pytest.raises(BadOption, match="two classes"):
        costs_of_classes(["b=2", "a=1"], ("a", "b", "c"))


def test_costs_on_the_command_line_and_in_python_give_one_section(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], one_thread: None
) -> None:
    monkeypatch.chdir(tmp_path)
    make_photos(tmp_path / "photos", n=8)
    words = ["--dataset", "folder:photos", "--backbone", "resnet18@none", "--image-size", "32"]
    assert main(["probe", *words]) == 0
    (names,) = {score.class_names for score in SCORES.load(tmp_path / "reports" / "folder--photos")[0]}
    costs = [f"{names[0]}=1", f"{names[1]}=4"]
    assert main(["compare", *words, "--costs", *costs]) == 0
    record = json.loads((tmp_path / "reports" / "folder--photos" / "report.json").read_text())
    assert record["costs"] == {names[0]: 1, names[1]: 4}
    assert len(record["operating_points"]) == 3
    assert all(0 < threshold < 1 for point in record["operating_points"] for threshold in point["thresholds"])
    assert main(["compare", *words]) == 0
    assert "costs" not in json.loads((tmp_path / "reports" / "folder--photos" / "report.json").read_text())
    capsys.readouterr()
    assert main(["run", *words, "--dry-run", "--costs", "x=1", "y=2"]) == 2
    assert "class in --costs" in capsys.readouterr().err
    assert main(["probe", *words, "--ordinal", *names, names[0]]) == 2
    assert f"bad --ordinal (expected each class once, got {names[0]} twice)" in capsys.readouterr().err
    assert main(["compare", *words, "--costs", "x=1", "y=2"]) == 2
    assert "class in --costs" in capsys.readouterr().err
    labels = np.arange(60) % 2
    rows = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32) + labels[:, None]
    result = probeline.probe(rows, labels)
    report = probeline.compare(result, costs={"0": np.int64(1), "1": np.float32(2.5)})
    assert "costs 1, the other way round 2.5" in report.save(tmp_path / "own.md").read_text()
    with pytest.raises(BadOption, match="bad costs"):
        probeline.compare(result, costs={"0": 1})


def test_what_python_is_given_is_refused_in_words(one_thread: None) -> None:
    labels = np.arange(60) % 2
    rows = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32) + labels[:, None]
    result = probeline.probe(rows, labels)
    given: list[Any] = ["0=1 1=2", ["0=1", "1=2"], (1, 2), {}, {"0": "much", "1": 2}, {"0": None, "1": 2}]
    for costs in given:
        with pytest.raises(BadOption, match=r"bad (--)?costs"):
            probeline.compare(result, costs=costs)
    with pytest.raises(BadOption, match="an order does not concern"):
        probeline.probe(rows, labels, ordinal=["0", "1"])
    numbers: Any = probeline.probe_targets(rows, rows[:, 0], task="regression")
    with pytest.raises(BadOption, match="no report in Python"):
        probeline.compare([result, numbers])
    other: Any = "reg"
    for door in (probeline.probe_targets, probeline.finetune_targets):
        with pytest.raises(UnknownName, match="unknown task 'reg'"):
            door(rows, rows[:, 0], task=other)
