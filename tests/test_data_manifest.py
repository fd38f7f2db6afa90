"""A manifest is the data set that it was written of: the same ids, contents, labels and keys, and nothing is listed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flips import flipped
from made_sources import load, make_pictures
from probeline.cli import main
from probeline.data import manifests
from probeline.data.manifests import read_manifest, write_manifest
from probeline.data.registry import place_of
from probeline.errors import BadData, BadOption, MissingData
from probeline.identity import digest_bytes, seal, unseal
from probeline.types import DataSet

CLASSES = ("ant", "bee", "ça")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Pictures in a train and a test folder, one of them through a link, and a text."""
    for part, count in (("train", 7), ("test", 3)):
        names = [f"{part}/{name}/{number}.png" for name in CLASSES for number in range(count)]
        make_pictures(tmp_path / "pictures", *names)
    (tmp_path / "pictures" / "train" / "ant" / "note.txt").write_text("x")
    (tmp_path / "pictures" / "train" / "bee" / "link.png").symlink_to("0.png")
    return tmp_path / "pictures"


@pytest.fixture
def written(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest of several blocks."""
    monkeypatch.setattr(manifests, "ROWS_PER_BLOCK", 5)
    write_manifest(load(f"folder:{root}"), root, tmp_path / "p.manifest")
    return tmp_path / "p.manifest"


def facts(dataset: DataSet) -> dict[str, Any]:
    parts = {
        name: (part.dataset, part.sample_ids, part.content, part.labels.tolist(), part.class_names, part.samples_sha256)
        for name, part in dataset.parts.items()
    }
    paths = {name: [str(path) for path in images.paths] for name, images in dataset.images.items()}  # type: ignore[union-attr]
    own = (dataset.name, dataset.class_names, dataset.train, dataset.test, dataset.val, dataset.flips)
    return {"parts": parts, "paths": paths, "own": own, "said": (dataset.skipped, dataset.notes)}


@pytest.mark.parametrize("limit", [None, 6])
def test_it_is_the_data_set_that_it_was_written_of(limit: int | None, root: Path, written: Path) -> None:
    assert facts(load(f"manifest:{written}", limit=limit)) == facts(load(f"folder:{root}", limit=limit))
    assert place_of(f"manifest:{written}") == root


def test_nothing_is_listed_and_a_sample_is_read(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "scandir", None)
    read: list[Path] = []
    reading = manifests_source().read_bytes
    monkeypatch.setattr(manifests_source(), "read_bytes", lambda path, kind: read.append(path) or reading(path, kind))
    dataset = load(f"manifest:{written}")
    assert len(read) == sum(map(len, dataset.parts.values())), "all of a small one"
    monkeypatch.setattr(manifests_source(), "SAMPLE", 4)
    read.clear()
    load(f"manifest:{written}")
    assert len(read) == 4 * len(dataset.parts)


def manifests_source() -> Any:
    from probeline.data.sources import manifest

    return manifest


@pytest.mark.parametrize("change", ["bytes", "gone"])
def test_images_that_are_not_those_of_the_manifest_are_refused(change: str, root: Path, written: Path) -> None:
    path = root / "test" / "bee" / "1.png"
    path.unlink() if change == "gone" else path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(BadData, match=r"not the one of the manifest: .*test/bee/1\.png.*write .*again.*--images"):
        load(f"manifest:{written}")


def test_images_may_be_elsewhere(root: Path, written: Path, tmp_path: Path) -> None:
    before = facts(load(f"manifest:{written}"))
    root.rename(tmp_path / "moved")
    with pytest.raises(BadData, match="--images"):
        load(f"manifest:{written}")
    after = facts(load(f"manifest:{written}", images=tmp_path / "moved"))
    assert after["parts"] == before["parts"]
    assert after["paths"]["test"][0] == str(tmp_path / "moved" / "test" / "ant" / "0.png")


def test_every_damaged_byte_is_refused(written: Path) -> None:
    data = written.read_bytes()
    for place in range(0, len(data), 3):
        with flipped(written, place, 0x20), pytest.raises(BadData, match="no manifest, or a damaged one"):
            read_manifest(written)
    for cut in (b"", data[:10], data[:-1], data + b"x"):
        written.write_bytes(cut)
        with pytest.raises(BadData, match="no manifest, or a damaged one"):
            read_manifest(written)


def reseal(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    line, _, rest = path.read_bytes().partition(b"\n")
    record = unseal(line + b"\n")
    assert record
    change(record)
    path.write_bytes(seal(record) + rest)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.update(format=2), "format 2, where 1 is expected"),
        (lambda r: r.update(class_names=["one"]), "none of its 1 classes"),
        (lambda r: r["parts"][0]["blocks"][0].update(rows=4), "which the file does not have"),
        (lambda r: r["parts"][0]["blocks"][0].update(rows=10**12), "rows: expected 1 to"),
        (lambda r: r["parts"][0]["blocks"][0].update(samples=10**15), "which the file does not have"),
        (lambda r: r["parts"].clear(), "parts: expected a length"),
        (lambda r: r.update(folder=3), "folder: expected a string"),
        (lambda r: r.pop("notes"), "missing notes"),
    ],
)
def test_odd_records_with_a_valid_seal_are_refused(
    change: Callable[[dict[str, Any]], object], words: str, written: Path
) -> None:
    reseal(written, change)
    with pytest.raises(BadData, match=words):
        read_manifest(written)


def test_ids_that_repeat_are_refused(root: Path, tmp_path: Path) -> None:
    dataset = load(f"folder:{root}")
    part = dataset.parts["test"]
    twice = object.__new__(type(part))
    twice.__dict__.update(vars(part), sample_ids=(part.sample_ids[0], *part.sample_ids[:-1]))
    dataset.parts["test"] = twice  # type: ignore[index]
    write_manifest(dataset, None, tmp_path / "x")
    with pytest.raises(BadData, match="sample ids of test that repeat"):
        read_manifest(tmp_path / "x")


def test_a_missing_file_and_images_within_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="no such manifest"):
        load(f"manifest:{tmp_path / 'none'}")
    np.savez(tmp_path / "a.npz", x=np.zeros((6, 4, 4, 3), np.uint8), y=np.arange(6) % 2)
    with pytest.raises(BadOption, match=r"a manifest is of image files.*got images within other files"):
        write_manifest(load(f"arrays:{tmp_path / 'a.npz'}"), None, tmp_path / "x")


def test_the_command_writes_one_that_finds_all_done(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = [*("--backbone", "squeezenet1_1", "--weights", "none", "--image-size", "32")]
    assert main(["extract", f"--dataset=folder:{root}", *run]) == 0
    assert main(["manifest", f"--dataset=folder:{root}"]) == 0
    path = tmp_path / "folder--pictures.manifest"
    out = capsys.readouterr().out
    assert f"sha256 {digest_bytes(path.read_bytes())}" in out
    assert "--dataset manifest:folder--pictures.manifest" in out
    assert main(["extract", "--dataset=manifest:folder--pictures.manifest", *run]) == 0
    assert "up to date" in capsys.readouterr().out
