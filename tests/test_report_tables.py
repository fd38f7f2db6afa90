"""Tables: the same numbers in Markdown, in a terminal, in CSV and as a record."""

from __future__ import annotations

import csv as csv_reader
import io
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from made_scores import aggregate, make_score, make_scores
from pages import make_content, markdown_of, record_of, table
from probeline.format import escape, seconds
from probeline.report.model.conditions import Conditions
from probeline.report.model.content import NotRun, ReportFigure
from probeline.report.model.rows import blocks
from probeline.report.sections.tables import BUSY_NOTE
from probeline.report.terminal import TERMINAL_WIDTH, csv_table, terminal_table
from probeline.results.score import Score

MISSING = [("fine-tune of resnet18", "probeline finetune --backbone resnet18")]
NOT_RUN = [NotRun(*MISSING[0])]


def rendered(
    scores: Sequence[Score],
    facts: Conditions | None = None,
    missing: Sequence[tuple[str, str]] = (),
    figures: Sequence[str] = (),
) -> str:
    drawn = {path: ReportFigure(path, Path(path), "", "", "") for path in figures}
    content = make_content(scores, missing, more_conditions=facts or {}, figures=drawn)
    return markdown_of(content)


def test_markdown_holds_every_row_and_number() -> None:
    scores = make_scores(("mobilenet_v2", "timm:tf_efficientnet_lite0"), seeds=3, n_test=1000)
    facts = {"Feature caches": ["cache/a", "cache/b"]}
    text = rendered(scores, facts, MISSING, ["figures/a.png"])
    rows = table(text)
    assert len(rows) == 18
    assert rows[0]["Backbone"] == "mobilenet_v2"
    assert rows[0]["Test top-1 % (95 % interval)"] == "80.00 (77.41–82.36)"
    assert rows[0]["Difference from the probe"] == "reference"
    assert rows[0]["Chosen"] == "l2 0.001"
    assert rows[0]["By"] == "val (n=5000)"
    tuned = rows[7]
    assert tuned["Method"] == "full fine-tune"
    assert tuned["Trainable / total"] == "2.24M / 2.24M"
    assert tuned["Seed sd (seeds)"] == "0.40 (3)"
    assert tuned["Headroom"] == "+9.40"
    assert re.fullmatch(r"\+9\.40 \(\+\d+\.\d\d to \+\d+\.\d\d; p < 0\.001\)", tuned["Difference from the probe"])
    assert (tuned["Cold s"], tuned["Warm s"]) == ("3,080", "2,900")
    assert rows[1]["Train images"] == "50,000"
    assert "- fine-tune of resnet18: `probeline finetune --backbone resnet18`" in text
    assert "![a](figures/a.png)" in text
    assert "- **Feature caches**:\n  - cache/a\n  - cache/b" in text
    assert text.startswith("# cifar10: ")
    assert text.endswith("\n")
    assert "\n\n\n" not in text


def test_columns_without_anything_to_say_are_left_out() -> None:
    (row,) = table(rendered([make_score()]))
    assert not {"Seed sd (seeds)", "Headroom", "Difference from the probe", "Train images"} & row.keys()
    assert "Not run" not in rendered([make_score()])


def test_flags_come_with_their_footnotes() -> None:
    plain = rendered([make_score()])
    assert "†" not in plain
    assert "‡" not in plain
    flagged = [make_score(converged=False), make_score("logistic", certificate={"edge": True})]
    text = rendered(flagged)
    rows = table(text)
    assert [row["Method"] for row in rows] == ["linear probe (exact) †", "scikit-learn logistic regression"]
    assert [row["Chosen"] for row in rows] == ["l2 0.001", "C 0.02 ‡"]
    assert "- † the fit stopped before its tolerance" in text
    assert "- ‡ chosen at a hyper-parameter grid edge" in text


def test_seconds_of_a_busy_machine_are_marked() -> None:
    probe, knn = make_score("probe", waited=0.4), make_score("knn", waited=0.05)
    text = rendered([probe, knn])
    cells = [cell.strip() for line in text.splitlines() for cell in line.split("|")]
    assert f"≈ {seconds(probe.warm_seconds)}" in cells
    assert seconds(knn.warm_seconds) in cells
    assert BUSY_NOTE in text
    assert BUSY_NOTE not in rendered([knn, make_score("centroid")])


def test_classes_without_test_images_are_reported() -> None:
    text = rendered([replace(make_score(), macro=0.5)])
    assert "Macro, or balanced accuracy, is the mean accuracy of the classes." in text
    assert [row["Macro %"] for row in table(text)] == ["50.0"]
    uneven = replace(make_score(n_test=8), macro=0.5)
    assert "mean accuracy of the classes without 2 of 10 that have no test image." in rendered([uneven])


def test_macro_accuracy_is_left_out_if_classes_are_even() -> None:
    text = rendered([make_score(), make_score("knn")])
    assert "Macro %" not in table(text)[0].keys() | table(text, 1)[0].keys()
    assert "balanced accuracy" not in text


def test_names_are_shown_as_they_are() -> None:
    score = make_score("knn", dataset="folder--a|b", weights="*my* <weights> [1](x).pth", chosen={"metric": "a|b"})
    text = rendered([score], {}, [("a `b`", "run `x` ``y``")])
    (row,) = table(text)
    assert row["Chosen"] == r"metric a\|b"
    assert text.startswith(r"# folder--a\|b: ")
    assert r"\*my\* \<weights> [1\](x).pth" in text
    assert "- a \\`b\\`: ``` run `x` ``y`` ```" in text


def test_a_report_without_scores_names_what_is_missing() -> None:
    text = rendered([], {}, MISSING)
    assert text.startswith("# Nothing has been scored yet\n")
    assert "probeline finetune --backbone resnet18" in text
    assert terminal_table([], NOT_RUN).splitlines() == [
        "Nothing has been scored yet.",
        "Not run: fine-tune of resnet18: probeline finetune --backbone resnet18",
    ]


@pytest.mark.parametrize("n_test", [153, 10_000])
def test_the_terminal_table_fits(n_test: int) -> None:
    scores = make_scores(
        ("mobilenet_v2", "timm:tf_efficientnet_lite0"), seeds=2, n_test=n_test, certificate={"edge": True}
    )
    text = terminal_table(blocks(scores), NOT_RUN)
    lines = text.splitlines()
    assert max(map(len, lines)) <= TERMINAL_WIDTH
    assert "…" not in text
    assert lines[1] == "mobilenet_v2"
    assert lines[11] == "timm:tf_efficientnet_lite0"
    assert lines[2].startswith("  linear probe (exact)")
    assert lines[2].endswith("l2 0.001 ‡")
    assert lines[-1] == "Not run: fine-tune of resnet18: probeline finetune --backbone resnet18"


def test_the_terminal_tells_taps_in_headings() -> None:
    scores = [make_score(method, **place) for place in ({}, {"tap": "blocks.4"}) for method in ("probe", "knn")]
    lines = terminal_table(blocks(scores)).splitlines()
    assert (lines[1], lines[4]) == ("mobilenet_v2", "mobilenet_v2 at blocks.4")
    assert lines[5].split("  ")[1] == "linear probe (exact)"
    for wanted, text in ((True, terminal_table(blocks(scores))), (False, terminal_table(blocks(scores[:2])))):
        assert ("the module that a row names" in " ".join(text.split())) == wanted
    seen = terminal_table(blocks([make_score(views=2)]))
    assert "mobilenet_v2, 2 views" in seen
    assert "Views are augmented copies" in seen


def test_headroom_says_of_which_probe_it_is() -> None:
    tuned = make_score("finetune", seed=0)
    words = "exact probe at the penultimate tap, without views, on the same test images"
    assert words in rendered([make_score(), make_score(views=1), tuned])
    assert words not in rendered([make_score(), tuned])


def test_a_teacher_is_named() -> None:
    options = {"teacher": "resnet50", "alpha": 0.5, "temperature": 4.0}
    taught = replace(make_score("finetune", seed=0), method="distill", options=options)
    note = "distilled on mobilenet_v2: the teacher is the exact probe of resnet50, with alpha 0.5 and temperature 4."
    assert f"- {escape(note)}" in rendered([make_score(), taught])
    assert note in " ".join(terminal_table(blocks([make_score(), taught])).split())
    assert "teacher" not in rendered([make_score()])


def test_a_second_task_is_shown_below_the_table_and_in_every_record() -> None:
    read = {"n": 40, "top1": 0.5, "interval": [0.35, 0.65]}
    second = {"second": {"classes": ["a", "b"], "val": read, "test": read}}
    found = blocks([make_score(), replace(make_score("finetune", seed=0), method="multi-task", certificate=second)])
    words = "second task, 2 classes: test top-1 50.0 % (35.2–64.8, n=40), val top-1 50.0 % (35.2–64.8, n=40)"
    assert escape(f"two tasks on mobilenet_v2: {words}.") in rendered([row[0] for row in found[0].scores])
    _, row = csv_reader.DictReader(io.StringIO(csv_table(found)))
    assert row["second"] == words
    assert [one["second"] for one in record_of(make_content([row[0] for row in found[0].scores]))["rows"]] == [
        "",
        words,
    ]


def test_csv_and_record_name_tap_and_views() -> None:
    scores = [make_score(), make_score(tap="blocks.4", views=2)]
    found = blocks(scores)
    (plain, inner) = csv_reader.DictReader(io.StringIO(csv_table(found)))
    assert (plain["tap"], plain["views"], plain["variant"]) == ("penultimate", "0", "")
    assert (inner["tap"], inner["views"], inner["variant"]) == ("blocks.4", "2", "at blocks.4, 2 views")
    assert [(row["tap"], row["views"]) for row in record_of(make_content(scores))["rows"]] == [
        ("penultimate", 0),
        ("blocks.4", 2),
    ]


def test_what_does_not_fit_a_terminal_is_cut_visibly() -> None:
    text = terminal_table(blocks([make_score("knn", chosen={f"option{i}": i for i in range(20)})]))
    assert max(map(len, text.splitlines())) == TERMINAL_WIDTH
    assert text.splitlines()[2].endswith("…")


def test_csv_reads_back_as_the_rows() -> None:
    scores = make_scores(seeds=2, n_test=200)
    lines = list(csv_reader.DictReader(io.StringIO(csv_table(blocks(scores)))))
    rows = aggregate(scores)
    assert [line["method"] for line in lines] == [row.method for row in rows]
    for line, row in zip(lines, rows, strict=True):
        assert float(line["top1"]) == row.top1
        assert (float(line["interval_low"]), float(line["interval_high"])) == row.interval
        assert line["seed_std"] == ("" if row.seed_std is None else str(row.seed_std))
        assert line["headroom_top1"] == ("" if row.headroom is None else str(row.headroom.top1))
        low = "" if row.over_probe is None else str(row.over_probe.interval[0])
        assert line["over_probe_low"] == low
        assert line["optimism"] == ("" if row.optimism is None else str(row.optimism))
        assert float(line["nll"]) == row.nll
        assert line["over_probe_p"] == ("" if row.over_probe is None else str(row.over_probe.p))
        assert [float(top1) for top1 in line["top1_by_seed"].split()] == list(row.top1_by_seed)
    assert csv_table([]) == ""


def test_the_record_is_json_and_complete() -> None:
    scores = make_scores(seeds=2, n_test=200)
    found = record_of(make_content(scores, MISSING, more_conditions={"Data": ["x"]}))
    assert [row["top1"] for row in found["rows"]] == [row.top1 for row in aggregate(scores)]
    assert found["class_names"] == list(scores[0].class_names)
    # 200 test images are twenty of each class, so that the mean over classes is top-1 itself.
    for row in found["rows"]:
        assert np.mean(row["per_class"]) == pytest.approx(row["top1"]) == pytest.approx(row["macro"])
    assert found["missing"] == [{"what": MISSING[0][0], "command": MISSING[0][1]}]
    assert found["conditions"]["Data"] == ["x"]


def test_the_other_tables_have_the_same_rows() -> None:
    scores = make_scores(seeds=2, n_test=200)
    text = rendered(scores)
    titles = [row.title for row in aggregate(scores)]
    assert [line["Method"] for line in table(text, 1)] == titles
    assert [line["Method"] for line in table(text, 2)] == titles
    assert [line["No."] for line in table(text, 3)] == [str(number) for number in range(1, 10)]
    assert "## Calibration and selection" in text
    assert "## Pairwise comparisons" not in rendered([make_score(), make_score("knn")])


def test_the_record_holds_every_pair() -> None:
    pairs = record_of(make_content(make_scores(n_test=100)))["pairs"]
    assert len(pairs["rows"]) == 9
    assert len(pairs["differences"]) == 36
    assert pairs["differences"][0].keys() == {"row", "minus", "top1", "interval", "p", "real"}
    assert pairs["rows"][0] == {"block": "mobilenet_v2", "row": "linear probe (exact)"}
