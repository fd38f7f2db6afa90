"""Data sets of torchvision, from tiny copies of their layouts on disk: nothing is fetched."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from made_sources import load, make_pictures
from probeline.backbones import torchvision_import as vision
from probeline.data.pixels.loading import open_image
from probeline.data.sources.torchvision import SETS
from probeline.errors import BadData, DownloadFailed, MissingData, UnknownName
from probeline.images import ImageArray, ImageFiles
from probeline.types import DataSet
from small_runs import Listening, extracted

vision.models()
from torchvision import datasets  # noqa: E402 - only after the operators are declared


def reds(dataset: DataSet, part: str) -> list[int]:
    images = dataset.images[part]
    return [open_image(images, row).getpixel((0, 0))[0] for row in range(len(dataset.parts[part]))]  # type: ignore[index]


def near(found: list[int], expected: list[int]) -> bool:
    """Return whether reds are as expected, up to what JPEG changes."""
    return len(found) == len(expected) and max(abs(a - b) for a, b in zip(found, expected, strict=True)) <= 2


def test_flowers102_by_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "flowers-102"
    make_pictures(root / "jpg", *(f"image_{number:05d}.jpg" for number in range(1, 9)))
    savemat(root / "imagelabels.mat", {"labels": [[1, 2, 1, 2, 77, 1, 2, 2]]})
    savemat(root / "setid.mat", {"trnid": [[1, 2, 5]], "valid": [[3, 4]], "tstid": [[6, 7, 8]]})
    files = {name: (file, None) for name, (file, _) in datasets.Flowers102._file_dict.items()}
    monkeypatch.setattr(datasets.Flowers102, "_file_dict", files)
    dataset = load("torchvision:Flowers102", data=tmp_path)
    assert (dataset.name, list(dataset.parts), dataset.val) == (
        "torchvision--flowers102",
        ["train", "val", "test"],
        "val",
    )
    assert dataset.parts["train"].sample_ids[0] == "flowers-102/jpg/image_00001.jpg"
    assert dataset.parts["test"].labels.tolist() == [0, 1, 1]
    assert len(dataset.class_names) == 3
    assert isinstance(dataset.images["test"], ImageFiles)
    assert near(reds(dataset, "test"), [5, 6, 7])


def test_dtd_and_its_val(tmp_path: Path) -> None:
    root = tmp_path / "dtd" / "dtd"
    make_pictures(root / "images", *(f"{kind}/{kind}_{n}.jpg" for kind in ("dotted", "woven") for n in range(3)))
    (root / "labels").mkdir()
    for number, split in enumerate(("train", "val", "test")):
        lines = [f"{kind}/{kind}_{number}.jpg" for kind in ("dotted", "woven")]
        (root / "labels" / f"{split}1.txt").write_text("\n".join(lines))
    dataset = load("torchvision:dtd", data=tmp_path)
    assert dataset.class_names == ("dotted", "woven")
    assert near(reds(dataset, "val"), [1, 4])


def test_eurosat_and_food(tmp_path: Path) -> None:
    make_pictures(tmp_path / "eurosat" / "2750", *(f"{kind}/{n}.jpg" for kind in ("Forest", "River") for n in range(2)))
    eurosat = load("torchvision:EuroSAT", data=tmp_path)
    assert (list(eurosat.parts), eurosat.class_names) == (["all"], ("Forest", "River"))
    make_pictures(tmp_path / "food-101" / "images", *(f"{kind}/{n}.jpg" for kind in ("pie", "soup") for n in range(4)))
    for split, numbers in {"train": (0, 1, 2), "test": (3,)}.items():
        listed = {kind: [f"{kind}/{n}" for n in numbers] for kind in ("soup", "pie")}
        (tmp_path / "food-101" / "meta").mkdir(exist_ok=True)
        (tmp_path / "food-101" / "meta" / f"{split}.json").write_text(json.dumps(listed))
    food = load("torchvision:Food101", data=tmp_path)
    assert (food.class_names, food.test) == (("pie", "soup"), "test")
    assert [food.class_names[label] for label in food.parts["test"].labels] == ["soup", "pie"]


def test_a_folder_that_torchvision_would_never_come_to_the_end_of_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "eurosat" / "2750"
    make_pictures(folder, "Forest/1.jpg", "River/1.jpg")
    for name in ("x", "y"):
        (folder / "Forest" / name).symlink_to(folder)  # torchvision follows both, again and again
    with pytest.raises(BadData, match=r"torchvision cannot list: .*2750/Forest/x is a link back.*; remove it"):
        load("torchvision:EuroSAT", data=tmp_path)


def test_caltech101(tmp_path: Path) -> None:
    root = tmp_path / "caltech101"
    names = [f"101_ObjectCategories/{kind}/image_{n:04d}.jpg" for kind in ("ant", "bee") for n in (1, 2)]
    make_pictures(root, *names, "101_ObjectCategories/BACKGROUND_Google/image_0001.jpg", "Annotations/x.jpg")
    dataset = load("torchvision:Caltech101", data=tmp_path)
    assert dataset.parts["all"].sample_ids == tuple(f"caltech101/{name}" for name in names)
    assert dataset.class_names == ("ant", "bee")


def test_cifar100_by_its_pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "cifar-100-python"
    root.mkdir()
    planes = np.random.default_rng(0).integers(0, 256, (12, 3072), dtype=np.uint8)
    for name, content in {
        "train": {"data": planes[:8], "fine_labels": [0, 1] * 4},
        "test": {"data": planes[8:], "fine_labels": [1, 0, 1, 0]},
        "meta": {"fine_label_names": ["apple", "bear", "worm"]},
    }.items():
        (root / name).write_bytes(pickle.dumps(content))
    for attribute in ("train_list", "test_list"):
        monkeypatch.setattr(datasets.CIFAR100, attribute, [[getattr(datasets.CIFAR100, attribute)[0][0], None]])
    monkeypatch.setattr(datasets.CIFAR100, "meta", {**datasets.CIFAR100.meta, "md5": None})
    dataset = load("torchvision:CIFAR100", data=tmp_path)
    images = dataset.images["test"]
    assert isinstance(images, ImageArray)
    assert np.array_equal(images.pixels, planes[8:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    assert (dataset.class_names, dataset.flips) == (("apple", "bear"), True)
    assert dataset.parts["test"].sample_ids[0] == "test/000000"
    assert len(load("torchvision:CIFAR100", data=tmp_path, limit=4).parts["train"]) == 4


def mnist(data: Path, n: int = 12) -> None:
    """Write MNIST's four files, with n grey images each."""
    root = data / "MNIST" / "raw"
    root.mkdir(parents=True)
    for number, name in enumerate(("train", "t10k")):
        pixels = np.random.default_rng(number).integers(0, 256, (n, 28, 28), dtype=np.uint8)
        sizes = np.array([n, 28, 28], ">i4").tobytes()
        (root / f"{name}-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + sizes + pixels.tobytes())
        labels = (np.arange(n) % 3).astype(np.uint8).tobytes()
        (root / f"{name}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + sizes[:4] + labels)


def test_mnist_is_grey_and_not_mirrored_and_is_extracted_from(tmp_path: Path) -> None:
    mnist(tmp_path)
    dataset = load("torchvision:mnist", data=tmp_path)
    images = dataset.images["train"]
    assert isinstance(images, ImageArray)
    assert images.pixels.shape == (12, 28, 28, 3)
    assert (dataset.flips, len(dataset.class_names)) == (False, 3)
    session = extracted(tmp_path / "cache", dataset="torchvision:MNIST", data=tmp_path, limit=None)
    ((backbone,),), _ = session.taps("squeezenet1_1")
    assert session.features(backbone, "test").features.shape == (12, 512)


def test_what_is_missing_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingData, match=r"torchvision's Flowers102 is missing or incomplete: .*flowers-102.*--data"):
        load("torchvision:Flowers102", data=tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "caltech101").mkdir()
    with pytest.raises(MissingData, match=r"Caltech101 is missing or incomplete: .*Dataset not found"):
        load("torchvision:caltech101", data=tmp_path)
    with pytest.raises(UnknownName, match=r"unknown data set of torchvision 'Flower102'.*did you mean Flowers102\?"):
        load("torchvision:Flower102", data=tmp_path)
    console = Listening()
    monkeypatch.setattr(datasets.DTD, "_URL", "http://localhost:9/none.tar.gz")
    with pytest.raises(DownloadFailed, match=r"torchvision's DTD could not be downloaded: .*put it there by hand"):
        load("torchvision:DTD", data=tmp_path, download=True, console=console)
    assert console.said == [f"torchvision: DTD is downloaded to {tmp_path}"]


@pytest.mark.parametrize("name", SETS)
def test_torchvision_has_each_set(name: str) -> None:
    assert hasattr(datasets, name)
