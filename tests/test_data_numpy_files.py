"""NumPy files: what a header says is held against the file before anything is allocated."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from probeline.data.embeddings.files import read_embeddings
from probeline.data.numpy_files import read_numpy
from probeline.errors import BadData


def header(shape: str, dtype: str = "<f4") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text = text.ljust(118) + b"\n"
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text


def packed(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as pack:
        pack.writestr("x.npy", data)
    return out.getvalue()


def test_what_numpy_writes_is_read(tmp_path: Path) -> None:
    x, y = np.arange(12.0).reshape(3, 4), np.array(["a", "b", "c"])
    np.save(tmp_path / "x.npy", x)
    assert np.array_equal(read_numpy(tmp_path / "x.npy"), x)
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "both.npz", x=x, y=y, empty=np.empty((0, 3)))
        arrays = read_numpy(tmp_path / "both.npz")
        assert isinstance(arrays, dict)
        assert np.array_equal(arrays["x"], x)
        assert arrays["y"].tolist() == ["a", "b", "c"]


@pytest.mark.parametrize("shape", ["(10000000000000,)", "(3000000, 3000000)", "(1000,)"])
@pytest.mark.parametrize("is_packed", [False, True])
def test_an_array_larger_than_its_file_is_refused(shape: str, is_packed: bool, tmp_path: Path) -> None:
    data = header(shape) + bytes(16)
    path = tmp_path / ("a.npz" if is_packed else "a.npy")
    path.write_bytes(packed(data) if is_packed else data)
    with pytest.raises(ValueError, match="and there are 16"):
        read_numpy(path)


def test_an_archive_that_unpacks_to_more_than_the_memory_is_refused(tmp_path: Path) -> None:
    data = packed(header("(4,)") + bytes(16))
    entry = data.rindex(b"PK\1\2")
    huge = (4_000_000_000).to_bytes(4, "little")
    forged = data[: entry + 24] + huge + data[entry + 28 :]
    (tmp_path / "a.npz").write_bytes(forged)
    many = b"".join(forged[entry:-22] for _ in range(2000))
    start = entry.to_bytes(4, "little")
    end = b"PK\5\6" + bytes(4) + (2000).to_bytes(2, "little") * 2 + len(many).to_bytes(4, "little") + start + bytes(2)
    (tmp_path / "a.npz").write_bytes(forged[:entry] + many + end)
    with pytest.raises(ValueError, match="8,000,000,000,000 bytes of memory, and this machine has"):
        read_numpy(tmp_path / "a.npz")


@pytest.mark.parametrize("data", [b"", b"PK\3\4", b"\x93NUMPY", b"no array", header("(-1,)"), header("'a'")])
def test_what_is_no_array_is_a_value_error(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(ValueError, match=r"\w"):
        read_numpy(tmp_path / "a.npy")


def test_data_sets_without_data_are_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("X", (10**9, 1000), "f4", chunks=(1000, 1000))
    with pytest.raises(BadData, match="data sets of 4,000,000,000,000 bytes"):
        read_embeddings(tmp_path / "a.h5", {})


def test_rows_of_a_parquet_file_are_held_against_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    text = "a" * 100_000
    parquet.write_table(
        pa.table({"file_name": [text] * 5000, "f0": [0.0] * 5000, "f1": [0.0] * 5000}), tmp_path / "a.parquet"
    )
    assert (tmp_path / "a.parquet").stat().st_size < 1_000_000
    from probeline.files.memory import DECODING

    monkeypatch.setitem(DECODING.__dict__, "machine", 200_000_000)
    with pytest.raises(BadData, match="bytes of memory, and this machine has 200,000,000"):
        read_embeddings(tmp_path / "a.parquet", {})


def test_a_table_of_a_million_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a" + ",a" * 1_000_000)
    with pytest.raises(BadData, match="too many columns"):
        read_embeddings(tmp_path / "a.csv", {})
