"""Curves, checks, fine-tuning and reports from Python."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import probeline
from probeline.errors import BadOption
from sketches import drawn

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def arrays() -> tuple[np.ndarray, np.ndarray]:
    """Three classes apart in 8 dimensions, 90 rows."""
    rng = np.random.default_rng(0)
    y = np.repeat(["ant", "bee", "wasp"], 30)
    return rng.normal(size=(90, 8)) + 2.0 * (np.repeat([0, 1, 2], 30) == np.arange(3)[:, None]).T @ np.eye(3, 8), y


def test_a_report_of_arrays_is_a_page_and_a_table(arrays: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    X, y = arrays
    results = [probeline.probe(X, y, method=method, name="toy") for method in ("exact", "knn")]
    curve = probeline.curve(X, y, name="toy", fractions=[20, 100], shots=[1], draws=2)
    checks = probeline.doctor(X, y, name="toy")
    report = probeline.compare([*results, curve, checks])
    frame = report.to_frame()
    assert frame["method"].tolist() == ["probe", "knn"]
    assert frame["top1"].tolist() == [result.top1 for result in results]
    assert "Recommended" in repr(report)
    with drawn():
        page = report.save(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "embeddings from elsewhere" in page
    assert "0 x 0" not in page
    assert "srcdoc" in report._repr_html_()
    record = json.loads(report.save(tmp_path / "report.json").read_text(encoding="utf-8"))
    assert record["recommendation"]
    assert (report.save(tmp_path / "all") / "figures" / "accuracy.png").stat().st_size > 1000
    with pytest.raises(BadOption, match="no such file of a report"):
        report.save(tmp_path / "page.docx")


def test_a_report_is_saved_into_a_folder_without_harm_to_other_files(
    arrays: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    report, folder = probeline.compare(probeline.probe(*arrays, name="toy")), tmp_path / "all"
    folder.mkdir()
    (folder / "index.html").write_text("mine")
    (folder / "notes.txt").write_text("mine")
    with pytest.warns(UserWarning, match=r"put aside as \*\.bad in .*: 1 file, index\.html"):
        report.save(folder)
    assert (folder / "index.html.bad").read_text() == (folder / "notes.txt").read_text() == "mine"
    report.save(folder)
    figures = sorted(path.name for path in (folder / "figures").iterdir())
    (folder / "figures").rename(tmp_path / "elsewhere")
    (folder / "figures").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadOption, match="this is a link"):
        report.save(folder)
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == figures


def test_embeddings_of_the_same_rows_are_compared_in_pairs(arrays: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = arrays
    frame = probeline.compare([probeline.probe(X, y, name="all"), probeline.probe(X[:, :2], y, name="two")]).to_frame()
    assert set(frame["backbone"]) == {"all", "two"}
    assert frame["over_probe_p"].notna().sum() == 1


def test_one_result_is_a_report_and_options_may_be_mappings(arrays: tuple[np.ndarray, np.ndarray]) -> None:
    result = probeline.probe(*arrays, method="probe-sgd", sgd={"lr": [1e-3, 1e-2], "epochs": 1})
    assert result.chosen.keys() == {"lr"}
    assert len(probeline.compare(result).to_frame()) == 1
    with pytest.raises(TypeError, match=r"no option is called epoch; did you mean epochs\?"):
        probeline.probe(*arrays, epoch=1)
    with pytest.raises(TypeError, match=r"limit is no option of fitting"):
        probeline.probe(*arrays, limit=100)


def test_a_curve_and_checks_are_frames(arrays: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = arrays
    curve = probeline.curve(X, y, fractions=[20, 100], shots=[0], draws=2)
    assert curve.to_frame()["step"].tolist() == ["20 %", "100 %"]
    assert curve.plot().get_axes()
    twice, labels = np.concatenate([X, X[:2]]), np.concatenate([y, ["bee", y[1]]])
    with pytest.warns(probeline.DataWarning, match="copies: 1 of 18 test embeddings") as warned:
        checks = probeline.doctor(twice, labels)
    assert [warning.filename for warning in warned] == [__file__], "once, at the line of the caller"
    frame = checks.to_frame()
    assert (frame["finding"] == "exact duplicate").sum() == 2
    assert not frame["finding"].str.startswith("near").any()
    assert "near duplicates are found in images only" in checks.summary()


def test_results_of_other_rows_are_not_compared(arrays: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = arrays
    with pytest.raises(BadOption, match="not comparable"):
        probeline.compare([probeline.probe(X, y), probeline.probe(X, y, test=0.4)])
    with pytest.raises(BadOption, match="nothing to compare"):
        probeline.compare([])


def test_a_plot_is_the_confusion_matrix(arrays: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = arrays
    figure = probeline.probe(X, y).plot()
    assert "Confusion matrix" in figure.headline


def test_fine_tuning_uses_the_rows_of_the_probe(tmp_path: Path) -> None:
    features = probeline.extract(
        "digits",
        "squeezenet1_1",
        weights="none",
        image_size=32,
        limit=60,
        workers=2,
        cache=tmp_path / "cache",
        reports=tmp_path / "reports",
    )
    tuned = probeline.finetune(features, strategy="head", epochs=1)
    assert tuned.scores[0].splits == probeline.probe(features).scores[0].splits
    with pytest.raises(BadOption, match="no head on cached features"):
        _ = tuned.head
    again = probeline.finetune(
        "digits",
        "squeezenet1_1@none",
        strategy="head",
        epochs=1,
        image_size=32,
        limit=60,
        workers=2,
        cache=tmp_path / "cache",
        reports=tmp_path / "reports",
    )
    assert again.scores[0].warm_seconds == tuned.scores[0].warm_seconds, "it is read from its record"


def test_embeddings_are_not_fine_tuned(arrays: tuple[np.ndarray, np.ndarray]) -> None:
    features = probeline.probe(*arrays).features
    assert features is not None
    with pytest.raises(BadOption, match="fine-tuning needs images"):
        probeline.finetune(features)
