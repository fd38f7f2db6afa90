"""Data sets from Python objects: one entrance, names that follow from the content, rows in the given order."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from made_sources import load, make_pictures, picture
from probeline.data import registry
from probeline.data.objects.spec import spec_of
from probeline.data.pixels.loading import open_image
from probeline.errors import BadData, BadOption, MissingData
from probeline.types import DROPPED, DataSet
from small_runs import extracted

NAMES = tuple(f"{'ab'[number % 2]}/{number}.png" for number in range(12))
LABELS = ["even" if number % 2 == 0 else "odd" for number in range(12)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_pictures(tmp_path / "pictures", *NAMES)


def reds(dataset: DataSet, part: str = "all") -> list[int]:
    """Return the red of each image, which is its number."""
    images = dataset.images[part]
    return [open_image(images, row).getpixel((0, 0))[0] for row in range(len(dataset.parts[part]))]  # type: ignore[index]


class Pairs(torch.utils.data.Dataset[Any]):
    """A map-style data set of images, by default as ToTensor gives them, and labels."""

    classes = ("even", "odd", "never")

    def __init__(self, make: Any = None) -> None:
        self.make = make or (lambda row: torch.from_numpy(np.array(picture(row))).permute(2, 0, 1) / 255)

    def __len__(self) -> int:
        return 12

    def __getitem__(self, row: int) -> tuple[Any, int]:
        return self.make(row), row % 2


def frame(root: Path) -> pd.DataFrame:
    return pd.DataFrame({"path": [str(root / name) for name in NAMES], "label": LABELS, "age": 3})


MAKERS: dict[str, Any] = {
    "paths": lambda root: [root / name for name in NAMES],
    "array of paths": lambda root: np.array([str(root / name) for name in NAMES]),
    "series": lambda root: frame(root)["path"],
    "array": lambda root: np.stack([np.array(picture(row)) for row in range(12)]),
    "tensor": lambda root: torch.stack([Pairs()[row][0] for row in range(12)]),
    "pictures": lambda root: [picture(row) for row in range(12)],
    "bytes": lambda root: [(root / name).read_bytes() for name in NAMES],
    "arrays": lambda root: [np.array(picture(row, size=6 + row)) for row in range(12)],
    "pairs": lambda root: Pairs(),
    "pairs of files": lambda root: Pairs(lambda row: str(root / NAMES[row])),
    "list of pairs": lambda root: [(picture(row), row % 2) for row in range(12)],
    "dicts": lambda root: [{"image": picture(row), "label": LABELS[row]} for row in range(12)],
    "frame": frame,
}


@pytest.mark.parametrize("kind", MAKERS)
def test_every_kind_of_object(root: Path, kind: str) -> None:
    spec = spec_of(MAKERS[kind](root), LABELS)
    dataset = load(spec)
    part = dataset.parts["all"]
    assert spec == spec_of(MAKERS[kind](root), LABELS), "named by the content"
    assert reds(dataset) == list(range(12))
    assert [part.class_names[label] for label in part.labels] == LABELS
    assert dataset.name == spec.replace(":", "--").rpartition(".")[0]
    assert len(load(spec, limit=4).parts["all"]) == 4
    bare = load(spec_of(MAKERS[kind](root)))
    assert bare.parts["all"].samples_sha256 == part.samples_sha256, "labels change no key"
    assert bare.name == dataset.name
    assert load(spec).class_names == dataset.class_names, "nor do later ones of the same images replace them"


def test_own_labels_of_objects(root: Path) -> None:
    assert load(spec_of(Pairs())).class_names == ("even", "odd")
    assert load(spec_of(frame(root))).class_names == ("even", "odd")
    assert load(spec_of(MAKERS["list of pairs"](root))).class_names == ("0", "1")
    assert load(spec_of(MAKERS["dicts"](root))).parts["all"].labels.tolist() == [0, 1] * 6
    assert not load(spec_of(MAKERS["pictures"](root))).has_labels
    assert load(spec_of(torch.utils.data.Subset(Pairs(), range(4)))).class_names == ("even", "odd")


@pytest.mark.parametrize(
    ("labels", "names", "first"),
    [
        (np.array(LABELS), ("even", "odd"), [0, 1]),
        (np.arange(12) % 2 + 9, ("9", "10"), [0, 1]),
        ([None, "x", "y", *["x"] * 9], ("x", "y"), [DROPPED, 0]),
        (pd.Series([np.nan, 3.0, 2.0, *[3.0] * 9]), ("2", "3"), [DROPPED, 1]),
        (pd.Categorical(LABELS, categories=["odd", "never", "even"]), ("odd", "even"), [1, 0]),
        (pd.Series(LABELS, dtype="category"), ("even", "odd"), [0, 1]),
        (torch.arange(12) % 2, ("0", "1"), [0, 1]),
        ([True, False] * 6, ("False", "True"), [1, 0]),
    ],
)
def test_labels_of_many_types(root: Path, labels: Any, names: tuple[str, ...], first: list[int]) -> None:
    dataset = load(spec_of(MAKERS["paths"](root), labels))
    assert dataset.class_names == names
    assert dataset.parts["all"].labels[:2].tolist() == first


def test_parts_and_groups(root: Path) -> None:
    paths = MAKERS["paths"](root)
    spec = spec_of(
        {"training": paths[:8], "test": np.array([str(path) for path in paths[8:]])},
        {"training": LABELS[:8], "test": LABELS[8:]},
        groups={"training": [row // 2 for row in range(8)], "test": range(4, 8)},
        name="mine",
    )
    dataset = load(spec)
    assert (spec.partition(".")[0], dataset.name, dataset.test) == ("memory:mine", "memory--mine", "test")
    assert {part: len(rows) for part, rows in dataset.groups.items()} == {"train": 8, "test": 4}
    assert dataset.groups["train"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    split = frame(root).assign(split=["train"] * 8 + ["valid"] * 4)
    assert {name: reds(load(spec_of(split)), name) for name in ("train", "val")} == {
        "train": list(range(8)),
        "val": list(range(8, 12)),
    }


def test_repeated_paths_keep_their_rows(root: Path) -> None:
    dataset = load(spec_of([root / "a/0.png", root / "b/1.png", root / "a/0.png"], ["x", "y", "x"]))
    assert dataset.parts["all"].sample_ids == ("a/0.png", "b/1.png", "a/0.png#2")


def test_paths_and_specs_pass_through(root: Path) -> None:
    (root / "t.csv").touch()
    (root / "x.npz").touch()
    assert spec_of(root) == f"folder:{root}"
    assert spec_of(str(root / "t.csv")) == f"table:{root}/t.csv"
    assert spec_of(root / "x.npz") == f"arrays:{root}/x.npz"
    assert spec_of("digits") == "digits"
    with pytest.raises(BadOption, match=r"labels, groups and a name go with objects: 'digits'"):
        spec_of("digits", labels=[1])


@pytest.mark.parametrize(
    ("data", "labels", "line"),
    [
        ([], None, "no images"),
        ({}, None, "no images"),
        (7, None, "no rows by number.*got int"),
        ({"one": [], "two": []}, None, r"parts are not recognised.*got one, two"),
        ([picture(1)], ["a", "b"], "labels and images differ in number.*expected 1, got 2"),
        ([picture(1), "x"], None, "image cannot be opened: x"),
        ([object()], None, "not an image: row 0.*got object"),
        (pd.DataFrame({"when": [1]}), None, r"frame has no column of images.*got when"),
        (pd.DataFrame({"path": []}), None, "frame has no rows"),
        (np.zeros((3, 4), np.uint8), None, "array is not of images"),
        ([np.full((4, 4, 3), 9.0)], None, "float pixels above 1"),
    ],
)
def test_mistakes_are_one_line(data: Any, labels: Any, line: str) -> None:
    with pytest.raises(BadData, match=line) as caught:
        spec_of(data, labels)
    assert "\n" not in str(caught.value)


def test_missing_files_and_bad_names(root: Path) -> None:
    with pytest.raises(MissingData, match=r"1 of 2 images do not exist: .*none.png"):
        spec_of([root / "a/0.png", root / "none.png"])
    with pytest.raises(BadOption, match="bad name of a data set"):
        spec_of([root / "a/0.png"], name="../x")
    with pytest.raises(MissingData, match="memory:nothing; it exists in Python only"):
        load("memory:nothing")
    assert "memory:NAME" not in registry.names()


def test_a_random_transform_is_refused_when_it_shows() -> None:
    rng = np.random.default_rng(0)
    dataset = load(spec_of(Pairs(lambda row: Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)))))
    with pytest.raises(BadData, match=r"other content than when the data set was listed: row 3.*random transform"):
        open_image(dataset.images["all"], 3)


@pytest.mark.parametrize("kind", ["paths", "array", "pairs"])
def test_objects_are_extracted_once(root: Path, tmp_path: Path, kind: str) -> None:
    for labels in (LABELS, None):
        spec = spec_of(MAKERS[kind](root), labels)
        session = extracted(tmp_path / "cache", dataset=spec, limit=None)
        ((backbone,),), _ = session.taps("squeezenet1_1")
        assert session.features(backbone, "all").features.shape == (12, 512)
    assert len(list((tmp_path / "cache").glob("*/*/*/entry.json"))) == 1


def test_another_process_gives_the_same_name(root: Path) -> None:
    program = "import sys\nfrom probeline.data.objects.spec import spec_of\nprint(spec_of(sys.argv[1:]))\n"
    program += "assert not {'torch', 'pandas', 'datasets'} & set(sys.modules)"
    paths = [str(path) for path in MAKERS["paths"](root)]
    done = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == spec_of(paths)
