"""Labels of the user's own: joined by sample id, and every mistake in the file is one line."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from made_data import dataset
from probeline.data.annotations.labels import relabel
from probeline.data.sampling.splits import split
from probeline.data.tables.reading import MOST_BYTES
from probeline.errors import BadData, MissingData, ProbelineError
from probeline.types import DROPPED, DataSet, splits_digest

Write = Callable[[str | bytes], Path]

DATA = dataset({"all": [5, 4, 3]})
IDS = DATA.parts["all"].sample_ids
TRUE = [DATA.class_names[label] for label in DATA.parts["all"].labels]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(content: str | bytes) -> Path:
        path = tmp_path / "mine.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def table(labels: list[str]) -> str:
    return "sample_id,label\n" + "".join(f"{name},{label}\n" for name, label in zip(IDS, labels, strict=True))


def read(path: Path, *, whole: bool = True, columns: dict[str, str] | None = None) -> DataSet:
    return relabel(DATA, path, whole=whole, columns=columns)


def test_classes_are_the_labels_that_occur_sorted(write: Write) -> None:
    found = read(write(table(["zebra" if name == "class 0" else "ape" for name in TRUE])))
    part = found.parts["all"]
    assert found.class_names == part.class_names == ("ape", "zebra")
    assert part.labels.dtype == np.int64
    assert [part.class_names[label] for label in part.labels] == [
        "zebra" if name == "class 0" else "ape" for name in TRUE
    ]
    assert part.sample_ids == IDS
    assert part.samples_sha256 == DATA.parts["all"].samples_sha256


def test_the_data_sets_own_names_keep_their_order(write: Write) -> None:
    backwards = dataset({"all": [5, 4, 3]})
    backwards = DataSet(**{**vars(backwards), "class_names": ("class 2", "class 1", "class 0")})
    path = write(table(["class 0" if name == "class 1" else name for name in TRUE]))
    assert relabel(backwards, path, whole=True).class_names == ("class 2", "class 0")


def test_an_empty_label_drops_the_image_and_keeps_its_row(write: Write) -> None:
    found = read(write(table(["" if name == "class 2" else name for name in TRUE])))
    part = found.parts["all"]
    assert found.class_names == ("class 0", "class 1")
    assert ((part.labels == DROPPED) == [name == "class 2" for name in TRUE]).all()
    assert len(part) == 12
    splits = split(found, data_seed=0)
    rows = np.concatenate([splits.train.rows, splits.val.rows, splits.test.rows])
    assert sorted(rows.tolist()) == [row for row, name in enumerate(TRUE) if name != "class 2"]
    assert "3 images are dropped" in found.joins[0].summary


def test_the_same_labels_give_the_same_splits(write: Write) -> None:
    found = read(write(table(TRUE)))
    assert splits_digest(found, split(found, data_seed=3)) == splits_digest(DATA, split(DATA, data_seed=3))


def test_reports_are_apart_and_the_name_is_shared(write: Write) -> None:
    one = read(write(table(TRUE)))
    lines = table(TRUE).splitlines()
    same = read(write("\r\n".join([lines[0], *reversed(lines[1:])])))
    renamed = read(write(table([name.upper() for name in TRUE])))
    assert one.name == renamed.name == DATA.name == DATA.title
    assert one.title == same.title
    assert len({DATA.title, one.title, renamed.title}) == 3
    assert one.title.startswith("toy--labels-")
    assert len(one.title) == len("toy--labels-") + 8


def test_columns_in_any_order_others_passed_over_and_quotes(write: Write) -> None:
    lines = [f'7,"a, {name}","{sample_id}"' for sample_id, name in zip(IDS, TRUE, strict=True)]
    path = write("\ufeffweight, label ,sample_id\n" + "\n\n".join(lines) + "\n")
    assert read(path).class_names == ("a, class 0", "a, class 1", "a, class 2")


SECOND = [i.partition("/")[2] for i in IDS]


@pytest.mark.parametrize(
    ("header", "names", "how"),
    [
        ("Image_ID,Category", IDS, ""),
        (
            "filename\tclass",
            ["data\\" + i.replace("/", "\\") for i in IDS],
            "by their file names, whatever the folder",
        ),
        ("path;target", [f"./{i}" for i in IDS], "with other slashes"),
        ("id|label", [f"{i}.jpg" for i in SECOND], "by their file names without extensions, whatever the folder"),
        ("sample_id,label", SECOND, "by their file names, whatever the folder"),
    ],
)
def test_other_names_of_columns_and_images_are_recognised(
    header: str, names: tuple[str, ...], how: str, write: Write
) -> None:
    mark = next(mark for mark in ",\t;|" if mark in header)
    lines = "".join(f"{name}{mark}{label}\r\n" for name, label in zip(names, TRUE, strict=True))
    found = read(write(f"{header}\r\n{lines}".encode("utf-16")))
    assert found.parts["all"].labels.tolist() == DATA.parts["all"].labels.tolist()
    first, second = header.split(mark)
    comma = ", " if how else ""
    assert found.notes == (f"labels: images from column {first!r}{comma}{how}, label from column {second!r}",)


def test_columns_can_be_named(write: Write) -> None:
    path = write("sample_id,label,mine\n" + "".join(f"{i},x,{name}\n" for i, name in zip(IDS, TRUE, strict=True)))
    assert read(path, columns={"label": "mine"}).class_names == DATA.class_names
    with pytest.raises(BadData, match=r"too few classes.*got x"):
        read(path)
    with pytest.raises(BadData, match="another header"):
        read(path, columns={"label": "yours"})


def test_labels_of_train_alone_leave_an_unlabelled_test_out(write: Write) -> None:
    data = dataset({"train": [8, 8], "test": [3, 3]})
    bare = {n: replace(p, labels=np.full(len(p), DROPPED), class_names=()) for n, p in data.parts.items()}
    unlabelled = replace(data, parts=bare, class_names=())
    path = write("id,label\n" + "".join(f"{i},{k % 2}\n" for k, i in enumerate(bare["train"].sample_ids)))
    found = relabel(unlabelled, path, whole=True)
    assert (list(found.parts), list(found.images), found.test, found.val) == (["train"], ["train"], "train", None)
    assert found.notes[-1].startswith("test: its 6 images have no labels and are left out; a fifth of train tests.")
    with pytest.raises(BadData, match="leaves images out"):
        relabel(data, path, whole=True)


def test_names_are_compared_composed(write: Write) -> None:
    decomposed = unicodedata.normalize("NFD", "Märchen")
    labels = ["Märchen" if row % 2 else decomposed for row in range(11)]
    assert read(write(table([*labels, "b"]))).class_names == ("Märchen", "b")


def test_a_smaller_data_set_takes_the_file_of_the_whole(write: Write) -> None:
    path = write(table(TRUE) + "all/99999,class 0\n")
    with pytest.raises(BadData, match=r"images that toy does not have.*got 1 others, the first 'all/99999'"):
        read(path)
    assert read(path, whole=False).class_names == DATA.class_names


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("", r"another header.*expected a first line sample_id,label, got ''"),
        ("when,label\nx,y\n", r"another header.*got 'when,label'\); or name its columns: --columns"),
        ("sample_id,label,label\n", "another header"),
        ("sample_id,label\n" + "x,y\nz\n", r"line of another length: .*mine.csv, line 3 \(expected 2 fields, got 1\)"),
        ("sample_id,label\nx,y,z\n", r"expected 2 fields, got 3.*double quotes"),
        ("sample_id,label\nx,a\ny,b\nx,a\n", r"names an image twice: .*line 4 \(got 'x'\)"),
        ('sample_id,label\nx,"a\n', "not valid CSV"),
        ('sample_id,label\nx,"a"b\n', "not valid CSV: .*line 2"),
        (f"sample_id,label\nx,{'a' * 200_000}\n", "not valid CSV.*field larger than field limit"),
        ("sample_id,label\nx,a\x1b[31m\n", "cannot be printed: .*line 2"),
        (b"sample_id,label\nx,\xff\n", r"not UTF-8: .*mine.csv, byte 18"),
        ("sample_id,label\nx,a\ny,b\n", r"does not have: .*such as 'all/00000', got 2 others, the first 'x'"),
        (table(TRUE).rpartition("all/")[0], r"leaves images out: .*got 1 images without one, the first 'all/00011'"),
        (table(["only"] * 12), r"too few classes: .*two labels or more, got only"),
        (table([""] * 12), "too few classes: .*got none"),
    ],
)
def test_mistakes_are_one_line(content: str | bytes, line: str, write: Write) -> None:
    with pytest.raises(ProbelineError, match=line) as caught:
        read(write(content))
    assert "\n" not in str(caught.value)
    assert "mine.csv" in str(caught.value)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path, write: Write) -> None:
    with pytest.raises(MissingData, match="no --labels file"):
        read(tmp_path / "nowhere.csv")
    with pytest.raises(BadData, match="cannot be read"):
        read(tmp_path)
    large = write(table(TRUE))
    os.truncate(large, MOST_BYTES + 1)
    with pytest.raises(BadData, match=r"too large: .*expected 268,435,456 bytes or fewer"):
        read(large)


def test_a_class_that_train_lacks_is_refused(tmp_path: Path) -> None:
    data = dataset({"train": [600, 600], "test": [3, 3]})
    lines = [
        f"{i},{'new' if i == 'test/00000' else k % 2}" for p in data.parts.values() for k, i in enumerate(p.sample_ids)
    ]
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(["sample_id,label", *lines]), encoding="utf-8")
    with pytest.raises(BadData, match=r"too few images to fit and to choose on: 'new' in toy/train.*got 0"):
        split(relabel(data, path, whole=True), data_seed=0)


def test_a_val_part_that_is_dropped_leaves_nothing_to_choose_on(tmp_path: Path) -> None:
    data = dataset({"train": [6, 6], "val": [2, 2], "test": [3, 3]})
    lines = [f"{i},{'' if p.name == 'val' else k % 2}" for p in data.parts.values() for k, i in enumerate(p.sample_ids)]
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(["sample_id,label", *lines]), encoding="utf-8")
    with pytest.raises(BadData, match="no image is left to choose on: toy/val"):
        split(relabel(data, path, whole=True), data_seed=0)
