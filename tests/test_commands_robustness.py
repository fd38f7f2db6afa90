"""Robustness: the same head on corrupted test images, extracted once each, in a record and in the report."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from probeline.cache.reading import open_entry
from probeline.commands import compare, robustness
from probeline.errors import BadOption
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.score import refit_logits
from probeline.evaluate.shifts.robustness import see_corrupted
from probeline.evaluate.shifts.unlike import other_session
from probeline.identity import seal
from probeline.images import Corruption
from probeline.results.score import SCORES
from probeline.results.shifts.corruptions import ROBUSTNESS, Robustness
from probeline.results.shifts.unlike import UNLIKE
from probeline.session import Session
from small_runs import Listening, configuration, make_coloured, make_photos

pytestmark = pytest.mark.usefixtures("one_thread", "undrawn")

WORDS = ("contrast:5", "gaussian_noise:1", "gaussian_noise:5")


def session_of(root: Path, console: Listening | None = None, **options: Any) -> Session:
    options = {"corruptions": WORDS, **options}
    folders: dict[str, Any] = {"dataset": f"folder:{root / 'photos'}", "limit": None, "reports": root / "reports"}
    return Session(configuration(root / "cache", console=console or Listening(), **folders, **options))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos and their robustness; leave it as it is."""
    root = tmp_path_factory.mktemp("robustness")
    make_coloured(root / "photos", n=20)
    robustness.run(session_of(root))
    return root


def record_of(root: Path) -> Robustness:
    records, skipped = ROBUSTNESS.load(session_of(root).reports)
    assert (len(records), skipped) == (1, [])
    return records[0]


def test_the_head_is_the_probes_and_only_the_test_images_are_corrupted(measured: Path) -> None:
    session, record = session_of(measured), record_of(measured)
    (score,) = [score for score in SCORES.load(session.reports)[0] if score.method == "probe"]
    assert record.score == score.key
    assert record.clean == pytest.approx(score.top1)
    assert [(s.corruption, s.severity) for s in record.corrupted] == [
        ("gaussian_noise", 1),
        ("gaussian_noise", 5),
        ("contrast", 5),
    ]
    features = CachedFeatures(session, session.backbone(session.settings.nets.backbones[0])[0])
    corrupted = see_corrupted(session, [Corruption("contrast", 5)])
    (entry,) = corrupted.entries(features.backbone)
    assert entry.part == "all@contrast-5"
    assert len(entry) == record.n_test < len(session.dataset.parts["all"])
    assert open_entry(entry.folder).view == Corruption("contrast", 5)
    # By hand: the head on the rows of that entry.
    rows = corrupted.features(features.backbone, "all", Corruption("contrast", 5)).features
    predicted = refit_logits(features, score)(rows).argmax(axis=1)
    assert record.corrupted[2].right == (predicted == score.labels).sum()
    assert record.mean == pytest.approx(np.mean([s.right for s in record.corrupted]) / record.n_test)
    assert record.drop_interval[0] <= record.drop <= record.drop_interval[1]


def test_a_second_run_extracts_nothing_and_another_severity_only_itself(measured: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (measured / "cache").rglob("shard-*")}
    console = Listening()
    robustness.run(session_of(measured, console))
    assert any("up to date, skipped" in line for line in console.said)
    assert {path: path.stat().st_mtime_ns for path in (measured / "cache").rglob("shard-*")} == before
    keys = {
        see_corrupted(session_of(measured), [corruption]).entry(
            session_of(measured).backbone("resnet18@none")[0], "all", corruption
        ).key
        for corruption in (
            Corruption("fog", 1), Corruption("fog", 2), Corruption("snow", 1), Corruption("fog", 1, seed=1)
        )
    }  # fmt: skip
    assert len(keys) == 4


def test_the_report_has_the_section_and_leaves_out_records_of_other_scores(measured: Path) -> None:
    session = session_of(measured)
    record = json.loads(Path(compare.run(session)["json"]).read_text(encoding="utf-8"))
    (shown,) = record["robustness"]
    assert shown["drop"] == pytest.approx(record_of(measured).drop)
    markdown = (session.reports / "report.md").read_text(encoding="utf-8")
    section = markdown.partition("## Robustness to corruptions")[2].partition("\n## ")[0]
    assert "| gaussian noise |" in section
    assert "Frost" in section
    assert "AlexNet" in section
    assert "Not all corruptions and severities were measured" in section
    other = replace(record_of(measured), score="0" * 64, key="1" * 64)
    ROBUSTNESS.save(session.reports, other)
    try:
        again = json.loads(Path(compare.run(session_of(measured))["json"]).read_text(encoding="utf-8"))
        assert len(again["robustness"]) == 1
    finally:
        ROBUSTNESS.path_of(session.reports, other).unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clean_right": 1000}, "more images are right"),
        ({"corrupted": [["fog", 1, 1]]}, "corrupted"),
        ({"corrupted": [{"corruption": "fog", "severity": 6, "right": 1}]}, "severity"),
        ({"corrupted": [{"corruption": "rain", "severity": 1, "right": 1}]}, "unknown corruption"),
        ({"corrupted": [{"corruption": "fog", "severity": 1, "right": 1}] * 2}, "twice"),
        ({"drop_interval": [0.5, -0.5]}, "interval"),
    ],
)
def test_a_record_that_contradicts_itself_is_skipped(
    change: dict[str, Any], message: str, measured: Path, tmp_path: Path
) -> None:
    path = ROBUSTNESS.path_of(session_of(measured).reports, record_of(measured))
    values = json.loads(path.read_text(encoding="utf-8"))
    values.pop("sha256")
    values["robustness"] |= change
    copied = tmp_path / "robustness" / path.name
    copied.parent.mkdir()
    copied.write_bytes(seal(values))
    records, skipped = ROBUSTNESS.load(tmp_path)
    assert records == []
    assert message in skipped[0].reason


def test_other_images_are_variant_their_distance_to_train(measured: Path) -> None:
    spec, console = f"folder:{measured / 'noise'}", Listening()
    make_photos(measured / "noise", classes=("noise", "more"), n=9)
    session = session_of(measured, console, corruptions=("none",), ood=(spec,))
    (result,) = robustness.run(session)
    (record,) = UNLIKE.load(session.reports)[0]
    assert result["auroc"] == record.auroc
    assert (record.n_test, record.n_other, record.n_train, record.k, record.shared) == (12, 18, 38, 5, 0)
    # By hand: one minus the cosine to the fifth nearest train image.
    tap = session.backbone(session.settings.nets.backbones[0])[0]
    every = session.features(tap, "all").features
    train, test = (every[rows] for rows in (session.splits.train.rows, session.splits.test.rows))
    other = other_session(session, spec)
    strange = other.features(tap, "all").features

    def distances(X: np.ndarray) -> np.ndarray:
        unit, own = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (train, X))
        return np.sort(1 - own @ unit.T, axis=1)[:, 4]

    scores = np.concatenate([distances(test), distances(strange)])
    assert record.auroc == pytest.approx(roc_auc_score(np.arange(30) >= 12, scores))
    robustness.run(session_of(measured, console, corruptions=("none",), ood=(spec,)))
    assert any("up to date, skipped" in line for line in console.said)
    compare.run(session_of(measured))
    markdown = (session.reports / "report.md").read_text(encoding="utf-8")
    assert "| folder--noise |" in markdown.partition("## Images from elsewhere")[2]


def test_images_of_the_data_set_itself_are_counted_as_shared(measured: Path) -> None:
    copies = measured / "copies"
    shutil.copytree(measured / "photos" / "red", copies / "a")
    make_photos(copies, classes=("b",), n=5)
    session = session_of(measured, corruptions=("none",), ood=(f"folder:{copies}",))
    robustness.run(session)
    (record,) = (one for one in UNLIKE.load(session.reports)[0] if one.other == "folder--copies")
    assert (record.shared, record.n_other) == (20, 25)


def test_the_data_set_itself_and_nothing_at_all_are_refused(measured: Path) -> None:
    with pytest.raises(BadOption, match="nothing to measure"):
        robustness.run(session_of(measured, corruptions=("none",)))
    with pytest.raises(BadOption, match="names the data set itself"):
        robustness.run(session_of(measured, corruptions=("none",), ood=(f"folder:{measured / 'photos'}",)))


def test_an_entry_of_an_unknown_corruption_is_refused(measured: Path) -> None:
    from probeline.cache.format.records import check_view

    known = Corruption("fog", 2).identity()
    assert check_view(known) is None
    for change in ({"corruption": "rain"}, {"severity": 0}, {"severity": 6}, {"seed": -1}):
        assert check_view({**known, **change}) is not None
    assert check_view({"number": 1, "flips": True, "scale": [0.2, 1], "ratio": [1, 1]}) is None
    assert check_view({"number": 1}) is not None
