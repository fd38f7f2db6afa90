"""CIFAR-10: both layouts give equal data sets, and nothing in a file is trusted."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from probeline.console import Silence
from probeline.data.archives.cifar10_pickle import read_pickle
from probeline.data.source import LoadRequest, Subset
from probeline.data.sources import cifar10
from probeline.errors import BadData, BadOption, MissingData
from probeline.files.memo import Memo
from probeline.identity import digest_bytes
from probeline.images import ImageArray, PixelArray
from probeline.types import DataSet

RECORDS = 20
BATCHES = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]


def batch(number: int) -> tuple[PixelArray, PixelArray]:
    rng = np.random.default_rng(number)
    return rng.permutation(np.arange(RECORDS) % 10).astype(np.uint8), rng.integers(0, 256, (RECORDS, 3072), np.uint8)


def write_binary(data: Path) -> Path:
    root = data / "cifar-10-batches-bin"
    root.mkdir(parents=True)
    for number, name in enumerate(BATCHES):
        labels, planes = batch(number)
        (root / f"{name}.bin").write_bytes(np.concatenate([labels[:, None], planes], axis=1).tobytes())
    return root


def python2_pickle(labels: PixelArray, planes: PixelArray) -> bytes:
    """Return what Python 2's cPickle wrote of a batch, opcode by opcode, as in the published files."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value

    def integer(value: int) -> bytes:
        return b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value)

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + integer(0) + b"\x85" + text(b"b") + b"tR"
        b"(" + integer(1) + b"(" + integer(len(planes)) + integer(3072) + b"t"
        b"cnumpy\ndtype\n(" + text(b"u1") + integer(0) + integer(1) + b"tR"
        b"(" + integer(3) + text(b"|") + b"NNN" + b"J\xff\xff\xff\xffJ\xff\xff\xff\xff" + integer(0) + b"tb"
        b"\x89" + text(planes.tobytes()) + b"tb"
    )
    items = (
        text(b"batch_label")
        + text(b"training batch")
        + text(b"labels")
        + b"]("
        + b"".join(map(integer, labels.tolist()))
    )
    names = b"](" + b"".join(text(b"%d.png" % number) for number in range(len(labels))) + b"e"
    return b"\x80\x02}(" + items + b"e" + text(b"data") + array + text(b"filenames") + names + b"u."


def python3_pickle(labels: PixelArray, planes: PixelArray, protocol: int) -> bytes:
    contents = {b"batch_label": b"x", b"labels": labels.tolist(), b"data": planes, b"filenames": [b"a"] * len(labels)}
    return pickle.dumps(contents, protocol=protocol)


def write_python(data: Path, form: str) -> Path:
    root = data / "cifar-10-batches-py"
    root.mkdir(parents=True)
    for number, name in enumerate(BATCHES):
        labels, planes = batch(number)
        content = python2_pickle(labels, planes) if form == "python 2" else python3_pickle(labels, planes, int(form))
        (root / name).write_bytes(content)
    return root


def load(data: Path, *, limit: int | None = None) -> DataSet:
    request = LoadRequest(data, Subset(limit), Memo(data / "memo"), Silence(), download=False)
    return cifar10.load_files(request, RECORDS)


def test_records_become_rows_in_the_official_order(tmp_path: Path) -> None:
    write_binary(tmp_path)
    dataset = load(tmp_path)
    assert (dataset.name, dataset.train, dataset.test, dataset.val, dataset.flips) == (
        "cifar10",
        "train",
        "test",
        None,
        True,
    )
    assert dataset.class_names[3] == "cat"
    for name, numbers in (("train", range(5)), ("test", range(5, 6))):
        part, images = dataset.parts[name], dataset.images[name]
        assert isinstance(images, ImageArray)
        assert images.pixels.shape == (len(part), 32, 32, 3)
        assert images.pixels.flags.c_contiguous
        labels, planes = (np.concatenate(arrays) for arrays in zip(*map(batch, numbers), strict=True))
        assert part.sample_ids[:2] == (f"{name}/00000", f"{name}/00001")
        assert np.array_equal(part.labels, labels)
        assert part.content == tuple(digest_bytes(row.tobytes()) for row in planes)
        row, y, x = len(part) - 1, 5, 17
        assert images.pixels[row, y, x].tolist() == [planes[row, 1024 * c + 32 * y + x] for c in range(3)]


@pytest.mark.parametrize("form", ["python 2", "2", "3", "4"])
def test_both_layouts_are_equal(tmp_path: Path, form: str) -> None:
    write_binary(tmp_path / "binary")
    write_python(tmp_path / "python", form)
    first, second = load(tmp_path / "binary"), load(tmp_path / "python")
    for name in ("train", "test"):
        assert first.parts[name].samples_sha256 == second.parts[name].samples_sha256
        assert np.array_equal(first.parts[name].labels, second.parts[name].labels)
        ours, theirs = first.images[name], second.images[name]
        assert isinstance(ours, ImageArray)
        assert isinstance(theirs, ImageArray)
        assert np.array_equal(ours.pixels, theirs.pixels)


def test_the_binary_layout_is_preferred_and_links_are_followed(tmp_path: Path) -> None:
    real = write_binary(tmp_path / "elsewhere")
    data = tmp_path / "data"
    write_python(data, "2")
    (data / "cifar-10-batches-py" / "test_batch").write_bytes(b"never read")
    (data / "cifar-10-batches-bin").symlink_to(real)
    assert len(load(data).parts["test"]) == RECORDS


def test_a_limit_keeps_rows_of_every_class(tmp_path: Path) -> None:
    write_binary(tmp_path)
    whole, small = load(tmp_path), load(tmp_path, limit=13)
    assert small.name == small.parts["test"].dataset == "cifar10-limit13"
    for name, part in small.parts.items():
        assert len(part) == 13
        assert np.bincount(part.labels).min() == 1
        rows = [int(sample_id.split("/")[1]) for sample_id in part.sample_ids]
        assert rows == sorted(rows)
        assert part.content == tuple(whole.parts[name].content[row] for row in rows)
        ours, theirs = small.images[name], whole.images[name]
        assert isinstance(ours, ImageArray)
        assert isinstance(theirs, ImageArray)
        assert np.array_equal(ours.pixels, theirs.pixels[rows])
        assert np.array_equal(part.labels, whole.parts[name].labels[rows])
    with pytest.raises(BadOption, match="10 or more"):
        load(tmp_path, limit=9)


def test_a_file_of_another_size_is_named(tmp_path: Path) -> None:
    root = write_binary(tmp_path)
    path = root / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BadData, match=rf"data_batch_3\.bin \(expected {20 * 3073} bytes, got {20 * 3073 - 1}\)"):
        load(tmp_path)


def test_a_label_out_of_range_is_named(tmp_path: Path) -> None:
    root = write_binary(tmp_path)
    values = bytearray((root / "test_batch.bin").read_bytes())
    values[3073 * 7] = 10
    (root / "test_batch.bin").write_bytes(values)
    with pytest.raises(BadData, match=r"test_batch.*labels from 0 to 9, got 10"):
        load(tmp_path)


@pytest.mark.parametrize("layout", ["bin", "py"])
def test_a_missing_file_is_named(tmp_path: Path, layout: str) -> None:
    root = write_binary(tmp_path) if layout == "bin" else write_python(tmp_path, "2")
    next(root.glob("data_batch_4*")).unlink()
    with pytest.raises(MissingData, match="data_batch_4"):
        load(tmp_path)


def test_no_data_and_no_download(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"cifar-10-batches-bin/ or cifar-10-binary\.tar\.gz or cifar-10-batches-py/"):
        load(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


# ---------------------------------------------------------------------------------------------------------------------


class Malice:
    """Pickles as a call of whatever it is given."""

    def __init__(self, function: object, *arguments: object) -> None:
        self._reduced = (function, arguments)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self._reduced


def hostile(tmp_path: Path) -> Iterator[tuple[str, bytes]]:
    trap = tmp_path / "trap"
    labels, planes = batch(0)
    for protocol in (0, 2, 4):
        for function, arguments in (
            (os.system, (f"touch {trap}",)),
            (subprocess.run, (["touch", str(trap)],)),
            (eval, (f"open({str(trap)!r}, 'w')",)),
            (getattr, ("text", "upper")),
            (np.fromfile, (str(trap),)),
            (io.open, (str(trap), "w")),
        ):
            content = {b"labels": labels.tolist(), b"data": planes, b"more": Malice(function, *arguments)}
            yield f"{function} {protocol}", pickle.dumps(content, protocol)
    yield "nested name", b"\x80\x04\x8c\x05numpy\x8c\x12ndarray.__reduce__\x93."
    yield "numpy.load", b"\x80\x02cnumpy\nload\nU\x01aR."
    yield "rot13", b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R."
    yield "persistent id", b"\x80\x02U\x01aQ."
    yield "copyreg", b"\x80\x02ccopyreg\n_reconstructor\n."
    yield "extension", b"\x80\x02\x82\x01."


def test_hostile_pickles_run_nothing(tmp_path: Path) -> None:
    path = tmp_path / "batch"
    for case, content in hostile(tmp_path):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="the pickle names" if case.startswith("<") else r"\w"):
            read_pickle(path)
        assert "trap" not in [item.name for item in tmp_path.iterdir()], case


def test_what_a_hostile_pickle_named_is_printed(tmp_path: Path) -> None:
    root = write_python(tmp_path, "2")
    (root / "data_batch_2").write_bytes(pickle.dumps([bytes(70_000), Malice(os.system, "true")], 2))
    with pytest.raises(BadData, match=rf"data_batch_2.*the pickle names {os.system.__module__}\.system"):
        load(tmp_path)


def test_pickles_of_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "batch"
    labels, planes = batch(0)
    good = python3_pickle(labels, planes, 2)
    for content in (
        b"",
        b"not a pickle",
        good[:-1],
        good[: len(good) // 2],
        pickle.dumps([1, 2], 2),
        pickle.dumps({b"labels": [0], b"data": b"x"}, 2),
        pickle.dumps({b"labels": [300], b"data": planes}, 2),
        pickle.dumps({b"labels": [-1], b"data": planes}, 2),
        pickle.dumps({b"labels": ["a"], b"data": planes}, 2),
        python3_pickle(labels, planes.astype(np.float32), 2),
        python3_pickle(labels, np.asfortranarray(planes), 2),
        python3_pickle(labels, np.array([None, {}], object), 2),
        good.replace(b"K\x14M\x00\x0c", b"K\x15M\x00\x0c"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"\w"):
            read_pickle(path)


def test_a_batch_of_another_size_is_named(tmp_path: Path) -> None:
    root = write_python(tmp_path, "2")
    labels, planes = batch(1)
    (root / "data_batch_2").write_bytes(python3_pickle(labels, planes[:-1], 2) + bytes(9000))
    with pytest.raises(BadData, match=r"data_batch_2 \(expected 20 images, got 20 labels and pixels \(19, 3072\)\)"):
        load(tmp_path)
    with (root / "data_batch_2").open("ab") as file:
        file.truncate(10**7)
    with pytest.raises(BadData, match="got 10000000"):
        load(tmp_path)
