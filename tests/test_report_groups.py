"""Accuracy by group: its numbers, which group is called worst, where the values come from, and what the report says."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, fisher_exact, norm
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

import probeline
from made_scores import make_score
from probeline.commands import baselines, compare
from probeline.errors import BadData, BadOption, ProbelineError, UnknownName
from probeline.metrics.intervals import wilson
from probeline.metrics.two_samples import newcombe
from probeline.report.model.content import ReportContent
from probeline.report.model.groups import LEAST, Grouping, by_groups
from probeline.report.model.rows import blocks
from probeline.report.write import write_report
from probeline.results.score import Score
from probeline.session import Session
from small_runs import Listening, configuration, extracted, make_photos

pytestmark = pytest.mark.usefixtures("one_thread", "undrawn")


def grouping(values: Any, score: Score, title: str = "site") -> Grouping:
    return Grouping(title, f"column {title}", tuple(values), score.splits)


def with_wrong(score: Score, wrong: np.ndarray) -> Score:
    """Return the score with wrong predictions for some test images in addition."""
    labels = np.array(score.labels)
    predictions = np.where(wrong, (labels + 1) % len(score.class_names), score.predictions)
    right = int((predictions == labels).sum())
    top1 = right / len(labels)
    return replace(score, predictions=tuple(predictions.tolist()), top1=top1, interval=wilson(right, len(labels)))


def test_each_group_is_scored_as_scikit_learn_scores_its_images() -> None:
    seeds = [make_score("probe-sgd", seed=seed, n_test=400) for seed in range(3)]
    values = np.random.default_rng(1).choice(["a", "b", "", "c"], 400, p=[0.5, 0.3, 0.15, 0.05])
    (found,) = by_groups(seeds, [grouping(values, seeds[0])])
    assert [group.n for group in found.groups] == [int((values == value).sum()) for value in ("a", "b", "", "c")]
    assert [group.name for group in found.groups] == ["a", "b", "(no value)", "c"]
    labels = np.array(seeds[0].labels)
    for group in found.groups:
        own = values == group.value
        by_seed = [np.array(score.predictions) for score in seeds]
        top1 = np.mean([accuracy_score(labels[own], seed[own]) for seed in by_seed])
        assert group.top1 == pytest.approx(top1)
        assert group.macro == pytest.approx(np.mean([balanced_accuracy_score(labels[own], s[own]) for s in by_seed]))
        assert group.macro_f1 == pytest.approx(
            np.mean([f1_score(labels[own], s[own], average="macro") for s in by_seed])
        )
        assert group.classes == len(set(labels[own].tolist()))
        assert group.interval == pytest.approx(wilson(top1 * group.n, group.n))
        rest = np.mean([accuracy_score(labels[~own], seed[~own]) for seed in by_seed])
        assert group.difference == pytest.approx(top1 - rest)


def test_p_values_are_adjusted_over_all_columns_of_the_row() -> None:
    score = make_score(n_test=300)
    first = np.repeat(["a", "b", "c"], 100)
    second = np.tile(["x", "y"], 150)
    found = by_groups([score], [grouping(first, score), grouping(second, score, "scanner")])
    right = np.array(score.labels) == np.array(score.predictions)
    raw = []
    for values, names in ((first, "abc"), (second, "xy")):
        for name in names:
            own = values == name
            table = [[int((own & right).sum()), int((own & ~right).sum())]]
            table.append([int((~own & right).sum()), int((~own & ~right).sum())])
            raw.append(fisher_exact(table).pvalue)
    by_value = {group.value: group.p for by_group in found for group in by_group.groups}
    order = np.argsort(raw)
    stepped = np.maximum.accumulate([min(1, (5 - rank) * raw[i]) for rank, i in enumerate(order)])
    for place, i in enumerate(order):
        assert by_value["abcxy"[i]] == pytest.approx(stepped[place])


def test_a_group_with_too_few_images_is_shown_and_never_called_worst() -> None:
    score = make_score(n_test=500)
    values = np.array(["big"] * 250 + ["other"] * (250 - LEAST + 1) + ["small"] * (LEAST - 1))
    (found,) = by_groups([with_wrong(score, values == "small")], [grouping(values, score)])
    small = next(group for group in found.groups if group.value == "small")
    assert small.top1 == 0
    assert (small.p, small.worse, small.is_compared) == (None, False, False)
    assert found.gap is not None
    assert {found.gap.worst.value, found.gap.best.value} == {"big", "other"}
    # With one image more it is compared, and found.
    values[values.tolist().index("other")] = "small"
    (found,) = by_groups([with_wrong(score, values == "small")], [grouping(values, score)])
    assert found.gap is not None
    assert found.gap.worst.value == "small"
    assert found.gap.worst.worse


def test_the_gaps_interval_holds_for_all_pairs_together() -> None:
    score = make_score(n_test=400)
    values = np.repeat(["a", "b", "c", "d"], 100)
    (found,) = by_groups([score], [grouping(values, score)])
    gap = found.gap
    assert gap is not None
    top1 = {group.value: group.top1 for group in found.groups}
    assert gap.top1 == pytest.approx(max(top1.values()) - min(top1.values()))
    counts = [(group.top1 * 100, 100) for group in (gap.best, gap.worst)]
    assert gap.interval == pytest.approx(newcombe(counts[0], counts[1], 1 - 0.05 / 6))
    plain = newcombe(counts[0], counts[1])
    assert gap.interval[0] < plain[0] < gap.top1 < plain[1] < gap.interval[1]


def test_random_groups_are_rarely_called_worse_and_a_worse_one_is() -> None:
    score, rng = make_score(n_test=600), np.random.default_rng(0)
    tables, alarms, found_worse = 200, 0, 0
    for _ in range(tables):
        values = rng.choice(list("abcdef"), 600)
        (found,) = by_groups([score], [grouping(values, score)])
        alarms += any(group.worse for group in found.groups)
        planted = with_wrong(score, (values == "c") & (rng.random(600) < 0.4))
        (found,) = by_groups([planted], [grouping(values, score)])
        found_worse += [group.value for group in found.groups if group.worse] == ["c"]
    # A family-wise rate of 5 % at most: more alarms than this have a probability of one in a thousand.
    assert alarms <= binom.ppf(0.999, tables, 0.05)
    # 0.78 against 0.78 x 0.6 with 100 and 500 images is 5.6 standard errors apart, where Holm needs 2.6.
    assert found_worse >= binom.ppf(0.001, tables, norm.cdf(5.6 - 2.7) - 0.03)


def test_a_worse_mean_without_a_worse_first_seed_is_not_significant() -> None:
    seeds = [make_score("probe-sgd", seed=seed, n_test=400) for seed in range(3)]
    values = np.array(["a"] * 200 + ["b"] * 200)
    worse = [seeds[0], *(with_wrong(score, values == "b") for score in seeds[1:])]
    (found,) = by_groups(worse, [grouping(values, seeds[0])])
    b = next(group for group in found.groups if group.value == "b")
    assert b.difference is not None
    assert b.difference < -0.3
    assert not b.worse
    (found,) = by_groups([worse[1], worse[0], worse[2]], [grouping(values, seeds[0])])
    assert next(group for group in found.groups if group.value == "b").worse


def test_a_better_first_seed_is_not_worse_whatever_the_mean() -> None:
    plain = [make_score("probe-sgd", seed=seed, n_test=400) for seed in range(3)]
    values = np.array(["a"] * 200 + ["b"] * 200)
    lucky = with_wrong(plain[0], values == "a")
    (found,) = by_groups([lucky, *(with_wrong(score, values == "b") for score in plain[1:])], [grouping(values, lucky)])
    b = next(group for group in found.groups if group.value == "b")
    assert b.p is not None
    assert b.difference is not None
    assert b.p < 1e-6
    assert b.difference < 0
    assert not b.worse


def test_another_number_of_values_than_test_images_is_refused() -> None:
    score = make_score()
    with pytest.raises(ValueError, match="3 values of site for 500 test images"):
        by_groups([score], [grouping("abc", score)])


def content_of(folder: Path, values: Any, scores: list[Score]) -> ReportContent:
    return ReportContent(blocks=blocks(scores), groupings=[grouping(values, scores[0])], folder=folder)


def test_the_report_shows_the_groups_everywhere_and_warns_on_its_first_screen(tmp_path: Path) -> None:
    values = np.array(["old scanner"] * 150 + ["new"] * 340 + [""] * 10)
    scores = [with_wrong(make_score(method), values == "old scanner") for method in ("probe", "knn")]
    report = write_report(content_of(tmp_path, values, scores))
    assert report.groups == tmp_path / "groups.csv"
    lines = list(csv.DictReader(report.groups.read_text(encoding="utf-8").splitlines()))
    assert [(line["group"], line["n"]) for line in lines[:3]] == [("new", "340"), ("old scanner", "150"), ("", "10")]
    assert [line["worse"] for line in lines[:3]] == ["False", "True", "False"]
    assert len(lines) == 6
    record = json.loads(report.json.read_text(encoding="utf-8"))
    assert [found["worst"] for found in record["by_group"]] == ["old scanner"] * 2
    assert record["by_group"][0]["gap"] == pytest.approx(float(lines[0]["top1"]))
    markdown = report.markdown.read_text(encoding="utf-8")
    assert "## Accuracy by group" in markdown
    assert "10 test images without a value, a group of their own" in markdown
    page = report.page.read_text(encoding="utf-8")
    first_screen = page.partition('<section id="results"')[0]
    assert "significantly worse on some images: site old scanner 0.0 %" in first_screen
    assert '<section id="groups"' in page


def test_without_a_worse_group_the_first_screen_says_nothing_of_groups(tmp_path: Path) -> None:
    values = np.tile(["a", "b"], 250)
    page = write_report(content_of(tmp_path, values, [make_score()])).page.read_text(encoding="utf-8")
    assert "By site" not in page.partition('<section id="results"')[0]
    assert "By site: no group of" in page


def test_a_report_without_groups_removes_the_table_of_an_earlier_one(tmp_path: Path) -> None:
    score = make_score()
    with_groups = content_of(tmp_path, np.tile(["a", "b"], 250), [score])
    assert write_report(with_groups).written
    assert not write_report(with_groups).written
    other = replace(with_groups, groupings=[grouping(np.tile(["a", "c"], 250), score)])
    assert write_report(other).written
    report = write_report(ReportContent(blocks=blocks([score]), folder=tmp_path))
    assert report.groups is None
    assert not (tmp_path / "groups.csv").exists()
    assert "by_group" not in json.loads(report.json.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """Baselines of a folder of 80 photos; leave them as they are."""
    root = tmp_path_factory.mktemp("groups")
    make_photos(root / "photos", n=40)
    session = extracted(root / "cache", dataset=f"folder:{root / 'photos'}", limit=None, reports=root / "reports")
    baselines.run(session)
    return session


def compared(session: Session, *report_by: str, **options: Any) -> tuple[dict[str, Any], Listening]:
    console = Listening()
    settings = configuration(
        session.settings.folders.cache,
        dataset=session.settings.data.dataset,
        limit=None,
        reports=session.settings.folders.reports,
        console=console,
        report_by=report_by,
        **options,
    )
    return json.loads(Path(compare.run(Session(settings))["json"]).read_text(encoding="utf-8")), console


def test_values_are_joined_by_sample_id_whatever_the_order_of_the_lines(photos: Session, tmp_path: Path) -> None:
    split = photos.splits.test
    part = photos.dataset.parts[split.part]
    ids = [part.sample_ids[row] for row in split.rows.tolist()]
    site = {name: ("odd" if int(Path(name).stem) % 2 else "even") for name in part.sample_ids}
    lines = [f"{name},{value}" for name, value in site.items() if name != ids[0]]
    np.random.default_rng(0).shuffle(lines)
    table = tmp_path / "sites.csv"
    table.write_text("\n".join(["sample_id,site", *lines]), encoding="utf-8")
    record, _ = compared(photos, f"{table}:site")
    counts = {group["value"]: group["n"] for group in record["by_group"][0]["groups"]}
    expected = [site[name] for name in ids[1:]]
    assert counts == {"odd": expected.count("odd"), "even": expected.count("even"), "": 1}
    score = next(score for score in photos_scores(photos) if score.key == record["by_group"][0]["key"])
    right = dict(zip(ids, np.equal(score.labels, score.predictions), strict=True))
    odd = next(group for group in record["by_group"][0]["groups"] if group["value"] == "odd")
    assert odd["top1"] == pytest.approx(np.mean([right[name] for name in ids[1:] if site[name] == "odd"]))


def photos_scores(session: Session) -> list[Score]:
    from probeline.evaluate.current_scores import current_scores

    return list(current_scores(session, "compare"))


def test_a_column_of_the_data_sets_own_table_needs_no_file(tmp_path: Path) -> None:
    root = make_photos(tmp_path / "photos", n=20)
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jpg"))
    rows = [f"{name},{name.partition('/')[0]},{'day' if i % 3 else 'night'}" for i, name in enumerate(names)]
    table = root / "labels.csv"
    table.write_text("\n".join(["file_name,label,time", *rows, rows[0]]), encoding="utf-8")
    session = extracted(tmp_path / "cache", dataset=f"table:{table}", limit=None, reports=tmp_path / "reports")
    baselines.run(session)
    record, console = compared(session, "time")
    assert {group["value"] for group in record["by_group"][0]["groups"]} == {"day", "night"}
    assert any(line.startswith("By time: fewer than two groups") for line in console.said)
    with pytest.raises(UnknownName, match=r"unknown column of labels.csv in --report-by 'tine'.*time"):
        compared(session, "tine")


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("sample_id,site\nants/0.jpg,a\nants/0.jpg,b", BadData, "names an image twice, with different values"),
        ("sample_id,site\nants/0.jpg,a\nnobody.jpg,b", BadData, "names images that .* does not have"),
        ("sample_id,site\nants/0.jpg,", BadData, "gives no image of .* a site"),
        ("site,other\na,b", BadData, "no column of sample ids"),
        ("sample_id,scanner\nants/0.jpg,a", UnknownName, "site"),
    ],
)
def test_a_doubtful_file_is_refused(
    text: str, error: type[ProbelineError], message: str, photos: Session, tmp_path: Path
) -> None:
    table = tmp_path / "sites.csv"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(error, match=message):
        compared(photos, f"{table}:site")


def test_a_column_alone_needs_a_table(photos: Session) -> None:
    with pytest.raises(BadOption, match=r"no file for --report-by.*FILE\.csv:COLUMN"):
        compared(photos, "site")


def test_python_takes_values_by_sample_id_by_test_row_and_by_row() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 100)
    X = rng.normal(size=(300, 8)) + 1.2 * np.eye(3, 8)[y]
    result = probeline.probe(X, y, name="toy", test=0.4)
    site = np.where(rng.random(300) < 0.4, "a", "b").astype(object)
    table = result.to_frame()
    rows = table["sample_id"].str.removeprefix("all/").astype(int).to_numpy()
    frame = result.by_group(site)
    assert frame["n"].tolist() == sorted([(site[rows] == "a").sum(), (site[rows] == "b").sum()], reverse=True)
    right = (table["label"] == table["prediction"]).to_numpy()
    for line in frame.itertuples():
        assert line.top1 == pytest.approx(right[site[rows] == line.group].mean())
        assert line.low < line.top1 < line.high
    shuffled = pd.Series(site, index=table_index(300)).sample(frac=1, random_state=0)
    for values in (site[rows], dict(zip(table["sample_id"], site[rows], strict=True)), shuffled, pd.Series(site[rows])):
        pd.testing.assert_frame_equal(result.by_group(values), frame)
    missing = result.by_group([None, *site[rows][1:]])
    assert missing["group"].tolist()[-1] == "(no value)"
    assert missing["n"].sum() == len(rows)
    with pytest.raises(BadData, match=f"{len(rows)}, one for each test row, or 300"):
        result.by_group(site[:17])
    with pytest.raises(BadData, match="no test row has a value"):
        result.by_group({"nobody": "a"})
    with pytest.raises(BadData, match=r"values\.to_numpy"):
        result.by_group(pd.Series(site, index=[f"row {i}" for i in range(300)]))
    report = probeline.compare(result, by={"site": site})
    assert "toy" in repr(report)


def table_index(n: int) -> list[str]:
    return [f"all/{i:07d}" for i in range(n)]


def test_a_measurement_is_no_group() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 1500)
    result = probeline.probe(rng.normal(size=(3000, 4)) + y[:, None], y, name="toy", method="centroid", test=0.5)
    with pytest.raises(BadData, match="too many values for groups"):
        result.by_group(rng.random(3000))


def test_a_saved_folder_has_the_table_of_groups(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 60)
    result = probeline.probe(rng.normal(size=(120, 4)) + y[:, None], y, name="toy", method="centroid")
    folder = probeline.compare(result, by={"site": np.tile(["a", "b"], 60)}).save(tmp_path / "all")
    assert (folder / "groups.csv").read_text(encoding="utf-8").startswith("backbone,block,method,key,column,group")
