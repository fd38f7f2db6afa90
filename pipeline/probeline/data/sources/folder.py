"""A folder of images, one folder per class: as plain class folders, or below train, val and test; or no classes."""

from __future__ import annotations

import os
import time
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from probeline.data.assemble import RawPart, assemble
from probeline.data.folders.entries import subfolders
from probeline.data.folders.layout import find_layout
from probeline.data.folders.walk import FolderWalk
from probeline.data.remembered import is_sample_right
from probeline.data.source import LoadRequest
from probeline.errors import BadData, MissingData
from probeline.files.fingerprint import fingerprint
from probeline.files.memory import DECODING, Lease, read_leased
from probeline.files.paths import Paths
from probeline.files.reading import IMAGE, is_folder, read_bytes, why_unreachable
from probeline.format import few
from probeline.identity import digest_bytes
from probeline.images import ImageFiles
from probeline.types import DROPPED, DataSet, IntArray, Skipped

SPEC = "folder:PATH"

_READERS = 16
"""Threads that hash files; more than cores, since they wait for the disk."""

_TRIED, _SLOW = 1000, 2e-4
"""Files that are looked up before it is known whether that is slow, and the seconds of each that are: on a local disk a
look-up takes some microseconds, and handing it to a thread 40."""


@dataclass(frozen=True)
class ListedPart:
    """The images of one part, in row order."""

    sample_ids: tuple[str, ...]
    """POSIX path below the root, in Unicode's composed form (NFC) on every file system."""
    paths: Paths
    labels: IntArray
    folder: Path | None = None


@dataclass(frozen=True)
class Listing:
    """The images of a folder, before any is read; the classes are the folders of train, sorted by code point.

    There are no classes if train has fewer than two folders: its images have no labels then.
    """

    parts: Mapping[str, ListedPart]
    """``all``, or ``train`` with ``val``, ``test`` or both."""
    class_names: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...] = ()
    """One line each about what was assumed of the layout."""


def load(path: str, request: LoadRequest) -> DataSet:
    """Return the data set of an image folder, with the name ``folder--`` and the folder's own name."""
    # Not Path.expanduser, which raises for the home of an unknown user.
    root = Path(os.path.expanduser(path))  # noqa: PTH111
    name = root.name if root.name not in ("", "..") else root.resolve().name
    return build(scan(root), f"folder--{name}", request)


def scan(root: Path) -> Listing:
    """Return the images of a folder; files that are called like images are not opened.

    With a folder for ``train`` there must be one for ``val``, ``test`` or both, each with one folder per class;
    without, the root itself has the class folders. :mod:`probeline.data.folders.layout` recognises them. Links are
    followed, and in a class each folder is listed once, as :class:`FolderWalk` says. Hidden files are ignored; files
    that are not photos, folders of systems, folders that cannot be read, and links that lead back are listed as
    skipped. Rows are sorted by class, then by sample id, both by code point.

    If train has at most one folder, no image has a label: all images below it are listed, and labels may be joined
    later. Neither has a test part without class folders, or with a single one that is no class of train.

    Raises
    ------
    MissingData
        No such folder, or no image in it.
    BadData
        A class without images to fit on, a class that train does not have, first-level folders that contain the same
        folders and so look like parts, or a name that is not valid Unicode.
    """
    if not is_folder(root):
        raise MissingData(
            "no such folder of images", where=root, got=why_unreachable(root), remedy="check the path after folder:"
        )
    layout = find_layout(root)
    skipped = list(layout.skipped)
    walk = FolderWalk(skipped)
    fitted = next(iter(layout.classes.values()))
    class_names = tuple(fitted) if len(fitted) > 1 else ()
    parts = {}
    for name, folders in layout.classes.items():
        is_flat = name == "test" and len(folders) < 2 and not _any_class(folders, class_names)
        if class_names and not is_flat:
            if not folders:
                raise MissingData(
                    f"no class folders for {name}", where=root, remedy="put one folder of images per class there"
                )
            parts[name] = _list_part(root, name, folders, class_names, walk)
        else:
            folder = layout.folders[name]
            below = "" if name == "all" else folder.relative_to(root).as_posix()
            skipped[:] = [
                file for file in skipped if Path(file.path).parent != Path(below) or "outside" not in file.reason
            ]
            parts[name] = _list_flat(folder, below, walk)
    notes = (*layout.notes, *_note_inner_folder(fitted, class_names), *walk.notes)
    return Listing(parts, class_names, tuple(dict.fromkeys(skipped)), notes)


def build(listing: Listing, name: str, request: LoadRequest) -> DataSet:
    """Return the data set of a listing; a sample's content hash is the sha256 of its file.

    Images outside the request's subset are not read, nor are those whose hash the memo has; the caller saves the memo.

    Raises
    ------
    BadData
        A file that cannot be opened.
    BadOption
        A limit below the number of classes.
    """
    raw = {
        part: RawPart(
            listed.sample_ids,
            listed.labels,
            partial(load_files, listed.paths, request=request),
            str(listed.folder or ""),
        )
        for part, listed in listing.parts.items()
    }
    return assemble(name, raw, listing.class_names, request, skipped=listing.skipped, notes=listing.notes)


def load_files(paths: Sequence[Path], rows: IntArray, request: LoadRequest) -> tuple[ImageFiles, tuple[str, ...]]:
    """Return the image files of some rows, and the sha256 of each.

    Raises
    ------
    BadData
        A file that cannot be opened.
    """
    chosen = Paths.of(paths).take(rows.tolist())
    content = hash_files(chosen, request)
    return ImageFiles(chosen, content), content


def _note_inner_folder(folders: Mapping[str, Path], class_names: tuple[str, ...]) -> tuple[str, ...]:
    """Return a note about images without labels whose one folder has folders that may be the classes."""
    if class_names or len(folders) != 1:
        return ()
    ((name, path),) = folders.items()
    if len(subfolders(path, "", [])) < 2:
        return ()
    return (f"folder: no classes are read from {name}, the only folder; if its folders are the classes: folder:{path}",)


def _list_part(
    root: Path, part: str, folders: Mapping[str, Path], class_names: tuple[str, ...], walk: FolderWalk
) -> ListedPart:
    """Return the images of one part."""
    listed: list[tuple[str, str, int]] = []
    numbers = {name: number for number, name in enumerate(class_names)}
    for name, folder in folders.items():
        if name not in numbers:
            raise BadData(
                f"class {name!r} of {part} is not in train",
                where=folder,
                expected=f"one of: {few(class_names, 24, between=', ')}",
                remedy="add it to train, or remove the folder",
            )
        below = folder.relative_to(root).as_posix()
        before = len(walk.skipped)
        images = sorted(walk.images(folder, unicodedata.normalize("NFC", below)))
        if not images and part in ("train", "all"):
            raise BadData(
                f"class {name!r} has no images",
                where=folder,
                got=next((f"{file.path}: {file.reason}{file.detail}" for file in walk.skipped[before:]), None),
                remedy="add images to it, or remove the folder",
            )
        listed += [(sample_id, path, numbers[name]) for sample_id, path in images]
    if not listed:
        raise BadData(f"no images in {part}", where=root, remedy="add images to it, or remove the folder")
    sample_ids, paths, labels = zip(*listed, strict=True)
    return ListedPart(sample_ids, Paths(paths), np.array(labels, np.int64))


def _any_class(folders: Iterable[str], class_names: Iterable[str]) -> bool:
    """Return whether a folder has the name of a class, in capitals or not."""
    return not {name.casefold() for name in folders}.isdisjoint(name.casefold() for name in class_names)


def _list_flat(folder: Path, below: str, walk: FolderWalk) -> ListedPart:
    """Return all images below a folder, none with a label."""
    images = sorted(walk.images(folder, unicodedata.normalize("NFC", below)))
    if not images:
        raise MissingData("no images in this folder", where=folder, remedy="put images there, best a folder per class")
    sample_ids, paths = zip(*images, strict=True)
    return ListedPart(sample_ids, Paths(paths), np.full(len(paths), DROPPED, np.int64), folder)


def hash_files(paths: Sequence[Path], request: LoadRequest) -> tuple[str, ...]:
    """Return the sha256 of each file; those that look broken are decoded on this occasion, for a verdict.

    Digests that the memo has are taken from it, if those of a random sample are right.

    Raises
    ------
    BadData
        Files that cannot be opened, all of them: what cannot be read today may be a sound image tomorrow.
    """
    remembered = _recall(Paths.of(paths), request)
    if not is_sample_right(request, remembered, lambda row: digest_bytes(read_bytes(paths[row], IMAGE))):
        remembered = {}
    digests: dict[int, str] = dict(remembered)
    errors: list[str] = []
    unknown = [row for row in range(len(paths)) if row not in remembered]
    with (
        request.console.bar("hashing", len(paths), "image") as bar,
        ThreadPoolExecutor(_READERS) as pool,
    ):
        bar.update(len(remembered))
        results = pool.map(partial(_hash_file, request), (paths[row] for row in unknown))
        for row, result in zip(unknown, results, strict=True):
            if isinstance(result, OSError):
                errors.append(f"{paths[row]} ({result.strerror})")
            else:
                digests[row] = result
            bar.update(1)
            request.memo.digests.save_now_and_then()
    if errors:
        count = "an image" if len(errors) == 1 else f"{len(errors):,} images"
        raise BadData(f"{count} cannot be opened", where=few(errors), remedy="make them readable, or remove them")
    return tuple(digests[row] for row in range(len(paths)))


def _recall(paths: Paths, request: LoadRequest) -> dict[int, str]:
    """Return the sha256 of the files that are remembered, by row."""
    here = os.getcwd()  # noqa: PTH109
    # As Path.absolute, which the hashes are remembered by, but without a Path for each of a million files.
    absolute = [path if path.startswith("/") else f"{here}/{path.removeprefix('./')}" for path in paths.texts]
    began = time.perf_counter()
    found = list(map(request.memo.digests.get, absolute[:_TRIED]))
    if time.perf_counter() - began < _SLOW * len(found):
        found += map(request.memo.digests.get, absolute[_TRIED:])
    else:  # a network file system, where one thread would wait
        with ThreadPoolExecutor(_READERS) as pool:
            found += pool.map(request.memo.digests.get, absolute[_TRIED:])
    return {row: sha256 for row, sha256 in enumerate(found) if sha256 is not None}


def _hash_file(request: LoadRequest, path: Path) -> str | OSError:
    try:
        with Lease(DECODING) as lease:
            before = fingerprint(path)
            data = read_leased(path, lease)
            sha256 = digest_bytes(data)
            if fingerprint(path) == before:
                request.memo.digests.put(str(path.absolute()), before, sha256)
            request.verdicts.look_at(data, sha256, lease)
    except OSError as error:
        return error
    return sha256
