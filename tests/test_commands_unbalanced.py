"""A data set of 122 rows of one class and 3 of another: 96 % are right although the rare class never is."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

import probeline
from probeline.cli import program
from probeline.options.settings import Settings
from probeline.results.methods import method_info
from probeline.results.score import SCORES, Score
from probeline.session import Session

pytestmark = pytest.mark.usefixtures("one_thread")

NEVER = "never right on class 'rare' (1 of 25 test images)"


def rows(gap: float) -> tuple[np.ndarray, np.ndarray]:
    """Return noise float32 [125, 16] whose rare class is `gap` away, and the labels."""
    y = np.array(["fine"] * 122 + ["rare"] * 3)
    X = np.random.default_rng(0).normal(size=(125, 16)) + gap * (y == "rare")[:, None]
    return X.astype(np.float32), y


def run(
    folder: Path, gap: float, verbs: tuple[str, ...], capsys: pytest.CaptureFixture[str], *options: str
) -> list[str]:
    """Run some verbs on such rows and return the lines of each, joined."""
    X, y = rows(gap)
    np.savez(folder / "few.npz", X=X, y=y)
    folders = ["--cache", str(folder / "cache"), "--reports", str(folder / "reports")]
    shown = []
    for verb in verbs:
        assert program.main([verb, "--dataset", f"features:{folder / 'few.npz'}", *folders, *options]) == 0
        shown.append(" ".join(capsys.readouterr().out.split()))
    return shown


def scores_of(folder: Path) -> dict[str, Score]:
    return {score.method: score for score in SCORES.load(folder / "reports" / "features--few")[0]}


def test_it_is_said_after_the_fit_and_in_every_form_of_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fitted, compared = run(tmp_path, 0.0, ("probe", "compare"), capsys)
    assert scores_of(tmp_path)["probe"].top1 == 0.96
    assert scores_of(tmp_path)["probe"].macro == 0.5
    assert (
        f"probe: best on validation is linear probe (exact) of few, which is {NEVER}; the mean accuracy of the classes "
        "(macro) is 0.5000"
    ) in fitted
    assert f"Linear probe (exact) is {NEVER}" in compared
    folder = tmp_path / "reports" / "features--few"
    record = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert record["recommendation"]["caveats"][0].startswith(f"Linear probe (exact) is {NEVER}")
    assert any(NEVER in line for line in record["advice"])
    for name in ("index.html", "report.md"):
        text = (folder / name).read_text(encoding="utf-8").replace("&#39;", "'")
        assert text.count(NEVER) == 2, "as a caveat, and in what to do next"


def test_the_order_of_probabilities_is_scored_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, 1.0, ("probe", "baselines", "compare"), capsys)
    X, _ = rows(1.0)
    folder = tmp_path / "reports" / "features--few"
    found = scores_of(tmp_path)
    settings = Settings.of(dataset=f"features:{tmp_path / 'few.npz'}", cache=tmp_path / "cache", reports=folder.parent)
    splits = Session(settings).splits
    probe = found["probe"]
    # The same head by scikit-learn, on the same rows.
    scaler = StandardScaler().fit(X[splits.train.rows])
    head = LogisticRegression(C=1 / (2 * probe.chosen["l2"] * len(splits.train.rows)), tol=1e-10, max_iter=10_000)
    head.fit(scaler.transform(X[splits.train.rows]), (splits.train.rows >= 122).astype(int))
    order = head.decision_function(scaler.transform(X[splits.test.rows]))
    assert probe.auroc == pytest.approx(roc_auc_score(splits.test.rows >= 122, order), abs=1e-6)
    lines = {line["method"]: line for line in csv.DictReader(io.StringIO((folder / "report.csv").read_text()))}
    for method, score in found.items():
        assert score.auroc is not None
        assert float(lines[method]["auroc"]) == score.auroc
    table = (folder / "report.md").read_text(encoding="utf-8").split("## Further metrics")[1]
    assert f" {100 * probe.auroc:.1f} |" in table.split("linear probe (exact)")[1].split("\n")[0]


@pytest.mark.slow
def test_macro_selects_among_scores_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shown,) = run(tmp_path, 1.0, ("probe",), capsys)
    before = scores_of(tmp_path)
    again = run(tmp_path, 1.0, ("probe", "compare"), capsys, "--metric", "top1")
    assert again[0].count("already scored, skipped") == 3, "top-1 is the default, whose keys are as ever"
    shown, _, compared = run(tmp_path, 1.0, ("probe", "baselines", "compare"), capsys, "--metric", "macro")
    assert "already scored" not in shown
    assert "Rows were selected by different metrics, macro and top1" in compared
    every = SCORES.load(tmp_path / "reports" / "features--few")[0]
    found = {score.method: score for score in every if score.val_score is not None}
    assert found.keys() == before.keys() | {name for name in found if method_info(name).verb == "baselines"}
    for method, score in found.items():
        assert score.options["select_by"] == "macro"
        if score.path:
            values = [point["macro"] for point in score.path]
            assert score.val_score == max(values)
            assert score.val_top1 == score.path[values.index(max(values))]["top1"] or values.count(max(values)) > 1
            assert all(point["test_macro"] is not None for point in score.path), method
    assert found["probe"].key != before["probe"].key


@pytest.mark.slow
def test_a_report_of_one_metric_ranks_by_it_and_prints_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    *_, compared = run(tmp_path, 1.0, ("probe", "baselines", "compare"), capsys, "--metric", "macro")
    scores = scores_of(tmp_path)
    best = max(scores.values(), key=lambda score: (round(score.val_score or 0, 9), score.method == "probe"))
    assert f"best on validation (macro {100 * (best.val_score or 0):.1f} %)" in compared
    assert "different metrics" not in compared
    text = (tmp_path / "reports" / "features--few" / "index.html").read_text(encoding="utf-8")
    assert "--metric macro" in text, "the command of each row"
    assert "Val macro %" in text
    assert "Not run: linear probe" not in compared
    *_, other = run(tmp_path, 1.0, ("compare",), capsys)
    assert "Not run: linear probe (exact)" in other, "the rows by top-1"


def test_nothing_is_said_where_the_rare_class_is_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in run(tmp_path, 4.0, ("probe", "compare"), capsys):
        assert "never right" not in text
    assert scores_of(tmp_path)["probe"].top1 == 1


def test_a_result_of_python_says_it() -> None:
    assert NEVER in probeline.probe(*rows(0.0), test=0.2).summary().splitlines()
    assert "never right" not in probeline.probe(*rows(4.0), test=0.2).summary()
