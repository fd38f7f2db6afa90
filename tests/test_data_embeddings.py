"""Embeddings from elsewhere: every format gives the same rows, and all that needs no images works on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from probeline.cli import program
from probeline.console import Silence
from probeline.data import registry
from probeline.data.source import LoadRequest, Subset
from probeline.errors import BadData, MissingData
from probeline.files.memo import Memo
from probeline.types import DataSet

pytestmark = pytest.mark.usefixtures("one_thread")

RNG = np.random.default_rng(0)
N = 48
X = RNG.normal(size=(N, 5)).astype(np.float32)
Y = np.array(["cat", "dog", "owl"])[np.arange(N) % 3]
IDS = np.array([f"text-{row:03d}" for row in range(N)])
SPLIT = np.array(["train", "train", "test"])[np.arange(N) // 3 % 3]


def load(path: Path, columns: dict[str, str] | None = None, limit: int | None = None) -> DataSet:
    request = LoadRequest(Path(), Subset(limit), Memo(None), Silence(), columns=columns or {})
    return registry.load(f"features:{path}", request)


def write_npz(path: Path) -> Path:
    np.savez(path.with_suffix(".npz"), X=X, y=Y, ids=IDS, split=SPLIT)
    return path.with_suffix(".npz")


def write_npy(path: Path) -> Path:
    np.save(path.with_suffix(".npy"), X)
    columns = pd.DataFrame({"sample_id": IDS, "label": Y, "split": SPLIT})
    columns.to_csv(path.with_suffix(".csv"), index=False)
    return path.with_suffix(".npy")


def write_parquet(path: Path) -> Path:
    frame = pd.DataFrame({"sample_id": IDS, "label": Y, "split": SPLIT, "embedding": list(X)})
    frame.to_parquet(path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def write_wide_parquet(path: Path) -> Path:
    frame = pd.DataFrame({"sample_id": IDS, "label": Y, "split": SPLIT, **{f"f{d}": X[:, d] for d in range(5)}})
    frame.to_parquet(path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def write_csv(path: Path) -> Path:
    frame = pd.DataFrame({"sample_id": IDS, "label": Y, "split": SPLIT, **{f"f{d}": X[:, d] for d in range(5)}})
    frame.to_csv(path.with_suffix(".csv"), index=False)
    return path.with_suffix(".csv")


def write_anndata(path: Path) -> Path:
    anndata = pytest.importorskip("anndata")
    columns = pd.DataFrame({"label": Y, "split": SPLIT}, index=IDS)
    anndata.AnnData(X, obs=columns).write_h5ad(path.with_suffix(".h5ad"))
    return path.with_suffix(".h5ad")


def write_hdf5(path: Path) -> Path:
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file["X"], file["y"], file["ids"], file["split"] = X, Y.astype("S"), IDS.astype("S"), SPLIT.astype("S")
    return path.with_suffix(".h5")


WRITERS = [write_npz, write_npy, write_parquet, write_wide_parquet, write_csv, write_anndata, write_hdf5]


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__.removeprefix("write_"))
def test_every_format_gives_the_same_rows(write: Callable[[Path], Path], tmp_path: Path) -> None:
    dataset, expected = load(write(tmp_path / "toy")), load(write_npz(tmp_path / "other"))
    assert dataset.name == "features--toy"
    assert dataset.class_names == ("cat", "dog", "owl")
    assert (dataset.train, dataset.test) == ("train", "test")
    (embedding,) = dataset.embeddings.values()
    assert list(dataset.embeddings) == ["toy"]
    for name, part in dataset.parts.items():
        assert part.sample_ids == tuple(IDS[name == SPLIT])
        assert np.array_equal(embedding.by_part[name], X[name == SPLIT])
        assert part.content == expected.parts[name].content
    assert embedding.sha256 == expected.embeddings["other"].sha256


def test_arrays_by_part_and_several_embeddings(tmp_path: Path) -> None:
    path = tmp_path / "two.npz"
    arrays = {"X_train": X[:30], "clip_train": X[:30, :2], "y_train": Y[:30]}
    np.savez(path, **arrays, X_test=X[30:], clip_test=X[30:, :2], y_test=Y[30:])
    dataset = load(path)
    assert {name: embedding.dim for name, embedding in dataset.embeddings.items()} == {"two": 5, "clip": 2}
    assert [len(part) for part in dataset.parts.values()] == [30, 18]
    assert dataset.parts["train"].sample_ids[:2] == ("train/0000000", "train/0000001")


def test_ids_that_repeat_from_part_to_part_are_with_variants(tmp_path: Path) -> None:
    path = tmp_path / "two.npz"
    arrays = {f"X_{part}": X[:30] for part in ("train", "test")} | {f"y_{part}": Y[:30] for part in ("train", "test")}
    arrays |= {f"ids_{part}": IDS[:30] for part in ("train", "test")}
    np.savez(path, **arrays, group_train=np.arange(30) // 3, group_test=np.arange(30) // 2)
    dataset = load(path)
    assert dataset.parts["test"].sample_ids[:2] == ("test/text-000", "test/text-001")
    assert dataset.groups["train"].tolist() == (np.arange(30) // 3).tolist()
    assert dataset.groups["test"][:4].tolist() == [0, 0, 1, 1]
    assert any("sample ids are in several parts" in note for note in dataset.notes)


def test_a_limit_is_a_smaller_data_set(tmp_path: Path) -> None:
    dataset = load(write_npz(tmp_path / "toy"), limit=12)
    assert dataset.name == "features--toy-limit12"
    assert [len(part) for part in dataset.parts.values()] == [12, 12]
    assert dataset.embeddings["toy"].by_part["train"].shape == (12, 5)


def test_other_columns_are_named(tmp_path: Path) -> None:
    path = tmp_path / "toy.npz"
    np.savez(path, X=X, species=Y)
    assert not load(path).has_labels
    assert load(path, {"label": "species"}).class_names == ("cat", "dog", "owl")


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "length": ({"X": X, "y": Y[:-1]}, "differ in length"),
    "nan": ({"X": np.where(X > 1, np.nan, X), "y": Y}, "finite float32 numbers"),
    "nothing": ({"y": Y}, "labels without embeddings"),
    "no matrix": ({"Z": X[:, 0]}, "no embeddings in this file"),
    "ids": ({"X": X, "y": Y, "ids": np.repeat(IDS[:1], N)}, "sample ids repeat"),
    "one class": ({"X": X, "y": np.repeat(Y[:1], N)}, "too few classes"),
    "parts": ({"X_test": X, "y_test": Y}, "embeddings lack parts"),
    "widths": ({"X_train": X, "y_train": Y, "X_test": X[:, :3], "y_test": Y}, "other embeddings"),
}


@pytest.mark.parametrize(("arrays", "message"), BAD.values(), ids=BAD)
def test_bad_files_are_refused(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(BadData, match=message):
        load(tmp_path / "bad.npz")


def test_what_is_no_file_of_embeddings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="no such file of embeddings"):
        load(tmp_path / "none.npz")
    for name in ("a.npz", "a.npy", "a.h5", "a.h5ad", "a.parquet", "a.xlsx"):
        (tmp_path / name).write_bytes(b"garbage")
        with pytest.raises(BadData):
            load(tmp_path / name)


def test_an_hdf5_file_leads_nowhere_else(tmp_path: Path) -> None:
    write_npz(tmp_path / "toy")
    with h5py.File(tmp_path / "outer.h5", "w") as file:
        file["X"] = h5py.ExternalLink(str(write_hdf5(tmp_path / "inner")), "X")
        file["y"] = Y.astype("S")
    with pytest.raises(BadData, match="labels without embeddings"):
        load(tmp_path / "outer.h5")


@pytest.mark.slow
def test_heads_doctor_and_report_work_on_embeddings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "texts.npz"
    np.savez(path, sbert=X + 2 * (Y[:, None] == np.array(["cat", "dog", "owl", "", ""])), tfidf=X, y=Y)
    common = ["--dataset", f"features:{path}", "--cache", str(tmp_path / "cache")]
    common += ["--reports", str(tmp_path / "reports")]
    assert program.main(["run", *common, "--sgd", "epochs=1", "lr=1e-3", "--json"]) == 0
    done = capsys.readouterr()
    assert "finetune: left out, as it needs images" in done.err
    assert {row["backbone"] for row in json.loads(done.out)["probe"]} == {"sbert", "tfidf"}
    assert program.main(["doctor", *common, "--backbone", "sbert"]) == 0
    assert program.main(["curve", *common, "--backbone", "sbert", "--fractions", "100", "--shots", "0"]) == 0
    assert program.main(["compare", *common]) == 0
    shown = capsys.readouterr().out
    assert "sbert" in shown
    assert "finetune" not in shown
    page = next((tmp_path / "reports").rglob("index.html")).read_text(encoding="utf-8")
    assert "embeddings from elsewhere" in page
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").rglob("*.h5")), "they are in the file"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["finetune"], "finetune needs images"),
        (["probe", "--backbone", "resnet50"], "embedding of features--toy"),
        (["probe", "--image-size", "64"], "--image-size needs images"),
        (["probe", "--tap", "layer3"], "--tap needs images"),
        (["export"], "export needs images"),
        (["show", "train:0"], "show needs images"),
    ],
    ids=" ".join,
)
def test_what_needs_images_is_refused(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_npz(tmp_path / "toy")
    folders = ["--cache", str(tmp_path / "cache"), "--reports", str(tmp_path / "reports")]
    verb, *rest = words
    assert program.main([verb, *rest, "--dataset", f"features:{path}", *folders]) == 2
    assert message in capsys.readouterr().err
