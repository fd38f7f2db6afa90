"""Tables of features as files that other programs read: Parquet, NumPy with CSV, AnnData, safetensors."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from probeline import disk
from probeline.disk import path_name
from probeline.errors import BadOption, MissingExtra
from probeline.export.feature_table import FeatureTable
from probeline.files.reading import ARRAYS, TABLE, read_beginning, read_bytes
from probeline.text import csv_text


def write_features(table: FeatureTable, path: Path) -> list[Path]:
    """Write a table in the format of the file's suffix, and return the files.

    * ``.parquet``: a column for each column, and a list of float32 for each embedding.
    * ``.npy``: an array float32 [N, D] for each embedding, and the columns in a CSV file of the same name.
    * ``.h5ad``: AnnData with the first embedding as X, all of them in obsm, and the columns in obs.
    * ``.safetensors``: the embeddings as tensors, the columns as JSON in the metadata.

    An existing file of the path is replaced, and such others that this function wrote.

    Raises
    ------
    BadOption
        Another suffix, or somebody else's file has the name of one of the others.
    MissingExtra
        A library that the format needs is not installed.
    CannotWrite
    """
    if path.suffix not in WRITERS:
        raise BadOption("no such format of features", expected=" ".join(WRITERS), got=path.suffix or path.name)
    files = WRITERS[path.suffix](table, path)
    for file, data in files.items():
        if file != path and file.exists() and not _begins_alike(file, data):
            raise BadOption("another file has this name", where=file, remedy="choose another name, or move it")
    disk.make_folder(path.parent)
    for file, data in files.items():
        disk.publish(file, data, replace=True)
    return list(files)


def _begins_alike(file: Path, data: bytes) -> bool:
    """Return whether a file begins like its new content: with the columns of a table, or as arrays do."""
    beginning = data[:6] if file.suffix == ".npy" else data[: data.index(b"\n") + 1]
    try:
        return read_beginning(file, TABLE, len(beginning)) == beginning
    except OSError:
        return False


def _parquet(table: FeatureTable, path: Path) -> dict[Path, bytes]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingExtra("pyarrow is not installed", remedy="pip install 'probeline[parquet]'") from error
    columns: dict[str, Any] = {name: pa.array(values) for name, values in table.columns.items()}
    for name, values in table.embeddings.items():
        columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
    data = io.BytesIO()
    keys = {b"probeline": json.dumps({name: list(own) for name, own in table.keys.items()}, allow_nan=False).encode()}
    parquet.write_table(pa.table(columns).replace_schema_metadata(keys), data)
    return {path: data.getvalue()}


def _numpy(table: FeatureTable, path: Path) -> dict[Path, bytes]:
    files = {}
    for name, values in table.embeddings.items():
        data = io.BytesIO()
        np.save(data, values, allow_pickle=False)
        own = path if len(table.embeddings) == 1 else path.with_name(f"{path.stem}-{path_name(name)}.npy")
        files[own] = data.getvalue()
    rows = csv_text([table.columns, *zip(*table.columns.values(), strict=True)])
    return {**files, path.with_suffix(".csv"): rows.encode()}


def _anndata(table: FeatureTable, path: Path) -> dict[Path, bytes]:
    try:
        import anndata
        import pandas as pd
    except ImportError as error:
        raise MissingExtra("anndata is not installed", remedy="pip install 'probeline[anndata]'") from error
    known = pd.DataFrame(dict(table.columns)).set_index("sample_id")
    data = anndata.AnnData(
        next(iter(table.embeddings.values())),
        obs=known,
        obsm={} if len(table.embeddings) == 1 else dict(table.embeddings),
        uns={"probeline": {name: list(own) for name, own in table.keys.items()}},
    )
    with TemporaryDirectory(prefix="probeline-") as folder:
        file = Path(folder) / "features.h5ad"
        data.write_h5ad(file)
        return {path: read_bytes(file, ARRAYS)}


def _safetensors(table: FeatureTable, path: Path) -> dict[Path, bytes]:
    from safetensors.numpy import save

    tensors = {name: np.ascontiguousarray(values) for name, values in table.embeddings.items()}
    known = {name: json.dumps(values.tolist(), allow_nan=False) for name, values in table.columns.items()}
    keys = {name: list(own) for name, own in table.keys.items()}
    return {path: save(tensors, metadata={**known, "probeline": json.dumps(keys, allow_nan=False)})}


WRITERS: Mapping[str, Callable[[FeatureTable, Path], dict[Path, bytes]]] = {
    ".parquet": _parquet,
    ".npy": _numpy,
    ".h5ad": _anndata,
    ".safetensors": _safetensors,
}
"""The writer of each format by its suffix."""
