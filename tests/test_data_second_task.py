"""A second task on the same images: groups of the classes or a file, and every mistake in one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from made_data import dataset, part
from probeline.data.annotations.labels import SecondTask, read_second_task
from probeline.errors import BadData, BadOption, MissingData, ProbelineError, UnknownName
from probeline.options.checks import parse_second
from probeline.types import DROPPED, DataSet

DATA = dataset({"train": [5, 4, 3], "test": [2, 2, 2]})
WORDS = ("odd=class 1", "even=class 2,class 0")

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(content: str) -> Path:
        path = tmp_path / "mine.csv"
        path.write_text(content, encoding="utf-8")
        return path

    return write


def read(words: tuple[str, ...], data: DataSet = DATA, *, whole: bool = True) -> SecondTask:
    return read_second_task(data, words, whole=whole)


def test_groups_take_classes_together_in_the_order_of_the_words() -> None:
    found = read(WORDS)
    assert found.class_names == ("odd", "even")
    for name, labelled in DATA.parts.items():
        assert found.labels[name].dtype == np.int64
        assert found.labels[name].tolist() == [{0: 1, 1: 0, 2: 1}[label] for label in labelled.labels.tolist()]
    assert found.title == f"odd=class 1 even=class 2,class 0 ({found.sha256[:8]})"


def test_a_dropped_image_has_no_second_label_either() -> None:
    labels = np.array([0, DROPPED, 2, 1], np.int64)
    data = DataSet(**{**vars(DATA), "parts": {"train": part("train", labels, 3)}})
    assert read(WORDS, data).labels["train"].tolist() == [1, DROPPED, 1, 0]


def test_a_file_labels_whom_it_names(write: Write) -> None:
    lines = "".join(f"{name},{label}\n" for name, label in (("train/00002", " zebra"), ("test/00001", "ape")))
    found = read((str(write("sample_id,label\n" + lines + "train/00003,\n")),))
    assert found.class_names == ("ape", "zebra")
    assert [row for row, label in enumerate(found.labels["train"]) if label != DROPPED] == [2]
    assert found.labels["train"][2] == 1
    assert found.labels["test"].tolist() == [DROPPED, 0, *[DROPPED] * 4]
    assert found.title == f"mine.csv ({found.sha256[:8]})"


def test_equal_tasks_have_one_hash_and_others_others(write: Write) -> None:
    lines = [
        f"{i},{'odd' if k == 1 else 'even'}\n"
        for p in DATA.parts.values()
        for i, k in zip(p.sample_ids, p.labels, strict=True)
    ]
    there = read(
        (str(write("label,sample_id\n" + "".join(",".join(reversed(x.strip().split(","))) + "\n" for x in lines))),)
    )
    assert there.sha256 == read(("even=class 0,class 2", "odd=class 1")).sha256
    hashes = {
        read(words).sha256
        for words in (
            ("even=class 0,class 2", "odd=class 1"),
            WORDS,
            ("even=class 0,class 2", "strange=class 1"),
            ("even=class 0", "odd=class 1,class 2"),
        )
    }
    assert len(hashes) == 4, "the order of outputs, their names and what is in them"


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (
            (),
            BadOption,
            "bad --second (expected NAME=CLASS[,CLASS...] for two groups or more, or one FILE.csv, got nothing)",
        ),
        (("all=class 0,class 1,class 2",), BadOption, "one FILE.csv, got all=class 0,class 1,class 2)"),
        (("a", "b=class 0"), BadOption, "one FILE.csv, got a)"),
        (("a=", "b=class 0"), BadOption, "one FILE.csv, got a=)"),
        (("=class 1", "b=class 0"), BadOption, "one FILE.csv, got =class 1)"),
        (("a=class 0,,class 1", "b=class 2"), BadOption, "one FILE.csv, got a=class 0,,class 1)"),
        (("a=class 0", "a=class 1,class 2"), BadOption, "one FILE.csv, got a twice)"),
        (
            ("a=class 0,class 1", "b=class 2,class 0"),
            BadOption,
            "bad --second (expected every class once, got class 0 twice)",
        ),
        (("a=class 0", "b=class 0"), BadOption, "bad --second (expected every class once, got class 0 twice)"),
        (("a=class 0", "b=class 2"), BadOption, "bad --second (expected every class once, got no group with class 1)"),
        (
            ("a=class 0,class 3", "b=class 1,class 2"),
            UnknownName,
            "unknown class in --second 'class 3' (expected one of: class 0, class 1, class 2); "
            "did you mean class 2 or class 1 or class 0?",
        ),
    ],
)
def test_groups_that_are_none(words: tuple[str, ...], kind: type[ProbelineError], message: str) -> None:
    with pytest.raises(kind, match=re.escape(message) + "$"):
        read(words)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "sample_id,label\ntrain/00001,a\n",
            "too few classes of the second task: FILE (expected two labels or more, got a)",
        ),
        ("sample_id,label\n", "too few classes of the second task: FILE (expected two labels or more, got none)"),
        ("sample_id,wing\n", "the --second file has another header: FILE (expected a first line sample_id,label,"),
        ("sample_id,label\ntrain/00001,a\ntrain/00001,b\n", "the --second file names an image twice: FILE, line 3"),
        ("sample_id,label\ntrain/00099,a\n", "the --second file names images that toy does not have: FILE (expected"),
    ],
)
def test_a_file_that_is_wrong_is_one_line(content: str, message: str, write: Write) -> None:
    path = write(content)
    with pytest.raises(BadData, match=re.escape(message.replace("FILE", str(path)))):
        read((str(path),))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=rf"^no --second file: {re.escape(str(tmp_path / 'none.csv'))}$"):
        read((str(tmp_path / "none.csv"),))


def test_of_a_limited_data_set_a_file_may_name_more(write: Write) -> None:
    path = write("sample_id,label\ntrain/00001,a\ntrain/00002,b\ntrain/00099,a\n")
    assert read((str(path),), whole=False).class_names == ("a", "b")


def test_one_word_is_a_file_and_two_are_groups() -> None:
    assert parse_second(("a=b/c.csv",)) == Path("a=b/c.csv")
    assert parse_second(("x=a,b", "y=c.csv")) == {"x": ("a", "b"), "y": ("c.csv",)}
