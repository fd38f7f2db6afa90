"""Files of embeddings: NumPy, Parquet, CSV, AnnData and HDF5."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from probeline.data.embeddings.table import EmbeddingTable
from probeline.data.label_values import name_labels
from probeline.data.numpy_files import read_numpy
from probeline.data.part_names import first_part, without_part
from probeline.data.tables.columns import find_column, read_values
from probeline.data.tables.reading import Table, read_parquet, read_table
from probeline.data.tables.splits import read_splits
from probeline.errors import BadData, MissingData, MissingExtra
from probeline.files.memory import check_fits
from probeline.files.reading import ARRAYS, check, is_file, why_unreachable
from probeline.types import AnyArray

_IDS = ("sample_id", "sample_ids", "id", "ids", "name", "names", "path", "paths", "file_name", "file_names")
_LABELS = ("y", "label", "labels", "target", "targets", "class", "classes", "category")
_SPLITS = ("split", "splits", "subset", "part", "parts")
_GROUPS = ("group", "groups")
_KINDS = {
    **dict.fromkeys(_IDS, "file_name"),
    **dict.fromkeys(_LABELS, "label"),
    **dict.fromkeys(_SPLITS, "split"),
    **dict.fromkeys(_GROUPS, "group"),
}
_DENSEST, _SLACK = 1032, 1 << 20
"""How many bytes deflate makes of one at most, and bytes that no file needs to have."""

_BLOCK = 1024
"""Texts that are read at a time."""

_NUMBERED = re.compile(r"(.*?)_?(\d+)")
_UNNAMED = ("x", "f", "features", "embedding", "embeddings", "dim", "")
"""What stands for no name of its own: the embedding is called like the file."""


def read_embeddings(path: Path, columns: Mapping[str, str]) -> dict[str, EmbeddingTable]:
    """Return the embeddings of a file by part, ``all`` if it has none.

    `columns` names other columns than the usual ones, as ``--columns`` does.

    Raises
    ------
    MissingData
        No such file.
    BadData
        Another format, or a file without a matrix of numbers.
    MissingExtra
        A library that the format needs is not installed.
    """
    if not is_file(path):
        raise MissingData(
            "no such file of embeddings", where=path, got=why_unreachable(path), remedy="check the path after features:"
        )
    readers: dict[str, Callable[[Path, Mapping[str, str]], dict[str, EmbeddingTable]]] = {
        ".npz": _read_npz,
        ".npy": _read_npy,
        ".parquet": _read_parquet,
        ".csv": _read_csv,
        ".tsv": _read_csv,
        ".h5ad": _read_anndata,
        **dict.fromkeys((".h5", ".hdf5"), _read_hdf5),
    }
    if path.suffix.lower() not in readers:
        raise BadData("no such format of embeddings", where=path, expected=" ".join(readers), got=path.suffix or "none")
    tables = readers[path.suffix.lower()](path, columns)
    if not tables or not all(table.matrices for table in tables.values()):
        raise BadData(
            "no embeddings in this file",
            where=path,
            expected="a matrix of numbers [N, D], such as X, and labels such as y",
            remedy="save it with these names",
        )
    return tables


def _named(name: str, path: Path) -> str:
    """Return what an embedding is called: its own name, or the file's if it has none."""
    return path.stem if name.lower() in _UNNAMED else name


def _read_npz(path: Path, columns: Mapping[str, str]) -> dict[str, EmbeddingTable]:
    try:
        arrays = read_numpy(path)
    except ValueError as error:
        raise BadData("file is not one of plain NumPy arrays", where=path, got=error) from error
    return _from_arrays(path, {"X": arrays} if isinstance(arrays, np.ndarray) else arrays, columns)


def _from_arrays(path: Path, arrays: Mapping[str, AnyArray], columns: Mapping[str, str]) -> dict[str, EmbeddingTable]:
    """Return the tables of arrays by name: X and y, or X_train, y_train, X_test and y_test."""
    given = {name: kind for kind, name in columns.items()}
    by_part: dict[str, dict[str, Any]] = defaultdict(dict)
    for key, array in arrays.items():
        words = key.split("_")
        part = first_part(words) or "all"
        name = without_part(words)
        kind = given.get(key) or _KINDS.get(name.lower())
        if kind and array.ndim <= 2:
            by_part[part][kind] = array
        elif array.ndim == 2 and array.dtype.kind in "fiu":
            by_part[part].setdefault("matrices", {})[_named(name, path)] = array
    tables = {}
    for part, own in by_part.items():
        if "matrices" not in own:
            raise BadData(f"labels without embeddings of {part}", where=path, got=", ".join(sorted(own)))
        tables[part] = _table(path, own.pop("matrices"), own)
    return tables


def _table(path: Path, matrices: Mapping[str, AnyArray], columns: Mapping[str, Any]) -> EmbeddingTable:
    """Return the table of matrices [N, D] and columns [N] by kind."""
    sizes = {name: len(values) for name, values in (*matrices.items(), *columns.items())}
    n = next(iter(sizes.values()))
    if len(set(sizes.values())) > 1:
        got = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
        raise BadData("embeddings and columns differ in length", where=path, got=got)
    texts = {kind: name_labels(values, n, f"{path}, {kind}") for kind, values in columns.items()}
    return EmbeddingTable(
        matrices,
        texts.get("label", [""] * n),
        texts.get("file_name"),
        read_splits(texts["split"], "split", path) if "split" in texts else None,
        texts.get("group"),
    )


def _read_npy(path: Path, columns: Mapping[str, str]) -> dict[str, EmbeddingTable]:
    """Return the matrix of a file, with the columns of a CSV file of the same name if there is one."""
    try:
        matrix = read_numpy(path)
        if not isinstance(matrix, np.ndarray):
            raise ValueError("several arrays, as in an .npz")
    except ValueError as error:
        raise BadData("file is not a plain NumPy array", where=path, got=error) from error
    csv_file = path.with_suffix(".csv")
    known = _columns_of(read_table(csv_file, "table of the embeddings"), columns) if is_file(csv_file) else {}
    return {"all": _table(path, {path.stem: matrix}, known)}


def _columns_of(table: Table, columns: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the values of a table's columns by kind."""
    own = {}
    for kind, usual in (("file_name", _IDS), ("label", _LABELS), ("split", _SPLITS), ("group", _GROUPS)):
        if name := find_column(table.header, kind, columns, usual):
            own[kind] = read_values(table, name)
    return own


def _read_csv(path: Path, columns: Mapping[str, str]) -> dict[str, EmbeddingTable]:
    """Return the embeddings of numbered columns, ``f0`` to ``f511``."""
    table = read_table(path, "table of embeddings")
    matrices = {}
    for prefix, names in _numbered(table.header).items():
        texts = [read_values(table, name) for name in names]
        try:
            matrices[_named(prefix, path)] = np.array(texts, np.float64).T
        except ValueError as error:
            raise BadData("embeddings are no numbers", where=path, got=error) from error
    return {"all": _table(path, matrices, _columns_of(table, columns))}


def _numbered(header: Sequence[str]) -> dict[str, list[str]]:
    """Return the columns of each embedding in their order: those of one name with the numbers from 0 or 1 on."""
    found: dict[str, dict[int, str]] = defaultdict(dict)
    for name in header:
        if match := _NUMBERED.fullmatch(name):
            found[match[1]][int(match[2])] = name
    return {
        prefix: [by_number[number] for number in sorted(by_number)]
        for prefix, by_number in found.items()
        if len(by_number) > 1 and sorted(by_number) == list(range(min(by_number), min(by_number) + len(by_number)))
    }


def _read_parquet(path: Path, columns: Mapping[str, str]) -> dict[str, EmbeddingTable]:
    """Return the embeddings of columns of lists of numbers, else of numbered columns."""
    whole = read_parquet(path, "file of embeddings")
    matrices = {}
    lists = [name for name, kind in zip(whole.column_names, whole.schema.types, strict=True) if "list<" in str(kind)]
    for name in lists:
        rows = whole.column(name).to_pylist()
        widths = {len(row) if row is not None else 0 for row in rows}
        if len(widths) != 1:
            raise BadData(
                "embeddings of several lengths", where=f"{path}, {name}", got=f"{min(widths)} to {max(widths)}"
            )
        matrices[_named(name, path)] = np.array(rows, np.float64)
    for prefix, names in {} if lists else _numbered(whole.column_names).items():
        matrices[_named(prefix, path)] = np.stack([whole.column(name).to_numpy() for name in names], axis=1)
    return {"all": _table(path, matrices, _columns_of(read_table(path, "table of embeddings"), columns))}


def _read_anndata(path: Path, columns: Mapping[str, str]) -> dict[str, EmbeddingTable]:
    """Return X and the matrices of obsm, with the columns of obs."""
    try:
        import anndata
    except ImportError as error:
        raise MissingExtra("anndata is not installed", remedy="pip install 'probeline[anndata]'") from error
    try:
        check(path, ARRAYS)
        data = anndata.read_h5ad(path)
    except Exception as error:  # a foreign format's reader raises almost anything
        raise BadData("file is not valid AnnData", where=path, got=f"{type(error).__name__}: {error}") from error
    matrices = {} if data.X is None else {path.stem: data.X}
    matrices |= {str(name).removeprefix("X_"): values for name, values in data.obsm.items()}
    dense = {
        name: np.asarray(values.todense() if hasattr(values, "todense") else values)
        for name, values in matrices.items()
    }
    own: dict[str, Any] = {"file_name": list(map(str, data.obs_names))}
    for kind, usual in (("label", _LABELS), ("split", _SPLITS), ("group", _GROUPS)):
        if name := find_column(list(map(str, data.obs.columns)), kind, columns, usual):
            own[kind] = list(data.obs[name])
    return {"all": _table(path, dense, own)}


def _read_hdf5(path: Path, columns: Mapping[str, str]) -> dict[str, EmbeddingTable]:
    """Return the plain data sets at the top of a file, as those of an ``.npz``."""
    import h5py

    try:
        check(path, ARRAYS)
        with h5py.File(path, "r") as file:
            plain = [name for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink)]
            sets = {name: file[name] for name in plain if isinstance(file[name], h5py.Dataset)}
            local = {name: values for name, values in sets.items() if not values.is_virtual and not values.external}
            _check_sizes(local, check(path, ARRAYS))
            arrays = {name: _read_text(values) if _is_text(values) else values[()] for name, values in local.items()}
    except Exception as error:  # whatever h5py raises over a foreign file
        raise BadData("file is not valid HDF5", where=path, got=f"{type(error).__name__}: {error}") from error
    return _from_arrays(path, {name: np.asarray(array) for name, array in arrays.items()}, columns)


def _check_sizes(sets: Mapping[str, Any], size: int) -> None:
    """Refuse data sets that are larger than the memory, or than a file of so many bytes can hold."""
    needed = sum(values.nbytes for values in sets.values())
    if needed > _DENSEST * size + _SLACK:
        raise ValueError(f"data sets of {needed:,} bytes in a file of {size:,}")
    check_fits(needed)


def _read_text(values: Any) -> AnyArray:
    """Return texts of any length, of which many may be the same bytes of the file, as long as they fit the memory."""
    blocks, count = [], 0
    for start in range(0, len(values), _BLOCK):
        blocks.append(values.asstr()[start : start + _BLOCK])
        count += sum(map(len, blocks[-1].ravel().tolist()))
        check_fits(count)
    return np.concatenate(blocks) if blocks else values.asstr()[()]


def _is_text(values: Any) -> bool:
    return bool(values.dtype.kind == "O")


def _dense(values: Any) -> Any:
    return values.todense() if hasattr(values, "todense") else values
