"""Embeddings from elsewhere with what is known of their rows, and the data set that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from probeline.data.annotations.groups import attach_groups
from probeline.data.assemble import repeat_over_parts
from probeline.data.label_values import number_labels
from probeline.data.source import LoadRequest
from probeline.errors import BadData
from probeline.identity import digest
from probeline.types import AnyArray, DataSet, Embedding, FloatArray, Part

_ORDER = ("train", "val", "test")


@dataclass(frozen=True)
class EmbeddingTable:
    """The rows of one part, or with `parts` of several.

    Attributes
    ----------
    matrices : mapping of str to array [N, D]
        By name; each has the same N.
    labels : sequence of str [N]
        Empty where there is none.
    ids : sequence of str [N], optional
        Unique; numbers by default.
    parts : sequence of str [N], optional
        ``train``, ``val`` or ``test``.
    groups : sequence of str [N], optional
    """

    matrices: Mapping[str, AnyArray]
    labels: Sequence[str]
    ids: Sequence[str] | None = None
    parts: Sequence[str] | None = None
    groups: Sequence[str] | None = None
    notes: Sequence[str] = field(default_factory=tuple)


def check_features(features: AnyArray, where: object) -> FloatArray:
    """Return features as float32 [N, D], or raise BadData if they are not finite numbers of two axes."""
    array = np.asarray(features)
    if array.ndim != 2 or array.dtype.kind not in "fiu" or 0 in array.shape:
        raise BadData("bad features", where=where, expected="numbers [N, D]", got=f"{array.dtype} {list(array.shape)}")
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(array, np.float32)
    if bad := int((~np.isfinite(rows).all(axis=1)).sum()):
        raise BadData("bad features", where=where, expected="finite float32 numbers", got=f"{bad:,} rows with others")
    return rows


def build_dataset(
    name: str, tables: Mapping[str, EmbeddingTable], request: LoadRequest, class_names: Sequence[str] | None = None
) -> DataSet:
    """Return the data set of embeddings by part: ``all``, or ``train`` with ``val``, ``test`` or both.

    A part keeps the order of its rows. A row's content hash is that of its sample id, so that several embeddings of the
    same rows can be compared; the values are in the digest of each embedding.

    Raises
    ------
    BadData
        Features that are not finite numbers [N, D], matrices of other names or widths in one part than in another,
        sample ids that repeat, a single class, or parts without train.
    BadOption
        A limit below the number of classes.
    """
    by_part = {part: table for given, whole in tables.items() for part, table in _split(given, whole).items()}
    names = [part for part in _ORDER if part in by_part] if "all" not in by_part else ["all"]
    if names != ["all"] and (names[0] != "train" or len(names) < 2):
        raise BadData(
            "embeddings lack parts", where=name, expected="train with val, test or both", got=", ".join(names)
        )
    first = by_part[names[0]]
    ids_by_part = {part: _ids_of(part, by_part[part], name) for part in names}
    repeated: list[str] = []
    if repeat_over_parts(ids_by_part.values()):
        ids_by_part = {part: [f"{part}/{sample_id}" for sample_id in ids] for part, ids in ids_by_part.items()}
        repeated = [f"{name}: some sample ids are in several parts, so each has its part before it"]
    known, numbers = number_labels({part: by_part[part].labels for part in names}, name, class_names)
    parts: dict[str, Part] = {}
    groups: dict[str, str] = {}
    features: dict[str, dict[str, FloatArray]] = {matrix: {} for matrix in first.matrices}
    for part in names:
        table = by_part[part]
        checked = {matrix: check_features(rows, f"{name}, {matrix}") for matrix, rows in table.matrices.items()}
        widths = {matrix: rows.shape[1] for matrix, rows in checked.items()}
        if widths != {matrix: array.shape[1] for matrix, array in first.matrices.items()}:
            raise BadData("parts have other embeddings", where=name, got=f"{part}: {widths}")
        ids = ids_by_part[part]
        rows = request.subset.rows(numbers[part], classes=len(known))
        for matrix, values in checked.items():
            features[matrix][part] = values[rows]
        parts[part] = Part(
            dataset=request.subset.name(name),
            name=part,
            sample_ids=tuple(ids[row] for row in rows.tolist()),
            content=tuple(digest(["embedding of", ids[row]]) for row in rows.tolist()),
            labels=numbers[part][rows],
            class_names=known,
        )
        if table.groups is not None:
            groups |= {ids[row]: table.groups[row] for row in rows.tolist()}
    dataset = DataSet(
        name=request.subset.name(name),
        parts=parts,
        images={},
        class_names=known,
        train=names[0],
        test=names[-1],
        val="val" if len(names) == 3 else None,
        notes=(*(note for part in names for note in by_part[part].notes), *repeated),
        embeddings={matrix: Embedding.of(values) for matrix, values in features.items()},
    )
    return attach_groups(dataset, groups, "groups of the file") if groups else dataset


def _ids_of(part: str, table: EmbeddingTable, name: str) -> list[str]:
    ids = list(table.ids) if table.ids is not None else [f"{part}/{row:07d}" for row in range(len(table.labels))]
    if len(set(ids)) != len(ids):
        raise BadData("sample ids repeat", where=f"{name}/{part}", got=f"{len(ids) - len(set(ids)):,} of {len(ids):,}")
    return ids


def _split(part: str, table: EmbeddingTable) -> dict[str, EmbeddingTable]:
    """Return the rows of each part that the table itself names."""
    if table.parts is None:
        return {part: table}
    own = np.array(table.parts)
    by_part: dict[str, EmbeddingTable] = {}
    for name in dict.fromkeys(table.parts):
        rows = np.flatnonzero(own == name).tolist()
        by_part[name] = EmbeddingTable(
            {matrix: np.asarray(values)[rows] for matrix, values in table.matrices.items()},
            [table.labels[row] for row in rows],
            None if table.ids is None else [table.ids[row] for row in rows],
            groups=None if table.groups is None else [table.groups[row] for row in rows],
            notes=table.notes if not by_part else (),
        )
    return by_part
