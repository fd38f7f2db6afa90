"""Predictions of another program are a row of the report, judged on the same images."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from probeline.cli import program
from probeline.commands import probe
from probeline.errors import BadData, UnknownName
from probeline.evaluate.added import score_predictions
from probeline.results.score import SCORES
from probeline.session import Session
from small_runs import configuration, extracted

pytestmark = pytest.mark.usefixtures("one_thread")

COMMON = [
    "--dataset",
    "digits",
    "--limit",
    "60",
    "--backbone",
    "squeezenet1_1",
    "--weights",
    "none",
    "--image-size",
    "32",
]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    cache = tmp_path_factory.mktemp("added") / "cache"
    session = extracted(cache, sgd=("epochs=1", "lr=1e-3"))
    probe.run(session)
    return Session(configuration(cache))


def write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def truth(session: Session) -> list[tuple[str, str]]:
    part = session.dataset.parts["all"]
    return [(name, part.class_names[label]) for name, label in zip(part.sample_ids, part.labels.tolist(), strict=True)]


def test_predictions_are_joined_by_sample_id(session: Session, tmp_path: Path) -> None:
    rows = truth(session)
    test = session.splits.test.rows
    wrong = rows[int(test[0])]
    answers = [(name, "9" if (name, label) == wrong and label != "9" else label) for name, label in rows]
    score = score_predictions(session, write(tmp_path / "mine.csv", ["sample_id", "prediction"], answers[::-1]))
    assert score.top1 == pytest.approx(1 - (wrong[1] != "9") / len(test))
    assert score.val_top1 == 1.0
    assert (score.method, score.backbone) == ("added", "mine")
    assert score.labels == SCORES.load(session.reports)[0][0].labels
    assert score.auroc is None, "there are no probabilities"


def test_probabilities_are_calibrated_like_all_others(session: Session, tmp_path: Path) -> None:
    classes = session.dataset.class_names
    chances = np.random.default_rng(0).dirichlet(np.full(len(classes), 0.3), 60)
    rows = [(name, *line) for (name, _), line in zip(truth(session), chances.tolist(), strict=True)]
    score = score_predictions(session, write(tmp_path / "mine.csv", ["sample_id", *classes], rows))
    assert list(score.predictions) == chances[session.splits.test.rows].argmax(axis=1).tolist()
    expected = -np.log(chances[session.splits.test.rows, list(score.labels)]).mean()
    assert score.raw_nll == pytest.approx(expected, rel=1e-4)
    heated = np.log(np.maximum(chances[session.splits.test.rows], 1e-9)) / score.temperature
    heated = np.exp(heated) / np.exp(heated).sum(axis=1, keepdims=True)
    areas = [roc_auc_score(np.array(score.labels) == k, heated[:, k]) for k in set(score.labels)]
    assert score.auroc == pytest.approx(np.mean(areas), abs=1e-6)


def test_a_row_is_shown_and_compared_in_pairs(
    session: Session, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "mine.csv", ["sample_id", "prediction"], truth(session))
    folders = ["--cache", str(session.settings.folders.cache), "--reports", str(session.settings.folders.reports)]
    assert program.main(["compare", *COMMON, *folders, "--add", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "predictions from elsewhere" in shown or "predictions" in shown
    assert "mine" in shown
    page = (session.reports / "index.html").read_text(encoding="utf-8")
    assert "unknown train" in page
    assert f"--add {file}" in page
    assert not [score for score in SCORES.load(session.reports)[0] if score.method == "added"], "it is not kept"


def test_what_is_incomplete_is_refused(session: Session, tmp_path: Path) -> None:
    rows = truth(session)
    val = {rows[row] for row in session.splits.val.rows.tolist()}
    header = ["sample_id", "prediction"]
    with pytest.raises(BadData, match="lacks val images"):
        score_predictions(session, write(tmp_path / "a.csv", header, [row for row in rows if row not in val]))
    with pytest.raises(BadData, match="lacks test images"):
        score_predictions(session, write(tmp_path / "b.csv", header, rows[:5]))
    with pytest.raises(BadData, match="names an image twice"):
        score_predictions(session, write(tmp_path / "c.csv", header, [*rows, rows[0]]))
    with pytest.raises(UnknownName, match="cat"):
        score_predictions(session, write(tmp_path / "d.csv", header, [(rows[0][0], "cat"), *rows[1:]]))
    with pytest.raises(BadData, match="has other columns"):
        score_predictions(session, write(tmp_path / "e.csv", ["sample_id", "guess"], rows))
    classes = session.dataset.class_names
    halves = [(name, *[0.5] * len(classes)) for name, _ in rows]
    with pytest.raises(BadData, match="has no probabilities"):
        score_predictions(session, write(tmp_path / "f.csv", ["sample_id", *classes], halves))
