"""Compare: whose scores stand in a report together, and what it says of those that do not."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from threadpoolctl import threadpool_limits

from made_scores import judged, make_score
from probeline.commands import baselines, compare, curve, probe
from probeline.files.decode import encode
from probeline.identity import seal
from probeline.options.settings import Settings
from probeline.report.model.content import ReportContent
from probeline.report.model.rows import blocks
from probeline.report.records.further import further_commands
from probeline.results.score import SCORES
from probeline.session import Session
from small_runs import Listening, configuration, extracted, make_photos

pytestmark = pytest.mark.usefixtures("one_thread", "undrawn")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return extracted(tmp_path_factory.mktemp("compare") / "cache").settings.folders.cache


@pytest.fixture(scope="module")
def reports(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scores of the baselines; leave them as they are."""
    root = tmp_path_factory.mktemp("baselines")
    with threadpool_limits(1):
        baselines.run(inputs_of(cache, root)[0])
    return root / "reports"


@pytest.fixture
def scored(reports: Path, tmp_path: Path) -> Path:
    """A copy of those scores, to be changed, below this folder."""
    shutil.copytree(reports, tmp_path / "reports")
    return tmp_path


def inputs_of(cache: Path, tmp_path: Path, **options: Any) -> tuple[Session, Listening]:
    console = Listening()
    return Session(configuration(cache, reports=tmp_path / "reports", console=console, **options)), console


def rows(session: Session) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(Path(compare.run(session)["json"]).read_text(encoding="utf-8"))["rows"]
    return found


def test_scores_of_other_splits_are_left_out(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos")
    options: dict[str, Any] = {"dataset": f"folder:{tmp_path / 'photos'}", "limit": None}
    first = extracted(tmp_path / "cache", **options)
    baselines.run(first)
    other, console = inputs_of(first.settings.folders.cache, tmp_path, data_seed=1, **options)
    test = [one.dataset.parts["all"].labels[one.splits.test.rows].tolist() for one in (first, other)]
    assert test[0] == test[1], "labels alone do not tell the images apart"
    assert first.splits.test.rows.tolist() != other.splits.test.rows.tolist()
    assert rows(other) == []
    assert "compare: left out 6 scores of other images, splits or labels" in console.said


@pytest.mark.parametrize("name", ["val", "test"])
def test_a_part_that_is_the_test_set_under_another_name_is_told(name: str, tmp_path: Path) -> None:
    for part, seed in (("train", 0), (name, 1)):
        make_photos(tmp_path / "photos" / part, seed=seed)
    session = extracted(tmp_path / "cache", dataset=f"folder:{tmp_path / 'photos'}", limit=None)
    baselines.run(session)
    told = json.loads(Path(compare.run(session)["json"]).read_text(encoding="utf-8"))["conditions"].get("Parts")
    if name == "val":
        assert told == ["The test set is the data set's 'val'; train and val come from 'train'."]
    else:
        assert told is None


def test_scores_of_other_class_names_are_left_out(cache: Path, scored: Path) -> None:
    session, console = inputs_of(cache, scored)
    score = next(score for score in SCORES.load(session.reports)[0] if score.method == "knn")
    SCORES.save(session.reports, replace(score, key="a" * 64, class_names=score.class_names[::-1]))
    assert len(rows(session)) == 6
    assert "compare: left out 1 scores of other images, splits or labels" in console.said


def test_scores_that_are_not_of_this_data_are_left_out_and_the_others_compared(cache: Path, scored: Path) -> None:
    session, console = inputs_of(cache, scored)
    saved = SCORES.load(session.reports)[0]
    score = next(score for score in saved if score.method == "knn")
    labels = (*score.labels[1:], score.labels[0])
    path = SCORES.save(session.reports, replace(judged(score, labels=labels), key="a" * 64))
    SCORES.save(session.reports, replace(score, key="b" * 64, dataset="another"))
    bad = next(one for one in saved if one.method == "ridge")
    file = SCORES.path_of(session.reports, bad)
    file.write_bytes(seal({"version": SCORES.version, "score": {**encode(bad), "certificate": None}}))
    assert {row["method"] for row in rows(session)} == {one.method for one in saved} - {"ridge"}
    assert "compare: left out 1 scores of other images, splits or labels" in console.said
    assert f"compare: left out {path}: has other labels than the test images" in console.said
    reason = "has other fields than a score: certificate: expected an object, got None"
    assert f"compare: left out {file}: {reason}" in console.said


def test_other_options_are_other_rows(cache: Path, tmp_path: Path) -> None:
    probe.run(inputs_of(cache, tmp_path, seeds=3, sgd=("lr=1e-2", "epochs=2"))[0])
    last, _ = inputs_of(cache, tmp_path, seeds=2, sgd=("lr=1e-2", "epochs=2", "optimizer=sgd"))
    probe.run(last)
    found = [(row["seeds"], row["variant"], row["differing"]) for row in rows(last) if row["method"] == "probe-sgd"]
    assert found == [(3, "run A", "optimizer adam"), (2, "run B", "optimizer sgd")]


def test_scores_of_an_earlier_version_of_a_method_are_left_out(cache: Path, scored: Path) -> None:
    session, console = inputs_of(cache, scored)
    score = next(score for score in SCORES.load(session.reports)[0] if score.method == "knn")
    SCORES.save(session.reports, replace(score, key="a" * 64, options={**score.options, "version": 0}))
    assert len(rows(session)) == 6
    assert "compare: left out 1 scores of an earlier version of their method" in console.said


def test_one_row_run_on_other_embeddings_is_shown_as_it_was_run_last(cache: Path, scored: Path) -> None:
    session, console = inputs_of(cache, scored)
    score = next(score for score in SCORES.load(session.reports)[0] if score.method == "knn")
    SCORES.save(session.reports, replace(score, key="a" * 64, macro=0.125))
    assert [row["macro"] for row in rows(session) if row["method"] == "knn"] == [0.125]
    assert any("was run on other embeddings before" in line for line in console.said)


def test_what_was_fitted_with_another_grid_is_not_what_was_asked_for(cache: Path, tmp_path: Path) -> None:
    probe.run(inputs_of(cache, tmp_path, sgd=("lr=1e-2", "epochs=2"), mlp=("width=8", "epochs=2"))[0])
    asked, _ = inputs_of(cache, tmp_path, sgd=("lr=1e-3", "epochs=2"), mlp=("width=8", "epochs=2"), seeds=2)
    report = json.loads(Path(compare.run(asked)["json"]).read_text(encoding="utf-8"))
    missing = [one["what"] for one in report["missing"]]
    assert "linear head (minibatch) of squeezenet1_1" in missing, "both seeds"
    assert "MLP head of squeezenet1_1, seed 1" in missing


def test_what_no_verb_was_asked_for_is_on_the_page(cache: Path, scored: Path) -> None:
    session, _ = inputs_of(cache, scored)
    page = Path(str(compare.run(session)["page"])).read_text(encoding="utf-8")
    for verb in ("curve", "pictures", "doctor", "latency"):
        assert f"<code>probeline {verb} --dataset digits" in page


def test_of_several_curves_the_one_asked_for_is_shown(cache: Path, tmp_path: Path) -> None:
    few: dict[str, Any] = {"fractions": (50.0, 100.0), "shots": (0,)}
    for draws in (1, 2):
        curve.run(inputs_of(cache, tmp_path, draws=draws, **few)[0])
    for draws in (1, 2):
        session, console = inputs_of(cache, tmp_path, draws=draws, **few)
        (shown,) = json.loads(Path(compare.run(session)["json"]).read_text(encoding="utf-8"))["curves"]
        assert [step["draws"] for step in shown["steps"]] == [draws, 1]
        line = f"compare: of several curves of squeezenet1_1 the requested one is shown, with {draws} draws"
        assert line in console.said


def test_another_backbone_is_offered_where_there_is_one(tmp_path: Path) -> None:
    def offered(*nets: str, **options: Any) -> list[str]:
        content = ReportContent(blocks=blocks([make_score(backbone=net) for net in nets]))
        found = further_commands(Settings.of(cache=tmp_path, **options), content)
        return [f"{one.what}: {one.command}" for one in found if "backbone, such as" in one.what]

    own = {"backbones": ("vgg11",), "weights": "some.safetensors", "taps": ("features.3",)}
    (line,) = offered("vgg11", **own, epochs=3)
    assert line.startswith("another backbone, such as mobilenet_v2: probeline run ")
    assert "--epochs 3" in line
    assert not [word for word in ("vgg11", "some.safetensors", "features.3") if word in line]
    for words in ({"attentive": ("queries=4",)}, {"zero_shot": True, "templates": ("a {}.",), "class_texts": ("a=b",)}):
        (with_heads,) = offered("vgg11", **own, epochs=3, **words)
        assert with_heads == line, "heads of taps that the other net may not have"
    (line,) = offered("mobilenet_v2", backbones=("vgg11",), weights="none")
    assert "such as resnet50: " in line
    assert "--backbone resnet50" in line
    assert "--weights none" in line
    assert offered("resnet18", "vgg11", **own) == []
