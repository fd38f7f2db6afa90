"""NumPy files: keys, shapes and types as people save them; nothing is converted that would lose digits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made_sources import load
from probeline.data.pixels.arrays import to_rgb
from probeline.errors import BadData, MissingData
from probeline.identity import digest_pixels
from probeline.images import ImageArray
from probeline.types import DROPPED
from small_runs import extracted

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (12, 5, 7, 3), dtype=np.uint8)
Y = np.arange(12) % 3


def save(tmp_path: Path, **arrays: Any) -> str:
    np.savez(tmp_path / "mine.npz", **arrays)
    return f"arrays:{tmp_path / 'mine.npz'}"


def test_images_and_labels(tmp_path: Path) -> None:
    dataset = load(save(tmp_path, x=X, y=Y))
    part, images = dataset.parts["all"], dataset.images["all"]
    assert (dataset.name, dataset.class_names, dataset.notes) == ("arrays--mine", ("0", "1", "2"), ())
    assert part.labels.tolist() == Y.tolist()
    assert part.sample_ids[:2] == ("all/000000", "all/000001")
    assert isinstance(images, ImageArray)
    assert np.array_equal(images.pixels, X)
    assert part.content[3] == digest_pixels(5, 7, X[3].tobytes())
    small = load(save(tmp_path, x=X, y=Y), limit=6)
    assert set(small.parts["all"].content) < set(part.content)


@pytest.mark.parametrize(
    "keys",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("X_TRAIN", "targets_train", "data_test", "label_test"),
    ],
)
def test_parts_by_the_names_of_keys(tmp_path: Path, keys: tuple[str, ...]) -> None:
    arrays = dict(zip(keys, (X, Y[:, None], X[:6], Y[:6, None]), strict=True))
    dataset = load(save(tmp_path, **arrays, class_names=np.array(["cat", "ant", "bee"])))
    assert {name: len(part) for name, part in dataset.parts.items()} == {"train": 12, "test": 6}
    assert dataset.class_names == ("cat", "ant", "bee")
    assert dataset.parts["test"].sample_ids[0] == "test/000000"


def test_val_is_a_part_and_labels_may_be_text_or_missing(tmp_path: Path) -> None:
    text = np.array(["b", "", "10"] * 4)
    dataset = load(save(tmp_path, train_x=X, train_y=text, val_x=X[:3], val_y=text[:3], test_x=X[:3]))
    assert (list(dataset.parts), dataset.test, dataset.class_names) == (["train", "val"], "val", ("10", "b"))
    assert dataset.parts["train"].labels[:3].tolist() == [1, DROPPED, 0]
    assert "test: its 3 images have no labels and are left out; val tests" in dataset.notes[0]


def test_an_array_alone_has_no_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    dataset = load(f"arrays:{tmp_path / 'x.npy'}")
    assert (dataset.has_labels, len(dataset.parts["all"])) == (False, 12)


def test_digests_are_remembered_for_the_whole_file_alone(tmp_path: Path) -> None:
    spec, memo = save(tmp_path, x=X, y=Y), tmp_path / "memo.json"
    os.utime(tmp_path / "mine.npz", (1, 1))
    content = load(spec, memo=memo).parts["all"].content
    assert content[7] in memo.read_text()
    assert load(spec, memo=memo).parts["all"].content == content
    assert set(load(spec, memo=memo, limit=5).parts["all"].content) < set(content)
    assert load(save(tmp_path, x=X[::-1], y=Y), memo=memo).parts["all"].content == content[::-1]


@pytest.mark.parametrize(
    ("array", "expected", "how"),
    [
        (X[..., 0], np.repeat(X[..., :1], 3, 3), "grey images in all three channels"),
        (X[..., :1], np.repeat(X[..., :1], 3, 3), "grey images in all three channels"),
        (np.moveaxis(X, 3, 1), X, "[N, 3, H, W] read as channels first"),
        (X.astype(np.float32) / 255, X, "float32 from 0 to 1 read as 8 bits times 1/255, exactly"),
        (X.astype(np.float64), X, "float64 from 0 to 255 read as 8 bits, exactly"),
        (X.astype(np.int64), X, "int64 from 0 to 255 read as 8 bits, exactly"),
    ],
)
def test_what_is_converted_is_told(array: Any, expected: Any, how: str) -> None:
    pixels, notes = to_rgb(array, "here")
    assert np.array_equal(pixels, expected)
    assert pixels.dtype == np.uint8
    assert notes == (how,)


@pytest.mark.parametrize(
    ("array", "line"),
    [
        (X.reshape(12, -1), r"expected \[N, H, W, 3\] or \[N, H, W\], got \[12, 105\]\); reshape the rows"),
        (np.zeros((2, 3, 9, 3), np.uint8), r"got \[2, 3, 9, 3\]"),
        (np.zeros((2, 9, 9, 4), np.uint8), "leave the fourth channel out"),
        (np.zeros((0, 9, 9, 3), np.uint8), r"got \[0, 9, 9, 3\]"),
        (X * 0.9971, r"would lose digits: here .*x.round\(\).astype"),
        (RNG.random((2, 4, 4, 3)), r"would lose digits: here .*\(255 \* x\).round"),
        (RNG.normal(size=(2, 4, 4, 3)), "give the pixels before they were normalised"),
        (X.astype(np.uint16) * 9, "scale them to 0 to 255"),
        (X / np.float32("nan"), "does not hold pixels"),
        (X > 9, "does not hold pixels: here .*got bool"),
        ((X > 99).astype(np.int64), "only 0 and 1"),
    ],
)
def test_what_would_be_a_guess_is_refused(array: Any, line: str) -> None:
    with pytest.raises(BadData, match=line):
        to_rgb(array, "here")


@pytest.mark.parametrize(
    ("arrays", "line"),
    [
        ({"a": X, "b": Y}, r"arrays are not recognised: .*expected x and y.*got a \[12, 5, 7, 3\], b \[12\]"),
        ({"x": X, "images": X}, "two arrays of images: .*got x and images"),
        ({"x": X, "y": Y[:5]}, "labels and images differ in number: .*expected 12, got 5"),
        ({"x": X, "y": np.stack([Y, Y], 1)}, r"labels are not one per image: .*got \[12, 2\]"),
        ({"x": X, "y": Y + 0.5}, "not whole: .*got 0.5"),
        ({"x": X, "y": Y, "class_names": np.array(["a", "b"])}, "without a class name: .*expected 0 to 1, got 2"),
        ({"x": X, "y": Y * 0}, "too few classes"),
        ({"x": X, "y": np.array([{}] * 12)}, "save arrays of numbers and text alone"),
        ({"y_train": Y, "x_test": X, "y_test": Y}, "not recognised"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, arrays: dict[str, Any], line: str) -> None:
    with pytest.raises(BadData, match=line) as caught:
        load(save(tmp_path, **arrays))
    assert "\n" not in str(caught.value)


def test_one_hot_rows_are_classes(tmp_path: Path) -> None:
    assert load(save(tmp_path, x=X, y=np.eye(3)[Y])).parts["all"].labels.tolist() == Y.tolist()


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="no such file of arrays"):
        load("arrays:nowhere.npz")
    (tmp_path / "x.npz").write_bytes(b"PK\3\4 no zip")
    with pytest.raises(BadData, match="not one of plain NumPy arrays"):
        load(f"arrays:{tmp_path / 'x.npz'}")


def test_arrays_are_extracted_from(tmp_path: Path) -> None:
    x = RNG.integers(0, 256, (30, 8, 8), dtype=np.uint8)
    session = extracted(tmp_path / "cache", dataset=save(tmp_path, x=x, y=np.arange(30) % 2), limit=None)
    ((backbone,),), _ = session.taps("squeezenet1_1")
    assert session.features(backbone, "all").features.shape == (30, 512)
