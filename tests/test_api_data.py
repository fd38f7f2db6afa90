"""Data and nets of the user's own through every function of Python: rows, names and decoding stay what they are."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import probeline
from made_nets import small_net
from probeline.api.console import DataWarning
from probeline.errors import BadData, BadOption
from probeline.export.images import crop_of
from probeline.images import Preprocess

pytestmark = pytest.mark.usefixtures("one_thread")

PREPROCESS = {"resize": 8, "crop": 8, "interpolation": "bilinear", "mean": (0.5,) * 3, "std": (0.25,) * 3}


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Any]:
    return {"cache": tmp_path / "cache", "reports": tmp_path / "reports"}


def pixels(n: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Dark and bright images uint8 [n, 10, 10, 3], and their labels."""
    rng = np.random.default_rng(0)
    bright = np.arange(n) % 2
    images = rng.integers(0, 90, (n, 10, 10, 3)) + 120 * bright[:, None, None, None]
    return images.astype(np.uint8), np.where(bright, "day", "night")


def test_a_store_may_be_a_path(folders: dict[str, Any], tmp_path: Path) -> None:
    images, labels = pixels()
    options = {"preprocess": PREPROCESS, "labels": labels, "reports": folders["reports"]}
    (tmp_path / "store").mkdir()
    first = probeline.extract(images, small_net(), store=tmp_path / "store", cache=folders["cache"], **options)
    assert list((tmp_path / "store").glob("v1/*/*/shard-*.json"))
    again = probeline.extract(images, small_net(), store=str(tmp_path / "store"), cache=tmp_path / "other", **options)
    assert again.key == first.key


def test_a_named_data_set_is_looked_for_in_its_folder(folders: dict[str, Any], tmp_path: Path) -> None:
    for part, label, number in (("train", "ants", 4), ("train", "bees", 4), ("val", "ants", 2), ("val", "bees", 2)):
        place = tmp_path / "sets" / "hymenoptera_data" / part / label
        place.mkdir(parents=True)
        for index in range(number):
            Image.fromarray(np.full((40, 40, 3), 20 * index, np.uint8)).save(place / f"{index}.png")
    with pytest.raises(BadData, match=r"not hold the ants and bees .*sets/hymenoptera_data .*got .*'ants': 4"):
        probeline.extract("hymenoptera", small_net(), data_folder=tmp_path / "sets", preprocess=PREPROCESS, **folders)


def encoded(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def test_one_net_with_two_preprocessings_is_two_backbones(folders: dict[str, Any]) -> None:
    images, labels = pixels()
    net, other = small_net(), {**PREPROCESS, "mean": (0.0,) * 3}
    first = probeline.extract(images, net, preprocess=PREPROCESS, labels=labels, **folders)
    second = probeline.extract(images, net, preprocess=other, labels=labels, **folders)
    assert first.backbone.name != second.backbone.name
    scores = [probeline.finetune(own, strategy="head", epochs=1).scores[0].key for own in (first, second)]
    assert scores[0] != scores[1]
    assert probeline.probe(first).top1 == 1.0
    again = probeline.extract(images, net, preprocess=PREPROCESS, labels=labels, **folders)
    assert again.key == first.key


def test_nets_of_equal_tensors_and_other_modules_are_two_backbones(folders: dict[str, Any]) -> None:
    images, _ = pixels(4)

    def net(activation: type[torch.nn.Module]) -> torch.nn.Module:
        torch.manual_seed(0)
        layers = (torch.nn.Conv2d(3, 4, 3), activation(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        return torch.nn.Sequential(*layers)

    own = [
        probeline.extract(images, net(kind), preprocess=PREPROCESS, **folders)
        for kind in (torch.nn.ReLU, torch.nn.Tanh)
    ]
    assert own[0].key != own[1].key
    assert not np.array_equal(own[0].numpy(), own[1].numpy())


def test_a_stated_preprocessing_that_nothing_uses_is_refused(folders: dict[str, Any]) -> None:
    with pytest.raises(BadOption, match="preprocess= is for a net of yours"):
        probeline.extract(pixels(4)[0], "resnet18", preprocess=PREPROCESS, **folders)
    lazy = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(3))
    with pytest.raises(BadOption, match="tensors without a shape"):
        probeline.extract(pixels(4)[0], lazy, preprocess=PREPROCESS, **folders)


def test_parts_whose_files_have_equal_names_keep_their_ids_and_groups(tmp_path: Path, folders: dict[str, Any]) -> None:
    names = [f"{part}/{kind}/{number}.png" for part in ("train", "test") for kind in "ab" for number in range(6)]
    root = tmp_path / "pictures"
    for name, image in zip(names, pixels()[0], strict=True):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encoded(image))
    frame = pd.DataFrame({"path": [str(root / name) for name in names]})
    frame["split"], frame["label"] = zip(*[name.split("/")[:2] for name in names], strict=True)
    frame["group"] = [str(row // 3) for row in range(len(names))]
    with pytest.warns(DataWarning, match="parts from column 'split'; groups from column 'group'"):
        features = probeline.extract(frame, small_net(), preprocess=PREPROCESS, **folders)
    assert features.sample_ids.tolist() == names
    for part in ("train", "test"):
        own = features.session.dataset.groups[part].tolist()
        assert own == [row // 3 for row in range(len(names)) if names[row].startswith(part)]


def test_parts_may_be_frames_and_not_paths(tmp_path: Path, folders: dict[str, Any]) -> None:
    rows = []
    for row, (image, label) in enumerate(zip(*pixels(), strict=True)):
        (tmp_path / f"{row}.png").write_bytes(encoded(image))
        rows.append((str(tmp_path / f"{row}.png"), label, "other"))
    frame = pd.DataFrame(rows, columns=["path", "label", "Subset"])
    parts = {"test": frame[16:], "train": frame[:16]}
    with pytest.warns(DataWarning, match="images from column 'path'"):
        features = probeline.extract(parts, small_net(), preprocess=PREPROCESS, **folders)
    assert features.to_frame()["label"].tolist() == frame["label"].tolist()
    assert features.to_frame()["split"].value_counts()["test"] == 8
    labels = {"train": ["x", "y"] * 8, "test": ["y", "x"] * 4}
    with pytest.warns(DataWarning, match="images from column 'path'"):
        named = probeline.extract(parts, small_net(), preprocess=PREPROCESS, labels=labels, **folders)
    assert named.to_frame()["label"].tolist() == labels["train"] + labels["test"]
    with pytest.raises(BadData, match="images of train are a path"):
        probeline.extract({"train": str(tmp_path), "test": str(tmp_path)}, small_net(), preprocess=PREPROCESS)
    with pytest.raises(BadOption, match="one backbone at a time"):
        probeline.extract(parts, [small_net(), small_net()])


def test_two_folders_of_one_name_keep_their_own_reports(tmp_path: Path, folders: dict[str, Any]) -> None:
    names = [f"{label}/{row}.png" for row, label in enumerate(pixels()[1])]
    owners = []
    for above in ("first", "second"):
        for name, image in zip(names, pixels()[0], strict=True):
            (tmp_path / above / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / above / "pictures" / name).write_bytes(encoded(image))
        features = probeline.extract(tmp_path / above / "pictures", small_net(), preprocess=PREPROCESS, **folders)
        results = [
            probeline.probe(features),
            probeline.probe(features, test=0.3),
            probeline.probe(features, data_seed=1),
        ]
        (own,) = {result.session.reports for result in results}
        owners.append(own)
    assert owners[0] != owners[1]


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_path_is_not_the_current_folder(
    empty: str, tmp_path: Path, folders: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = pixels()
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        (tmp_path / label).mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / label / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    result = probeline.probe(np.eye(8), [0, 1] * 4)
    for call in (
        lambda: probeline.extract(empty, small_net(), preprocess=PREPROCESS, **folders),
        lambda: probeline.extract(images, small_net(), preprocess=PREPROCESS, cache=empty),
        lambda: probeline.probe(np.eye(8), [0, 1] * 4, reports=empty),
        lambda: probeline.load(empty),
        lambda: probeline.compare(result).save(empty),
    ):
        with pytest.raises(BadOption, match="an empty name of a file or folder"):
            call()
    with pytest.raises(BadData, match="an empty name of an image"):
        crop_of(empty, Preprocess(8, 8, "bilinear", (0.5,) * 3, (0.25,) * 3))


def test_rows_in_another_order_than_their_labels_are_refused() -> None:
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 3)))
    labels = pd.Series(["a", "b"] * 20)
    shuffled = labels.sample(frac=1, random_state=0)
    assert probeline.probe(X, labels).row.n_test == probeline.probe(X, shuffled.to_numpy()).row.n_test
    with pytest.raises(BadData, match="index of the data in another order"):
        probeline.probe(X, shuffled)
    with pytest.raises(BadData, match="index of the data in another order"):
        probeline.extract(pd.Series(["x.png"] * 40), "resnet18", labels=shuffled)


def test_missing_labels_of_every_kind_leave_their_rows_out() -> None:
    X, values = np.random.default_rng(0).normal(size=(40, 3)), ["a", "b"] * 20
    texts = pd.array([None, *values[1:]], dtype="string")
    numbers = pd.array([None, *(len(value) + row % 2 for row, value in enumerate(values))][:40], dtype="Int64")
    for labels in (texts, numbers, [pd.NaT, *values[1:]]):
        assert probeline.probe(X, labels).features.labels[0] == -1  # type: ignore[union-attr]


def test_row_numbers_for_test_may_be_a_tuple() -> None:
    X, y = np.random.default_rng(0).normal(size=(40, 3)), ["a", "b"] * 20
    assert probeline.probe(X, y, test=(0, 1, 2)).to_frame()["sample_id"].tolist() == [f"all/{n:07d}" for n in range(3)]


def test_an_unlabelled_data_set_is_a_frame_and_gets_labels_in_every_function(folders: dict[str, Any]) -> None:
    images, labels = pixels()
    features = probeline.extract(images, small_net(), preprocess=PREPROCESS, **folders)
    assert set(features.to_frame()["split"]) == {""}
    probed = probeline.probe(features, labels)
    tuned = probeline.finetune(features, labels=labels, strategy="head", epochs=1)
    assert probeline.compare([probed, tuned]).to_frame()["n_test"].nunique() == 1
    with pytest.raises(BadData, match="in Python by labels="):
        probeline.probe(features)


def test_finetune_takes_what_extract_takes(folders: dict[str, Any]) -> None:
    images, labels = pixels()
    own = {"preprocess": PREPROCESS, "strategy": "head", "epochs": 1, **folders}
    direct = probeline.finetune(images, small_net(), labels=labels, **own)
    features = probeline.extract(images, small_net(), preprocess=PREPROCESS, labels=labels, **folders)
    assert direct.scores[0].key == probeline.finetune(features, strategy="head", epochs=1).scores[0].key
    with pytest.raises(BadOption, match="test and val are rows of features"):
        probeline.finetune(images, small_net(), labels=labels, test=0.3, **own)


def test_a_curve_without_shots_or_with_no_fraction() -> None:
    X, y = np.random.default_rng(0).normal(size=(60, 3)), ["a", "b"] * 30
    assert len(probeline.curve(X, y, fractions=[100], shots=[], draws=1).steps) == 1
    with pytest.raises(BadOption, match="no value for fractions"):
        probeline.curve(X, y, fractions=[])


def test_opened_images_of_another_decoding_are_the_images_that_were_listed(folders: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    black = np.zeros((9, 9, 3), np.uint8)
    icons = [np.dstack([black, rng.integers(0, 2, (9, 9, 1)).astype(np.uint8) * 255]) for _ in range(4)]
    deep = [rng.integers(0, 4096, (9, 9)).astype(np.uint16) for _ in range(4)]
    for arrays, option in ((icons, {"alpha": "white"}), (deep, {"grey_range": "12"})):
        rows = []
        for data in ([Image.fromarray(array) for array in arrays], [encoded(array) for array in arrays]):
            features = probeline.extract(data, small_net(), preprocess=PREPROCESS, **option, **folders)
            rows.append(features.numpy())
        assert np.array_equal(rows[0], rows[1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            plain = probeline.extract(
                [Image.fromarray(array) for array in arrays], small_net(), preprocess=PREPROCESS, **folders
            )
        assert not np.array_equal(plain.numpy(), rows[0])
    contents = features.session.dataset.parts["all"].content
    assert len(set(contents)) == len(contents)


def test_opened_images_that_differ_where_black_hides_it_are_not_one_image(folders: dict[str, Any]) -> None:
    black = np.zeros((9, 9, 3), np.uint8)
    icons = [Image.fromarray(np.dstack([black, np.eye(9, 9, n, np.uint8) * 255])) for n in range(4)]
    features = probeline.extract(icons, small_net(), preprocess=PREPROCESS, alpha="white", **folders)
    assert len(np.unique(features.numpy(), axis=0)) == 4


def test_a_broken_image_of_a_torch_data_set_is_one_line(folders: dict[str, Any]) -> None:
    images, _ = pixels(6)
    files = [encoded(image) for image in images]
    files[3] = files[3][:100]

    class Opened(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, row: int) -> tuple[Image.Image, int]:
            return Image.open(io.BytesIO(files[row])), row % 2

    with pytest.raises(BadData, match="image cannot be read: train row 3"):
        probeline.extract({"train": Opened(), "test": Opened()}, small_net(), preprocess=PREPROCESS, **folders)


def test_finetune_leaves_out_unreadable_images_that_are_no_files(folders: dict[str, Any]) -> None:
    images, labels = pixels()
    files = [encoded(image) for image in images]
    files[3], files[8] = files[3][:100], files[8][:90]
    with pytest.warns(DataWarning) as caught:
        tuned = probeline.finetune(
            files, small_net(), preprocess=PREPROCESS, labels=labels, strategy="full", epochs=1, **folders
        )
    assert sum("turned out to be unreadable" in str(warning.message) for warning in caught) == 1
    assert len(tuned.session.dataset.parts["all"]) == 22


def test_parts_whose_classes_are_numbered_otherwise_agree_by_name(folders: dict[str, Any]) -> None:
    images, _ = pixels(12)

    class Named(torch.utils.data.Dataset[Any]):
        def __init__(self, *classes: str) -> None:
            self.classes = classes

        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, row: int) -> tuple[np.ndarray, int]:
            return images[row], row % 2

    data = {"train": Named("b", "a"), "test": Named("a", "b")}
    with pytest.warns(DataWarning, match="12 of 12 test images are byte for byte in train"):
        features = probeline.extract(data, small_net(), preprocess=PREPROCESS, **folders)
    assert features.classes == ("b", "a")
    assert features.labels[:2].tolist() == features.labels[-2:][::-1].tolist() == [0, 1]
    with pytest.raises(BadData, match=r"class with too few images.*'c' in"):
        probeline.extract(data | {"test": Named("b", "c")}, small_net(), preprocess=PREPROCESS, **folders)


@pytest.mark.slow
def test_features_and_results_are_pickled_without_pixels(tmp_path: Path, folders: dict[str, Any]) -> None:
    images, labels = pixels()
    files = [encoded(image) for image in images]
    features = probeline.extract(files, small_net(), preprocess=PREPROCESS, labels=labels, **folders)
    result = probeline.probe(features)
    path = tmp_path / "both.pickle"
    path.write_bytes(pickle.dumps((features, result)))
    code = f"""
import pickle, pathlib, probeline
features, result = pickle.loads(pathlib.Path({str(path)!r}).read_bytes())
print(features.key, features.numpy().sum(), result.top1, *result.head.predict(features[:2]))
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    head = result.head.predict(features[:2]).tolist()
    assert answer == [features.key, str(features.numpy().sum()), str(result.top1), *head]
    copied = pickle.loads(path.read_bytes())[0]  # noqa: S301 - written above
    with pytest.raises(BadData, match="the images are not in this process"):
        probeline.finetune(copied, strategy="full", epochs=1)
