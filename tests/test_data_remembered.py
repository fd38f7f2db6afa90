"""Digests of images that the memo remembers: a random sample is read again, and what is odd counts as missing."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from made_sources import load, make_pictures
from probeline.console import Silence
from probeline.data import remembered
from probeline.identity import digest_bytes, seal, unseal
from probeline.types import DataSet

WRONG = digest_bytes(b"another image")
LONG_AGO = 1_500_000_000


class Warned(Silence):
    """A console that keeps its warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, line: str) -> None:
        self.warnings.append(line)


def make_folder(root: Path) -> str:
    make_pictures(root / "pictures", *(f"{name}/{number}.png" for name in "ab" for number in range(6)))
    for path in root.rglob("*.png"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    return f"folder:{root / 'pictures'}"


def make_arrays(root: Path) -> str:
    x = np.random.default_rng(0).integers(0, 256, (12, 5, 7, 3), dtype=np.uint8)
    np.savez(root / "mine.npz", x=x, y=np.arange(12) % 3)
    os.utime(root / "mine.npz", (LONG_AGO, LONG_AGO))
    return f"arrays:{root / 'mine.npz'}"


def make_tar(root: Path) -> str:
    with tarfile.open(root / "mine.tar", "w") as tar:
        for number in range(12):
            picture = io.BytesIO()
            Image.new("RGB", (6, 8), (number, 9, 90)).save(picture, "PNG")
            for name, data in ((f"{number}.png", picture.getvalue()), (f"{number}.cls", b"%d" % (number % 3))):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    os.utime(root / "mine.tar", (LONG_AGO, LONG_AGO))
    return f"wds:{root / 'mine.tar'}"


SOURCES = pytest.mark.parametrize("make", [make_folder, make_arrays, make_tar])


def replace_values(memo: Path, change: Callable[[Any], Any]) -> None:
    """Change all values of a memo, and seal it again."""
    if memo.exists():
        record = unseal(memo.read_bytes())
        assert record
        for entry in record["entries"].values():
            entry["value"] = change(entry["value"])
        memo.write_bytes(seal({"entries": record["entries"], "format": 2}))
    hashes = memo.with_name("memo-hashes.jsonl")
    if hashes.exists():
        lines = [unseal(data + b"\n") or {} for data in hashes.read_bytes().split(b"\n") if data]
        hashes.write_bytes(b"".join(seal({**line, "digests": change(line["digests"])}) for line in lines))


def forge_digest(value: Any) -> Any:
    """Return a value with one wrong digest."""
    if isinstance(value, str):
        return value[:-64] + WRONG
    if isinstance(value, list):
        return [*value[:-1], {**value[-1], "sha256": WRONG}]
    return {"sha256": [*value["sha256"][:-1], WRONG]}


def content_of(dataset: DataSet) -> tuple[str, ...]:
    return dataset.parts["all"].content


@SOURCES
def test_a_wrong_digest_of_a_small_data_set_is_found(make: Callable[[Path], str], tmp_path: Path) -> None:
    spec, memo, console = make(tmp_path), tmp_path / "memo.json", Warned()
    content = content_of(load(spec, memo=memo))
    replace_values(memo, forge_digest)
    assert content_of(load(spec, memo=memo, console=console)) == content
    line = "the memo of hashes was wrong about an image: it is dropped, and all images are hashed again"
    assert console.warnings == [line]
    assert content_of(load(spec, memo=memo, console=console)) == content
    assert console.warnings == [line], "the memo that was written since is right"


@SOURCES
def test_without_the_sample_the_memo_would_be_believed(
    make: Callable[[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the test above shows what the sample does."""
    spec, memo = make(tmp_path), tmp_path / "memo.json"
    load(spec, memo=memo)
    replace_values(memo, forge_digest)
    monkeypatch.setattr(remembered, "SAMPLE", 0)
    assert WRONG in content_of(load(spec, memo=memo))


@SOURCES
@pytest.mark.parametrize(
    "odd",
    [
        None,
        7,
        "x",
        [],
        ["x"],
        [{}],
        {"sha256": "x"},
        {"sha256": ["x"]},
        {"sha256": [WRONG.upper()]},
        {"sha256": [WRONG] * 3},
        {"sha256": [None]},
        [{"key": "1", "suffix": "png", "offset": -1, "size": 3, "sha256": WRONG, "label": "", "group": ""}],
        [{"key": "1", "suffix": "png", "offset": 0, "size": 10**15, "sha256": WRONG, "label": "", "group": ""}],
    ],
    ids=lambda odd: str(odd)[:40],
)
def test_an_odd_value_counts_as_missing(odd: Any, make: Callable[[Path], str], tmp_path: Path) -> None:
    spec, memo = make(tmp_path), tmp_path / "memo.json"
    dataset = load(spec, memo=memo)
    replace_values(memo, lambda _: odd)
    again = load(spec, memo=memo)
    assert content_of(again) == content_of(dataset)
    assert np.array_equal(again.parts["all"].labels, dataset.parts["all"].labels)


def test_the_sample_is_of_64_images_and_another_each_time() -> None:
    class Request:
        """Fails where the memo would be dropped."""

    digests = {row: str(row) for row in range(10_000)}
    seen: list[set[int]] = [set(), set()]
    for rows in seen:

        def compute(row: int, rows: set[int] = rows) -> str:
            rows.add(row)
            return digests[row]

        assert remembered.is_sample_right(Request(), digests, compute)  # type: ignore[arg-type]
    assert [len(rows) for rows in seen] == [64, 64]
    assert seen[0] != seen[1], "equal with a chance of 1 in 10000 choose 64"
