"""Parts of data sets from Python objects, registered under a name that follows from their content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from probeline.data.annotations.groups import attach_groups
from probeline.data.assemble import RawPart, assemble, repeat_over_parts, select_rows
from probeline.data.label_values import number_labels
from probeline.data.source import LoadRequest
from probeline.data.sources import memory
from probeline.identity import digest, digest_lines
from probeline.images import Images
from probeline.types import DataSet, IntArray


@dataclass(frozen=True)
class ObjectPart:
    """All images of one part, with what is known of each."""

    sample_ids: Sequence[str]
    images: Images
    content: tuple[str, ...]
    labels: Sequence[str]
    """Names of classes; empty for an image without one."""
    class_names: Sequence[str] | None = None
    """In their order, with those that do not occur; None if the labels are sorted."""
    groups: Sequence[str] | None = None
    notes: tuple[str, ...] = ()


def load_parts(name: str, parts: Mapping[str, ObjectPart], request: LoadRequest) -> DataSet:
    """Return the data set of some parts: ``all``, or ``train`` with ``val``, ``test`` or both.

    Raises
    ------
    BadData, BadOption
    """
    names = list(dict.fromkeys(name for part in parts.values() for name in part.class_names or ()))
    class_names, numbers = number_labels({part: given.labels for part, given in parts.items()}, name, names)
    raw = {part: RawPart(given.sample_ids, numbers[part], partial(_load_rows, given)) for part, given in parts.items()}
    notes = tuple(dict.fromkeys(note for part in parts.values() for note in part.notes))
    dataset = assemble(name, raw, class_names, request, notes=notes)
    groups = {
        sample_id: group
        for part in parts.values()
        for sample_id, group in zip(part.sample_ids, part.groups or (), strict=False)
    }
    return attach_groups(dataset, groups, "groups") if any(groups.values()) else dataset


def _load_rows(part: ObjectPart, rows: IntArray) -> tuple[Images, tuple[str, ...]]:
    return select_rows(part.images, rows), tuple(part.content[row] for row in rows.tolist())


def register_parts(kind: str, parts: Mapping[str, ObjectPart], name: str | None) -> str:
    """Return the spec of the data set of some parts; without a name it is named by its kind and its content.

    Sample ids that repeat from one part to another, as those of two folders, get the part's name before them.

    The labels are no part of the data set's name, so that other labels find the same cached features. They are part of
    its spec, so that two data sets of the same images stay apart in one process.
    """
    if repeat_over_parts([given.sample_ids for given in parts.values()]):
        parts = {
            part: replace(given, sample_ids=[f"{part}/{sample_id}" for sample_id in given.sample_ids])
            for part, given in parts.items()
        }
    content = [
        f"{part}\0{sample_id}\0{content}"
        for part, given in parts.items()
        for sample_id, content in zip(given.sample_ids, given.content, strict=True)
    ]
    labels = [label for given in parts.values() for label in given.labels]
    groups = [group for given in parts.values() for group in given.groups or ()]
    title = key = name or f"{kind}-{digest_lines(content)[:8]}"
    if name or any(labels) or any(groups):
        order = [name for given in parts.values() for name in given.class_names or ()]
        key = f"{title}.{digest([content, labels, groups, order])[:8]}"
    return memory.register(partial(load_parts, f"memory--{title}", dict(parts)), key)


def number_rows(part: str, n: int) -> list[str]:
    """Return sample ids ``part/000000`` of n rows."""
    return [f"{part}/{row:06d}" for row in range(n)]


def make_unique(names: Sequence[str]) -> list[str]:
    """Return names of which each that repeats an earlier one has ``#2`` and so on behind it."""
    seen: Counter[str] = Counter()
    taken, unique = set(names), []
    for name in names:
        seen[name] += 1
        own = name
        while seen[name] > 1 and own in taken:
            own = f"{name}#{seen[name]}"
            seen[name] += own in taken
        taken.add(own)
        unique.append(own)
    return unique
