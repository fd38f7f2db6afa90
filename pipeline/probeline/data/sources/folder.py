"""A folder of images, one folder per class: as plain class folders, or below train, val and test."""

from __future__ import annotations

import os
import posixpath
import unicodedata
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from probeline.console import Console
from probeline.data.source import LoadRequest
from probeline.errors import BadData, MissingData
from probeline.identity import digest_bytes
from probeline.memo import Memo, fingerprint
from probeline.types import DataSet, ImageFiles, IntArray, Part, Skipped

SPEC = "folder:PATH"

EXTENSIONS = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"))

PART_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Names of folders that are parts, with their parts."""

_READERS = 16
"""Threads that hash files; more than cores, since they wait for the disk."""


@dataclass(frozen=True)
class ListedPart:
    """The images of one part, in row order."""

    sample_ids: tuple[str, ...]
    """POSIX path below the root, in Unicode's composed form (NFC) on every file system."""
    paths: tuple[Path, ...]
    labels: IntArray


@dataclass(frozen=True)
class Listing:
    """The images of a folder, before any is read; the classes are the folders of train, sorted by code point."""

    parts: Mapping[str, ListedPart]
    """``all``, or ``train`` with ``val``, ``test`` or both."""
    class_names: tuple[str, ...]
    skipped: tuple[Skipped, ...]


def load(path: str, request: LoadRequest) -> DataSet:
    """Return the data set of an image folder, with the name ``folder--`` and the folder's own name."""
    # Not Path.expanduser, which raises for the home of an unknown user.
    root = Path(os.path.expanduser(path))  # noqa: PTH111
    name = root.name if root.name not in ("", "..") else root.resolve().name
    return build(scan(root), f"folder--{name}", request)


def scan(root: Path) -> Listing:
    """Return the images of a folder; none is opened.

    With a folder ``train`` (or ``training``) there must be ``val`` (or ``valid``, ``validation``), ``test`` (or
    ``testing``) or both, each with one folder per class; without, the root itself has the class folders. Class folders
    are walked to any depth and links are followed. Hidden files are ignored; other files that are not photos are
    listed as skipped. Rows are sorted by class, then by sample id, both by code point.

    Raises
    ------
    MissingData
        No such folder, or no folder in it.
    BadData
        Fewer than two classes, a class without images to fit on, a class that train does not have, first-level
        folders that contain the same folders and so look like parts, or a name that is not valid Unicode.
    """
    if not root.is_dir():
        raise MissingData("no such folder of images", where=root, remedy="check the path after folder:")
    part_folders, skipped = _layout(root)
    class_names: tuple[str, ...] = ()
    parts = {}
    for name, folders in part_folders.items():
        if not folders:
            raise MissingData(
                f"no class folders for {name}", where=root, remedy="put one folder of images per class there"
            )
        if not class_names:
            class_names = tuple(folders)
            if len(class_names) < 2:
                raise BadData("too few classes", where=root, expected="two class folders or more", got=class_names[0])
        parts[name] = _list_part(root, name, folders, class_names, skipped)
    return Listing(parts, class_names, tuple(skipped))


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
    subset = request.subset
    parts, images = {}, {}
    for part, listed in listing.parts.items():
        rows = subset.rows(listed.labels, classes=len(listing.class_names))
        paths = tuple(listed.paths[row] for row in rows)
        content = _hash_files(paths, request.memo, request.console)
        parts[part] = Part(
            dataset=subset.name(name),
            name=part,
            sample_ids=tuple(listed.sample_ids[row] for row in rows),
            content=content,
            labels=listed.labels[rows],
            class_names=listing.class_names,
        )
        images[part] = ImageFiles(paths, content)
    names = list(parts)
    return DataSet(
        name=subset.name(name),
        parts=parts,
        images=images,
        class_names=listing.class_names,
        train=names[0],
        test=names[-1],
        skipped=listing.skipped,
        val="val" if len(names) == 3 else None,
    )


def _layout(root: Path) -> tuple[dict[str, dict[str, Path]], list[Skipped]]:
    """Return the class folders of each part by class name, train (or all) first, and the files outside them."""
    skipped: list[Skipped] = []
    top = _folders(root, "", skipped)
    by_part: dict[str, Path] = {}
    for name, path in top.items():
        part = PART_NAMES.get(name.lower())
        if part in by_part:
            raise BadData(f"two folders for {part}", where=root, got=f"{by_part[part].name} and {path.name}")
        if part is not None:
            by_part[part] = path
    if not top or ("train" not in by_part and len(by_part) < len(top)):
        _refuse_parts_as_classes(root, top)
        return {"all": top}, skipped
    if "train" not in by_part or len(by_part) < 2:
        raise BadData(
            "folder lacks parts",
            where=root,
            expected="train with val, test or both",
            got=", ".join(top),
            remedy="add the missing part, or name the folder of one part after folder:",
        )
    skipped += [Skipped(name, "not one of train, val and test") for name in top if name.lower() not in PART_NAMES]
    parts = [part for part in ("train", "val", "test") if part in by_part]
    return {part: _folders(by_part[part], by_part[part].name, skipped) for part in parts}, skipped


def _refuse_parts_as_classes(root: Path, top: Mapping[str, Path]) -> None:
    """Raise BadData if two first-level folders contain a folder of the same name: they look like parts, not classes.

    Two folders that both contain images directly are classes, whatever folders they contain as well.
    """
    holders: dict[str, list[str]] = {}
    has_images: dict[str, bool] = {}
    for name, path in top.items():
        content = _entries(path)
        has_images[name] = any(Path(below).suffix.lower() in EXTENSIONS for below, entry in content if entry.is_file())
        for below in (below for below, entry in content if entry.is_dir()):
            for other in holders.setdefault(below, []):
                if not (has_images[other] and has_images[name]):
                    raise BadData(
                        "folders look like parts of a data set, not like classes",
                        where=root,
                        expected="one folder per class, or parts that are called train, val and test",
                        got=f"{other}/{below} and {name}/{below}",
                        remedy="rename the parts, or rename one of the folders that both hold",
                    )
            holders[below].append(name)


def _folders(folder: Path, name: str, skipped: list[Skipped]) -> dict[str, Path]:
    """Return the folders in a folder, sorted by name; files are added to `skipped`."""
    folders = {}
    for entry_name, entry in _entries(folder):
        if entry.is_dir():
            folders[entry_name] = Path(entry.path)
        else:
            skipped.append(Skipped(posixpath.join(name, entry_name), "outside the class folders"))
    return folders


def _list_part(
    root: Path, part: str, folders: Mapping[str, Path], class_names: tuple[str, ...], skipped: list[Skipped]
) -> ListedPart:
    """Return the images of one part; other files are added to `skipped`."""
    listed: list[tuple[str, Path, int]] = []
    for name, folder in folders.items():
        if name not in class_names:
            raise BadData(
                f"class {name!r} of {part} is not in train",
                where=folder,
                expected="one of: " + ", ".join(class_names),
                remedy="add it to train, or remove the folder",
            )
        below = folder.relative_to(root).as_posix()
        parents = (_identity(root), _identity(folder.parent))
        images = sorted(_walk(folder, unicodedata.normalize("NFC", below), skipped, parents))
        if not images and part in ("train", "all"):
            raise BadData(
                f"class {name!r} has no images", where=folder, remedy="add images to it, or remove the folder"
            )
        listed += [(sample_id, path, class_names.index(name)) for sample_id, path in images]
    if not listed:
        raise BadData(f"no images in {part}", where=root, remedy="add images to it, or remove the folder")
    sample_ids, paths, labels = zip(*listed, strict=True)
    return ListedPart(sample_ids, paths, np.array(labels, np.int64))


def list_images(folder: Path) -> list[Path]:
    """Return the images below a folder by name, through links, without hidden ones; BadData if it cannot be read."""
    return [path for _, path in _walk(folder, "", [], ())]


def _walk(
    folder: Path, name: str, skipped: list[Skipped], parents: tuple[tuple[int, int], ...]
) -> Iterator[tuple[str, Path]]:
    """Yield sample id and path of each image below a folder; `parents` identifies the folders it is in."""
    identity = _identity(folder)
    if identity in parents:
        skipped.append(Skipped(name, "a link back to a folder around it"))
        return
    for entry_name, entry in _entries(folder):
        sample_id = posixpath.join(name, entry_name)
        suffix = Path(entry_name).suffix.lower()
        if entry.is_dir():
            yield from _walk(Path(entry.path), sample_id, skipped, (*parents, identity))
        elif suffix not in EXTENSIONS:
            skipped.append(Skipped(sample_id, f"not a photo ({suffix or 'no extension'})"))
        elif not entry.is_file():
            skipped.append(Skipped(sample_id, "not a file, or a link to none"))
        else:
            yield sample_id, Path(entry.path)


def _identity(folder: Path) -> tuple[int, int]:
    """Return the device and inode of a folder: the same for every path that leads to it."""
    status = folder.stat()
    return status.st_dev, status.st_ino


def _entries(folder: Path) -> list[tuple[str, os.DirEntry[str]]]:
    """Return the visible entries of a folder by name in composed Unicode, sorted."""
    try:
        with os.scandir(folder) as scan:
            visible = [entry for entry in scan if not entry.name.startswith(".")]
    except OSError as error:
        raise BadData("folder cannot be read", where=folder, got=error.strerror) from error
    entries: dict[str, os.DirEntry[str]] = {}
    for entry in visible:
        name = unicodedata.normalize("NFC", entry.name)
        is_unicode = name == name.encode("utf-8", "ignore").decode()
        if name in entries or not is_unicode:
            shown = os.fsencode(entry.name).decode("utf-8", "backslashreplace")
            raise BadData("name is taken twice or not valid Unicode", where=folder, got=shown, remedy="rename it")
        entries[name] = entry
    return sorted(entries.items(), key=lambda item: item[0])


def _hash_files(paths: tuple[Path, ...], memo: Memo, console: Console) -> tuple[str, ...]:
    digests = []
    with console.bar("hashing", len(paths), "image") as bar, ThreadPoolExecutor(_READERS) as pool:
        for sha256 in pool.map(lambda path: _hash_file(path, memo), paths):
            digests.append(sha256)
            bar.update(1)
    return tuple(digests)


def _hash_file(path: Path, memo: Memo) -> str:
    name = f"image:{path.absolute()}"
    known = memo.get(name, [path])
    if isinstance(known, str):
        return known
    try:
        before = fingerprint(path)
        sha256 = digest_bytes(path.read_bytes())
        if fingerprint(path) == before:
            memo.put(name, [path], sha256)
    except OSError as error:
        raise BadData(
            "image cannot be opened", where=path, got=error.strerror, remedy="make it readable, or remove it"
        ) from error
    return sha256
