"""Quality: the numbers of the cached features of the right rows, computed once, from the cache alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, calinski_harabasz_score
from sklearn.metrics.pairwise import cosine_similarity

import probeline
from probeline.analysis.quality import measure
from probeline.cli import program as cli
from probeline.commands import compare, quality
from probeline.errors import MissingData
from probeline.report.records.loading import load_qualities
from probeline.results.quality.alignment import ALIGNMENTS
from probeline.results.quality.features import QUALITIES, FeatureQuality, predictor_values
from probeline.session import Session
from small_runs import Listening, configuration, extracted, make_photos

pytestmark = pytest.mark.usefixtures("one_thread", "undrawn")

TAPS = ("penultimate", "features.3")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The features of 60 digits at two taps."""
    cache = tmp_path_factory.mktemp("quality") / "cache"
    extracted(cache, taps=TAPS)
    return cache


def measured(cache: Path, reports: Path, **options: Any) -> tuple[list[dict[str, Any]], list[str]]:
    console = Listening()
    session = Session(configuration(cache, reports=reports, console=console, **options))
    return quality.run(session), console.said


def records(reports: Path) -> list[FeatureQuality]:
    found, skipped = QUALITIES.load(reports / "digits-limit60")
    assert not skipped
    return found


def arrays(cache: Path, tap: str = "penultimate") -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return train and test features and labels of the same run."""
    session = Session(configuration(cache, taps=(tap,)))
    features = session.features(session.every_tap("squeezenet1_1")[0], "all").features
    labels, splits = session.dataset.parts["all"].labels, session.splits
    rows = (splits.train.rows, splits.test.rows)
    return (*(features[own] for own in rows), *(labels[own] for own in rows))


def test_the_numbers_are_those_of_the_train_rows_and_test_queries(cache: Path, tmp_path: Path) -> None:
    measured(cache, tmp_path)
    (record,) = records(tmp_path)
    X, Q, y, labels = arrays(cache)
    assert (record.spectrum.n, record.dim, record.dimension.n) == (len(X), 512, len(X))
    wide = X.astype(np.float64)
    shares = np.linalg.svd(wide - wide.mean(axis=0), compute_uv=False)
    shares = shares[shares > 1e-9] / shares.sum()
    assert record.spectrum.effective_rank == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-5)
    transfer, retrieval, clusters = record.transfer, record.retrieval, record.clusters
    assert transfer is not None
    assert retrieval is not None
    assert clusters is not None
    assert transfer.classes == clusters.clusters == 10
    index = transfer.between / (1 - transfer.between) * (len(X) - 10) / 9
    assert index == pytest.approx(calinski_harabasz_score(wide, y), rel=1e-6)
    assert (retrieval.gallery, retrieval.queries, retrieval.test) == (len(X), len(Q), len(Q))
    cosines = cosine_similarity(Q.astype(np.float64), wide)
    precisions = [average_precision_score(y == label, own) for label, own in zip(labels, cosines, strict=True)]
    assert retrieval.mean_precision == pytest.approx(np.mean(precisions), abs=1e-6)
    nearest = y[np.argsort(-cosines, axis=1)] == labels[:, None]
    assert [one.k for one in retrieval.recall] == [1, 5, 10]
    assert [one.value for one in retrieval.recall] == pytest.approx([nearest[:, :k].any(1).mean() for k in (1, 5, 10)])
    assert clusters.seeds == (0, 1, 2, 3, 4)


def test_a_second_run_reads_no_feature_and_rewrites_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, said = measured(cache, tmp_path, taps=TAPS)
    assert not any("up to date" in line for line in said)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "digits-limit60" / "quality").iterdir()}
    assert len(files) == 3
    monkeypatch.setattr("probeline.session.read_features", lambda *_: pytest.fail("features are read"))
    second, said = measured(cache, tmp_path, taps=TAPS)
    assert sum("up to date, skipped" in line for line in said) == 3
    assert second == first
    assert {path: path.stat().st_mtime_ns for path in files} == files


@pytest.mark.slow
def test_no_net_runs_and_torch_is_not_imported(cache: Path, tmp_path: Path) -> None:
    settings = configuration(cache, reports=tmp_path, taps=TAPS)
    words = [
        *("quality", "--dataset", "digits", "--limit", "60", "--backbone", "squeezenet1_1", "--weights", "none"),
        *("--image-size", "32", "--tap", *TAPS, "--cache", str(cache), "--reports", str(tmp_path), "--json"),
    ]
    program = (
        "import sys\nfrom probeline.cli.program import main\ncode = main(sys.argv[1:])\n"
        "assert not {'torch', 'matplotlib'} & set(sys.modules)\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)["quality"]
    assert [one["kind"] for one in told] == ["features", "features", "alignment"]
    assert told[0]["predictors"].keys() >= {"rankme", "log_me", "nmi"}
    assert quality.run(Session(settings)) is not None


def test_features_that_are_not_cached_are_refused_with_the_command(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"not extracted yet.*run: probeline extract .*--tap features.5"):
        measured(cache, tmp_path, taps=("features.5",))
    assert not (tmp_path / "digits-limit60" / "quality").exists() or not records(tmp_path)


def test_nothing_is_measured_before_all_is_known_to_be_there(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingData):
        measured(cache, tmp_path, taps=("penultimate", "features.5"))
    assert records(tmp_path) == []


def test_a_further_tap_measures_what_is_new_alone(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(cache, tmp_path)
    done: list[str] = []
    original = measure._measure
    monkeypatch.setattr(measure, "_measure", lambda *a: done.append(a[1].tap) or original(*a))
    told, _ = measured(cache, tmp_path, taps=TAPS)
    assert done == ["features.3"]
    assert [one.get("tap") for one in told] == ["penultimate", "features.3", None]


def test_alignment_is_of_the_same_rows_of_every_two(cache: Path, tmp_path: Path) -> None:
    measured(cache, tmp_path, taps=(*TAPS, "features.3+penultimate"))
    ((alignment,), _) = ALIGNMENTS.load(tmp_path / "digits-limit60")
    assert [net.tap for net in alignment.nets] == [*TAPS, "features.3+penultimate"]
    X, Y = (arrays(cache, tap)[0].astype(np.float64) for tap in TAPS)
    X, Y = X - X.mean(axis=0), Y - Y.mean(axis=0)
    linear = np.linalg.norm(X.T @ Y) ** 2 / (np.linalg.norm(X.T @ X) * np.linalg.norm(Y.T @ Y))
    assert alignment.pairs[0].biased == pytest.approx(linear, abs=1e-5)
    assert alignment.n == alignment.of_images == len(X)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A folder of 40 photos of two classes, extracted: the options of its run."""
    root = tmp_path_factory.mktemp("photos")
    options = {"dataset": f"folder:{make_photos(root / 'toy', n=20)}", "limit": None}
    extracted(root / "cache", **options)
    return {"cache": root / "cache", **options}


def write_labels(path: Path, photos: dict[str, Any], name_of: Callable[[int], str]) -> Path:
    part = Session(configuration(**photos)).dataset.parts["all"]
    lines = [f"{sample},{name_of(row)}" for row, sample in enumerate(part.sample_ids)]
    path.write_text("\n".join(["sample_id,label", *lines]) + "\n")
    return path


def test_other_labels_and_another_data_seed_are_measured_anew(photos: dict[str, Any], tmp_path: Path) -> None:
    measured(**photos, reports=tmp_path)
    _, said = measured(**photos, reports=tmp_path, data_seed=1)
    assert not any("up to date" in line for line in said)
    labels = write_labels(tmp_path / "labels.csv", photos, lambda row: "abc"[row % 3])
    told, said = measured(**photos, reports=tmp_path, labels=labels)
    assert not any("up to date" in line for line in said)
    assert told[0]["transfer"]["classes"] == 3
    _, said = measured(**photos, reports=tmp_path)
    assert any("up to date" in line for line in said)


def test_a_class_of_one_train_image_is_measured() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(90, 5)), [*("rare", "rare"), *("a", "b") * 44]
    record = api_quality(X, y, test=range(60, 90), val=[1, *range(50, 60)]).record
    assert record.spectrum.n == 49
    assert record.transfer is not None
    assert (record.transfer.n, record.transfer.classes) == (49, 3)
    assert all(np.isfinite(value) for value in predictor_values(record).values())
    assert len(predictor_values(record)) == 8
    assert record.clusters is not None
    assert record.clusters.clusters == 3


def embeddings(path: Path, X: np.ndarray, labels: np.ndarray | None) -> str:
    np.savez(path, embedding=X, **({} if labels is None else {"label": labels.astype(str)}))
    return f"features:{path}"


def test_embeddings_from_elsewhere_without_labels_have_what_needs_none(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(80, 6)).astype(np.float32)
    spec = embeddings(tmp_path / "own.npz", X, None)
    session = Session(configuration(tmp_path / "cache", dataset=spec, limit=None, weights="DEFAULT", image_size=None))
    session = session.under(session.with_embeddings(session.settings.changed(backbones=("resnet18",))))
    (told,) = quality.run(session)
    assert told["spectrum"]["n"] == 80
    assert (told["transfer"], told["retrieval"], told["clusters"]) == (None, None, None)
    assert told["predictors"].keys() == {"effective_rank", "rankme", "two_nn"}


def api_quality(X: np.ndarray, y: list[str], **options: Any) -> probeline.Quality:
    return probeline.quality(X.astype(np.float32), y, **options)


@pytest.mark.filterwarnings("ignore::probeline.DataWarning")
def test_features_that_are_all_equal_have_no_numbers_and_raise_nothing() -> None:
    found = api_quality(np.full((60, 5), 0.3), ["a", "b", "c"] * 20)
    record = found.record
    assert record.spectrum.effective_rank is None
    assert record.spectrum.rankme == pytest.approx(1, abs=1e-4)
    assert (record.dimension.n, record.dimension.two_nn) == (1, None)
    assert record.transfer is not None
    assert (record.transfer.between, record.transfer.h_score) == (None, None)
    assert record.clusters is None
    assert record.retrieval is not None
    assert record.retrieval.recall[0].value == pytest.approx(1 / 3, abs=0.05), "no better than chance"
    assert "–" in found.summary()


@pytest.mark.filterwarnings("ignore::probeline.DataWarning")
def test_equal_rows_are_left_out_of_the_dimension_alone() -> None:
    X = np.repeat(np.random.default_rng(0).normal(size=(40, 5)), 3, axis=0)
    record = api_quality(X, ["a", "b", "c"] * 40).record
    assert record.dimension.n + record.dimension.equal == record.spectrum.n
    assert record.dimension.equal > 20
    assert record.dimension.two_nn is not None


def test_what_is_not_finite_is_refused() -> None:
    X = np.ones((60, 5))
    X[3, 2] = np.nan
    with pytest.raises(probeline.ProbelineError, match=r"finite|NaN|nan"):
        api_quality(X, ["a", "b", "c"] * 20)


def test_samples_are_seeded_and_their_sizes_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(measure, "DISTANCES", 50)
    monkeypatch.setattr(measure, "CLUSTERED", 60)
    monkeypatch.setattr(measure, "QUERIES", 10)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 6)), [str(k) for k in rng.integers(0, 3, 300)]
    first, second, other = (api_quality(X, y, data_seed=seed).record for seed in (0, 0, 1))
    assert (first.dimension.n, first.clusters.n, first.retrieval.queries) == (50, 60, 10)
    assert first.retrieval.test > 10
    assert replace(first, seconds=0, environment={}) == replace(second, seconds=0, environment={})
    assert first.dimension.two_nn != other.dimension.two_nn
    # Where all roles are given, the seed is of the samples alone, and other samples are other numbers.
    fixed = {"test": range(60), "val": range(60, 90), "reports": tmp_path}
    seeded = [api_quality(X, y, data_seed=seed, name="fixed", **fixed).record for seed in (0, 1)]
    assert seeded[0].rows == seeded[1].rows
    assert seeded[0].dimension.two_nn != seeded[1].dimension.two_nn
    assert "10 of " in "".join(probeline.Quality(None, first).summary())


def test_from_python_the_numbers_are_those_of_the_command(cache: Path, tmp_path: Path) -> None:
    measured(cache, tmp_path)
    (record,) = records(tmp_path)
    features = probeline.extract(
        "digits", "squeezenet1_1", weights="none", image_size=32, cache=cache, reports=tmp_path, limit=60
    )
    found = probeline.quality(features)
    assert found.record == record
    assert found.predictors == predictor_values(record)
    frame = found.to_frame()
    assert frame["map"].tolist() == [record.retrieval.mean_precision]
    assert frame["recall@5"].tolist() == [record.retrieval.recall[1].value]
    assert found.summary().count("\n") == 3


def test_compare_shows_what_is_of_these_rows(cache: Path, tmp_path: Path) -> None:
    measured(cache, tmp_path, taps=TAPS)
    compare.run(Session(configuration(cache, reports=tmp_path)))
    report = json.loads((tmp_path / "digits-limit60" / "report.json").read_text())
    assert [one["tap"] for one in report["feature_quality"]] == ["features.3", "penultimate"]
    titles = ["squeezenet1_1, untrained", "squeezenet1_1 at features.3, untrained"]
    assert report["feature_alignment"]["titles"] == titles


def test_of_several_alignments_the_largest_and_then_the_last_is_shown(cache: Path, tmp_path: Path) -> None:
    def shown() -> list[str]:
        session = Session(configuration(cache, reports=tmp_path))
        alignment = load_qualities(session)[1]
        assert alignment is not None
        return [net.tap for net in alignment.nets]

    joined = "features.3+penultimate"
    for number, taps in enumerate([TAPS, (joined, "penultimate"), (*TAPS, joined), TAPS]):
        measured(cache, tmp_path, taps=taps)
        newest = max((tmp_path / "digits-limit60" / "quality").glob("cka-*"), key=lambda path: path.stat().st_mtime_ns)
        if number < 3:
            os.utime(newest, (1e9 + number, 1e9 + number))
        assert shown() == list((TAPS, (joined, "penultimate"), (*TAPS, joined), (*TAPS, joined))[number])


def test_compare_leaves_out_what_is_of_other_rows(photos: dict[str, Any], tmp_path: Path) -> None:
    measured(**photos, reports=tmp_path)
    measured(**photos, reports=tmp_path, data_seed=1)
    console = Listening()
    compare.run(Session(configuration(**photos, reports=tmp_path, console=console)))
    assert any("left out 1 measures of the quality of features on other rows" in line for line in console.said)
    (report,) = tmp_path.glob("*/report.json")
    assert len(json.loads(report.read_text())["feature_quality"]) == 1


def test_a_dry_run_says_that_it_would_run(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--dataset", "digits", "--limit", "60", "--cache", str(cache), "--dry-run"]
    assert cli.main(["quality", *words]) == 0
    assert "dry run: quality would run" in capsys.readouterr().out
