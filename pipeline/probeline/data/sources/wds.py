"""Webdataset tars: samples whose members share a key, such as ``0001.jpg`` and ``0001.cls``, read by offset."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from probeline.data.annotations.groups import attach_groups
from probeline.data.archives.tar_index import TarSample, index_tar
from probeline.data.assemble import RawPart, assemble, select_rows
from probeline.data.folders.walk import list_folders
from probeline.data.label_values import number_labels
from probeline.data.part_names import first_part, named_part
from probeline.data.source import LoadRequest
from probeline.errors import BadData, MissingData
from probeline.files.reading import ARCHIVE, IMAGE, is_file, is_folder, open_file, why_unreachable
from probeline.images import ImageItems, Images
from probeline.types import DataSet, IntArray, Skipped

SPEC = "wds:PATTERN"

_MOST_TARS = 100_000


def load(pattern: str, request: LoadRequest) -> DataSet:
    """Return the data set of tars by a path with ``*`` or ``{000..010}``, several joined by ``::``, or their folder.

    Parts follow from the names of the tars, if all of them have ``train``, ``val`` or ``test`` in a usual spelling as
    a word. Rows are in the order of the tars by name, and then of their samples. See :func:`index_tar` for labels.

    Raises
    ------
    MissingData, BadData
    """
    skipped: list[Skipped] = []
    paths = find_tars(pattern, skipped)
    root = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    names = [path.absolute().relative_to(root).as_posix() for path in paths]
    by_part: dict[str, list[tuple[Path, str, TarSample]]] = {}
    with request.console.bar("indexing", len(paths), "tar") as bar:
        for path, name, part in zip(paths, names, _parts(names), strict=True):
            for sample in index_tar(path, request):
                by_part.setdefault(part, []).append((path, name.removesuffix(".tar"), sample))
            bar.update(1)
    if not by_part:
        raise BadData("no sample has an image", where=pattern, expected="members such as 0001.jpg and 0001.cls")
    class_names, numbers = number_labels(
        {part: [sample.label for *_, sample in rows] for part, rows in by_part.items()}, pattern
    )
    raw = {
        part: RawPart(
            [f"{name}/{sample.key}" for _, name, sample in rows], numbers[part], partial(_load_rows, _images(rows))
        )
        for part, rows in by_part.items()
    }
    dataset = assemble(f"wds--{_title(pattern, root)}", raw, class_names, request, skipped=skipped)
    groups = {f"{name}/{sample.key}": sample.group for rows in by_part.values() for _, name, sample in rows}
    return attach_groups(dataset, groups, f"field {request.columns['group']}") if any(groups.values()) else dataset


def find_tars(pattern: str, skipped: list[Skipped]) -> list[Path]:
    """Return the tars of a pattern, by name; folders that ``**`` passes over are added to `skipped`.

    Raises
    ------
    MissingData
        A tar that a range names is missing, or there is none.
    BadData
        A range of too many.
    """
    paths: list[Path] = []
    for word in pattern.split("::"):
        if not word.strip():
            raise MissingData("no tar is named", where=f"wds:{pattern}", remedy="name one before and after ::")
        for name in _expand(os.path.expanduser(word)):  # noqa: PTH111 - as in sources.folder
            path = Path(name)
            matches = [path]
            if is_folder(path):
                matches = sorted(path.glob("*.tar"))
            elif glob.has_magic(name):
                matches = sorted(set(_matches(name, skipped)))
            if not matches or not all(map(is_file, matches)):
                raise MissingData(
                    "no such tar", where=name, got=why_unreachable(path), remedy="check the pattern after wds:"
                )
            paths += matches
    return list(dict.fromkeys(paths))


def _matches(pattern: str, skipped: list[Skipped]) -> Iterator[Path]:
    """Yield the paths of a pattern; ``**`` is any folders in each other, each once, whatever links lead to it."""
    names = pattern.split("/")
    if "**" not in names:
        yield from map(Path, glob.glob(pattern))  # noqa: PTH207 - of any path
        return
    at = names.index("**")
    above, below = "/".join(names[:at]), "/".join(names[at + 1 :]).removeprefix("**/")
    tops = glob.glob(above) if above else ["/" if pattern.startswith("/") else "."]  # noqa: PTH207
    for top in filter(Path.is_dir, map(Path, tops)):
        for folder in list_folders(top, skipped):
            yield from _matches(f"{glob.escape(str(folder))}/{below or '*'}", skipped)


def _expand(pattern: str) -> list[str]:
    """Return the names of a pattern with ranges ``{000..010}`` and lists ``{train,val}``."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if not match:
        return [pattern]
    words = match[1].split(",")
    if span := re.fullmatch(r"(\d+)\.\.(\d+)", match[1]):
        first, last = map(int, span.groups())
        if not 0 <= last - first < _MOST_TARS:
            raise BadData("bad range of tars", where=pattern, expected="{FIRST..LAST}", got=match[0])
        words = [f"{number:0{len(span[1])}d}" for number in range(first, last + 1)]
    return [name for word in words for name in _expand(pattern[: match.start()] + word + pattern[match.end() :])]


def _parts(names: Sequence[str]) -> list[str]:
    """Return the part of each tar by the words of its name, or ``all`` if no name has one, or none is of train."""
    parts = [first_part(re.split(r"[^a-z]+", name.lower())) for name in names]
    if "train" not in parts:
        return ["all"] * len(names)
    if None in parts:
        raise BadData(
            "tar belongs to no part",
            where=names[parts.index(None)],
            expected="train, val or test in every name, or in none",
            got=f"{names[parts.index('train')]} of train as well",
            remedy="name the tars of the parts alone",
        )
    return [part for part in parts if part is not None]


def _title(pattern: str, root: Path) -> str:
    """Return what the data set is called: the beginning of the tars' names, or else their folder."""
    words = re.split(r"[-_.]*(?:[{*?\[]|\.tar$|$)", Path(pattern.split("::")[0]).name)
    is_part = named_part(words[0]) is not None
    return words[0] if words[0] and not is_part and not is_folder(Path(pattern)) else root.name


def _images(rows: Sequence[tuple[Path, str, TarSample]]) -> ImageItems:
    def read(row: int) -> bytes:
        path, _, sample = rows[row]
        with open_file(path, ARCHIVE) as file:
            file.seek(sample.offset)
            return file.read(min(sample.size, IMAGE.most_bytes))

    content = tuple(sample.sha256 for *_, sample in rows)
    return ImageItems(read, content, [f"{path}: {sample.key}.{sample.suffix}" for path, _, sample in rows])


def _load_rows(images: ImageItems, rows: IntArray) -> tuple[Images, tuple[str, ...]]:
    return select_rows(images, rows), tuple(images.content[row] for row in rows.tolist())
