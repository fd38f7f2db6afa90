"""Data sets of the library ``datasets``, from local folders and files: nothing is fetched."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import pytest

from made_sources import load, make_pictures, picture
from probeline.data.objects.spec import spec_of
from probeline.data.pixels.loading import open_image
from probeline.errors import BadData, DownloadFailed
from probeline.images import ImageItems
from probeline.types import DROPPED, DataSet
from small_runs import extracted

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")


def encoded(row: int, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    picture(row).save(buffer, kind)
    return buffer.getvalue()


def pictures(n: int = 12, start: int = 0, **columns: Any) -> Any:
    """Return a data set of n pictures, even and odd ones."""
    features = datasets.Features(
        {"photo": datasets.Image(), "kind": datasets.ClassLabel(names=["even", "odd", "none"])}
    )
    rows = range(start, start + n)
    made = datasets.Dataset.from_dict(
        {"photo": [{"bytes": encoded(row), "path": None} for row in rows], "kind": [row % 2 for row in rows]}, features
    )
    for name, values in columns.items():
        made = made.add_column(name, values)
    return made


def reds(dataset: DataSet, part: str = "all") -> list[int]:
    images = dataset.images[part]
    return [open_image(images, row).getpixel((0, 0))[0] for row in range(len(dataset.parts[part]))]  # type: ignore[index]


def test_a_folder_of_save_to_disk(tmp_path: Path) -> None:
    splits = {"train": pictures(), "validation": pictures(4, 12), "test": pictures(3, 16), "extra": pictures(2)}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "birds")
    dataset = load(f"hf:{tmp_path / 'birds'}")
    assert (dataset.name, list(dataset.parts), dataset.val, dataset.test) == (
        "hf--birds",
        ["train", "val", "test"],
        "val",
        "test",
    )
    assert dataset.class_names == ("even", "odd"), "classes that occur"
    assert dataset.notes == (
        "hf: splits that are not used: extra",
        "hf: images from column 'photo'; labels from column 'kind'",
    )
    assert isinstance(dataset.images["train"], ImageItems)
    assert reds(dataset, "val") == [12, 13, 14, 15]
    assert dataset.parts["val"].labels.tolist() == [0, 1, 0, 1]
    assert dataset.parts["train"].sample_ids[0] == "train/000000"


def test_hashes_are_remembered_and_a_limit_reads_its_rows_alone(tmp_path: Path) -> None:
    pictures().save_to_disk(tmp_path / "birds")
    spec, memo = f"hf:{tmp_path / 'birds'}", tmp_path / "memo.json"
    small = load(spec, memo=memo, limit=4).parts["all"]
    content = load(spec, memo=memo).parts["all"].content
    assert set(small.content) < set(content)
    assert load(spec, memo=memo).parts["all"].content == content
    assert len(set(content)) == 12


@pytest.mark.parametrize("kind", ["parquet", "arrow", "folder of parquet", "imagefolder", "object", "dict object"])
def test_other_forms(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "birds"
    root.mkdir()
    made = pictures()
    if kind == "parquet":
        made.to_parquet(root / "birds.parquet")
        spec = f"hf:{root}/birds.parquet"
    elif kind == "arrow":
        made.save_to_disk(root)
        spec = f"hf:{next(root.glob('*.arrow'))}"
    elif kind == "folder of parquet":
        made.to_parquet(root / "train-00000-of-00001.parquet")
        pictures(4, 12).to_parquet(root / "test-00000-of-00001.parquet")
        spec = f"hf:{root}"
    elif kind == "imagefolder":
        make_pictures(root, *(f"{('even', 'odd')[row % 2]}/{row:02d}.png" for row in range(12)))
        spec = f"hf:{root}"
    elif kind == "object":
        spec = spec_of(made)
    else:
        spec = spec_of(datasets.DatasetDict({"train": made, "test": pictures(4, 12)}))
    dataset = load(spec)
    assert dataset.class_names == ("even", "odd")
    assert sorted(reds(dataset, dataset.train)) == list(range(12))
    assert (dataset.test == "test") == (kind in ("folder of parquet", "dict object"))


def test_text_labels_paths_and_given_columns(tmp_path: Path) -> None:
    root = make_pictures(tmp_path / "p", *(f"{row}.png" for row in range(4)))
    rows = {
        "file_name": [str(root / f"{row}.png") for row in range(4)],
        "category": ["b", None, "a", "a"],
        "site": ["x", "x", None, "y"],
        "other": [1, 2, 3, 4],
    }
    datasets.Dataset.from_dict(rows).save_to_disk(tmp_path / "t")
    dataset = load(f"hf:{tmp_path / 't'}", columns={"group": "site"})
    assert (dataset.class_names, reds(dataset)) == (("a", "b"), [0, 1, 2, 3])
    assert dataset.parts["all"].labels.tolist() == [1, DROPPED, 0, 0]
    assert dataset.groups["all"][0] == dataset.groups["all"][1]
    assert load(f"hf:{tmp_path / 't'}", columns={"label": "other"}).class_names == ("1", "2", "3", "4")
    assert not load(f"hf:{tmp_path / 't'}", columns={"label": ""}).has_labels
    with pytest.raises(BadData, match=r"no column 'labl'.*file_name, category"):
        load(f"hf:{tmp_path / 't'}", columns={"label": "labl"})


def test_two_label_columns_must_be_chosen(tmp_path: Path) -> None:
    made = pictures(fine=[0, 1] * 6).rename_column("kind", "coarse")
    made = made.cast_column("fine", datasets.ClassLabel(names=["x", "y"]))
    made.save_to_disk(tmp_path / "d")
    with pytest.raises(BadData, match=r"which column has the labels\? \(expected --columns label=COLUMN, one of:"):
        load(f"hf:{tmp_path / 'd'}")
    assert load(f"hf:{tmp_path / 'd'}", columns={"label": "fine"}).class_names == ("x", "y")


def test_what_is_no_data_set_of_images(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(tmp_path / "text")
    with pytest.raises(BadData, match="no column has images"):
        load(f"hf:{tmp_path / 'text'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadData, match=r"cannot be read by the library datasets: .*empty"):
        load(f"hf:{tmp_path / 'empty'}")
    datasets.DatasetDict({"a": pictures(2), "b": pictures(2)}).save_to_disk(tmp_path / "ab")
    with pytest.raises(BadData, match=r"no split train: .*got a, b"):
        load(f"hf:{tmp_path / 'ab'}")


def test_the_hub_without_a_network_is_one_line_at_once() -> None:
    start = time.perf_counter()
    with pytest.raises(
        DownloadFailed, match=r"no data set hf:nosuch/thing: it is no path, and not in the cache"
    ) as caught:
        load("hf:nosuch/thing")
    assert time.perf_counter() - start < 5
    assert "\n" not in str(caught.value)


def test_it_is_extracted_from(tmp_path: Path) -> None:
    pictures(20).save_to_disk(tmp_path / "birds")
    session = extracted(tmp_path / "cache", dataset=f"hf:{tmp_path / 'birds'}", limit=None)
    ((backbone,),), _ = session.taps("squeezenet1_1")
    assert session.features(backbone, "all").features.shape == (20, 512)
