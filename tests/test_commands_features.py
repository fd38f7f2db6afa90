"""Features: the cache as a file that other programs read, and that comes back as embeddings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open

import probeline
from probeline.cli import program
from probeline.commands import features
from probeline.console import Silence
from probeline.data import registry
from probeline.data.source import LoadRequest, Subset
from probeline.errors import BadOption
from probeline.evaluate.exact_probe import predict_out_of_fold
from probeline.evaluate.features import requested_features
from probeline.files.memo import Memo
from probeline.session import Session
from small_runs import configuration, extracted, make_photos

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("features") / "cache"
    extracted(cache)
    return cache


def write(cache: Path, path: Path, **options: object) -> list[Path]:
    done = features.run(Session(configuration(cache, out=path, **options)))
    return [Path(file) for file in done["files"]]


def test_a_table_has_what_is_known_of_each_row(cache: Path, tmp_path: Path) -> None:
    (file,) = write(cache, tmp_path / "toy.parquet")
    frame = pd.read_parquet(file)
    assert list(frame.columns) == [
        *("sample_id", "part", "split", "label", "prediction", "projection_x", "projection_y", "embedding")
    ]
    session = Session(configuration(cache))
    part = session.dataset.parts["all"]
    (own,) = requested_features(session)
    assert frame["sample_id"].tolist() == list(part.sample_ids)
    assert np.array_equal(np.stack(frame["embedding"]), own.session.features(own.backbone, "all").features)
    predicted = predict_out_of_fold(own).logits.argmax(axis=1)
    test = session.splits.test.rows
    assert frame["prediction"][test].tolist() == [part.class_names[k] for k in predicted[-len(test) :]]
    assert frame["split"].value_counts().to_dict() == {"train": 38, "test": 12, "val": 10}
    assert frame[["projection_x", "projection_y"]].abs().mean().min() > 0


@pytest.mark.parametrize("suffix", [".parquet", ".npy", ".h5ad"])
def test_what_is_written_is_read_as_embeddings(cache: Path, tmp_path: Path, suffix: str) -> None:
    if suffix == ".h5ad":
        pytest.importorskip("anndata")
    file, *_ = write(cache, tmp_path / f"toy{suffix}")
    dataset = registry.load(f"features:{file}", LoadRequest(Path(), Subset(), Memo(None), Silence()))
    session = Session(configuration(cache))
    part = session.dataset.parts["all"]
    rows = session.splits.test.rows
    (embedding,) = dataset.embeddings.values()
    (own,) = requested_features(session)
    assert np.array_equal(embedding.by_part["test"], session.features(own.backbone, "all").features[rows])
    assert dataset.parts["test"].sample_ids == tuple(part.sample_ids[row] for row in rows)
    assert dataset.class_names == part.class_names


def test_tensors_carry_their_columns(cache: Path, tmp_path: Path) -> None:
    (file,) = write(cache, tmp_path / "toy.safetensors")
    with safe_open(file, framework="numpy") as tensors:
        assert tensors.get_tensor("embedding").shape == (60, 512)
        columns = {name: json.loads(text) for name, text in tensors.metadata().items()}
    assert len(columns["sample_id"]) == len(columns["label"]) == 60
    assert len(columns["probeline"]["embedding"][0]) == 64


@pytest.mark.slow
def test_several_taps_are_columns_of_their_own(cache: Path, tmp_path: Path) -> None:
    (file,) = write(cache, tmp_path / "toy.parquet", taps=("penultimate", "features.5"))
    frame = pd.read_parquet(file)
    assert {"squeezenet1_1", "squeezenet1_1_features.5", "prediction_squeezenet1_1"} < set(frame.columns)
    files = write(cache, tmp_path / "toy.npy", taps=("penultimate", "features.5"))
    assert [path.name for path in files] == [*("toy-squeezenet1_1.npy", "toy-squeezenet1_1_features.5.npy", "toy.csv")]


def test_images_without_labels_have_no_predictions(tmp_path: Path) -> None:
    root = make_photos(tmp_path / "photos", ("pictures",), n=6)
    common = ["--backbone", "squeezenet1_1", "--weights", "none", "--image-size", "32", "--workers", "2"]
    common += ["--cache", str(tmp_path / "cache"), "--reports", str(tmp_path / "reports")]
    assert program.main(["features", "--dataset", f"folder:{root}", *common, "--out", str(tmp_path / "f.parquet")]) == 0
    frame = pd.read_parquet(tmp_path / "f.parquet")
    assert "prediction" not in frame.columns
    assert set(frame["label"]) == {""}
    assert np.stack(frame["embedding"]).shape == (6, 512)


def test_other_formats_are_refused(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(BadOption, match="no such format of features"):
        write(cache, tmp_path / "toy.xlsx")


def test_a_file_that_was_not_named_is_replaced_only_if_it_is_such_a_table(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "toy.csv").write_text("sample_id,label\n1,ant\n")
    with pytest.raises(BadOption, match=r"another file has this name: .*toy\.csv"):
        write(cache, tmp_path / "toy.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["toy.csv"]
    assert (tmp_path / "toy.csv").read_text() == "sample_id,label\n1,ant\n"
    (tmp_path / "toy.csv").unlink()
    first = {file: file.read_bytes() for file in write(cache, tmp_path / "toy.npy")}
    assert {file: file.read_bytes() for file in write(cache, tmp_path / "toy.npy")} == first


def test_features_save_themselves_from_python(tmp_path: Path) -> None:
    X, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3
    own = probeline.probe(X, y).features
    assert own is not None
    (file,) = own.save(tmp_path / "toy.parquet")
    assert np.allclose(np.stack(pd.read_parquet(file)["embedding"]), X)


def test_embedding_atlas_takes_the_file(cache: Path, tmp_path: Path) -> None:
    pytest.importorskip("embedding_atlas")
    from embedding_atlas.cli import load_pandas_data

    (file,) = write(cache, tmp_path / "toy.parquet")
    assert len(load_pandas_data(str(file))) == 60
